package cmd

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/forge/gitlab"
	"provision/provision/remote"
	"provision/provision/remote/sshconfig"
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
	lockWait  time.Duration // only of the commands that change something
	verbose   bool
	trace     string // a file
}

func fleetFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "limit", Category: groupHosts, Aliases: []string{"l"}, Usage: "only these hosts or deployments; `PATTERN` may have * and ?"},
		&cli.StringFlag{Name: "parallel", Category: groupHosts, Aliases: []string{"p"}, Value: "10", Usage: "how many hosts at a time, `N`, or auto: as many as this machine can"},
		&cli.StringFlag{Name: "output", Category: groupOutput, Aliases: []string{"o"}, Value: "text", Usage: "`text|json`: lines to read, or one object a line"},
		&cli.StringFlag{Name: "ssh-config", Category: groupHosts, Aliases: []string{"F"}, Usage: "read `FILE` in place of ~/.ssh/config"},
		&cli.BoolFlag{Name: "verbose", Category: groupOutput, Aliases: []string{"v"}, Usage: "print what is begun, what scripts print, and what is fine, too"},
		&cli.StringFlag{Name: "trace", Category: groupOutput, Usage: "write what is said to hosts and GitLab, and by them, to `FILE`; secrets are left out"},
	}
}

func lockWaitFlag() cli.Flag {
	return &cli.DurationFlag{Name: "lock-wait", Category: groupHosts, Usage: "wait up to `DURATION` for somebody else who is changing a host"}
}

func fleetOptionsOf(c *cli.Context) (o fleetOptions, err error) {
	o = fleetOptions{limit: c.StringSlice("limit"), output: c.String("output"), sshConfig: c.String("ssh-config"), lockWait: c.Duration("lock-wait"), verbose: c.Bool("verbose"), trace: c.String("trace")}
	if o.inventory, err = inventoryOf(c, c.Args().Slice()); err != nil {
		return o, err
	}
	if o.parallel, err = breadth(c.String("parallel")); err != nil {
		return o, err
	}
	if o.output != "text" && o.output != "json" {
		return o, usagef("--output is text or json, not %q", o.output)
	}
	return o, nil
}

// breadth reads how many hosts are worked on at a time. Most of the time a host
// is waited for, but while it is logged in to it takes a core of this machine
// for some milliseconds, and a login that waits for too many others runs into
// the patience of its server.
func breadth(parallel string) (int, error) {
	if parallel == "auto" {
		return min(16*runtime.GOMAXPROCS(0), 128), nil
	}
	n, err := strconv.Atoi(parallel)
	if err != nil || n < 1 {
		return 0, usagef("--parallel wants a number of hosts, at least 1, or auto")
	}
	return n, nil
}

// A fleet is the part of an inventory that one run is about, and what its
// hosts share.
type fleet struct {
	inv    *inventory.Inventory
	given  steps.Given
	forge  forge.Forge
	check  func() error // waits for what GitLab says of the token
	dialer *remote.Dialer
	ask    *asker
	live   *live
	trace  *trace

	hosts       []*inventory.Host
	deployments map[*inventory.Host][]*inventory.Deployment
	gone        bool // the hosts: nobody connects to them
	parallel    int
	lockWait    time.Duration
	timeout     time.Duration // see Env
}

// muster loads the inventory and begins to look at the GitLab token, which has
// to have one of the scopes, see [fleet.admitted]. Nothing is connected to a
// host yet.
func muster(ctx context.Context, env Env, o fleetOptions, scopes ...string) (*fleet, error) {
	f, err := assemble(env, o)
	if err != nil {
		return nil, err
	}
	return f, f.signIn(ctx, scopes...)
}

// signIn reads the secrets that the inventory refers to, and begins to look at
// the GitLab token.
func (f *fleet) signIn(ctx context.Context, scopes ...string) (err error) {
	if c := f.inv.Registry.Credential; c.Kind == inventory.Named {
		if f.given.RegistryPassword, err = c.Password.Read(ctx); err != nil {
			return fmt.Errorf("the password of the registry: %w", err)
		}
	}
	token, err := f.inv.GitLab.Token.Read(ctx)
	if err != nil {
		return fmt.Errorf("the token of GitLab: %w", err)
	}
	return f.connect(ctx, token, scopes...)
}

// assemble loads the inventory and selects what is to be worked on.
func assemble(env Env, o fleetOptions) (*fleet, error) {
	f, selected, err := load(env, o)
	if err != nil {
		return nil, err
	}
	f.only(selected.Deployments)
	for _, h := range selected.Hosts { // it may carry what is no longer wanted
		if f.deployments[h] == nil {
			f.hosts = append(f.hosts, h)
		}
	}
	if len(f.hosts) == 0 {
		return nil, usagef("%s has no host", o.inventory)
	}
	return f, nil
}

// load loads the inventory, and returns what --limit selects of it.
func load(env Env, o fleetOptions) (f *fleet, selected *inventory.Inventory, err error) {
	if err := env.trace.open(o.trace, env.Args[1:]); err != nil {
		return nil, nil, err
	}
	inv, err := inventory.Load(o.inventory)
	if err != nil {
		return nil, nil, usageError{err}
	}
	if selected, err = inv.Select(o.limit); err != nil {
		return nil, nil, usageError{err}
	}
	f = &fleet{inv: inv, parallel: o.parallel, lockWait: o.lockWait, timeout: env.Timeout, ask: newAsker(env), live: newLive(env, o), trace: env.trace}
	f.ask.pause = f.live.pause
	f.given.Salt = rand.Text()
	f.dialer = &remote.Dialer{Config: &sshconfig.Config{File: o.sshConfig}, Passphrase: f.ask.passphrase, Trace: f.trace.about}
	return f, selected, nil
}

