// Command provision-rehearse is what the command rehearse of provision runs: it
// tries an inventory on throwaway hosts of this machine. The lab that it boots
// them in is not part of provision itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"provision/cmd"
	"provision/e2e/lab"
	"provision/e2e/rehearsal"
)

func main() { os.Exit(cmd.Rehearse(rehearse)) }

// rehearse runs twice: outside of the lab, where it enters it, and inside.
func rehearse(ctx context.Context, env cmd.Env, o cmd.RehearseOptions) error {
	if err := lab.Check(); err != nil {
		return err
	}
	l, code, err := lab.Enter(ctx, env.Stderr)
	if err != nil {
		return err
	}
	if l == nil {
		if code != 0 {
			return cmd.ExitCode(code)
		}
		return nil
	}
	err = run(ctx, env, o, l)
	if ctx.Err() != nil && !o.Keep {
		return errors.New("interrupted; everything of the rehearsal is gone")
	}
	return err
}

// A play is a rehearsal under way.
type play struct {
	ctx   context.Context
	env   cmd.Env
	world *rehearsal.World
	file  string // the inventory, as it is in the lab
}

func run(ctx context.Context, env cmd.Env, o cmd.RehearseOptions, l *lab.Lab) error {
	p := &play{ctx: ctx, env: env}
	p.say("the hosts boot, with a registry and a stand-in for GitLab beside them")
	start := time.Now()
	var err error
	if p.world, err = rehearsal.New(ctx, l, o.Inventory, rehearsal.Options{}); err != nil {
		return err
	}
	defer p.world.Close()
	if p.file, err = p.world.Write(); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "hosts: %d, up in %.1f s\n", len(p.world.Hosts), time.Since(start).Seconds())

	for _, scene := range []func(*play) error{
		(*play).plan,
		(*play).apply,
		(*play).deploy,
		(*play).deployCut,
		(*play).deployFails,
		(*play).refuse,
		(*play).applyAgain,
		(*play).verify,
		(*play).rotate,
		(*play).verifyAgain,
	} {
		if err := scene(p); err != nil {
			return err
		}
	}
	if o.Keep {
		return p.keep(l)
	}
	return nil
}

func (p *play) say(text string) { fmt.Fprintf(p.env.Stdout, "\n# %s\n", text) }

// run runs a command of provision as it would be typed, and returns what it
// printed.
func (p *play) run(args ...string) (string, error) {
	fmt.Fprintf(p.env.Stdout, "$ provision %s inventory.toml\n", strings.Join(args, " "))
	var out strings.Builder
	env := p.env
	env.Args = append(append([]string{"provision"}, args...), p.file)
	env.Stdout = io.MultiWriter(p.env.Stdout, &out)
	if code := cmd.Run(p.ctx, env); code != 0 {
		return out.String(), cmd.ExitCode(code)
	}
	return out.String(), nil
}

// keep waits for an interrupt.
func (p *play) keep(l *lab.Lab) error {
	p.say("everything stays up until an interrupt; from another terminal of this machine:")
	for name, h := range p.world.Hosts {
		fmt.Fprintf(p.env.Stdout, "%s: %s -c 'ssh -t -i %s -o StrictHostKeyChecking=accept-new -p %d %s@%s'\n",
			name, l.Shell(), p.world.Inventory.Host(name).Identity, h.Port, h.Admin, h.Name)
	}
	if program, err := cmd.FindProgram("provision"); err == nil {
		fmt.Fprintf(p.env.Stdout, "provision: %s -c '%s plan %s'\n", l.Shell(), program, p.file)
	}
	<-p.ctx.Done()
	return nil
}
