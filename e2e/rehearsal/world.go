// Package rehearsal puts everything that an inventory speaks of into a lab:
// its hosts, a GitLab with its projects, and its registry with images. Names
// and addresses are those of the inventory, so what is rehearsed is the
// inventory itself and not a model of it.
package rehearsal

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"provision/e2e/gitlabtest"
	"provision/e2e/lab"
	"provision/inventory"
	"provision/provision/secret"
)

// A World is an inventory come to life in a lab.
type World struct {
	Lab       *lab.Lab
	Inventory *inventory.Inventory // as it has to be to work in the lab
	GitLab    *gitlabtest.GitLab
	Registry  *lab.Registry
	Others    map[string]*lab.Registry // by their names in the inventory
	Hosts     map[string]*lab.Host     // by their names in the inventory

	dir       string
	token     secret.Value          // of the owner of all groups
	addresses map[string]netip.Addr // of GitLab, by its names
}

// Options change what a World is like.
type Options struct {
	Edition gitlabtest.Edition

	// Host, if not nil, may change how a host is made before it is.
	Host func(name string, o *lab.Options)

	// Files, if not nil, returns the files of a project, whose images are below
	// that name. Where it returns none, a compose.yaml is made.
	Files func(project, image string) map[string]string

	// Secrets of deployments are read from where the inventory has them. Without
	// this they are made up.
	Secrets bool
}

// New builds the world of an inventory. It changes inv where the lab cannot
// do as the inventory says: keys, tokens and certificates are the lab's own,
// and IP addresses become names.
func New(ctx context.Context, l *lab.Lab, inv *inventory.Inventory, o Options) (*World, error) {
	w := &World{Lab: l, Inventory: inv, Hosts: map[string]*lab.Host{}, Others: map[string]*lab.Registry{}}
	var err error
	if w.dir, err = os.MkdirTemp("/run", "world-"); err != nil {
		return nil, err
	}
	if !o.Secrets {
		if err := w.makeUpSecrets(); err != nil {
			return nil, err
		}
	}
	if err := w.startGitLab(o); err != nil {
		return nil, fmt.Errorf("the stand-in for GitLab: %w", err)
	}
	errs := make(chan error, 2)
	go func() { errs <- w.startRegistry(ctx) }()
	go func() { errs <- w.bootHosts(ctx, o) }()
	if err := errors.Join(<-errs, <-errs); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Close ends the hosts, the registry and GitLab.
func (w *World) Close() error {
	errs := []error{w.GitLab.Close()}
	if w.Registry != nil {
		errs = append(errs, w.Registry.Close())
	}
	for _, r := range w.Others {
		errs = append(errs, r.Close())
	}
	for _, h := range w.Hosts {
		errs = append(errs, h.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

func (w *World) startGitLab(o Options) error {
	g := &w.Inventory.GitLab
	u, err := url.Parse(g.URL)
	if err != nil {
		return err
	}
	ca, err := w.Lab.CA()
	if err != nil {
		return err
	}
	names := []string{u.Hostname()}
	if g.SSH.Host != names[0] {
		names = append(names, g.SSH.Host)
	}
	address, err := w.Lab.Name(names...)
	if err != nil {
		return err
	}
	w.addresses = map[string]netip.Addr{}
	for _, name := range names {
		w.addresses[name] = address
	}
	certificate, err := ca.Issue(names...)
	if err != nil {
		return err
	}

	w.GitLab = gitlabtest.New(gitlabtest.Config{
		Edition: o.Edition, URL: g.URL, SSHHost: net.JoinHostPort(g.SSH.Host, strconv.Itoa(g.SSH.Port)),
		Registry: w.Inventory.Registry.Host, Repositories: filepath.Join(w.dir, "repositories"),
	})
	var projects, groups []string
	for _, d := range w.Inventory.Deployments {
		projects = append(append(projects, d.Project), d.Variables.Projects...)
		groups = append(groups, d.TokenGroup)
		if d.Variables.Group != "" {
			groups = append(groups, d.Variables.Group)
		}
	}
	w.token = w.GitLab.Seed(projects...)
	for _, group := range groups {
		w.GitLab.AddGroup(group)
		top, _, _ := strings.Cut(group, "/")
		w.GitLab.AddMember(top, "owner", gitlabtest.Owner)
	}
	if err := w.fillRepositories(o); err != nil {
		return err
	}

	port := 443
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil {
			return err
		}
	}
	for port, serve := range map[int]func(net.Listener) error{
		port: func(l net.Listener) error {
			return w.GitLab.Serve(l, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}})
		},
		g.SSH.Port: w.GitLab.ServeSSH,
	} {
		listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(address, uint16(port))))
		if err != nil {
			return err
		}
		go serve(listener)
	}

	g.CA, g.HostKeys = ca.PEM(), []string{w.GitLab.HostKey()}
	g.Token, err = w.keep("token", w.token)
	return err
}

