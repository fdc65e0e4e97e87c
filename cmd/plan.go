package cmd

import (
	"context"
	"sync"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/provision"
)

type planOptions struct {
	fleetOptions
	exitCode bool
}

func planCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:            "plan",
		Usage:           "show what apply would change",
		UsageText:       "provision plan [flags] [INVENTORY]",
		Description:     "Changes nothing, anywhere. Some changes can be planned only after others are\nmade; they are listed as later.",
		Flags:           append(fleetFlags(), &cli.BoolFlag{Name: "exit-code", Usage: "exit with 3 if changes are needed"}),
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
	r, err := begin(env, o.fleetOptions)
	if err != nil {
		return err
	}
	parts, err := r.all()
	if err != nil {
		return err
	}
	f, err := r.open(ctx, fleet.Options{Parts: parts, Registry: true, App: true, Scopes: []string{"api", "read_api"}})
	if err != nil {
		return err
	}
	defer f.Close()
	logsIn(f)
	var more func(context.Context, *fleet.Fleet, *output.Report) error
	if len(r.limit) == 0 {
		more = tellLeft
	}
	missing, err := r.plan(ctx, f, fleet.ThenClose, func(ctx context.Context, s *fleet.Site) (look, error) { return lookFor(ctx, s, s.Steps(f.Given)) }, more)
	if err == nil && missing > 0 && o.exitCode {
		return errMissing
	}
	return err
}

// plan prints what is missing on every host, and counts it. More prints what else there
// is to tell; it may be nil.
func (r *run) plan(ctx context.Context, f *fleet.Fleet, then fleet.Then, lookAt func(context.Context, *fleet.Site) (look, error), more func(context.Context, *fleet.Fleet, *output.Report) error) (missing int, err error) {
	report := r.report()
	plans, lists := make(map[string]provision.Plan, len(f.Sites)), make(map[string][]provision.Step, len(f.Sites))
	var mu sync.Mutex
	errs, err := f.Each(ctx, then, func(ctx context.Context, s *fleet.Site) error {
		l, err := lookAt(ctx, s)
		if err != nil {
			return err
		}
		plan, err := provision.CheckSeen(l.target, l.steps, l.seen)
		plan, err = plan.Left(l.steps, err)
		mu.Lock()
		defer mu.Unlock()
		plans[s.Host.Name], lists[s.Host.Name] = plan, l.steps
		return err
	})
	if err != nil && ctx.Err() == nil {
		return 0, err
	}
	failed := outcomes(report, f.Sites, errs, func(s *fleet.Site, err error) {
		name := s.Host.Name
		missing += plans[name].Missing()
		if err != nil {
			report.PlanPart(name, plans[name])
			return
		}
		report.Plan(name, plans[name])
		if r.verbose {
			report.Fine(name, lists[name], plans[name])
		}
	})
	err = nil                                  // of an interrupt each host tells
	if more != nil && report.Tally.Hosts > 0 { // else nothing can be told at all
		err = more(ctx, f, report)
	}
	report.Summary("to make", cost(f))
	if failed {
		return missing, errReported
	}
	return missing, err
}
