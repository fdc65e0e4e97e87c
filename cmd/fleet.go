package cmd

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"

	"github.com/urfave/cli/v2"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge/gitlab"
	"provision/provision/remote"
	"provision/provision/secret"
	"provision/steps"
)

// fleetOptions are the flags that all commands have that look at hosts.
type fleetOptions struct {
	inventory string
	limit     []string
	parallel  int
	output    string
	sshConfig string
}

func fleetFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "limit", Aliases: []string{"l"}, Usage: "only these hosts or deployments; `PATTERN` may have * and ?"},
		&cli.IntFlag{Name: "parallel", Aliases: []string{"p"}, Value: 10, Usage: "how many hosts at a time, `N`"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "text, or json: one object a line"},
		&cli.StringFlag{Name: "ssh-config", Aliases: []string{"F"}, Usage: "read `FILE` in place of ~/.ssh/config"},
	}
}

func fleetOptionsOf(c *cli.Context) (o fleetOptions, err error) {
	o = fleetOptions{limit: c.StringSlice("limit"), parallel: c.Int("parallel"), output: c.String("output"), sshConfig: c.String("ssh-config")}
	if o.inventory, err = oneArgument(c, "INVENTORY"); err != nil {
		return o, err
	}
	if o.parallel < 1 {
		return o, usagef("--parallel wants a number of hosts, at least 1")
	}
	if o.output != "text" && o.output != "json" {
		return o, usagef("--output is text or json, not %q", o.output)
	}
	return o, nil
}

// A fleet is the part of an inventory that one run is about, and what its
// hosts share.
type fleet struct {
	inv    *inventory.Inventory
	given  steps.Given
	forge  *gitlab.Client
	dialer *remote.Dialer
	ask    *asker

	hosts       []*inventory.Host
	deployments map[*inventory.Host][]*inventory.Deployment
	parallel    int
}

// muster loads the inventory and looks at the GitLab token. Nothing is
// connected to a host yet.
func muster(ctx context.Context, env Env, o fleetOptions, scopes ...string) (*fleet, error) {
	inv, err := inventory.Load(o.inventory)
	if err != nil {
		return nil, usageError{err}
	}
	selected, err := inv.Select(o.limit)
	if err != nil {
		return nil, usageError{err}
	}
	f := &fleet{inv: inv, parallel: o.parallel, ask: newAsker(env), deployments: map[*inventory.Host][]*inventory.Deployment{}}
	for _, d := range selected.Deployments {
		if f.deployments[d.Host] == nil {
			f.hosts = append(f.hosts, d.Host)
		}
		f.deployments[d.Host] = append(f.deployments[d.Host], d)
	}
	if len(f.hosts) == 0 {
		return nil, usagef("%s has no deployment", o.inventory)
	}

	f.given.Salt = rand.Text()
	if c := inv.Registry.Credential; c.Kind == inventory.Named {
		if f.given.RegistryPassword, err = c.Password.Read(ctx); err != nil {
			return nil, fmt.Errorf("the password of the registry: %w", err)
		}
	}
	token, err := inv.GitLab.Token.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("the token of GitLab: %w", err)
	}
	f.forge, err = gitlab.New(gitlab.Options{URL: inv.GitLab.URL, Token: token, CA: inv.GitLab.CA, UserAgent: "provision/" + version()})
	if err != nil {
		return nil, err
	}
	if err := f.forge.CheckToken(ctx, scopes...); err != nil {
		return nil, err
	}
	f.dialer = &remote.Dialer{SSHConfig: o.sshConfig, Passphrase: f.ask.passphrase}
	return f, nil
}

func (f *fleet) close() { f.dialer.Close() }

// each connects to every host, and works on a bounded number of them side by
// side. A host that fails does not stop the others.
func (f *fleet) each(ctx context.Context, work func(context.Context, provision.Target, []provision.Step) error) map[*inventory.Host]error {
	errs := map[*inventory.Host]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, f.parallel)
	for _, h := range f.hosts {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			err := f.on(ctx, h, work)
			mu.Lock()
			defer mu.Unlock()
			errs[h] = err
		})
	}
	wg.Wait()
	return errs
}

func (f *fleet) on(ctx context.Context, h *inventory.Host, work func(context.Context, provision.Target, []provision.Step) error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: not begun", h.Name)
	}
	conn, err := f.dialer.Dial(ctx, remote.Target{
		Name: h.Name, Local: h.Local, Address: h.Address, Port: h.Port, User: h.User, Identity: h.Identity,
		HostKeys: h.HostKeys, Become: remote.Become(h.Become), Password: f.password(h),
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	return work(ctx, provision.Target{Name: h.Name, Host: conn, Forge: f.forge}, steps.For(f.inv, h, f.deployments[h], f.given))
}

func (f *fleet) password(h *inventory.Host) func(context.Context) (secret.Value, error) {
	switch {
	case !h.BecomePassword.IsZero():
		return h.BecomePassword.Read
	case f.ask.terminal():
		return f.ask.sudo
	}
	return nil
}
