package cmd

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"provision/inventory"
	"provision/provision"
	"provision/provision/secret"
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
		Usage:     "replace the credentials of deployments, without a failed deployment",
		UsageText: "provision rotate-key [flags] [INVENTORY]",
		Description: "Every credential gets a successor beside it, which is tried before the old one\n" +
			"goes. If it ends early, both work; run it again, or apply, to end with one. What\n" +
			"else is missing on those hosts is made as well, as apply would.",
		Flags: append(fleetFlags(), lockWaitFlag(), &cli.StringSliceFlag{
			Name: "only", Usage: "only credentials of one kind: `" + strings.Join(kinds, "|") + "`",
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
	f, err := muster(ctx, env, o.fleetOptions, "api")
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.onlyDeployed(); err != nil {
		return err
	}
	return applyFleet(ctx, env, o.fleetOptions, f, func(ctx context.Context, s site) ([]provision.Step, error) {
		given := f.given
		list := s.steps(given)
		seen, err := provision.Look(ctx, s.Target, list)
		if err != nil {
			return nil, err
		}
		var some bool
		if given.Retire, some = steps.Retire(list, seen, o.only...); !some {
			return nil, provision.Hint(fmt.Errorf("%s: there is nothing to replace yet", s.Name), "provision apply makes the first ones")
		}
		given.Login = f.login
		f.forge.Forget() // Apply looks for itself whether another run is under way
		return s.steps(given), nil
	})
}

// login logs in as CI does, and asks for something that changes nothing.
func (f *fleet) login(ctx context.Context, d *inventory.Deployment, key secret.Value) error {
	conn, err := f.dialer.Dial(ctx, f.deployTarget(d, key, false))
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Ask(ctx, "status", io.Discard)
}