// keep writes a secret where the inventory can refer to it.
func (w *World) keep(name string, v secret.Value) (inventory.Secret, error) {
	text, err := v.Reveal()
	if err != nil {
		return inventory.Secret{}, err
	}
	file := filepath.Join(w.dir, name)
	return inventory.Secret{File: file}, os.WriteFile(file, []byte(text), 0o600)
}

// makeUpSecrets gives every variable and every file of a deployment that is a
// secret one of its own.
func (w *World) makeUpSecrets() error {
	n := 0
	makeUp := func(s *inventory.Secret) (err error) {
		if s.IsZero() {
			return nil
		}
		n++
		name := fmt.Sprintf("secret-%d", n)
		*s, err = w.keep(name, secret.New("made up: "+name))
		return err
	}
	for _, d := range w.Inventory.Deployments {
		d.Env, d.Files = slices.Clone(d.Env), slices.Clone(d.Files) // several hosts of a deployment share them
		for i := range d.Env {
			if err := makeUp(&d.Env[i].Secret); err != nil {
				return err
			}
		}
		for i := range d.Files {
			if err := makeUp(&d.Files[i].Secret); err != nil {
				return err
			}
		}
	}
	return nil
}

// fillRepositories gives every project a compose.yaml. Its services are those
// that the overrides of its deployments speak of, each with the image of the
// project; they stand where its deployments have their Compose files.
func (w *World) fillRepositories(o Options) error {
	services := map[string]map[string]any{}
	branches := map[string][]string{}
	for _, d := range w.Inventory.Deployments {
		if services[d.Project] == nil {
			services[d.Project] = map[string]any{}
		}
		names := []string{"app"}
		if d.Override != nil {
			var override struct {
				Services map[string]any `yaml:"services"`
			}
			if err := yaml.Unmarshal([]byte(d.Override.Text), &override); err != nil {
				return fmt.Errorf("%s: %w", d.Override.Path, err)
			}
			if len(override.Services) > 0 {
				names = nil
				for name := range override.Services {
					names = append(names, name)
				}
			}
		}
		for _, name := range names {
			services[d.Project][name] = map[string]any{"image": w.Inventory.Registry.Host + "/" + d.Project, "init": true}
		}
		branch := d.Branch
		if branch == "" {
			branch = "main"
		}
		if !slices.Contains(branches[d.Project], branch) {
			branches[d.Project] = append(branches[d.Project], branch)
		}
	}
	for project, list := range services {
		if len(list) > 1 {
			delete(list, "app")
		}
		text, err := yaml.Marshal(map[string]any{"services": list})
		if err != nil {
			return err
		}
		files := map[string]string{}
		for _, d := range w.Inventory.Deployments {
			if d.Project != project {
				continue
			}
			for i, file := range d.Compose {
				if i > 0 && files[file] == "" {
					files[file] = "services: {}\n"
				} else if i == 0 {
					files[file] = string(text)
				}
			}
			if len(d.Compose) == 0 {
				files["compose.yaml"] = string(text)
			}
		}
		if o.Files != nil {
			if own := o.Files(project, w.Inventory.Registry.Host+"/"+project); len(own) > 0 {
				files = own
			}
		}
		if err := commit(w.GitLab.Repository(project), branches[project], files); err != nil {
			return fmt.Errorf("%s: %w", project, err)
		}
		for _, branch := range branches[project] {
			w.GitLab.Protect(project, branch)
		}
	}
	return nil
}

