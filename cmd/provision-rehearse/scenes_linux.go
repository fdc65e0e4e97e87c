package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"provision/inventory"
)

func (p *play) plan() error {
	p.say("what is missing? nothing is changed yet")
	_, err := p.run("plan")
	return err
}

func (p *play) apply() error {
	p.say("apply makes it")
	_, err := p.run("apply")
	return err
}

func (p *play) deploy() error {
	p.say("a pipeline pushes version 2 of the image, and its deploy job runs ssh with the variables that GitLab has now")
	inv := p.world.Inventory
	before := map[*inventory.Deployment]string{}
	var pushed []string
	for _, d := range inv.Deployments {
		version, err := p.world.Version(p.ctx, d)
		if err != nil {
			return err
		}
		before[d] = version
		if !slices.Contains(pushed, d.Project) {
			pushed = append(pushed, d.Project)
			if err := p.world.Push(p.ctx, d.Project, "2"); err != nil {
				return err
			}
		}
	}
	for _, d := range inv.Deployments {
		if out, err := p.world.CI(p.ctx, d, ""); err != nil {
			return fmt.Errorf("%s: %s: the deploy failed: %w\n%s", d.Host.Name, d.Name, err, out)
		}
		after, err := p.world.Version(p.ctx, d)
		if err != nil {
			return err
		}
		had := "nothing ran"
		if before[d] != "" {
			had = "version " + before[d] + " ran"
		}
		fmt.Fprintf(p.env.Stdout, "%s: %s: %s, and now version %s\n", d.Host.Name, d.Name, had, after)
		if after != "2" {
			return fmt.Errorf("%s: %s: runs version %q after the deploy, not 2", d.Host.Name, d.Name, after)
		}
	}
	return nil
}

// deployCut takes the job away from a deploy that has begun.
func (p *play) deployCut() error {
	p.say("version 3, whose job is cancelled as soon as its deploy has begun: that ends all the same, and the next job waits for it")
	d := p.world.Inventory.Deployments[0]
	host := p.world.Hosts[d.Host.Name]
	const notes = `cd "$(getent passwd "$1" | cut -d : -f 6)/.provision/$2"` + "\n"
	last, err := host.Exec(p.ctx, notes+"cat last", d.User, d.Name)
	if err != nil {
		return err
	}
	if err := p.world.Push(p.ctx, d.Project, "3"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := p.world.CI(ctx, d, "")
		ended <- err
	}()
	if _, err := host.Exec(p.ctx, notes+`until [ "$(cat last)" != "$3" ]; do sleep 0.05; done`, d.User, d.Name, strings.TrimSpace(last)); err != nil {
		return err
	}
	cancel()
	if err := <-ended; err == nil {
		return fmt.Errorf("%s: %s: the job ended before it could be cancelled", d.Host.Name, d.Name)
	}
	out, err := p.world.CI(p.ctx, d, "")
	if err != nil {
		return fmt.Errorf("%s: %s: the next deploy failed: %w\n%s", d.Host.Name, d.Name, err, out)
	}
	fmt.Fprint(p.env.Stdout, out)
	if version, err := p.world.Version(p.ctx, d); err != nil || version != "3" {
		return fmt.Errorf("%s: %s: runs version %q after the deploy, not 3 (%v)", d.Host.Name, d.Name, version, err)
	}
	_, err = p.run("log", "--limit", d.Name, "--since", "30s")
	return err
}

// deployFails deploys an image that never becomes healthy, and then one that does.
func (p *play) deployFails() error {
	inv := p.world.Inventory
	d := inv.Deployments[max(0, slices.IndexFunc(inv.Deployments, func(d *inventory.Deployment) bool { return d.Rollback }))]
	p.say("version 4, which never becomes healthy")
	if err := p.world.PushBroken(p.ctx, d.Project, "4"); err != nil {
		return err
	}
	out, err := p.world.CI(p.ctx, d, "")
	fmt.Fprint(p.env.Stdout, out)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		return fmt.Errorf("%s: %s: the deploy of a broken image ended with %v", d.Host.Name, d.Name, err)
	}
	if version, err := p.world.Version(p.ctx, d); err != nil || d.Rollback && version == "4" {
		return fmt.Errorf("%s: %s: runs version %q after it went back (%v)", d.Host.Name, d.Name, version, err)
	}
	p.say("version 5, which does")
	if err := p.world.Push(p.ctx, d.Project, "5"); err != nil {
		return err
	}
	if out, err = p.world.CI(p.ctx, d, ""); err != nil {
		return fmt.Errorf("%s: %s: the deploy failed: %w\n%s", d.Host.Name, d.Name, err, out)
	}
	fmt.Fprint(p.env.Stdout, out)
	return nil
}

func (p *play) refuse() error {
	p.say("the same key opens nothing else")
	d := p.world.Inventory.Deployments[0]
	for _, words := range []string{"id", "deploy; id", "sh"} {
		out, err := p.world.CI(p.ctx, d, words)
		if err == nil || strings.Contains(out, "uid=") {
			return fmt.Errorf("%s: %s: the CI key ran %q: %s", d.Host.Name, d.Name, words, out)
		}
		fmt.Fprintf(p.env.Stdout, "%s: %s: ssh %q is refused\n", d.Host.Name, d.Name, words)
	}
	return nil
}

func (p *play) applyAgain() error {
	p.say("apply once more: nothing to do")
	out, err := p.run("apply")
	if err != nil {
		return err
	}
	if !strings.Contains(out, ", 0 changes made, ") {
		return errors.New("the second apply changed something")
	}
	return nil
}

func (p *play) verify() error {
	p.say("what CI runs every night, with the CI keys only: is all as it should be, and do these keys open nothing else?")
	_, err := p.run("verify")
	return err
}

// rotate replaces every credential while somebody deploys all the time.
func (p *play) rotate() error {
	p.say("rotate every key and token, while deploys go on without a pause")
	ctx, stop := context.WithCancel(p.ctx)
	defer stop()
	inv := p.world.Inventory
	deploys := make([]int, len(inv.Deployments))
	errs := make([]error, len(inv.Deployments))
	var wg sync.WaitGroup
	for i, d := range inv.Deployments {
		wg.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				// A deploy that has begun is waited for.
				if out, err := p.world.CI(p.ctx, d, ""); err != nil {
					errs[i] = fmt.Errorf("%s: %s: a deploy during the rotation failed: %w\n%s", d.Host.Name, d.Name, err, out)
				} else {
					deploys[i]++
				}
			}
		})
	}
	_, err := p.run("rotate-key")
	stop()
	wg.Wait()
	if err := errors.Join(append(errs, err)...); err != nil {
		return err
	}
	total := 0
	for _, n := range deploys {
		total += n
	}
	fmt.Fprintf(p.env.Stdout, "deploys meanwhile: %d, none failed\n", total)
	return nil
}

func (p *play) verifyAgain() error {
	p.say("and all is as it should be")
	_, err := p.run("verify")
	return err
}
