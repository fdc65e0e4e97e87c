package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"provision/inventory"
	"provision/provision"
	"provision/steps"
)

type removeOptions struct {
	fleetOptions
	deployment string
	gone       string // the host that is
	volumes    bool
	yes        bool
}

func removeCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "remove",
		Usage:     "undo a deployment, on its hosts and in GitLab",
		UsageText: "provision remove --deployment NAME|--gone HOST [flags] [INVENTORY]",
		Description: "Takes away what apply has made, and nothing else: what others use, or somebody\n" +
			"else has made, stays, and is reported. Data in volumes stays without --volumes;\n" +
			"images and installed packages stay. If it ends early, run it again.\n\n" +
			"A deployment that only a host still carries is removed there with --limit HOST,\n" +
			"as far as the host knows of it: its variables are looked for in the project that\n" +
			"it is a clone of and in the group of that, and nowhere else.\n\n" +
			"Of a host that is gone for good, or cannot be trusted any more, --gone takes away\n" +
			"what all its deployments have in GitLab: variables, deploy keys, registry tokens.\n" +
			"It does not connect to that host.",
		Flags: append(fleetFlags(), lockWaitFlag(),
			&cli.StringFlag{Name: "deployment", Aliases: []string{"d"}, Usage: "the `DEPLOYMENT` that is removed"},
			&cli.StringFlag{Name: "gone", Usage: "the `HOST` that is gone: what it has in GitLab is removed"},
			&cli.BoolFlag{Name: "volumes", Usage: "remove the volumes of its containers too, and all data in them"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"},
		),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			fleet, err := fleetOptionsOf(c)
			if err != nil {
				return err
			}
			o := removeOptions{fleet, c.String("deployment"), c.String("gone"), c.Bool("volumes"), c.Bool("yes")}
			switch {
			case o.deployment == "" && o.gone == "":
				return usagef("--deployment is missing\nhint: provision remove --deployment NAME %s", pasted(o.inventory))
			case o.gone != "" && (o.deployment != "" || o.volumes || len(o.limit) > 0):
				return usagef("--gone is about all that one host has in GitLab, and nothing else: leave out --deployment, --volumes and --limit")
			}
			return runRemove(c.Context, env, o)
		},
	}
}

func runRemove(ctx context.Context, env Env, o removeOptions) error {
	muster := musterRemoval
	if o.gone != "" {
		muster = musterGone
	}
	r, err := muster(env, o)
	if err != nil {
		return err
	}
	defer r.close()
	if !o.yes && !r.ask.terminal() {
		return usagef("there is no terminal to ask whether to remove %s\nhint: with --yes it is removed without a question", r.what)
	}
	if err := r.signIn(ctx, "api"); err != nil {
		return err
	}
	if !o.yes {
		missing, err := planFleet(ctx, env, o.fleetOptions, r.fleet, r.undo)
		if err != nil || missing == 0 {
			return err
		}
		fine, err := r.ask.confirm(ctx, fmt.Sprintf("remove %s?", r.what))
		if ctx.Err() != nil {
			return errors.New("interrupted; nothing is removed")
		}
		if err != nil {
			return err
		}
		if !fine {
			return fmt.Errorf("nothing is removed")
		}
	}
	if err := applyFleet(ctx, env, o.fleetOptions, r.fleet, r.undo); err != nil {
		return err
	}
	if r.named != "" {
		fmt.Fprintf(env.Stderr, "provision: %s still names %s, and apply would make it again: take it out\n", o.inventory, r.named)
	}
	return nil
}

// A removal is what is to go, and from where.
type removal struct {
	*fleet
	what  string // as in a question
	named string // what the inventory names of it; "": nothing
	undo  func(context.Context, site) ([]provision.Step, error)
}

// backHint is for a host that was taken out too early: by the names of its
// deployments is found what is theirs.
const backHint = "put the host back, also into the hosts of its deployments, until what it has in GitLab is removed"

// musterGone selects a host that is gone.
func musterGone(env Env, o removeOptions) (*removal, error) {
	f, _, err := load(env, o.fleetOptions)
	if err != nil {
		return nil, err
	}
	h := f.inv.Host(o.gone)
	if h == nil {
		return nil, usagef("%s names no host %q%s\nhint: "+backHint, o.inventory, o.gone, didYouMean(o.gone, hostNames(f.inv)))
	}
	if len(f.inv.On(h)) == 0 {
		return nil, usagef("%s deploys nothing on %s\nhint: "+backHint, o.inventory, h.Name)
	}
	f.only(f.inv.On(h))
	f.hosts, f.gone = []*inventory.Host{h}, true
	return &removal{f, "what " + h.Name + " has in GitLab", h.Name, func(_ context.Context, s site) ([]provision.Step, error) {
		return steps.Forget(f.inv, h, s.deployments, f.given), nil
	}}, nil
}

// musterRemoval selects the hosts that a deployment is removed from.
func musterRemoval(env Env, o removeOptions) (*removal, error) {
	f, selected, err := load(env, o.fleetOptions)
	if err != nil {
		return nil, err
	}
	f.given.Volumes = o.volumes
	r := &removal{fleet: f, undo: func(ctx context.Context, s site) ([]provision.Step, error) {
		d, err := s.leaving(ctx, o.deployment)
		if err != nil {
			return nil, err
		}
		return steps.Remove(f.inv, s.host, d, f.given), nil
	}}
	has := func(d *inventory.Deployment) bool { return d.Name == o.deployment }
	if chosen := slices.DeleteFunc(slices.Clone(selected.Deployments), func(d *inventory.Deployment) bool { return !has(d) }); len(chosen) > 0 {
		f.only(chosen)
		r.named = o.deployment
	} else if err := r.unnamed(o, selected.Hosts); err != nil {
		return nil, err
	}
	var hosts []string
	for _, h := range f.hosts {
		hosts = append(hosts, h.Name)
	}
	r.what = o.deployment + " from " + strings.Join(hosts, ", ")
	return r, nil
}

// unnamed selects the one host that a deployment is removed from which the
// inventory does not name.
func (r *removal) unnamed(o removeOptions, hosts []*inventory.Host) (err error) {
	switch {
	case len(o.limit) == 0:
		if _, err = r.inv.Select([]string{o.deployment}); err == nil {
			err = fmt.Errorf("%q is no deployment", o.deployment)
		}
		return usagef("%w\nhint: one that only a host still carries is removed with --limit HOST", err)
	case len(hosts) != 1:
		return usagef("--limit wants the name of one host, to remove %s there", o.deployment)
	}
	r.only(nil)
	r.hosts = hosts
	return nil
}

// leaving returns the deployment that is removed: the one of the inventory, or
// what the host knows of it.
func (s site) leaving(ctx context.Context, name string) (*inventory.Deployment, error) {
	if len(s.deployments) > 0 {
		return s.deployments[0], nil
	}
	recall := steps.Recall(name)
	seen, err := provision.Look(ctx, s.Target, []provision.Step{recall})
	if err != nil {
		return nil, err
	}
	facts := seen[recall.Name()]
	if d := steps.Recalled(s.fleet.inv, s.host, name, facts); d != nil {
		return d, nil
	}
	err = fmt.Errorf("%s: the host carries no deployment called %q", s.Name, name)
	if carried := facts["carried"]; len(carried) > 0 {
		err = provision.Hint(err, "it carries %s", provision.Visible(strings.Join(carried, ", ")))
	}
	return nil, err
}
