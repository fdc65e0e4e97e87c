package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/cmd/usage"
	"provision/inventory"
	"provision/provision"
	"provision/provision/hint"
	"provision/provision/visible"
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
		Usage:     "remove a deployment from its hosts and from GitLab",
		UsageText: "provision remove --deployment NAME|--gone HOST [flags] [INVENTORY]",
		Description: "Takes away what apply has made, and nothing else: what others use, or somebody\n" +
			"else has made, stays, and is reported. Data in volumes stays without --volumes;\n" +
			"images and installed packages stay. If it ends early, run it again.\n\n" +
			"A deployment that only a host still carries is removed there with --limit HOST,\n" +
			"as far as the host knows of it: its variables are looked for in the project that\n" +
			"it is a clone of and in the group of that, and nowhere else.\n\n" +
			"Of a host that is gone for good, or cannot be trusted any more, --gone takes away\n" +
			"what all its deployments have in GitLab: variables, deploy keys, registry tokens.\n" +
			"It does not connect to that host. One that the inventory does not name is found by the\n" +
			"marks on what apply has made for it, also with --deployment NAME --limit HOST; what\n" +
			"the inventory wants or its hosts hold stays.",
		Flags: append(fleetFlags(), lockWaitFlag(),
			&cli.StringFlag{Name: "deployment", Aliases: []string{"d"}, Usage: "`DEPLOYMENT`: remove this one"},
			&cli.StringFlag{Name: "gone", Usage: "`HOST`: remove what a host that is gone has in GitLab"},
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
				return hint.Add(usagef("--deployment is missing"), "%s", line(c, []string{"--deployment", "NAME"}, o.inventory))
			case o.gone != "" && (o.deployment != "" || o.volumes || len(o.limit) > 0):
				return usagef("--gone is about all that one host has in GitLab, and nothing else: leave out --deployment, --volumes and --limit")
			}
			return runRemove(c.Context, env, o)
		},
	}
}

func runRemove(ctx context.Context, env Env, o removeOptions) error {
	limit := o.limit
	o.limit = nil
	r, err := begin(env, o.fleetOptions)
	if err != nil {
		return err
	}
	host := cmp.Or(o.gone, unnamed(r.inv, limit))
	var what removal
	switch {
	case host != "" && r.inv.Host(host) == nil:
		what = gone([]string{host}, o.deployment, &steps.Held{})
	case o.gone != "":
		what, err = r.removalOfGone(o.gone)
	default:
		if err = r.limitTo(limit); err == nil {
			what, err = r.removalOf(o.deployment)
		}
	}
	if err != nil {
		return err
	}
	if !o.yes && !r.ask.terminal() {
		return hint.Add(usagef("there is no terminal to ask whether to remove %s", what.what), "with --yes it is removed without a question")
	}
	if what.held != nil {
		found, err := r.askHolders(ctx, host, what.held)
		if err == nil && !found && o.gone == "" {
			err = r.limitTo(limit) // it is a slip of the pen
		}
		if err != nil {
			return err
		}
	}
	what.volumes = o.volumes
	confirm := func(ctx context.Context) (bool, error) {
		return r.ask.confirm(ctx, fmt.Sprintf("remove %s?", what.what))
	}
	if o.yes {
		confirm = nil
	}
	done, err := r.carryOut(ctx, what, confirm)
	if err == nil && done && what.named != "" {
		fmt.Fprintf(env.Stderr, "provision: %s still names %s, and apply would make it again: take it out\n", visible.Lines(o.inventory), what.named)
	}
	return err
}

