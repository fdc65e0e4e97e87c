package e2e_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"provision/e2e/gitlabtest"
	"provision/e2e/sample"
	"provision/inventory"
)

// connect logs in to web1 with a key, and stays until the test ends or the host
// hangs up, which closes the channel that is returned.
func (w *world) connect(t *testing.T, user, private string) (left chan struct{}) {
	t.Helper()
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		t.Fatal(err)
	}
	h := w.Hosts["web1"]
	client, err := ssh.Dial("tcp", fmt.Sprintf("%s:%d", h.Address, h.Port), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	left = make(chan struct{})
	go func() {
		client.Wait()
		close(left)
	}()
	return left
}

// open fails the test unless a connection is there, or is not.
func open(t *testing.T, left chan struct{}, want bool) {
	t.Helper()
	if want {
		select {
		case <-left:
			t.Error("the connection is closed")
		default:
		}
		return
	}
	select {
	case <-left:
	case <-time.After(time.Minute):
		t.Error("the connection is still open")
	}
}

// CI has a connection open when its deployment goes, as ControlPersist keeps one, and a
// container of somebody else runs with the number of its user. Somebody else's user and
// one that another deployment needs lose nothing.
func TestLeaveWithSessionsOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, three)
	all := w.Inventory.Deployments
	keys := func(name string) string {
		d := w.deployment(t, name)
		key := d.Variables.Key("SSH_AUTH")
		if d.Variables.Group != "" {
			return w.variable(t, d.Variables.Group, key, d.Scope)
		}
		return w.variable(t, d.Variables.Projects[0], key, d.Scope)
	}
	const users = `for user in deploy-user deploy-tool; do id -nG "$user" 2>/dev/null || echo "no $user"; done`
	for _, systemd := range []bool{true, false} {
		t.Run(fmt.Sprintf("logind %t", systemd), func(t *testing.T) {
			w.apply(t)
			if !systemd {
				w.sh(t, "web1", `printf '#!/bin/sh\nexit 1\n' >/usr/local/sbin/loginctl; chmod 755 /usr/local/sbin/loginctl`)
			}
			app, sister, tool := w.connect(t, "deploy-user", keys("app")), w.connect(t, "deploy-user", keys("sister")), w.connect(t, "deploy-tool", keys("tool"))
			uid := w.sh(t, "web1", `id -u deploy-tool
setsid runuser -u deploy-tool -- sh -c 'trap "" TERM HUP; sleep 3000' >/dev/null 2>&1 </dev/null &`)
			image := w.sh(t, "web1", `docker ps --format '{{.Image}}' | head -n 1`)
			w.sh(t, "web1", `docker rm --force other >/dev/null 2>&1; docker run --detach --name other --user "$1" --entrypoint sleep "$2" 3000`, uid, image)

			w.remove(t, "tool")
			open(t, tool, false)
			open(t, app, true)
			open(t, sister, true)
			if got := w.sh(t, "web1", users); !strings.HasSuffix(got, "no deploy-tool") || strings.Contains(got, "no deploy-user") {
				t.Errorf("the users are %s", got)
			}
			if got := w.sh(t, "web1", `docker ps --quiet --filter name=other`); got == "" {
				t.Error("the container of somebody else is gone")
			}
			w.remove(t, "app").says(t, "deploy-user stays, for sister")
			open(t, app, true) // its key opens nothing any more: see the gate
			w.remove(t, "sister")
			open(t, app, false)
			open(t, sister, false)
			if got := w.sh(t, "web1", users); got != "no deploy-user\nno deploy-tool" {
				t.Errorf("the users are %s", got)
			}
		})
	}
	w.Inventory.Deployments = all
}

// What cannot be ended keeps the account, and nothing that it could do with it.
func TestLeaveWithWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	key := w.variable(t, "transmogrify", "SSH_AUTH", "production")
	left := w.connect(t, "deploy-user", key)
	w.sh(t, "web1", `systemd-run --quiet --unit theirs --uid deploy-user -p Restart=always -p RestartSec=0 -p StartLimitIntervalSec=0 sleep 3000`)
	w.run(t, "remove", "--deployment", "app", "--yes").exits(t, 1).says(t,
		"deploy-user is out of the group docker and can no longer log in, but is not removed, as its process ", "(sleep, of theirs.service) does not end: end it, and run remove again")
	open(t, left, false)
	if got := w.sh(t, "web1", `id -nG deploy-user; chage -l deploy-user | grep 'Account expires'`); strings.Contains(got, "docker") || strings.Contains(got, "never") {
		t.Errorf("the account: %s", got)
	}
	// Wanted again before it was gone, it is as it was.
	w.apply(t).says(t, "set account of deploy-user not to expire", "add deploy-user to the docker group")
	w.converged(t)
	w.deploy(t, "app", "2")

	w.sh(t, "web1", `systemctl stop theirs`)
	w.remove(t, "app")
	if got := w.sh(t, "web1", `getent passwd deploy-user || echo gone; pgrep -u 990 || :`); !strings.HasPrefix(got, "gone") {
		t.Errorf("the user: %s", got)
	}
}

