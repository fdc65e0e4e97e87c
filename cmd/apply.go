package cmd

import (
	"context"
	"fmt"
	"sync"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/provision"
	"provision/provision/hint"
)

type applyOptions struct {
	fleetOptions
	finish, interrupt bool
}

func applyCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "apply",
		Usage:     "create or update whatever differs from the inventory",
		UsageText: "provision apply [flags] [INVENTORY]",
		Description: "Looks first and changes only what is missing; a second run changes nothing.\n" +
			"If it ends early, what was made stays, and running it again finishes the rest.\n\n" +
			"Where a deployment gets another environment, or its variables another place, the\n" +
			"former variables and their key go on working until a deploy has come in by the new\n" +
			"ones. The next apply removes them then; with --finish they are removed at once.\n\n" +
			"A change that interrupts what runs says so in the plan. It is left out, and told,\n" +
			"unless --interrupt is given.",
		Flags: append(fleetFlags(), lockWaitFlag(),
			&cli.BoolFlag{Name: "finish", Usage: "remove former variables and CI keys now, before a deploy has come in by the new ones"},
			&cli.BoolFlag{Name: "interrupt", Usage: "make changes that interrupt what runs, too"},
		),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			o, err := fleetOptionsOf(c)
			if err != nil {
				return err
			}
			return runApply(c.Context, env, applyOptions{o, c.Bool("finish"), c.Bool("interrupt")})
		},
	}
}

func runApply(ctx context.Context, env Env, o applyOptions) error {
	r, err := begin(env, o.fleetOptions)
	if err != nil {
		return err
	}
	parts, err := r.all()
	if err != nil {
		return err
	}
	f, err := r.open(ctx, fleet.Options{Parts: parts, Changes: true, Interrupt: o.interrupt, Registry: true, App: true, Scopes: []string{"api"}})
	if err != nil {
		return err
	}
	defer f.Close()
	logsIn(f)
	f.Given.Finish = o.finish
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

// apply makes what is missing on every host, and prints it. The error is errMissing
// where that is less than all, as it would interrupt what runs.
func (r *run) apply(ctx context.Context, f *fleet.Fleet, lookAt func(context.Context, *fleet.Site) (look, error)) error {
	report := r.report()
	var mu sync.Mutex
	changes, left := map[string]int{}, map[string]int{}
	errs, err := f.Each(ctx, fleet.ThenClose, func(ctx context.Context, s *fleet.Site) error {
		l, err := lookAt(ctx, s)
		if err != nil {
			return err
		}
		return provision.ApplySeen(ctx, l.target, l.steps, l.seen, func(e provision.Event) {
			mu.Lock()
			switch e.Kind {
			case provision.Done:
				changes[e.Host]++
			case provision.LeftOut:
				left[e.Host]++
				if e.Change.Interrupts.What != "" {
					e.Hint = fmt.Sprintf("provision apply --interrupt --limit %s %s", hint.Quote(e.Host), hint.Quote(r.inventory))
				}
			}
			mu.Unlock()
			report.Event(e)
		})
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	failed := outcomes(report, f.Sites, errs, func(s *fleet.Site, err error) {
		if err == nil {
			report.Applied(s.Host.Name, changes[s.Host.Name]+left[s.Host.Name])
		}
	})
	report.Summary("made", cost(f))
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted; what is done above is done, and running it again finishes the rest")
	}
	if failed {
		return errReported
	}
	if len(left) > 0 {
		return errMissing
	}
	return nil
}