// unnamed returns the one host that --limit names and the inventory does not, or "".
func unnamed(inv *inventory.Inventory, limit []string) string {
	if len(limit) != 1 || strings.ContainsAny(limit[0], `*?[\`) {
		return ""
	}
	if part, err := inv.Select(limit); err == nil && part != nil {
		return ""
	}
	return limit[0]
}

// errNotConfirmed is the answer no.
var errNotConfirmed = errors.New("nothing is removed")

// carryOut shows what a removal does and has it confirmed, unless confirm is nil, and
// then does it, and reports whether it has.
func (r *run) carryOut(ctx context.Context, what removal, confirm func(context.Context) (bool, error)) (done bool, err error) {
	f, err := r.open(ctx, fleet.Options{Parts: what.parts, Gone: what.gone, Changes: true, Registry: true, Scopes: []string{"api"}})
	if err != nil {
		return false, err
	}
	defer f.Close()
	f.Given.Volumes = what.volumes
	lookAt := lookOnce(func(ctx context.Context, s *fleet.Site) (look, error) { return what.look(ctx, f, s) })
	if confirm != nil {
		missing, err := r.plan(ctx, f, fleet.ThenKeep, lookAt, nil)
		if err != nil || missing == 0 {
			return false, err
		}
		confirmed, err := confirm(ctx)
		if ctx.Err() != nil {
			return false, errors.New("interrupted; nothing is removed")
		}
		if err == nil && !confirmed {
			err = errNotConfirmed
		}
		if err != nil {
			return false, err
		}
	}
	return true, r.apply(ctx, f, lookAt)
}

// lookOnce looks at each host once, however often that is asked for: what is shown
// and confirmed is what is done. The connection may be another one by then.
func lookOnce(lookAt func(context.Context, *fleet.Site) (look, error)) func(context.Context, *fleet.Site) (look, error) {
	var mu sync.Mutex
	looks := map[*fleet.Site]look{}
	return func(ctx context.Context, s *fleet.Site) (look, error) {
		mu.Lock()
		l, had := looks[s]
		mu.Unlock()
		var err error
		if had {
			l.target, err = s.Target(ctx)
			return l, err
		}
		if l, err = lookAt(ctx, s); err == nil {
			mu.Lock()
			looks[s] = l
			mu.Unlock()
		}
		return l, err
	}
}

// A removal is what is to go, and from where.
type removal struct {
	what  string // as in a question
	named string // what the inventory names of it; "": nothing
	gone  bool   // the hosts are: nobody connects to them

	volumes bool        // of its containers, and the data in them
	held    *steps.Held // of a host that the inventory does not name: what stays
	parts   []fleet.Part
	look    func(context.Context, *fleet.Fleet, *fleet.Site) (look, error)
}

// askHolders looks what hosts of the inventory hold of what one has in GitLab that it does
// not name, and whether that is anything.
func (r *run) askHolders(ctx context.Context, host string, into *steps.Held) (found bool, err error) {
	f, err := r.everywhere(ctx, "api")
	if err != nil {
		return false, err
	}
	defer f.Close()
	left, held, err := f.LeftBehind(ctx, true)
	if err != nil {
		return false, err
	}
	*into = *held
	if found = slices.ContainsFunc(left, func(l steps.Left) bool { return l.Host == host }); !found {
		fmt.Fprintf(r.env.Stderr, "provision: GitLab has nothing of %s where %s names groups and projects%s\n",
			visible.String(host), visible.Lines(r.inventory), didYouMean(host, hostNames(r.inv)))
	}
	return found, nil
}

// removalOfGone selects a host that is gone, and that the inventory names.
func (r *run) removalOfGone(host string) (removal, error) {
	h := r.inv.Host(host)
	deployments := r.inv.On(h)
	if len(deployments) == 0 {
		return removal{}, hint.Add(usagef("%s deploys nothing on %s", r.inventory, h.Name),
			"take [hosts.%s] out of it, too: then what this host has in GitLab is found by its name", h.Name)
	}
	return removal{
		what: "what " + h.Name + " has in GitLab", named: h.Name, gone: true,
		parts: []fleet.Part{{Host: h, Deployments: deployments}},
		look: func(ctx context.Context, f *fleet.Fleet, s *fleet.Site) (look, error) {
			return lookFor(ctx, s, steps.Forget(f.Inventory, s.Host, s.Deployments, f.Given))
		},
	}, nil
}

// removalOf selects the hosts that a deployment is removed from.
func (r *run) removalOf(name string) (removal, error) {
	l := removal{look: func(ctx context.Context, f *fleet.Fleet, s *fleet.Site) (look, error) {
		d, err := leaving(ctx, f, s, name)
		if err != nil {
			return look{}, err
		}
		return lookFor(ctx, s, steps.Remove(f.Inventory, s.Host, d, f.Given))
	}}
	chosen := slices.DeleteFunc(slices.Clone(r.selected.Deployments), func(d *inventory.Deployment) bool { return d.Name != name })
	if len(chosen) > 0 {
		l.parts, l.named = fleet.PartsOf(chosen), name
	} else {
		host, err := r.carrier(name)
		if err != nil {
			return removal{}, err
		}
		l.parts = []fleet.Part{{Host: host}}
	}
	var hosts []string
	for _, p := range l.parts {
		hosts = append(hosts, p.Host.Name)
	}
	l.what = name + " from " + strings.Join(hosts, ", ")
	return l, nil
}

// carrier returns the one host that a deployment is removed from which the
// inventory does not name.
func (r *run) carrier(name string) (*inventory.Host, error) {
	switch hosts := r.selected.Hosts; {
	case len(r.limit) == 0:
		_, err := r.inv.Select([]string{name})
		if err == nil {
			err = fmt.Errorf("%q is no deployment", name)
		}
		return nil, hint.Add(usage.Error{Err: err}, "one that only a host still carries is removed with its name: provision remove --deployment %s --limit HOST %s", hint.Quote(name), hint.Quote(r.inventory))
	case len(hosts) != 1:
		return nil, usagef("--limit wants the name of one host, to remove %s there", name)
	default:
		return hosts[0], nil
	}
}

// leaving returns the deployment that is removed: the one of the inventory, or
// what the host knows of it.
func leaving(ctx context.Context, f *fleet.Fleet, s *fleet.Site, name string) (*inventory.Deployment, error) {
	if len(s.Deployments) > 0 {
		return s.Deployments[0], nil
	}
	recall := steps.Recall(name)
	l, err := lookFor(ctx, s, []provision.Step{recall})
	if err != nil {
		return nil, err
	}
	facts := l.seen.Of(recall.Name())
	if d := steps.Recalled(f.Inventory, s.Host, name, facts); d != nil {
		return d, nil
	}
	err = fmt.Errorf("%s: the host carries no deployment called %q", s.Host.Name, name)
	if carried := facts["carried"]; len(carried) > 0 {
		err = fmt.Errorf("%w; it carries %s", err, visible.String(strings.Join(carried, ", ")))
	}
	return nil, err
}
