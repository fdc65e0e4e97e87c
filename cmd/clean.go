package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/provision"
	"provision/provision/hint"
	"provision/steps"
)

type cleanOptions struct {
	fleetOptions
	yes bool
}

func cleanCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "clean",
		Usage:     "remove from GitLab what no host of the inventory holds",
		UsageText: "provision clean [flags] [INVENTORY]",
		Description: "Looks where the inventory has variables, tokens and deploy keys for those that\n" +
			"apply has made for hosts which it does not name, or which none of its hosts holds,\n" +
			"shows them host by host, and asks. Nothing goes that a deployment of the inventory\n" +
			"wants, or that one of its hosts holds.\n\n" +
			"What leads to a host of the inventory that does not carry it is removed after a yes,\n" +
			"or with --yes. All else could be that of another inventory which shares the groups:\n" +
			"it is removed only when the name of its host is typed, or with remove --gone HOST.",
		Flags: append(leaveOut(fleetFlags(), "limit"), lockWaitFlag(),
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask, and leave what is not certain"},
		),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			fleet, err := fleetOptionsOf(c)
			if err != nil {
				return err
			}
			return runClean(c.Context, env, cleanOptions{fleet, c.Bool("yes")})
		},
	}
}

// leaveOut returns flags without one.
func leaveOut(flags []cli.Flag, name string) (rest []cli.Flag) {
	for _, f := range flags {
		if f.Names()[0] != name {
			rest = append(rest, f)
		}
	}
	return rest
}

func runClean(ctx context.Context, env Env, o cleanOptions) error {
	r, err := begin(env, o.fleetOptions)
	if err != nil {
		return err
	}
	terminal := r.ask.terminal()
	if !o.yes && !terminal {
		return hint.Add(usagef("there is no terminal to ask what to remove"), "with --yes what is certain is removed without a question; provision plan %s tells of it all", hint.Quote(o.inventory))
	}
	f, err := r.everywhere(ctx, "api")
	if err != nil {
		return err
	}
	defer f.Close()
	left, held, err := f.LeftBehind(ctx, true)
	if err != nil {
		return err
	}
	f.Close()
	left = slices.DeleteFunc(left, func(l steps.Left) bool { return l.Without(held).Empty() })
	if len(left) == 0 {
		fmt.Fprintln(env.Stderr, "provision: GitLab has nothing that no host of the inventory holds")
		return nil
	}
	if o.yes {
		return r.cleanCertain(ctx, f, left, held)
	}
	failed, stays := false, false
	for _, l := range left {
		what := gone([]string{l.Host}, "", held)
		confirm := func(ctx context.Context) (bool, error) {
			return r.ask.confirm(ctx, fmt.Sprintf("remove %s?", what.what))
		}
		if !l.Certain(held) {
			confirm = func(ctx context.Context) (bool, error) { return r.named(ctx, l) }
		}
		switch done, err := r.carryOut(ctx, what, confirm); {
		case errors.Is(err, errNotConfirmed):
			stays = true
		case errors.Is(err, errReported):
			failed = true
		case err != nil:
			return err
		default:
			stays = stays || !done
		}
	}
	switch {
	case failed:
		return errReported
	case stays:
		return errMissing
	}
	return nil
}

// cleanCertain removes what is certain, and tells of the rest.
func (r *run) cleanCertain(ctx context.Context, f *fleet.Fleet, left []steps.Left, held *steps.Held) error {
	report := r.report()
	var certain []string
	for _, l := range left {
		if l.Certain(held) {
			certain = append(certain, l.Host)
		} else {
			report.PlanPart(l.Host, provision.Plan{l.Without(held).Found()})
		}
	}
	if len(certain) == 0 {
		report.Summary("made", cost(f))
		return errMissing
	}
	_, err := r.carryOut(ctx, gone(certain, "", held), nil)
	if err == nil && len(certain) < len(left) {
		err = errMissing
	}
	return err
}

// named asks for the name of a host that is to go, which may be in another inventory.
func (r *run) named(ctx context.Context, l steps.Left) (bool, error) {
	question := "%s may be in another inventory. To remove what it has in GitLab, type its name (without it, that stays) "
	if l.Known() {
		question = "Another inventory may have a %s. To remove what no host of this one holds, type that name (without it, that stays) "
	}
	answer, err := r.ask.line(ctx, fmt.Sprintf(question, l.Host))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err == nil && answer == l.Host, err
}