// Root speaks with another Docker than the deployment: by a context, by its environment.
func TestLeaveWithAnotherDocker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app+withOverride)
	scripts := map[string]string{ // the one after the other: what root has stays
		"context": `docker context create elsewhere --docker host=unix:///run/elsewhere.sock >/dev/null && docker context use elsewhere`,
		"environment": `printf 'Defaults env_keep += "DOCKER_HOST COMPOSE_FILE"\n' >/etc/sudoers.d/docker
printf 'DOCKER_HOST=tcp://127.0.0.1:1\nCOMPOSE_FILE=/nowhere.yaml\n' >>/etc/environment`,
	}
	for _, what := range sample.Some(t, slices.Sorted(maps.Keys(scripts)), 1) {
		t.Run(what, func(t *testing.T) {
			w.apply(t)
			w.sh(t, "web1", scripts[what])
			w.apply(t, "--output", "json")
			w.remove(t, "app").says(t, "containers app: done: remove the containers and networks of app")
			if got := w.sh(t, "web1", `docker --host unix:///run/docker.sock ps --all --quiet`); got != "" {
				t.Errorf("containers are left: %s", got)
			}
		})
	}
	t.Run("of the user", func(t *testing.T) {
		w.apply(t)
		w.sh(t, "web1", `runuser -u deploy-user -- env -i HOME=/home/deploy-user PATH="$PATH" sh -c 'docker context create far --docker host=ssh://far.example.com && docker context use far' >/dev/null`)
		w.run(t, "remove", "--deployment", "app", "--yes").exits(t, 1).says(t, "the docker of deploy-user is at ssh://far.example.com, and not on this host", "docker context use default")
		w.sh(t, "web1", `runuser -u deploy-user -- env -i HOME=/home/deploy-user PATH="$PATH" docker context use default`)
		w.run(t, "remove", "--deployment", "app", "--yes")
		if got := w.sh(t, "web1", `docker --host unix:///run/docker.sock ps --all --quiet`); got != "" {
			t.Errorf("containers are left: %s", got)
		}
	})
}

// theirs gives GitLab what another inventory makes there for a host of its own, or what
// this one has made once: the variables of a deployment, a token and a deploy key.
func (w *world) theirs(t *testing.T, name, host, user, target string) {
	t.Helper()
	for _, v := range [][2]string{{"SSH_AUTH", "x"}, {"SSH_KNOWN_HOSTS", "x"}, {"SSH_DEPLOY_TARGET", target}} {
		w.api(t, http.MethodPost, "/groups/transmogrify/variables", fmt.Sprintf(`{"key": %q, "value": %q, "environment_scope": %q, "description": "Set by provision for %s on %s."}`, v[0], v[1], "production/"+host, name, host))
	}
	title := user + "@" + host
	w.api(t, http.MethodPost, "/groups/transmogrify/access_tokens", fmt.Sprintf(`{"name": %q, "description": "Made by provision for %[1]s.", "scopes": ["read_registry"], "access_level": 20, "expires_at": %q}`, title, time.Now().AddDate(0, 6, 0).Format(time.DateOnly)))
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " " + title
	w.api(t, http.MethodPost, "/projects/transmogrify%2Ffrobnicator/deploy_keys", fmt.Sprintf(`{"title": %q, "key": %q, "can_push": false}`, title, line))
}

// pasted runs the command of a hint that begins with some words, with more flags.
func (w *world) pasted(t *testing.T, r result, words string, flags ...string) result {
	t.Helper()
	_, rest, ok := strings.Cut(r.out+r.errors, words)
	if !ok {
		t.Fatalf("there is no hint %q: %v", words, r)
	}
	rest, _, _ = strings.Cut(rest, "\n")
	printed, err := exec.Command("sh", "-c", `printf '%s\n' `+words+rest).Output()
	if err != nil {
		t.Fatal(err)
	}
	return run(t.Context(), append(strings.Split(strings.TrimSuffix(string(printed), "\n"), "\n"), flags...)...)
}

