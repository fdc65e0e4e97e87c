package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"provision/e2e/lab"
	"provision/e2e/rehearsal"
	"provision/inventory"
)

type rehearseOptions struct {
	inventory string // "" is the example
	keep      bool
}

func rehearseCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "rehearse",
		Usage:     "try an inventory on throwaway hosts of this machine",
		UsageText: "provision rehearse [flags] [INVENTORY]",
		Description: "Boots the hosts of the inventory (or of the example that comes with the program)\n" +
			"in namespaces of this machine, with a registry and a stand-in for GitLab, and\n" +
			"runs plan, apply, a deploy as CI does it, and apply again. It needs root on a\n" +
			"Debian machine. Nothing outside is touched, and nothing is left.",
		Flags:           []cli.Flag{&cli.BoolFlag{Name: "keep", Usage: "leave everything up at the end, until an interrupt, and say how to reach it"}},
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			o := rehearseOptions{keep: c.Bool("keep")}
			if c.NArg() > 0 {
				var err error
				if o.inventory, err = oneArgument(c, "INVENTORY"); err != nil {
					return err
				}
			}
			return runRehearse(c.Context, env, o)
		},
	}
}

// exitCode is the code of the same program inside the lab, which has printed
// everything there is to say.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func runRehearse(ctx context.Context, env Env, o rehearseOptions) error {
	inv, err := rehearsed(o.inventory)
	if err != nil {
		return usageError{err}
	}
	if err := lab.Check(); err != nil {
		return err
	}
	l, code, err := lab.Enter(ctx, env.Stderr)
	if err != nil {
		return err
	}
	if l == nil {
		if code != exitFine {
			return exitCode(code)
		}
		return nil
	}
	err = rehearse(ctx, env, o, l, inv)
	if ctx.Err() != nil {
		err = errors.New("interrupted; everything of the rehearsal is gone")
	}
	return err
}

// rehearsed loads an inventory, or the example.
func rehearsed(path string) (*inventory.Inventory, error) {
	if path != "" {
		return inventory.Load(path)
	}
	dir, err := os.MkdirTemp("", "provision-example-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, inventory.Example); err != nil {
		return nil, err
	}
	return inventory.Load(filepath.Join(dir, "example.toml"))
}

func rehearse(ctx context.Context, env Env, o rehearseOptions, l *lab.Lab, inv *inventory.Inventory) error {
	say := func(format string, args ...any) { fmt.Fprintf(env.Stdout, "\n# "+format+"\n", args...) }
	say("boot the hosts, a registry and a stand-in for GitLab")
	world, err := rehearsal.New(ctx, l, inv, rehearsal.Options{})
	if err != nil {
		return err
	}
	defer world.Close()
	fleetOptions := fleetOptions{inventory: o.inventory, parallel: 10, output: "text"}
	muster := func() (*fleet, error) { return musterInventory(ctx, env, fleetOptions, inv, "api") }

	say("provision plan: what is missing")
	f, err := muster()
	if err != nil {
		return err
	}
	if err := planFleet(ctx, env, planOptions{fleetOptions: fleetOptions}, f); err != nil {
		return err
	}
	f.close()

	say("provision apply: make it")
	if f, err = muster(); err != nil {
		return err
	}
	if err := applyFleet(ctx, env, fleetOptions, f); err != nil {
		return err
	}
	f.close()

	say("push version 2 of the images, and deploy it as CI does: ssh with the key from GitLab")
	before := map[*inventory.Deployment]string{}
	for _, d := range inv.Deployments {
		if before[d], err = world.Version(ctx, d); err != nil {
			return err
		}
	}
	pushed := map[string]bool{}
	for _, d := range inv.Deployments {
		if pushed[d.Project] {
			continue
		}
		pushed[d.Project] = true
		if err := world.Push(ctx, d.Project, "2"); err != nil {
			return err
		}
	}
	for _, d := range inv.Deployments {
		if _, err := world.CI(ctx, d, ""); err != nil {
			return fmt.Errorf("deploy %s on %s: %w", d.Name, d.Host.Name, err)
		}
		after, err := world.Version(ctx, d)
		if err != nil {
			return err
		}
		fmt.Fprintf(env.Stdout, "%s: %s: version %s became version %s\n", d.Host.Name, d.Name, before[d], after)
		if after != "2" {
			return fmt.Errorf("%s: %s: runs version %q after the deploy, not 2", d.Host.Name, d.Name, after)
		}
	}

	say("and the same key opens nothing else")
	d := inv.Deployments[0]
	if out, err := world.CI(ctx, d, "cat /etc/passwd"); err == nil {
		return fmt.Errorf("%s: the deploy key ran a command: %s", d.Host.Name, out)
	}
	fmt.Fprintf(env.Stdout, "%s: %s: cat /etc/passwd is refused\n", d.Host.Name, d.Name)

	say("provision apply once more: nothing to do")
	if f, err = muster(); err != nil {
		return err
	}
	if err := applyFleet(ctx, env, fleetOptions, f); err != nil {
		return err
	}
	f.close()
	if o.keep {
		return keep(ctx, env, l, world)
	}
	return nil
}

// keep waits for an interrupt.
func keep(ctx context.Context, env Env, l *lab.Lab, world *rehearsal.World) error {
	identity, err := l.Identity()
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "\n# everything stays up until an interrupt; from another terminal of this machine:\n")
	for _, h := range world.Hosts {
		fmt.Fprintf(env.Stdout, "%s -c 'ssh -i %s -o StrictHostKeyChecking=accept-new -p %d %s@%s'\n", l.Shell(), identity, h.Port, h.Admin, h.Name)
	}
	<-ctx.Done()
	return nil
}
