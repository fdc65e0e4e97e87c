package sshconfig

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// writeFile puts a file into a new directory.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newConfig returns a Config of the given lines of ssh_config(5) alone.
func newConfig(t *testing.T, text string) *Config {
	t.Helper()
	return &Config{File: writeFile(t, "ssh_config", text)}
}

// route returns the way to a host as a string.
func routeOf(t *testing.T, config, alias string, given Given) (string, error) {
	t.Helper()
	route, err := newConfig(t, config).Route(t.Context(), alias, given)
	names := make([]string, len(route))
	for i, h := range route {
		names[i] = h.String()
	}
	return strings.Join(names, " > "), err
}

func TestRoute(t *testing.T) {
	const config = `
Host web
	HostName WEB.example.com
	User admin
	Port 2222
	ProxyJump b,boss@c:2200
Host b
	HostName b.example.com
	ProxyJump a
Host c
	ProxyJump elsewhere
Host a
	ProxyJump none
Host v6
	ProxyJump [2001:db8::1]:23
Host v4
	ProxyJump boss@192.0.2.1:24
Host round
	ProxyJump trip
Host trip
	ProxyJump round
Host self
	ProxyJump self
Host *
	User me
`
	for _, test := range []struct {
		alias string
		given Given
		want  string
	}{
		{"web", Given{}, "me@a:22 > me@b.example.com:22 > boss@c:2200 > admin@web.example.com:2222"},
		{"b", Given{User: "you", Port: 24}, "me@a:22 > you@b.example.com:24"},
		{"a", Given{}, "me@a:22"},
		{"v6", Given{}, "me@[2001:db8::1]:23 > me@v6:22"},
		{"v4", Given{}, "boss@192.0.2.1:24 > me@v4:22"},
		{"::1", Given{}, "me@[::1]:22"},
	} {
		if got, err := routeOf(t, config, test.alias, test.given); err != nil || got != test.want {
			t.Errorf("route to %s = %s, %v; want %s", test.alias, got, err, test.want)
		}
	}
	for _, address := range []string{"round", "trip", "self"} {
		if got, err := routeOf(t, config, address, Given{}); err == nil ||
			!strings.Contains(err.Error(), "stands twice") && !strings.Contains(err.Error(), "jumphost loop") {
			t.Errorf("route to %s = %s, %v; want a circle", address, got, err)
		}
	}
	for _, bad := range []struct {
		alias string
		given Given
	}{{}, {alias: "-oProxyCommand=false"}, {"a", Given{User: "-l"}}, {alias: "a b"}, {"a", Given{Identity: "-i"}}} {
		if got, err := routeOf(t, config, bad.alias, bad.given); err == nil {
			t.Errorf("route to %+v = %s", bad, got)
		}
	}
	if _, err := routeOf(t, "Nonsense yes\n", "a", Given{}); err == nil || !strings.Contains(err.Error(), "Nonsense") && !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a wrong configuration gives %v", err)
	}
}

func TestResolve(t *testing.T) {
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	c := newConfig(t, `
Host web
	HostName web.example.com
	User admin
	IdentityFile ~/.ssh/%r@%h
	IdentityFile "/keys/my key"
	IdentitiesOnly yes
	CertificateFile ~/cert.pub
	IdentityAgent ~/agent
	HostKeyAlias name
	UserKnownHostsFile ~/kh "/my files/kh"
	GlobalKnownHostsFile none
	ConnectTimeout 7
	ProxyCommand relay %h %p %r %n %%
`)
	h, err := c.Resolve(t.Context(), "web", Given{Identity: "~/mine"})
	if err != nil {
		t.Fatal(err)
	}
	want := Host{
		Alias: "web", Name: "web.example.com", Port: 22, User: "admin",
		Identity:       filepath.Join(home, "mine"),
		Identities:     []string{filepath.Join(home, "mine"), filepath.Join(home, ".ssh/admin@web.example.com"), "/keys/my key"},
		Certificates:   []string{filepath.Join(home, "cert.pub")},
		IdentitiesOnly: true,
		Agent:          filepath.Join(home, "agent"),
		KnownHosts:     []string{filepath.Join(home, "kh"), "/my files/kh"},
		KeyAlias:       "name",
		ConnectTimeout: 7 * time.Second,
		ProxyCommand:   "relay %h %p %r %n %%",
	}
	if fmt.Sprintf("%+v", h) != fmt.Sprintf("%+v", want) {
		t.Errorf("Resolve = %+v\nwant %+v", h, want)
	}
	if got := h.Expand(h.ProxyCommand); got != "relay web.example.com 22 admin web %" {
		t.Errorf("Expand = %s", got)
	}
}

// Without ssh(1) there is no configuration, and its defaults hold.
func TestResolveWithoutSSH(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("HOME", "/home/me")
	h, err := new(Config).Resolve(t.Context(), "Web", Given{User: "admin"})
	if err != nil || h.String() != "admin@web:22" || !slices.Contains(h.Identities, "/home/me/.ssh/id_ed25519") ||
		!slices.Contains(h.KnownHosts, "/home/me/.ssh/known_hosts") {
		t.Errorf("Resolve = %+v, %v", h, err)
	}
	if _, err := (&Config{File: "x"}).Resolve(t.Context(), "web", Given{}); err == nil {
		t.Error("a configuration is not read, and nobody is told")
	}
}
