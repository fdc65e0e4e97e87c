package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"provision/e2e/gitlabtest"
	"provision/e2e/lab"
)

// A host that cannot be reached does not keep the others from being done.
func TestHostIsOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, two)
	if err := w.Hosts["web2"].PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := w.run(t, "apply", "--output", "json").exits(t, 1)
	if s := r.summary(t); s.Hosts != 1 || s.Failed != 1 || s.Changes == 0 {
		t.Errorf("one host is done and one failed: %+v", s)
	}
	errors := of("error", r.lines(t))
	if len(errors) != 1 || errors[0].Host != "web2" || !strings.Contains(errors[0].Text, "web2: connect to "+w.Hosts["web2"].Name) {
		t.Errorf("the errors are %+v", errors)
	}
	w.runs(t, "app", "1")
	w.converged(t, "--limit", "web1")
}

// A GitLab that fails in the middle: what could not be done is told, and is
// done by the next apply, with nothing left over.
func TestGitLabFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	trap := w.GitLab.Fail(http.MethodPost, "/api/v4/groups/*/access_tokens", 0, gitlabtest.Failure(http.StatusInternalServerError))
	r := w.run(t, "apply").exits(t, 1)
	r.says(t,
		"web1: registry-login deploy-user: FAILED: create access token deploy-user@web1 of group transmogrify",
		"web1: registry-login deploy-user: not run: docker login ",
		"provision: web1: registry-login deploy-user: create access token deploy-user@web1 of group transmogrify: ",
		"GitLab failed", "it may or may not be done: run again to see")
	if n := trap.Count(); n != 1 {
		t.Errorf("a token was asked for %d times, want 1: it may be made twice", n)
	}
	trap.Remove()
	w.apply(t)
	w.finished(t, "web1")
}

// finished fails the test unless there is one of everything, and all of it
// works.
func (w *world) finished(t *testing.T, host string) {
	t.Helper()
	w.converged(t, "--limit", host)
	for _, d := range w.Inventory.Deployments {
		if d.Host.Name != host {
			continue
		}
		name := d.User + "@" + host
		if ids := w.active("transmogrify", name); len(ids) != 1 {
			t.Errorf("the tokens %v named %s work, want one", ids, name)
		}
		keys := 0
		for _, key := range w.GitLab.DeployKeys(d.Project) {
			if key.Title == name {
				keys++
			}
		}
		if keys != 1 {
			t.Errorf("%d deploy keys are named %s, want 1", keys, name)
		}
		if lines := w.sh(t, host, `grep -c "provision:$1$" "$(getent passwd "$2" | cut -d : -f 6)/.ssh/authorized_keys"`, d.Name, d.User); lines != "1" {
			t.Errorf("%s lets in %s keys of %s, want 1", host, lines, d.Name)
		}
		if j := w.ci(t, d, ""); j.code != 0 {
			t.Errorf("%s: the deploy of %s: %+v", host, d.Name, j)
		}
	}
	left := w.sh(t, host, `find /home /etc/provision /etc/docker /usr/local/lib/provision |
	grep -E '/(\.?(frobnicator|tool)|login|key|known_hosts|authorized_keys|compose\.override\.yaml|provision\.crt|gate|app)\.[A-Za-z0-9]{6}$' || :`)
	if left != "" {
		t.Errorf("%s: temporary files are left: %s", host, left)
	}
}

// A token that is dead or too weak is told in one sentence, before any host is
// asked for anything.
func TestWeakToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.GitLab.AddUser("guest")
	tomorrow, yesterday := time.Now().AddDate(0, 0, 1), time.Now().AddDate(0, 0, -1)
	reveal := func(v interface{ Reveal() (string, error) }) string {
		text, err := v.Reveal()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	readAPI := reveal(w.GitLab.AddPersonalToken("owner", tomorrow, "read_api"))
	asked := func() string { return w.sh(t, "web1", "journalctl --sync; journalctl -t sudo -o cat | wc -l") }
	before := asked()
	for _, c := range []struct{ name, token, says string }{
		{"unknown", "glpat-0123456789abcdefghij", "the token is unknown, revoked or expired"},
		{"expired", reveal(w.GitLab.AddPersonalToken("owner", yesterday, "api")), "the token is unknown, revoked or expired"},
		{"read only", readAPI, `GitLab token "owner": it needs the scope api, and has read_api until `},
		{"for the registry", reveal(w.GitLab.AddPersonalToken("owner", tomorrow, "read_registry")), "it needs the scope api"},
		{"empty", "", "is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.Inventory.GitLab.Token = w.secretFile(t, c.token)
			r := w.run(t, "apply").exits(t, 1)
			r.says(t, c.says)
			sentence, _, _ := strings.Cut(r.errors, "\n  hint: ")
			if r.out != "" || strings.Contains(strings.TrimSpace(sentence), "\n") || !strings.HasPrefix(sentence, "provision: ") {
				t.Errorf("one sentence is enough: %v", r)
			}
			if c.token != "" && strings.Contains(r.errors, c.token) {
				t.Error("it shows the token")
			}
		})
	}
	if after := asked(); after != before {
		t.Errorf("sudo has logged something: %s lines were %s", after, before)
	}

	// To look, less is enough.
	w.Inventory.GitLab.Token = w.secretFile(t, readAPI)
	if got := w.missing(t); len(got) == 0 {
		t.Error("a plan with a token that may read finds nothing")
	}

	// An owner of nothing is told so, and makes nothing.
	w.Inventory.GitLab.Token = w.secretFile(t, reveal(w.GitLab.AddPersonalToken("guest", tomorrow, "api")))
	w.run(t, "apply").exits(t, 1).says(t, "not found, or not visible to this token")
	for _, r := range w.GitLab.Requests() {
		if r.Changed {
			t.Errorf("a guest has changed something: %+v", r)
		}
	}
}

