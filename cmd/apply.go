package cmd

import (
	"context"
	"fmt"
	"sync"

	"github.com/urfave/cli/v2"

	"provision/inventory"
	"provision/provision"
)

func applyCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "apply",
		Usage:     "make everything that is missing, on the hosts and in GitLab",
		UsageText: "provision apply [flags] [INVENTORY]",
		Description: "Looks first and changes only what is missing; a second run changes nothing.\n" +
			"If it ends early, what was made stays, and running it again finishes the rest.",
		Flags:           append(fleetFlags(), lockWaitFlag()),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			o, err := fleetOptionsOf(c)
			if err != nil {
				return err
			}
			return runApply(c.Context, env, o)
		},
	}
}

func runApply(ctx context.Context, env Env, o fleetOptions) error {
	f, err := muster(ctx, env, o, "api")
	if err != nil {
		return err
	}
	defer f.close()
	return applyFleet(ctx, env, o, f, func(_ context.Context, s site) ([]provision.Step, error) { return s.steps(f.given), nil })
}

// applyFleet makes what is missing on every host, and prints it. The steps may
// depend on what is there.
func applyFleet(ctx context.Context, env Env, o fleetOptions, f *fleet, stepsOf func(context.Context, site) ([]provision.Step, error)) error {
	r := f.report(env, o)
	var mu sync.Mutex
	changes := map[string]int{}
	errs, err := f.each(ctx, func(ctx context.Context, s site) error {
		list, err := stepsOf(ctx, s)
		if err != nil {
			return err
		}
		return provision.Apply(ctx, s.Target, list, func(e provision.Event) {
			if e.Kind == provision.Done {
				mu.Lock()
				changes[e.Host]++
				mu.Unlock()
			}
			r.event(e)
		})
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	failed := r.each(env, f.hosts, errs, func(h *inventory.Host) { r.applied(h.Name, changes[h.Name]) })
	r.summary("made", f)
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted; what is done above is done, and running it again finishes the rest")
	}
	if failed {
		return errReported
	}
	return nil
}