// typing runs a command at a terminal where somebody types.
func (w *world) typing(t *testing.T, answers string, args ...string) result {
	t.Helper()
	command, out, _ := w.process(t, args...)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	words := append([]string{"exec", self}, command.Args[1:]...)
	command.Path = "/usr/bin/script"
	command.Args = []string{"script", "--quiet", "--return", "--flush", "--command", strings.Join(words, " "), "/dev/null"}
	command.Stdin, command.Stderr = strings.NewReader(answers), out
	err = command.Run()
	r := result{out: out.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return r
}

// A host is gone, and so it is from the inventory: what it has in GitLab is found without
// a name, and goes by it. Another inventory has the same groups.
func TestLeaveHostGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+web2+strings.Replace(app, `host = "web1"`, `hosts = ["web1", "web2"]`, 1))
	names := func() []string { return slices.Sorted(maps.Keys(w.inGitLab(t))) }
	hosts, deployments := w.Inventory.Hosts, w.Inventory.Deployments
	w.apply(t)
	w.theirs(t, "shop", "shop1", "deploy-user", "ssh://deploy-user@shop1.example.com")
	all := names()

	if err := w.Hosts["web2"].PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Inventory.Hosts, w.Inventory.Deployments = hosts[:1], deployments[:1]
	const drift = "web2 is not in the inventory, and GitLab still has 3 CI variables, 1 token and 1 deploy key of it, for app"
	const note = "shop1 is not in the inventory, and GitLab still has 3 CI variables, 1 token and 1 deploy key of it, for shop"
	plan := w.run(t, "plan").exits(t, 0)
	plan.says(t, "web1: nothing to do", "web2: left-in-gitlab: note: "+drift, "shop1: left-in-gitlab: note: "+note)
	w.run(t, "plan", "--limit", "web1").exits(t, 0).saysNot(t, "is not in the inventory")
	junit := filepath.Join(w.dir, "junit.xml")
	w.run(t, "verify", "--as", "admin", "--junit", junit).exits(t, 3).says(t, "DRIFT: "+drift, "note: "+note, ", 1 DRIFT, ")
	if text, err := os.ReadFile(junit); err != nil || !strings.Contains(string(text), drift) {
		t.Errorf("%v: the JUnit report is %s", err, text)
	}
	w.run(t, "verify").exits(t, 3).says(t, "web2 is not in the inventory, and GitLab still has 3 CI variables")
	w.run(t, "clean").exits(t, 2).says(t, "there is no terminal")
	w.run(t, "clean", "--yes").exits(t, 3).says(t, drift, note)
	w.typing(t, "\nweb1\n", "clean").exits(t, 3).says(t, "shop1 may be in another inventory", "web2 may be in another inventory")
	if got := names(); !slices.Equal(got, all) {
		t.Fatalf("GitLab had %q and has %q", all, got)
	}

	trap := w.GitLab.Fail(http.MethodDelete, "/api/v4/groups/*/variables/*", 0, gitlabtest.Failure(http.StatusServiceUnavailable))
	w.pasted(t, plan, "provision remove --gone web2 ", "--yes").exits(t, 1)
	trap.Remove()
	w.typing(t, "\nweb2\n", "clean").exits(t, 3).says(t, "remove CI variable SSH_AUTH (group transmogrify, environment production/web2)")
	w.run(t, "remove", "--gone", "web2", "--yes").exits(t, 0).says(t, "web2: nothing to do")
	again := w.run(t, "plan").exits(t, 0)
	again.saysNot(t, "web2")
	again.says(t, note)
	w.run(t, "verify", "--as", "admin").exits(t, 0)
	want := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return strings.HasSuffix(name, " for production/web2") })
	if got := names(); len(got) != len(want)-2 || !slices.Contains(got, "variable SSH_AUTH of transmogrify for production/shop1") {
		t.Errorf("GitLab had %q and has %q", all, got)
	}
	w.works(t, w.deployment(t, "app"), "deploy")

	// One deployment of a host alone, and what leads to a host of ours that has none of it.
	w.run(t, "remove", "--deployment", "shop", "--limit", "shop1", "--yes").exits(t, 0).says(t, "5 changes made")
	w.theirs(t, "old", "old9", "deploy-old", strings.Replace(w.variable(t, "transmogrify", "SSH_DEPLOY_TARGET", "production/web1"), "deploy-user", "deploy-old", 1))
	w.run(t, "clean", "--yes").exits(t, 0).says(t, "5 changes made")
	w.run(t, "clean", "--yes").exits(t, 0).says(t, "GitLab has nothing that no host of the inventory holds")
	if got := names(); len(got) != len(want)-2-5 {
		t.Errorf("GitLab has %q", got)
	}
	w.converged(t)
}

// A host got another name in the inventory. What it holds under the old one stays.
func TestLeaveHostRenamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	host := *w.Inventory.Hosts[0]
	host.Name = "front"
	d := *w.Inventory.Deployments[0]
	d.Host = &host
	w.Inventory.Hosts, w.Inventory.Deployments = []*inventory.Host{&host}, []*inventory.Deployment{&d}
	before := w.inGitLab(t)
	w.run(t, "plan").saysNot(t, "left-in-gitlab")
	w.run(t, "remove", "--gone", "web1", "--yes").exits(t, 0).says(t, "of group transmogrify stays: front holds it", "the deploy key of deploy-user of project transmogrify/frobnicator stays: front holds it")
	w.run(t, "clean", "--yes").exits(t, 0)
	if got := w.inGitLab(t); !maps.Equal(got, before) {
		t.Errorf("GitLab had %q and has %q", before, got)
	}
}