func (w *World) startRegistry(ctx context.Context) error {
	r := &w.Inventory.Registry
	ca, err := w.Lab.CA()
	if err != nil {
		return err
	}
	w.Registry, err = w.Lab.NewRegistry(ctx, lab.RegistryOptions{
		Name: r.Host, Address: w.addresses[strings.Split(r.Host, ":")[0]], Realm: w.GitLab.URL() + "/jwt/auth", Issuer: gitlabtest.RegistryIssuer, Signer: w.GitLab.RegistryCertificate(),
	})
	if err != nil {
		return err
	}
	r.CA = ca.PEM()
	if r.Credential.Kind == inventory.Named {
		_, value := w.GitLab.AddDeployToken(w.Inventory.Deployments[0].TokenGroup, "registry", r.Credential.Username, time.Time{}, "read_registry")
		if r.Credential.Password, err = w.keep("registry", value); err != nil {
			return err
		}
	}
	for _, project := range w.projects() {
		if err := w.Push(ctx, project, "1"); err != nil {
			return err
		}
	}
	return w.startOthers(ctx)
}

func (w *World) projects() []string {
	var projects []string
	for _, d := range w.Inventory.Deployments {
		if !slices.Contains(projects, d.Project) {
			projects = append(projects, d.Project)
		}
	}
	return projects
}

// PushImage pushes an image, with the tag latest if it has none, and returns the
// digest of its manifest.
func (w *World) PushImage(ctx context.Context, i lab.Image) (string, error) {
	if i.Tag == "" {
		i.Tag = "latest"
	}
	return w.Registry.Push(ctx, i, w.registryToken)
}

// Push pushes a version of the image of a project, as its pipeline would.
func (w *World) Push(ctx context.Context, project, version string) error {
	_, err := w.PushImage(ctx, lab.Image{Repository: project, Version: version, Healthy: true})
	return err
}

// PushBroken is [World.Push] with an image that runs, and whose health check
// fails.
func (w *World) PushBroken(ctx context.Context, project, version string) error {
	_, err := w.PushImage(ctx, lab.Image{Repository: project, Version: version, Broken: true})
	return err
}

func (w *World) registryToken(ctx context.Context, scope string) (string, error) {
	ca, err := w.Lab.CA()
	if err != nil {
		return "", err
	}
	query := url.Values{"service": {lab.RegistryService}, "scope": {scope}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.GitLab.URL()+"/jwt/auth?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	password, err := w.token.Reveal()
	if err != nil {
		return "", err
	}
	request.SetBasicAuth("owner", password)
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", request.URL.Path, response.Status)
	}
	var answer struct{ Token string }
	err = json.NewDecoder(response.Body).Decode(&answer)
	return answer.Token, err
}

func (w *World) bootHosts(ctx context.Context, o Options) error {
	identity, err := w.Lab.Identity()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, h := range w.Inventory.Hosts {
		if len(w.Inventory.On(h)) == 0 {
			continue
		}
		options := hostOptions(h)
		if !h.BecomePassword.IsZero() {
			options.Become, options.Password = lab.SudoPassword, "rehearsal of "+h.Name
			if h.BecomePassword, err = w.keep("sudo-"+h.Name, secret.New(options.Password)); err != nil {
				return err
			}
		}
		if o.Host != nil {
			o.Host(h.Name, &options)
		}
		wg.Go(func() {
			host, err := w.Lab.Boot(ctx, options)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			w.Hosts[h.Name] = host
			h.User, h.Identity, h.HostKeys = host.Admin, identity, host.HostKeys
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// hostOptions says how the lab makes a host, and makes the addresses in h
// such that the lab can have them.
func hostOptions(h *inventory.Host) lab.Options {
	o := lab.Options{Port: h.Port, Admin: h.User, Docker: h.Engine != inventory.EngineDistribution}
	switch h.Become {
	case inventory.BecomeDoas:
		o.Become = lab.Doas
	case inventory.BecomeNone:
		o.Admin = "root"
	}
	name := func(address string) string {
		if _, err := netip.ParseAddr(address); err == nil || address == "" {
			address = h.Name + ".lab"
		}
		if !slices.Contains(o.Names, address) {
			o.Names = append(o.Names, address)
		}
		return address
	}
	h.Local = false
	h.Address = name(h.Address)
	if h.CIAddress != "" {
		h.CIAddress, h.CIPort = name(h.CIAddress), h.Port
	}
	return o
}
