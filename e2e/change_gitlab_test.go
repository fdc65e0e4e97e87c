package e2e_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"provision/e2e/rehearsal"
)

// A deployer deploys as CI does, one time after another, until it is stopped. The job is
// always the same: what changes under it is what GitLab gives to it.
type deployer struct {
	stop func() (deploys int64)
	done *atomic.Int64
}

func startDeployer(t *testing.T, w *world, job rehearsal.Job) deployer {
	t.Helper()
	var d deployer
	d.done = new(atomic.Int64)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if out, err := w.Run(t.Context(), job); err != nil {
				t.Errorf("after %d deploys one fails: %v\n%s", d.done.Load(), err, out)
				return
			}
			d.done.Add(1)
		}
	})
	d.stop = func() int64 {
		cancel()
		wg.Wait()
		return d.done.Load()
	}
	t.Cleanup(func() { d.stop() })
	return d
}

// deploysOnce waits until one more deploy has begun and ended.
func (d deployer) deploysOnce(t *testing.T) {
	t.Helper()
	for before := d.done.Load(); d.done.Load() < before+2 && !t.Failed(); {
		t.Context().Err() // the deployer runs beside it
	}
}

// A host gets another name: nothing is made anew, and nothing is left over.
func TestHostRenamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	d := w.deployment(t, "app")
	tokens := w.active("transmogrify", "deploy-user@web1")
	key := w.variable(t, "transmogrify", "SSH_AUTH", "production")
	if len(tokens) != 1 {
		t.Fatalf("tokens %v", tokens)
	}
	deploys := startDeployer(t, w, rehearsal.DeployJob(d, ""))

	w.rename(t, "web1", "web3")
	r := w.apply(t)
	r.saysNot(t, "revoked or expired", "create access token")
	deploys.deploysOnce(t)
	deploys.stop()
	w.converged(t)
	if plan := w.plan(t); len(plan) > 0 {
		t.Errorf("a second plan has %q", plan)
	}
	if got := w.active("transmogrify", "deploy-user@web1"); !slices.Equal(got, tokens) {
		t.Errorf("the token was %v and is %v", tokens, got)
	}
	if got := w.active("transmogrify", "deploy-user@web3"); len(got) > 0 {
		t.Errorf("there are new tokens %v", got)
	}
	if w.variable(t, "transmogrify", "SSH_AUTH", "production") != key {
		t.Error("there is a new CI key")
	}
	for _, v := range w.GitLab.Variables("transmogrify") {
		if v.Description != "Set by provision for app on web3." {
			t.Errorf("%s says %q", v.Key, v.Description)
		}
	}
	if keys := w.GitLab.DeployKeys(d.Project); len(keys) != 1 || keys[0].Title != "deploy-user@web3" {
		t.Errorf("the deploy keys are %+v", keys)
	}

	w.run(t, "rotate-key").exits(t, 0)
	if old, now := w.active("transmogrify", "deploy-user@web1"), w.active("transmogrify", "deploy-user@web3"); len(old) != 0 || len(now) != 1 {
		t.Errorf("after a rotation the tokens are %v and %v", old, now)
	}
	w.works(t, d, "deploy")

	w.rename(t, "web3", "web4")
	w.run(t, "remove", "--deployment", "app", "--yes").exits(t, 0)
	if left := w.inGitLab(t); len(left) > 0 {
		t.Errorf("after a removal GitLab has %v", left)
	}
}

// rename gives a host of the inventory another name.
func (w *world) rename(t *testing.T, old, name string) {
	t.Helper()
	h := w.Inventory.Host(old)
	h.Name = name
	w.Hosts[name] = w.Hosts[old]
	delete(w.Hosts, old)
	for _, d := range w.Inventory.Deployments {
		if scope, ok := strings.CutSuffix(d.Scope, "/"+old); ok && d.Host == h {
			d.Scope = scope + "/" + name
		}
	}
}