// A host that does not prove who it is gets nothing, not even a second try.
func TestHostKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	h := w.Inventory.Host("web1")
	pinned := h.HostKeys
	h.HostKeys = nil
	known := filepath.Join(os.Getenv("HOME"), ".ssh", "known_hosts")
	if err := os.MkdirAll(filepath.Dir(known), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(known) })
	// The kernel counts them all; sshd logs some that end early, and some not.
	connections := func() (n int) {
		if _, err := fmt.Sscan(w.sh(t, "web1", "awk '$1 == \"Tcp:\" { n = $7 } END { print n }' /proc/net/snmp"), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(known, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	write("")
	r := w.run(t, "apply").exits(t, 1)
	r.says(t, "web1: the host key of "+h.Address+" is not known: ssh-ed25519 SHA256:", "hint: ")
	line := ""
	for l := range strings.Lines(r.errors) {
		if fields := strings.Fields(l); len(fields) == 3 && fields[0] == h.Address {
			line = l
		}
	}
	if !strings.Contains(w.Hosts["web1"].KnownHosts(), strings.TrimSpace(line)) || line == "" {
		t.Fatalf("there is no line to add: %v", r)
	}
	write(strings.TrimSpace(line) + "\n")
	w.run(t, "plan").exits(t, 0)

	_, another := newKey(t)
	before := connections()
	for _, c := range []struct {
		name   string
		change func()
	}{
		{"changed in known_hosts", func() { write(h.Address + " " + another + "\n") }},
		{"changed in the inventory", func() { write(strings.TrimSpace(line) + "\n"); h.HostKeys = []string{another} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.change()
			r := w.run(t, "apply").exits(t, 1)
			r.says(t, "web1: the host key of "+h.Address+" has CHANGED: it is now ssh-ed25519 SHA256:", "hint: somebody may be listening in")
		})
	}
	if made := connections() - before; made != 2 {
		t.Errorf("two refusals made %d connections", made)
	}
	if got := w.sh(t, "web1", "getent passwd deploy-user || :"); got != "" {
		t.Errorf("a host that was refused has %s", got)
	}
	h.HostKeys = pinned
	w.apply(t)
}

// An interrupt ends what runs on the host too, and the next apply finishes it,
// also where that was the installation of packages.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+`engine = "distribution"
`+app, hosts(func(_ string, o *lab.Options) { o.Docker = false }))
	for _, c := range []struct{ name, hold string }{
		// dpkg waits before it begins, and in the middle of configuring.
		{"before dpkg", `printf 'DPkg::Pre-Invoke {"/usr/local/bin/hold";};\n' >/etc/apt/apt.conf.d/99hold`},
		{"within dpkg", `rm /etc/apt/apt.conf.d/99hold; ln -s /usr/local/bin/hold /usr/sbin/policy-rc.d`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.sh(t, "web1", `printf '#!/bin/sh\ntouch /run/held\nwhile :; do sleep 1; done\n' >/usr/local/bin/hold
chmod 755 /usr/local/bin/hold
rm -f /run/held
`+c.hold)
			ctx, interrupt := context.WithCancel(t.Context())
			done := make(chan result, 1)
			args := w.typed(t, "apply")
			go func() { done <- run(ctx, args...) }()
			w.sh(t, "web1", "until [ -e /run/held ]; do sleep 0.02; done")
			interrupt()
			r := (<-done).exits(t, 1)
			r.says(t, "web1: engine: FAILED: install ", "web1: user deploy-user: not run: create system user deploy-user",
				"it may or may not be done", "interrupted", "running it again finishes the rest")
			if left := w.sh(t, "web1", "pgrep -l 'apt-get|dpkg|hold|invoke' || [ $? = 1 ]"); left != "" {
				t.Errorf("on the host there still run: %s", left)
			}
		})
	}
	w.sh(t, "web1", "rm /usr/sbin/policy-rc.d")
	w.apply(t)
	w.finished(t, "web1")
}
