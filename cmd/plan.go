package cmd

import (
	"context"
	"sync"

	"github.com/urfave/cli/v2"

	"provision/inventory"
	"provision/provision"
)

type planOptions struct {
	fleetOptions
	exitCode bool
}

func planCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:            "plan",
		Usage:           "look at the hosts and at GitLab, and say what apply would change",
		UsageText:       "provision plan [flags] [INVENTORY]",
		Description:     "Changes nothing, anywhere. Some changes can be planned only after others are\nmade; they are listed as later.",
		Flags:           append(fleetFlags(), &cli.BoolFlag{Name: "exit-code", Usage: "exit with 3 if anything is missing"}),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			fleet, err := fleetOptionsOf(c)
			if err != nil {
				return err
			}
			return runPlan(c.Context, env, planOptions{fleet, c.Bool("exit-code")})
		},
	}
}

func runPlan(ctx context.Context, env Env, o planOptions) error {
	f, err := muster(ctx, env, o.fleetOptions, "api", "read_api")
	if err != nil {
		return err
	}
	defer f.close()
	missing, err := planFleet(ctx, env, o.fleetOptions, f, func(_ context.Context, s site) ([]provision.Step, error) { return s.steps(f.given), nil })
	if err == nil && missing > 0 && o.exitCode {
		return errMissing
	}
	return err
}

// planFleet prints what is missing on every host, and counts it.
func planFleet(ctx context.Context, env Env, o fleetOptions, f *fleet, stepsOf func(context.Context, site) ([]provision.Step, error)) (missing int, err error) {
	r := f.report(env, o)
	plans, lists := make(map[string]provision.Plan, len(f.hosts)), make(map[string][]provision.Step, len(f.hosts))
	var mu sync.Mutex
	errs, err := f.each(ctx, func(ctx context.Context, s site) error {
		list, err := stepsOf(ctx, s)
		if err != nil {
			return err
		}
		plan, err := provision.Check(ctx, s.Target, list)
		mu.Lock()
		defer mu.Unlock()
		plans[s.Name], lists[s.Name] = plan, list
		return err
	})
	if err != nil && ctx.Err() == nil {
		return 0, err
	}
	failed := r.each(env, f.hosts, errs, func(h *inventory.Host) {
		r.plan(h.Name, plans[h.Name])
		if r.verbose {
			r.fine(h.Name, lists[h.Name], plans[h.Name])
		}
		missing += plans[h.Name].Missing()
	})
	r.summary("to make", f)
	if failed {
		return missing, errReported
	}
	return missing, nil
}

// each prints the outcome of every host, in the order of the inventory.
func (r *report) each(env Env, hosts []*inventory.Host, errs map[*inventory.Host]error, fine func(*inventory.Host)) (failed bool) {
	for _, h := range hosts {
		if err := errs[h]; err != nil {
			r.fail(env.Stderr, h.Name, err)
			failed = true
			continue
		}
		fine(h)
	}
	return failed
}
