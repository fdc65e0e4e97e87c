package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"

	"provision/cmd/fleet"
	"provision/cmd/fleet/fleettest"
	"provision/inventory"
	"provision/provision/forge"
	"provision/provision/remote"
	"provision/provision/secret"
)

// some opens a fleet of hosts called 0, 1, 2 …
func some(t *testing.T, n int, o fleet.Options) *fleet.Fleet {
	t.Helper()
	if o.Inventory == nil {
		o.Inventory = &inventory.Inventory{}
	}
	for i := range n {
		o.Parts = append(o.Parts, fleet.Part{Host: &inventory.Host{Name: fmt.Sprint(i)}})
	}
	o.Parallel = max(o.Parallel, 1)
	f, err := fleet.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func connect(ctx context.Context, s *fleet.Site) error {
	_, err := s.Target(ctx)
	return err
}

// One host after the other is in the order of the inventory.
func TestEachInOrder(t *testing.T) {
	f := some(t, 50, fleet.Options{})
	var came []*fleet.Site
	errs, err := f.Each(t.Context(), fleet.ThenClose, func(_ context.Context, s *fleet.Site) error {
		came = append(came, s)
		return nil
	})
	if err != nil || len(errs) != 50 || !slices.Equal(came, f.Sites) {
		t.Errorf("%v, %d errors; hosts do not come in their order", err, len(errs))
	}
}

// A host is connected to when it is needed, and once, however often it is worked
// on; only a connection that is lost is made again.
func TestOneConnection(t *testing.T) {
	hosts := &fleettest.Hosts{}
	f := some(t, 3, fleet.Options{Dialer: hosts})
	each := func(then fleet.Then, work func(context.Context, *fleet.Site) error, logins, open int) {
		t.Helper()
		errs, err := f.Each(t.Context(), then, work)
		for _, failed := range errs {
			err = errors.Join(err, failed)
		}
		if err != nil || len(hosts.Logins()) != logins || hosts.Open() != open {
			t.Errorf("%v: %d logins, %d connections are open; want %d, %d", err, len(hosts.Logins()), hosts.Open(), logins, open)
		}
	}
	each(fleet.ThenClose, func(context.Context, *fleet.Site) error { return nil }, 0, 0)
	each(fleet.ThenKeep, connect, 3, 3)
	each(fleet.ThenKeep, connect, 3, 3)
	hosts.Cut()
	each(fleet.ThenKeep, func(ctx context.Context, s *fleet.Site) error {
		if s == f.Sites[0] {
			return connect(ctx, s)
		}
		return nil
	}, 4, 3)
	each(fleet.ThenClose, connect, 4, 0)
}

func TestGoneIsNotConnectedTo(t *testing.T) {
	hosts := &fleettest.Hosts{}
	f := some(t, 1, fleet.Options{Dialer: hosts, Gone: true, Changes: true})
	if errs, err := f.Each(t.Context(), fleet.ThenClose, connect); err != nil || errs[f.Sites[0].Host] != nil || len(hosts.Logins()) != 0 {
		t.Errorf("%v, %v, %d logins", err, errs, len(hosts.Logins()))
	}
}

// Hosts are connected to while GitLab is asked about its token. Nothing is done
// there, and nobody logs in as CI, before the answer; when the token will not do,
// nothing ever is.
func TestNothingBeforeTheToken(t *testing.T) {
	connected := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-connected
		http.Error(w, `{"message":"401 Unauthorized"}`, http.StatusUnauthorized)
	}))
	defer server.Close()
	t.Setenv("FLEET_TOKEN", "of-nobody")
	var once sync.Once
	hosts := &fleettest.Hosts{Login: func(remote.Target) error {
		once.Do(func() { close(connected) })
		return nil
	}}
	inv := &inventory.Inventory{}
	inv.GitLab.URL, inv.GitLab.Token = server.URL, inventory.Secret{Env: "FLEET_TOKEN"}
	f := some(t, 3, fleet.Options{Inventory: inv, Dialer: hosts, Scopes: []string{"api"}})
	_, err := f.Each(t.Context(), fleet.ThenClose, func(ctx context.Context, s *fleet.Site) error {
		if _, err := s.Target(ctx); err == nil {
			t.Errorf("%s is worked on", s.Host.Name)
		}
		return nil
	})
	if !errors.Is(err, forge.ErrUnauthorized) {
		t.Error(err)
	}
	d := &inventory.Deployment{Host: f.Sites[0].Host}
	if _, err := f.LogIn(t.Context(), d, secret.Value{}, fleet.WayOfCI); !errors.Is(err, forge.ErrUnauthorized) {
		t.Errorf("CI logs in: %v", err)
	}
}

