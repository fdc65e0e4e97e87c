// Package fleet is the one way to hosts: the part of an inventory that a run is
// about, the secrets that it refers to, the token of GitLab, and one connection
// for each host. What is done there, and how it is told, is not known here.
package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"sync"
	"time"

	"provision/inventory"
	"provision/provision/forge"
	"provision/provision/forge/gitlab"
	"provision/provision/remote"
	"provision/provision/remote/sshconfig"
	"provision/provision/secret"
	"provision/steps"
)

// Options say what [Open] opens.
type Options struct {
	Inventory *inventory.Inventory
	Parts     []Part // in the order in which they are begun
	Gone      bool   // the hosts are: nobody connects to them
	Changes   bool   // hosts are changed, so their locks are taken
	Interrupt bool   // what runs there may be interrupted: see [provision.Target]
	Registry  bool   // the passwords of registries are read that the parts need and the inventory names
	App       bool   // the secrets of the deployments are read

	// Scopes are those of which the token of GitLab has to have one. Without any,
	// there is no token, and Forge is nil.
	Scopes []string

	Parallel  int           // how many hosts are worked on at a time
	LockWait  time.Duration // for somebody else who is changing a host
	SSHConfig string        // a file, in place of ~/.ssh/config
	Timeout   time.Duration // of one attempt at one request of GitLab; 0: as usual
	Version   string        // of this program

	// Password gives the password of sudo on a host that names none in the
	// inventory, and Passphrase that of a key file. They are nil where there is
	// nobody to ask.
	Password   func(ctx context.Context, host string) (secret.Value, error)
	Passphrase func(ctx context.Context, file string) (secret.Value, error)

	Progress Progress // may be nil
	Trace    Trace    // may be nil
	Dialer   Dialer   // nil: SSH

	// Waiting is told what GitLab is waited for, and "" when it is no more: see
	// [gitlab.Options]. It may be nil.
	Waiting func(text string)
}

// A Progress is told how far [Fleet.Each] is. Calls may overlap.
type Progress interface {
	Start(hosts int)
	Begin(host string)
	Doing(host, what string)
	Finish(host string, err error)
	Stop()
}

// A Trace is told what is said to hosts and to GitLab, and by them. Calls may
// overlap.
type Trace interface {
	About(host, text string)
	GitLab(text string)
	Conversation(host string) func(sent bool, text string)
}

// A Fleet is the hosts that one run is about, and what they share.
type Fleet struct {
	Inventory *inventory.Inventory
	Sites     []*Site
	Given     steps.Given // with what the inventory refers to, and a salt
	Forge     forge.Forge // nil without a token

	options Options
	dialer  Dialer
	ssh     *remote.Dialer
	token   func() error
}

// Open reads the secrets that the inventory refers to, and begins to look at the
// token of GitLab. Nothing is connected to a host yet, and a token that will not
// do is the error of [Fleet.WaitToken].
func Open(ctx context.Context, o Options) (*Fleet, error) {
	f := &Fleet{Inventory: o.Inventory, options: o, dialer: o.Dialer, token: func() error { return nil }}
	f.Given.Salt = rand.Text()
	f.Given.Know(o.Inventory)
	f.ssh = &remote.Dialer{Config: &sshconfig.Config{File: o.SSHConfig}, Passphrase: o.Passphrase}
	if o.Trace != nil {
		f.ssh.Trace = o.Trace.About
	}
	if f.dialer == nil {
		f.dialer = overSSH{f.ssh}
	}
	if f.options.Progress == nil {
		f.options.Progress = silent{}
	}
	for _, p := range o.Parts {
		f.Sites = append(f.Sites, &Site{Host: p.Host, Deployments: p.Deployments, fleet: f})
	}
	if o.Registry {
		if err := f.readPasswords(ctx); err != nil {
			return nil, err
		}
	}
	if o.App {
		if err := f.readApp(ctx); err != nil {
			return nil, err
		}
	}
	if len(o.Scopes) == 0 {
		return f, nil
	}
	return f, f.checkToken(ctx)
}

