package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
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
	for what, script := range map[string]string{
		"context": `docker context create elsewhere --docker host=unix:///run/elsewhere.sock >/dev/null && docker context use elsewhere`,
		"environment": `printf 'Defaults env_keep += "DOCKER_HOST COMPOSE_FILE"\n' >/etc/sudoers.d/docker
printf 'DOCKER_HOST=tcp://127.0.0.1:1\nCOMPOSE_FILE=/nowhere.yaml\n' >>/etc/environment`,
	} {
		t.Run(what, func(t *testing.T) {
			w.apply(t)
			w.sh(t, "web1", script)
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