// A key of CI is all that its login may use, and where CI has a way of its own
// that is for those who have nothing else.
func TestWays(t *testing.T) {
	hosts := &fleettest.Hosts{}
	f := some(t, 1, fleet.Options{Dialer: hosts})
	far := &inventory.Host{Name: "far", Address: "far.example.com", Port: 22, User: "admin", CIAddress: "ci.example.com", CIPort: 2222}
	near := &inventory.Host{Name: "near", Local: true, CIAddress: "ci.example.com", CIPort: 2222}
	same := &inventory.Host{Name: "same", Address: "far.example.com", Port: 22}
	for _, tt := range []struct {
		host    *inventory.Host
		way     fleet.Way
		address string
	}{
		{far, fleet.WayOfAdmin, "far.example.com:22"},
		{far, fleet.WayOfCI, "ci.example.com:2222"},
		{near, fleet.WayOfAdmin, "ci.example.com:2222"},
		{same, fleet.WayOfCI, "far.example.com:22"},
	} {
		d := &inventory.Deployment{Name: "app", Host: tt.host, User: "deploy"}
		if _, err := f.LogIn(t.Context(), d, secret.New("key"), tt.way); err != nil {
			t.Fatal(err)
		}
		logins := hosts.Logins()
		got := logins[len(logins)-1]
		if address := fmt.Sprintf("%s:%d", got.Address, got.Port); address != tt.address || got.User != "deploy" || got.Key.IsZero() || got.Local || got.Password != nil || got.Become != remote.None {
			t.Errorf("%s, %s: %+v", tt.host.Name, tt.way, got)
		}
	}
}

