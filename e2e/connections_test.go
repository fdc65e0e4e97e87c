package e2e_test

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// A connection that was opened with a key before that was revoked ends with the key, whether
// it is idle or what a client that multiplexes has left; a deploy that runs in one is let
// finish, and its connection ends with it. Those of keys that are let in stay.
func TestRevokedConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	d := w.deployment(t, "app")
	stolen := w.variable(t, "transmogrify", "SSH_AUTH", d.Scope)

	busy := w.login(t, "web1", d.User, []byte(stolen))
	release := w.holdDeploys(t, d.User, d.Name)
	job, err := busy.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	job.Stdout = &said
	if err := job.Start("deploy"); err != nil {
		t.Fatal(err)
	}
	w.until(t, d, `grep -q 'waiting for the deploy that began at ' "$(cat last).log"`)
	idle := w.connect(t, d.User, stolen)
	used := w.login(t, "web1", d.User, []byte(stolen))
	if j := ask(t, used, "status"); j.code != 0 {
		t.Fatalf("%+v", j)
	}
	hungUp := func(c *ssh.Client) chan struct{} {
		left := make(chan struct{})
		go func() {
			_ = c.Wait()
			close(left)
		}()
		return left
	}
	usedLeft, busyLeft := hungUp(used), hungUp(busy)

	w.run(t, "rotate-key", "--only", "ci-key").exits(t, 0).says(t, "web1: connections deploy-user: done: close open SSH connections of deploy-user (2 connections with a revoked key: SHA256:")
	open(t, idle, false)
	open(t, usedLeft, false)
	open(t, busyLeft, true)
	fresh := w.connect(t, d.User, w.variable(t, "transmogrify", "SSH_AUTH", d.Scope))
	w.converged(t)
	release()
	if err := job.Wait(); err != nil || !strings.Contains(said.String(), "provision: ") {
		t.Errorf("the deploy ended with %v: %s", err, said.String())
	}
	open(t, busyLeft, false)
	open(t, fresh, true)

	// A line that somebody takes out by hand closes what it let in, too.
	w.sh(t, "web1", `sed -i '/provision:app$/d' "/home/$1/.ssh/authorized_keys"`, d.User)
	w.run(t, "verify", "--as", "admin").exits(t, 3).says(t, "web1: connections deploy-user: DRIFT: apply would close open SSH connections of deploy-user")
	w.apply(t)
	open(t, fresh, false)
	w.converged(t)
}
