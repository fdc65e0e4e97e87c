package cmd

import (
	"context"
	"fmt"
	"sync"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/provision"
)

func applyCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "apply",
		Usage:     "create or update whatever differs from the inventory",
		UsageText: "provision apply [flags] [INVENTORY]",
		Description: "Looks first and changes only what is missing; a second run changes nothing.\n" +
			"If it ends early, what was made stays, and running it again finishes the rest.\n\n" +
			"Where a deployment gets another environment, or its variables another place, the\n" +
			"former variables and their key go on working until a deploy has come in by the new\n" +
			"ones. The next apply removes them then; with --finish they are removed at once.",
		Flags: append(fleetFlags(), lockWaitFlag(),
			&cli.BoolFlag{Name: "finish", Usage: "remove former variables and CI keys now, before a deploy has come in by the new ones"},
		),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			o, err := fleetOptionsOf(c)
			if err != nil {
				return err
			}
			return runApply(c.Context, env, o, c.Bool("finish"))
		},
	}
}

func runApply(ctx context.Context, env Env, o fleetOptions, finish bool) error {
	r, err := begin(env, o)
	if err != nil {
		return err
	}
	parts, err := r.all()
	if err != nil {
		return err
	}
	f, err := r.open(ctx, fleet.Options{Parts: parts, Changes: true, Registry: true, App: true, Scopes: []string{"api"}})
	if err != nil {
		return err
	}
	defer f.Close()
	logsIn(f)
	f.Given.Finish = finish
	return r.apply(ctx, f, func(ctx context.Context, s *fleet.Site) (look, error) { return lookFor(ctx, s, s.Steps(f.Given)) })
}

// A look is what is wanted of a host, and what was seen there of it.
type look struct {
	target provision.Target
	steps  []provision.Step
	seen   provision.Seen
}

// lookFor looks at a host for some steps.
func lookFor(ctx context.Context, s *fleet.Site, steps []provision.Step) (look, error) {
	t, err := s.Target(ctx)
	if err != nil {
		return look{}, err
	}
	seen, err := provision.Look(ctx, t, steps)
	return look{t, steps, seen}, err
}

// apply makes what is missing on every host, and prints it.
func (r *run) apply(ctx context.Context, f *fleet.Fleet, lookAt func(context.Context, *fleet.Site) (look, error)) error {
	report := r.report()
	var mu sync.Mutex
	changes := map[string]int{}
	errs, err := f.Each(ctx, fleet.ThenClose, func(ctx context.Context, s *fleet.Site) error {
		l, err := lookAt(ctx, s)
		if err != nil {
			return err
		}
		return provision.ApplySeen(ctx, l.target, l.steps, l.seen, func(e provision.Event) {
			if e.Kind == provision.Done {
				mu.Lock()
				changes[e.Host]++
				mu.Unlock()
			}
			report.Event(e)
		})
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	failed := outcomes(report, f.Sites, errs, func(s *fleet.Site, err error) {
		if err == nil {
			report.Applied(s.Host.Name, changes[s.Host.Name])
		}
	})
	report.Summary("made", cost(f))
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted; what is done above is done, and running it again finishes the rest")
	}
	if failed {
		return errReported
	}
	return nil
}
