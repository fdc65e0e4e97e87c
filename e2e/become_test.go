package e2e_test

import (
	"slices"
	"strings"
	"testing"

	"provision/e2e/lab"
	"provision/inventory"
)

// Every way to the rights of root makes the same of a host, and is told when
// it does not work.
func TestBecome(t *testing.T) {
	t.Parallel()
	names := []string{"sudo", "password", "doas", "root"}
	w := newWorld(t, head+`
[defaults.host]
user = "admin"
[hosts.sudo]
address = "sudo.WORLD"
[hosts.password]
address = "password.WORLD:2222"
become_password = { env = "UNUSED" }
[hosts.doas]
address = "doas.WORLD"
become = "doas"
[hosts.root]
address = "root.WORLD"
become = "none"
[deployments.app]
hosts = ["sudo", "password", "doas", "root"]
project = "transmogrify/frobnicator"
user = "deploy-user"
directory = "frobnicator"
environment = "production"
variables = { group = "transmogrify" }
`)
	w.apply(t)
	s := w.apply(t, "--output", "json").summary(t)
	if s.Hosts != 4 || s.Changes != 0 || s.Connections != 4 || s.Trips != 4 {
		t.Errorf("again: %+v; want no change on 4 hosts, in 4 connections and 4 trips", s)
	}
	w.push(t, "app", "2")
	for _, d := range w.Inventory.Deployments {
		if j := w.ci(t, d, ""); j.code != 0 {
			t.Errorf("%s: %+v", d.Host.Name, j)
		}
		if got, err := w.Version(t.Context(), d); got != "2" {
			t.Errorf("%s runs version %q (%v)", d.Host.Name, got, err)
		}
	}

	for _, c := range []struct {
		name, host string
		change     func(*inventory.Host)
		says       []string
	}{
		{"no password", "password", func(h *inventory.Host) { h.BecomePassword = inventory.Secret{} },
			[]string{"no root shell by sudo", "a password is required", "hint: name the password of sudo as become_password"}},
		{"wrong password", "password", func(h *inventory.Host) { h.BecomePassword = w.secretFile(t, "wrong") },
			[]string{"sudo refused the password; it is not tried again"}},
		{"no such password", "password", func(h *inventory.Host) { h.BecomePassword = inventory.Secret{File: "/nowhere"} },
			[]string{`file "/nowhere": there is no such file`}},
		{"not root", "sudo", func(h *inventory.Host) { h.Become = inventory.BecomeNone },
			[]string{"the user is not root, and become is none", `hint: write become = "sudo"`}},
		{"no doas", "sudo", func(h *inventory.Host) { h.Become = inventory.BecomeDoas },
			[]string{"no root shell by doas", "hint: install doas"}},
		{"sudo for others", "doas", func(h *inventory.Host) { h.Become = inventory.BecomeSudo },
			[]string{"no root shell by sudo", "hint: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !slices.Contains(names, c.host) {
				t.Fatal("no such host")
			}
			h := w.Inventory.Host(c.host)
			before := *h
			defer func() { *h = before }()
			c.change(h)
			r := w.run(t, "apply", "--limit", c.host).exits(t, 1)
			r.says(t, append(c.says, "provision: "+c.host+": ")...)
			if n := strings.Count(r.errors, "provision: "); n != 1 {
				t.Errorf("one error is enough: %v", r)
			}
		})
	}
	if log := w.sh(t, "password", "journalctl -t sudo -o cat | grep -c 'incorrect password attempt'"); log != "1" {
		t.Errorf("sudo was given %s wrong passwords, want 1", log)
	}
}

// Docker is installed where the inventory says so. Where it does not, its lack
// is an error, and the host is left alone; the other hosts do not mind.
func TestEngine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+web2+`engine = "distribution"
`+strings.Replace(app, `host = "web1"`, `hosts = ["web1", "web2"]`, 1),
		hosts(func(_ string, o *lab.Options) { o.Docker = false }))
	before := w.snapshot(t, "web1")
	plan := w.plan(t, "--limit", "web2")
	planned(t, plan, "engine: install Docker, Compose v2 and git (docker.io docker-cli docker-compose git)")

	r := w.run(t, "apply", "--output", "json").exits(t, 1)
	if s := r.summary(t); s.Hosts != 1 || s.Failed != 1 || s.Changes == 0 {
		t.Errorf("one host is done and one failed: %+v", s)
	}
	r.says(t, "web1: engine: the host has no Docker, Compose v2 and git", `or set engine = \"distribution\" in the inventory`)
	for _, l := range r.lines(t) {
		if l.Host == "web1" && l.Event != "error" {
			t.Errorf("web1 cannot be done, and yet: %+v", l)
		}
	}
	compare(t, before, w.snapshot(t, "web1"))

	d := w.Inventory.Deployments[1]
	if got, err := w.Version(t.Context(), d); got != "1" {
		t.Errorf("web2 runs version %q (%v)", got, err)
	}
	if got := w.sh(t, "web2", "systemctl is-enabled docker; systemctl is-active docker"); got != "enabled\nactive" {
		t.Errorf("docker is %q", got)
	}
	w.converged(t, "--limit", "web2")

	// Only what is missing is installed.
	w.sh(t, "web2", "apt-get remove -q -y docker-compose 2>&1")
	if got := w.missing(t, "--limit", "web2"); !slices.Equal(got, []string{"engine"}) {
		t.Errorf("without Compose the plan is about %v", got)
	}
	planned(t, w.plan(t, "--limit", "web2"), "engine: install Compose v2 (docker-compose)")
	w.apply(t, "--limit", "web2")
	w.converged(t, "--limit", "web2")
}
