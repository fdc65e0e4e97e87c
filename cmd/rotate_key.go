package cmd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/steps"
)

type rotateOptions struct {
	fleetOptions
	only []string
}

func rotateCommand(env Env) *cli.Command {
	kinds := slices.Sorted(maps.Keys(steps.RotateKinds))
	return &cli.Command{
		Name:      "rotate-key",
		Usage:     "rotate SSH keys and registry tokens without a failed deployment",
		UsageText: "provision rotate-key [flags] [INVENTORY]",
		Description: "Every credential gets a successor beside it, which is tried before the old one\n" +
			"goes. If it ends early, both work; run it again, or apply, to end with one. What\n" +
			"else is missing on those hosts is made as well, as apply would.",
		Flags: append(fleetFlags(), lockWaitFlag(), &cli.StringSliceFlag{
			Name: "only", Usage: "`" + strings.Join(kinds, "|") + "`: only credentials of this kind; may be repeated",
		}),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			fleet, err := fleetOptionsOf(c)
			if err != nil {
				return err
			}
			o := rotateOptions{fleet, c.StringSlice("only")}
			for _, kind := range o.only {
				if !slices.Contains(kinds, kind) {
					return usagef("--only is %s, not %q", strings.Join(kinds, ", "), kind)
				}
			}
			if len(o.only) == 0 {
				o.only = kinds
			}
			return runRotate(c.Context, env, o)
		},
	}
}

func runRotate(ctx context.Context, env Env, o rotateOptions) error {
	r, err := begin(env, o.fleetOptions)
	if err != nil {
		return err
	}
	parts, err := r.deployed()
	if err != nil {
		return err
	}
	f, err := r.open(ctx, fleet.Options{Parts: parts, Changes: true, Registry: true, App: true, Scopes: []string{"api"}})
	if err != nil {
		return err
	}
	defer f.Close()
	logsIn(f)
	return r.apply(ctx, f, func(ctx context.Context, s *fleet.Site) (look, error) { return lookToRotate(ctx, f, s, o.only) })
}

// lookToRotate looks at a host for its steps, which retire the credentials of some
// kinds that are in use now.
func lookToRotate(ctx context.Context, f *fleet.Fleet, s *fleet.Site, kinds []string) (look, error) {
	l, err := lookFor(ctx, s, s.Steps(f.Given))
	if err != nil {
		return look{}, err
	}
	given, some := f.Given, false
	if given.Retire, some = steps.Retire(l.steps, l.seen, kinds...); !some {
		return look{}, fmt.Errorf("%s: no credentials to rotate; run provision apply first", s.Host.Name)
	}
	l.steps = s.Steps(given) // they look as the others do
	return l, nil
}
