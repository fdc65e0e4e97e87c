package cmd

import (
	"bufio"
	"context"
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
	volumes    bool
	yes        bool
}

func removeCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "remove",
		Usage:     "undo a deployment, on its hosts and in GitLab",
		UsageText: "provision remove --deployment NAME [flags] INVENTORY",
		Description: "Takes away what apply has made, and nothing else: what others use, or somebody\n" +
			"else has made, stays and is spoken of. Data in volumes stays without --volumes;\n" +
			"images and installed packages stay. If it ends early, run it again.\n\n" +
			"A deployment that only a host still carries is removed there with --limit HOST,\n" +
			"as far as the host knows of it: its variables are looked for in the project that\n" +
			"it is a clone of and in the group of that, and nowhere else.",
		Flags: append(fleetFlags(), lockWaitFlag(),
			&cli.StringFlag{Name: "deployment", Aliases: []string{"d"}, Usage: "the `DEPLOYMENT` that is removed"},
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
			o := removeOptions{fleet, c.String("deployment"), c.Bool("volumes"), c.Bool("yes")}
			if o.deployment == "" {
				return usagef("--deployment is missing\nhint: provision remove --deployment NAME %s", o.inventory)
			}
			return runRemove(c.Context, env, o)
		},
	}
}

func runRemove(ctx context.Context, env Env, o removeOptions) error {
	f, named, err := musterRemoval(env, o)
	if err != nil {
		return err
	}
	defer f.close()
	if !o.yes && !f.ask.terminal() {
		return usagef("there is no terminal to ask whether to remove %s\nhint: with --yes it is removed without a question", o.deployment)
	}
	if err := f.signIn(ctx, "api"); err != nil {
		return err
	}
	f.given.Volumes = o.volumes
	undo := func(ctx context.Context, s site) ([]provision.Step, error) {
		d, err := s.leaving(ctx, o.deployment)
		if err != nil {
			return nil, err
		}
		return steps.Remove(f.inv, s.host, d, f.given), nil
	}
	if !o.yes {
		missing, err := planFleet(ctx, env, o.fleetOptions, f, undo)
		if err != nil || missing == 0 {
			return err
		}
		var hosts []string
		for _, h := range f.hosts {
			hosts = append(hosts, h.Name)
		}
		fine, err := f.ask.confirm(ctx, fmt.Sprintf("remove %s from %s? [y/N] ", o.deployment, strings.Join(hosts, ", ")))
		if err != nil {
			return err
		}
		if !fine {
			return fmt.Errorf("nothing is removed")
		}
	}
	if err := applyFleet(ctx, env, o.fleetOptions, f, undo); err != nil {
		return err
	}
	if named {
		fmt.Fprintf(env.Stderr, "provision: %s still names %s, and apply would make it again: take it out\n", o.inventory, o.deployment)
	}
	return nil
}

// musterRemoval selects the hosts that a deployment is removed from; named
// tells whether the inventory names it there.
func musterRemoval(env Env, o removeOptions) (f *fleet, named bool, err error) {
	f, selected, err := load(env, o.fleetOptions)
	if err != nil {
		return nil, false, err
	}
	has := func(d *inventory.Deployment) bool { return d.Name == o.deployment }
	if chosen := slices.DeleteFunc(slices.Clone(selected.Deployments), func(d *inventory.Deployment) bool { return !has(d) }); len(chosen) > 0 {
		f.only(chosen)
		return f, true, nil
	}
	switch {
	case len(o.limit) == 0:
		if _, err = f.inv.Select([]string{o.deployment}); err == nil {
			err = fmt.Errorf("%q is no deployment", o.deployment)
		}
		return nil, false, usagef("%w\nhint: one that only a host still carries is removed with --limit HOST", err)
	case len(selected.Hosts) != 1:
		return nil, false, usagef("--limit wants the name of one host, to remove %s there", o.deployment)
	}
	f.only(nil)
	f.hosts = selected.Hosts
	return f, false, nil
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

// confirm asks a question that only y and yes answer with yes.
func (a *asker) confirm(ctx context.Context, question string) (bool, error) {
	fmt.Fprint(a.out, question)
	typed := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(a.in).ReadString('\n')
		typed <- strings.ToLower(strings.TrimSpace(text))
	}()
	select {
	case text := <-typed:
		return text == "y" || text == "yes", nil
	case <-ctx.Done():
		fmt.Fprintln(a.out)
		return false, ctx.Err()
	}
}