// A password of the inventory goes to the hosts that name it. What is typed is
// asked for by the name of the host that wants it.
func TestPasswordsBelongToHosts(t *testing.T) {
	t.Setenv("SUDO_OF_A", "named")
	hosts := &fleettest.Hosts{}
	named := &inventory.Host{Name: "a", BecomePassword: inventory.Secret{Env: "SUDO_OF_A"}}
	other := &inventory.Host{Name: "b"}
	asked := []string{}
	for _, ask := range []func(context.Context, string) (secret.Value, error){nil, func(_ context.Context, host string) (secret.Value, error) {
		asked = append(asked, host)
		return secret.New("typed"), nil
	}} {
		f := some(t, 0, fleet.Options{Dialer: hosts, Password: ask, Parts: []fleet.Part{{Host: named}, {Host: other}}})
		f.Each(t.Context(), fleet.ThenClose, connect)
		logins := hosts.Logins()
		for _, target := range logins[len(logins)-2:] {
			if target.Name == "b" && ask == nil {
				if target.Password != nil {
					t.Error("b has a password, and nobody to ask for one")
				}
				continue
			}
			password, err := target.Password(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := password.Reveal(); got != map[string]string{"a": "named", "b": "typed"}[target.Name] {
				t.Errorf("%s gets %q", target.Name, got)
			}
		}
	}
	if !slices.Equal(asked, []string{"b"}) {
		t.Errorf("asked for %q", asked)
	}
}

func TestParts(t *testing.T) {
	a, b, c := &inventory.Host{Name: "a"}, &inventory.Host{Name: "b"}, &inventory.Host{Name: "c"}
	d := func(h *inventory.Host) *inventory.Deployment { return &inventory.Deployment{Host: h} }
	parts := fleet.AllOf(&inventory.Inventory{Hosts: []*inventory.Host{a, b, c}, Deployments: []*inventory.Deployment{d(c), d(a), d(c)}})
	var got string
	for _, p := range parts {
		got += fmt.Sprintf("%s%d ", p.Host.Name, len(p.Deployments))
	}
	if got != "c2 a1 b0 " {
		t.Errorf("got %s", got)
	}
}

// A password is read where a user of the parts is logged in with it, and nowhere else:
// the one of another registry may be one that nobody here can read.
func TestPasswords(t *testing.T) {
	named := func(name, variable string) *inventory.Registry {
		return &inventory.Registry{Name: name, Host: name + ".example", Credential: inventory.Credential{Kind: inventory.Named, Password: inventory.Secret{Env: variable}}}
	}
	hub, proxy, public := named("hub", "TEST_HUB"), named("proxy", "TEST_PROXY"), &inventory.Registry{Name: "public", Host: "public.example"}
	host := &inventory.Host{Name: "web1"}
	inv := &inventory.Inventory{Registry: *named("", "TEST_MAIN"), Registries: []*inventory.Registry{hub, proxy, public}, Hosts: []*inventory.Host{host}}
	for _, d := range []inventory.Deployment{
		{Name: "one", User: "a", Registries: []*inventory.Registry{public}},
		{Name: "two", User: "a", Registries: []*inventory.Registry{hub}}, // its login is that of one, too
		{Name: "three", User: "b", Registries: []*inventory.Registry{proxy}},
	} {
		d.Host = host
		inv.Deployments = append(inv.Deployments, &d)
	}
	t.Setenv("TEST_MAIN", "main")
	t.Setenv("TEST_HUB", "hub")
	t.Setenv("TEST_PROXY", "")
	o := fleet.Options{Inventory: inv, Registry: true, Parallel: 1, Parts: []fleet.Part{{Host: host, Deployments: inv.Deployments[:1]}}}
	f, err := fleet.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := map[string]string{}
	for name, password := range f.Given.RegistryPasswords {
		got[name], _ = password.Reveal()
	}
	if want := map[string]string{"": "main", "hub": "hub"}; !maps.Equal(got, want) {
		t.Errorf("the passwords are %q, want %q", got, want)
	}

	o.Parts[0].Deployments = inv.Deployments
	if _, err := fleet.Open(t.Context(), o); err == nil || err.Error() != "the password of the registry proxy.example: the environment variable TEST_PROXY is empty; export it, or name another source in the inventory" {
		t.Errorf("got %v", err)
	}
	o.Registry = false
	if f, err := fleet.Open(t.Context(), o); err != nil || f.Given.RegistryPasswords != nil {
		t.Errorf("got %v", err)
	}
}

// The secrets of deployments are read once each, and all that cannot be are told
// at once; where nobody needs them, none is read.
func TestSecretsOfApps(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	if err := os.WriteFile(file, []byte("two\nlines\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	once := inventory.Secret{Command: []string{"sh", "-c", "echo x >>" + filepath.Join(dir, "asked") + "; echo shared"}}
	var parts []fleet.Part
	for _, name := range []string{"a", "b"} {
		d := &inventory.Deployment{Name: name, Env: []inventory.Setting{{Name: "PLAIN", Text: "x"}, {Name: "SHARED", Secret: once}}}
		d.Files = []inventory.SecretFile{{Path: "secrets/key", Secret: inventory.Secret{File: file}}}
		parts = append(parts, fleet.Part{Host: &inventory.Host{Name: name}, Deployments: []*inventory.Deployment{d}})
	}
	f, err := fleet.Open(t.Context(), fleet.Options{Inventory: &inventory.Inventory{}, Parts: parts, Parallel: 1, App: true})
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	env, _ := f.Given.Env[once.Key()].Reveal()
	content, _ := f.Given.Files[inventory.Secret{File: file}.Key()].Reveal()
	asked, _ := os.ReadFile(filepath.Join(dir, "asked"))
	if env != "shared" || content != "two\nlines\n" || string(asked) != "x\n" {
		t.Errorf("%q, %q, asked %q", env, content, asked)
	}

	parts[1].Deployments[0].Env = append(parts[1].Deployments[0].Env, inventory.Setting{Name: "NONE", Secret: inventory.Secret{Env: "PROVISION_TEST_UNSET"}})
	parts[1].Deployments[0].Files[0].Secret.File = filepath.Join(dir, "nowhere")
	_, err = fleet.Open(t.Context(), fleet.Options{Inventory: &inventory.Inventory{}, Parts: parts, Parallel: 1, App: true})
	want := "the variable NONE of deployment b: the environment variable PROVISION_TEST_UNSET is not set; export it, or name another source in the inventory; and " +
		"the file secrets/key of deployment b: file " + strconv.Quote(filepath.Join(dir, "nowhere")) + ": there is no such file"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want\n%s", err, want)
	}
	if f, err = fleet.Open(t.Context(), fleet.Options{Inventory: &inventory.Inventory{}, Parts: parts, Parallel: 1}); err != nil || f.Given.Env != nil {
		t.Errorf("%v, %v", err, f)
	}
}