// readPasswords reads the passwords of the registries that the users of the parts are
// logged in to.
func (f *Fleet) readPasswords(ctx context.Context) error {
	f.Given.RegistryPasswords = map[string]secret.Value{}
	read := func(r inventory.Registry) error {
		if _, had := f.Given.RegistryPasswords[r.Name]; had || r.Credential.Kind != inventory.Named {
			return nil
		}
		password, err := r.Credential.Password.Read(ctx)
		if err != nil {
			return fmt.Errorf("the password of the registry %s: %w", r.Host, err)
		}
		f.Given.RegistryPasswords[r.Name] = password
		return nil
	}
	if err := read(f.Inventory.Registry); err != nil {
		return err
	}
	for _, p := range f.options.Parts {
		for _, d := range p.Deployments {
			for _, r := range steps.Registries(f.Inventory, d) {
				if err := read(*r); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// readApp reads the secrets of all deployments that the run is about, each once.
func (f *Fleet) readApp(ctx context.Context) error {
	f.Given.Env, f.Given.Files = map[string]secret.Value{}, map[string]secret.Value{}
	failed := map[string]bool{}
	var missing []string
	read := func(into map[string]secret.Value, s inventory.Secret, fetch func(context.Context) (secret.Value, error), d *inventory.Deployment, what string) {
		key := s.Key()
		if _, had := into[key]; had || failed[key] || s.IsZero() {
			return
		}
		value, err := fetch(ctx)
		if err != nil {
			failed[key] = true
			missing = append(missing, fmt.Sprintf("%s of deployment %s: %v", what, d.Name, err))
			return
		}
		into[key] = value
	}
	for _, s := range f.Sites {
		for _, d := range s.Deployments {
			for _, v := range d.Env {
				read(f.Given.Env, v.Secret, v.Secret.ReadText, d, "the variable "+v.Name)
			}
			for _, file := range d.Files {
				read(f.Given.Files, file.Secret, file.Secret.ReadAll, d, "the file "+file.Path)
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if missing != nil {
		return errors.New(strings.Join(missing, "; and "))
	}
	return nil
}

// checkToken begins to look at the token. Hosts are connected to meanwhile, but
// nothing else is done: see [Site.Target].
func (f *Fleet) checkToken(ctx context.Context) error {
	token, err := f.Inventory.GitLab.Token.Read(ctx)
	if err != nil {
		return fmt.Errorf("the token of GitLab: %w", err)
	}
	o := gitlab.Options{
		URL: f.Inventory.GitLab.URL, Token: token, CA: f.Inventory.GitLab.CA,
		UserAgent: "provision/" + f.options.Version, Timeout: f.options.Timeout, Waiting: f.options.Waiting,
	}
	if f.options.Trace != nil {
		o.Trace = f.options.Trace.GitLab
	}
	client, err := gitlab.New(o)
	if err != nil {
		return err
	}
	f.Forge = client
	f.token = sync.OnceValue(func() error { return client.CheckToken(ctx, f.options.Scopes...) })
	go f.token()
	return nil
}

// WaitToken waits until it is known whether the token will do. Without one there
// is nothing to wait for.
func (f *Fleet) WaitToken() error { return f.token() }

// Close ends all connections.
func (f *Fleet) Close() {
	for _, s := range f.Sites {
		s.hangUp()
	}
	f.ssh.Close()
}

// Cost is how many SSH connections were opened, those to jump hosts included, and
// how many programs were sent.
func (f *Fleet) Cost() (connections, trips int) { return f.ssh.Connections(), f.ssh.Runs() }

// Then is what becomes of the connection to a host when the work there is done.
type Then string

// What [Fleet.Each] does then.
const (
	ThenClose Then = "close" // at most as many are open as hosts are worked on
	ThenKeep  Then = "keep"  // for the next Each; [Fleet.Close] ends them
)

// Each works on every host, on a bounded number of them side by side, which begin
// in their order. It returns the errors by host. A host that fails does not stop
// the others, but a token that will not do stops them all: that is the error
// then, and no work has had a [Site.Target].
func (f *Fleet) Each(ctx context.Context, then Then, work func(context.Context, *Site) error) (map[*inventory.Host]error, error) {
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	go func() {
		if f.WaitToken() != nil {
			hangUp()
		}
	}()
	errs := map[*inventory.Host]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, f.options.Parallel)
	f.options.Progress.Start(len(f.Sites))
	for _, s := range f.Sites {
		slots <- struct{}{} // here, so that hosts begin in their order
		wg.Go(func() {
			defer func() { <-slots }()
			err := ctx.Err()
			if err != nil {
				err = fmt.Errorf("%s: not begun", s.Host.Name)
			} else {
				f.options.Progress.Begin(s.Host.Name)
				err = work(ctx, s)
				f.options.Progress.Finish(s.Host.Name, err)
			}
			if then == ThenClose {
				s.hangUp()
			}
			mu.Lock()
			defer mu.Unlock()
			errs[s.Host] = err
		})
	}
	wg.Wait()
	f.options.Progress.Stop()
	return errs, f.WaitToken()
}

// silent is a Progress that nobody watches.
type silent struct{}

func (silent) Start(int)            {}
func (silent) Begin(string)         {}
func (silent) Doing(string, string) {}
func (silent) Finish(string, error) {}
func (silent) Stop()                {}

// lockOwner tells others who holds the lock of a host.
func lockOwner() string {
	return fmt.Sprintf("%s (pid %d) since %s", admin(), os.Getpid(), time.Now().UTC().Format(time.RFC3339))
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
	return name + "@" + host
}
