package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/inventory"
	"provision/provision"
	"provision/provision/hint"
	"provision/provision/visible"
	"provision/steps"
)

type moveOptions struct {
	fleetOptions
	name    string
	to      string // a host
	volumes bool
	yes     bool
}

func moveCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "move",
		Usage:     "move a deployment from one host to another",
		UsageText: "provision move --to HOST [flags] DEPLOYMENT [INVENTORY]",
		Description: "The inventory names the new host already; the old one is the host of it that still\n" +
			"carries the deployment. The new host is set up while the old one runs. Then the old\n" +
			"one stops, the new one starts, and only when it is well the deploy jobs of CI are\n" +
			"led there, and the old one is removed. If it fails before that, the old one runs\n" +
			"on; run again, it finishes or begins anew.\n\n" +
			"With --volumes the named volumes are copied, once while all runs, and what has\n" +
			"changed meanwhile while nothing does. They go through this program and no disk of\n" +
			"this machine. On the old host they stay. Bind mounts are not copied.",
		Flags: append(reachFlags(), lockWaitFlag(),
			&cli.StringFlag{Name: "to", Usage: "`HOST`: the new host, as the inventory has it"},
			&cli.BoolFlag{Name: "volumes", Usage: "copy the named volumes"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"},
		),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			name, fleet, err := deploymentOf(c)
			if err != nil {
				return err
			}
			fleet.lockWait = c.Duration("lock-wait")
			o := moveOptions{fleet, name, c.String("to"), c.Bool("volumes"), c.Bool("yes")}
			if o.to == "" {
				return hint.Add(usagef("where to?"), "provision move --to HOST %s", hint.Quote(name))
			}
			return runMove(c.Context, env, o)
		},
	}
}

func runMove(ctx context.Context, env Env, o moveOptions) error {
	r, err := begin(env, o.fleetOptions)
	if err != nil {
		return err
	}
	d, err := r.movable(o.name, o.to)
	if err != nil {
		return err
	}
	if !o.yes && !r.ask.terminal() {
		return hint.Add(usagef("there is no terminal to ask whether to move %s", d.Name), "with --yes it is moved without a question")
	}
	r.parallel = 10
	m, err := r.lookForMove(ctx, d, o.volumes)
	if err != nil {
		return err
	}
	if m == nil {
		fmt.Fprintf(env.Stdout, "%s: nothing to do: %s is here, and on no other host\n", d.Host.Name, d.Name)
		return nil
	}
	f, err := r.open(ctx, fleet.Options{
		Parts:   []fleet.Part{{Host: m.from, Deployments: []*inventory.Deployment{m.old}}, {Host: d.Host, Deployments: []*inventory.Deployment{d}}},
		Changes: true, Registry: true, App: true, Scopes: []string{"api"},
	})
	if err != nil {
		return err
	}
	defer f.Close()
	logsIn(f)
	f.Given.From = m.from
	m.oldSite, m.newSite = f.Sites[0], f.Sites[1]
	m.ahead = func() []provision.Step { return steps.MoveIn(r.inv, d.Host, d, f.Given) }
	m.all = func() []provision.Step { return steps.For(r.inv, d.Host, m.newSite.Deployments, f.Given) }
	m.out = func() []provision.Step { return steps.MoveOut(r.inv, m.from, m.old, f.Given) }
	r.interrupts = true
	if _, err := r.plan(ctx, f, fleet.ThenKeep, m.lookAhead, nil); err != nil {
		return err
	}
	if !o.yes {
		confirmed, err := r.ask.confirm(ctx, m.question())
		if ctx.Err() != nil {
			return errors.New("interrupted; nothing is moved")
		}
		if err != nil {
			return err
		}
		if !confirmed {
			return errors.New("nothing is moved")
		}
	}
	m.report = r.report()
	if err := m.run(ctx); err != nil {
		m.report.Fail(d.Host.Name, err)
		m.report.Summary("made", cost(f))
		return errReported
	}
	m.report.Tally.Hosts = 2
	m.report.Summary("made", cost(f))
	return nil
}

// movable returns the deployment that is to be on a host.
func (r *run) movable(name, to string) (*inventory.Deployment, error) {
	parts, err := r.partsOf(name)
	if err != nil {
		return nil, err
	}
	host := r.inv.Host(to)
	if host == nil {
		return nil, usagef("%s has no host %q%s", r.inventory, to, didYouMean(to, hostNames(r.inv)))
	}
	d := parts[0].Deployments[0]
	switch {
	case len(parts) > 1 || d.Scope != d.Environment && d.Scope != "*":
		return nil, hint.Add(usagef("%s has a list of hosts, and jobs that know them: nothing of it moves", name),
			"add the new host to the list, deploy to it, and remove the old one: provision remove --deployment %s --limit HOST", hint.Quote(name))
	case d.Host != host:
		return nil, hint.Add(usagef("%s names %s as the host of %s", r.inventory, d.Host.Name, name),
			"write host = %q into deployments.%s first: what is made is what the inventory says, and who looks into it meanwhile sees where the deployment is to be", to, name)
	}
	return d, nil
}