// only makes some deployments those that are worked on.
func (f *fleet) only(deployments []*inventory.Deployment) {
	f.hosts, f.deployments = nil, map[*inventory.Host][]*inventory.Deployment{}
	for _, d := range deployments {
		if f.deployments[d.Host] == nil {
			f.hosts = append(f.hosts, d.Host)
		}
		f.deployments[d.Host] = append(f.deployments[d.Host], d)
	}
}

// onlyDeployed leaves out the hosts without deployments.
func (f *fleet) onlyDeployed() error {
	f.hosts = slices.DeleteFunc(f.hosts, func(h *inventory.Host) bool { return f.deployments[h] == nil })
	if len(f.hosts) == 0 {
		return usagef("there is no deployment")
	}
	return nil
}

// connect begins to look at the token. Hosts are connected to meanwhile, but
// nothing else is done before [fleet.admitted].
func (f *fleet) connect(ctx context.Context, token secret.Value, scopes ...string) error {
	g := f.inv.GitLab
	client, err := gitlab.New(gitlab.Options{URL: g.URL, Token: token, CA: g.CA, UserAgent: "provision/" + version(), Timeout: f.timeout, Trace: f.trace.gitlab})
	if err != nil {
		return err
	}
	f.forge = client
	f.check = sync.OnceValue(func() error { return client.CheckToken(ctx, scopes...) })
	go f.check()
	return nil
}

// admitted waits until it is known whether the token will do.
func (f *fleet) admitted() error {
	if f.check == nil {
		return nil
	}
	return f.check()
}

func (f *fleet) close() { f.dialer.Close() }

// A site is one host of a fleet, connected unless it is gone.
type site struct {
	provision.Target
	fleet       *fleet
	host        *inventory.Host
	deployments []*inventory.Deployment
}

// steps returns the steps of the site; given is what the fleet gives to all,
// unless it is changed.
func (s site) steps(given steps.Given) []provision.Step {
	return steps.For(s.fleet.inv, s.host, s.deployments, given)
}

// each connects to every host, and works on a bounded number of them side by
// side. A host that fails does not stop the others, but a token that will not
// do stops them all: then nothing was looked at.
func (f *fleet) each(ctx context.Context, work func(context.Context, site) error) (map[*inventory.Host]error, error) {
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	go func() {
		if f.admitted() != nil {
			hangUp()
		}
	}()
	errs := f.sideBySide(ctx, func(ctx context.Context, h *inventory.Host) error {
		t := provision.Target{Name: h.Name, Forge: f.forge, By: admin() + " with provision " + version(), Trace: f.trace.conversation(h.Name)}
		if !f.gone {
			conn, err := f.dialer.Dial(ctx, f.target(h))
			if err != nil {
				return err
			}
			defer conn.Close()
			t.Host, t.Lock = conn, &provision.Lock{Hold: conn.Hold, Owner: whoami(), Wait: f.lockWait}
		}
		if err := f.admitted(); err != nil {
			return err
		}
		f.live.doing(h.Name, "look")
		return work(ctx, site{t, f, h, f.deployments[h]})
	})
	return errs, f.admitted()
}

func (f *fleet) sideBySide(ctx context.Context, work func(context.Context, *inventory.Host) error) map[*inventory.Host]error {
	errs := map[*inventory.Host]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, f.parallel)
	f.live.start(len(f.hosts))
	defer f.live.stop()
	for _, h := range f.hosts {
		slots <- struct{}{} // here, so that hosts begin in their order
		wg.Go(func() {
			defer func() { <-slots }()
			err := ctx.Err()
			if err != nil {
				err = fmt.Errorf("%s: not begun", h.Name)
			} else {
				f.live.begin(h.Name)
				err = work(ctx, h)
				f.live.finish(h.Name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			errs[h] = err
		})
	}
	wg.Wait()
	return errs
}

// whoami tells others who holds the lock of a host.
func whoami() string {
	return fmt.Sprintf("%s (process %d) since %s", admin(), os.Getpid(), time.Now().UTC().Format(time.RFC3339))
}

// admin is who runs this program, and where.
func admin() string {
	name, host := "somebody", "an unknown machine"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + " on " + host
}

// target says how an admin reaches a host.
func (f *fleet) target(h *inventory.Host) remote.Target {
	t := remote.Target{
		Name: h.Name, Local: h.Local, Address: h.Address, Port: h.Port, User: h.User, Identity: h.Identity,
		HostKeys: h.HostKeys, Become: remote.Become(h.Become),
	}
	switch {
	case !h.BecomePassword.IsZero():
		t.Password = h.BecomePassword.Read
	case f.ask.terminal():
		t.Password = f.ask.sudo
	}
	return t
}

// deployTarget says how the key of CI reaches a deployment. The way is the
// admin's, or CI's where it is CI that asks.
func (f *fleet) deployTarget(d *inventory.Deployment, key secret.Value, asCI bool) remote.Target {
	h := d.Host
	t := remote.Target{Name: h.Name, Address: h.Address, Port: h.Port, User: d.User, HostKeys: h.HostKeys, Become: remote.None, Key: key}
	if h.CIAddress != "" && (asCI || h.Local) {
		t.Address, t.Port = h.CIAddress, h.CIPort
	}
	return t
}