// A moving is a deployment on its way.
type moving struct {
	r       *run
	new     *inventory.Deployment
	old     *inventory.Deployment // the same on the old host
	from    *inventory.Host
	volumes []volume // to copy
	left    []string // what is not copied
	version string   // the one that CI has chosen; "": none
	forward bool     // the new host is the one already
	held    bool     // a program that moved it was ended when nothing ran

	report           *output.Report
	oldSite, newSite *fleet.Site

	ahead, all, out func() []provision.Step // of the new host while the old one runs, and in the end; of the old host
}

// A volume is a named one of Docker.
type volume struct {
	name   string
	kib    string
	labels []string
}

// lookForMove looks at all hosts, one of which still carries the deployment; nil if
// that is the new one, and nothing is to be moved.
func (r *run) lookForMove(ctx context.Context, d *inventory.Deployment, volumes bool) (*moving, error) {
	f, err := r.open(ctx, fleet.Options{Parts: fleet.AllOf(r.inv)})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	facts := make([]provision.Facts, len(f.Sites))
	errs, err := f.Each(ctx, fleet.ThenClose, func(ctx context.Context, s *fleet.Site) error {
		t, err := s.Target(ctx)
		if err != nil {
			return err
		}
		for i := range f.Sites {
			if f.Sites[i] == s {
				facts[i], err = provision.Follow(ctx, t, steps.Move(d, "look", d.Version), func(string) {})
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var here provision.Facts
	var from []int
	var failed []error
	for i, s := range f.Sites {
		state := facts[i].Get("state")
		switch {
		case errs[s.Host] != nil:
			failed = append(failed, errs[s.Host])
		case s.Host == d.Host:
			here = facts[i]
		case facts[i].Get("user") != "" || strings.HasPrefix(state, "gone "):
			from = append(from, i)
		}
	}
	if errs[d.Host] != nil || len(from) != 1 && len(failed) > 0 {
		return nil, errors.Join(failed...)
	}
	state := here.Get("state")
	switch {
	case len(from) > 1:
		return nil, fmt.Errorf("%s is on several other hosts: %s and %s; remove it from one of them first", d.Name, f.Sites[from[0]].Host.Name, f.Sites[from[1]].Host.Name)
	case len(from) == 0 && here.Get("user") != "" && state == "":
		return nil, nil
	case len(from) == 0:
		return nil, hint.Add(fmt.Errorf("no other host of %s carries %s", r.inventory, d.Name), "if it was never deployed: provision apply --limit %s %s", hint.Quote(d.Name), hint.Quote(r.inventory))
	}
	there, old := facts[from[0]], *d
	old.Host = f.Sites[from[0]].Host
	m := &moving{r: r, new: d, old: &old, from: old.Host, version: there.Get("version")}
	m.forward = strings.HasPrefix(there.Get("state"), "gone ")
	m.held = strings.HasPrefix(there.Get("state"), "held ")
	if m.forward {
		return m, nil
	}
	if there.Get("user") != d.User || there.Get("directory") != d.Directory {
		return nil, hint.Add(fmt.Errorf("%s: %s is of the user %s in %s there, and %s says %s in %s", old.Host.Name, d.Name, visible.String(there.Get("user")), visible.String(there.Get("directory")), r.inventory, d.User, d.Directory), "move it first, with the old ones, and then change them")
	}
	if state == "" && len(here["running"]) > 0 {
		return nil, fmt.Errorf("%s: containers of %s run here already, and on %s, too", d.Host.Name, d.Name, old.Host.Name)
	}
	return m, m.choose(there, here, volumes)
}

// choose decides what is copied.
func (m *moving) choose(there, here provision.Facts, volumes bool) error {
	total := 0
	for _, line := range there["volume"] {
		name, kib, _ := strings.Cut(visible.String(line), " ")
		if !volumes {
			m.left = append(m.left, "the volume "+name+" is not copied, and begins empty: --volumes copies it")
			continue
		}
		m.volumes = append(m.volumes, volume{name, kib, there["label "+name]})
		n := 0
		fmt.Sscan(kib, &n)
		total += n
	}
	for _, source := range there["bind"] {
		m.left = append(m.left, visible.String(source)+", which is mounted, is not copied")
	}
	if n := len(there["anonymous"]); n > 0 {
		m.left = append(m.left, output.Count(n, "volume")+" without a name not copied")
	}
	if odd := there["odd"]; volumes && len(odd) > 0 {
		return hint.Add(fmt.Errorf("%s: %s", m.from.Name, visible.String(odd[0])), "move it without --volumes, and copy the data yourself")
	}
	free := 0
	fmt.Sscan(here.Get("free"), &free)
	if here.Get("free") != "" && total > free {
		return fmt.Errorf("%s: there are %d MiB free where Docker keeps its volumes, and %d MiB to copy", m.new.Host.Name, free>>10, total>>10)
	}
	return nil
}

func (m *moving) question() string {
	if m.forward {
		return fmt.Sprintf("finish the move of %s from %s to %s?", m.new.Name, m.from.Name, m.new.Host.Name)
	}
	return fmt.Sprintf("move %s from %s to %s? (interrupts %s)", m.new.Name, m.from.Name, m.new.Host.Name, m.interruption())
}
