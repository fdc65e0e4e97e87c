package e2e_test

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"provision/e2e/rehearsal"
	"provision/inventory"
)

// A deployer deploys as CI does, one time after another, until it is stopped. The job is
// always the same: what changes under it is what GitLab gives to it.
type deployer struct {
	mu     sync.Mutex
	ended  *sync.Cond
	quit   bool
	done   int // deploys
	failed bool
	wait   sync.WaitGroup
}

func startDeployer(t *testing.T, w *world, job rehearsal.Job) *deployer {
	t.Helper()
	d := &deployer{}
	d.ended = sync.NewCond(&d.mu)
	d.wait.Go(func() {
		for d.goesOn() {
			out, err := w.Run(t.Context(), job)
			d.mu.Lock()
			if err != nil {
				t.Errorf("after %d deploys one fails: %v\n%s", d.done, err, out)
				d.failed = true
			}
			d.done++
			d.ended.Broadcast()
			d.mu.Unlock()
		}
	})
	t.Cleanup(d.stop)
	return d
}

func (d *deployer) goesOn() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.quit && !d.failed
}

// deploys waits until a deploy that begins after the call has ended.
func (d *deployer) deploys() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for before := d.done; d.done < before+2 && !d.failed; {
		d.ended.Wait()
	}
}

func (d *deployer) stop() {
	d.mu.Lock()
	d.quit = true
	d.mu.Unlock()
	d.wait.Wait()
}

// A host gets another name: nothing is made anew, and nothing is left over.
func TestHostRenamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	before := slices.Collect(maps.Keys(w.inGitLab(t)))
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
	deploys.deploys()
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
	for left := range w.inGitLab(t) {
		if !slices.Contains(before, left) {
			t.Errorf("after a removal GitLab has %s", left)
		}
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

// A deployment gets a second host, and so other environments. Its old jobs deploy without a
// pause until their file is changed, and all of it is done with the old when it is.
func TestSecondHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+web2+strings.Replace(app, `host = "web1"`, `hosts = ["web1", "web2"]`, 1))
	hosts, deployments := w.Inventory.Hosts, w.Inventory.Deployments
	one := *deployments[0]
	one.Scope = "production"
	w.Inventory.Hosts, w.Inventory.Deployments = hosts[:1], []*inventory.Deployment{&one}
	w.apply(t)
	old := w.variable(t, "transmogrify", "SSH_AUTH", "production")
	deploys := startDeployer(t, w, rehearsal.DeployJob(&one, ""))

	w.Inventory.Hosts, w.Inventory.Deployments = hosts, deployments
	const waits = "note: CI may go on with the former variables of app (group transmogrify, environment production) until a deploy has come in by the new ones"
	w.run(t, "plan").exits(t, 0).says(t, waits, "provision render --deployment app ci ", "provision apply --finish --limit app ")
	w.apply(t).says(t, waits)
	if w.variable(t, "transmogrify", "SSH_AUTH", "production") != old || w.variable(t, "transmogrify", "SSH_AUTH", "production/web1") == old {
		t.Error("the old variables and the new ones have not a key of their own each")
	}
	deploys.deploys()
	w.converged(t)
	deploys.deploys()
	verify(t, w.inventoryFile(t)).says(t, waits[len("note: "):])
	run(t.Context(), w.typed(t, "render", "--deployment", "app", "ci")...).exits(t, 0).says(t, "production/web1")

	// A rotation leaves both with keys that work.
	w.run(t, "rotate-key").exits(t, 0)
	rotated := w.variable(t, "transmogrify", "SSH_AUTH", "production")
	if rotated == old || rotated == w.variable(t, "transmogrify", "SSH_AUTH", "production/web1") {
		t.Error("the old variables have not a new key of their own")
	}
	deploys.deploys()
	w.converged(t)

	// The file is changed.
	deploys.stop()
	w.works(t, deployments[0], "deploy")
	r := w.apply(t)
	r.says(t, "stale-variables app: done: remove CI variable SSH_AUTH (group transmogrify, environment production)\n")
	r.saysNot(t, waits)
	if _, ok := w.GitLab.Variable("transmogrify", "SSH_AUTH", "production"); ok {
		t.Error("the old variables are still there")
	}
	if lines := w.sh(t, "web1", `grep -c provision:app /home/deploy-user/.ssh/authorized_keys`); lines != "1" {
		t.Errorf("%s keys open the gate", lines)
	}
	w.converged(t)
	if plan := w.plan(t); len(plan) > 0 {
		t.Errorf("at last the plan has %q", plan)
	}
	w.works(t, deployments[1], "deploy")
}

// Variables go from the project to its group and back. Jobs get them as they are, and none
// fails.
func TestOtherOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	d := w.deployment(t, "app")
	inGroup, inProject := d.Variables, inventory.Variables{Projects: []string{d.Project}}
	job := rehearsal.DeployJob(d, "")
	job.In = d.Project
	w.apply(t)
	deploys := startDeployer(t, w, job)
	for _, v := range []inventory.Variables{inProject, inGroup, inProject} {
		d.Variables = v
		w.apply(t)
		deploys.deploys()
		w.apply(t)
		w.converged(t)
		for _, text := range w.plan(t) {
			if !strings.HasPrefix(text, "containers app: note: a deploy of app is running") {
				t.Errorf("with %+v the plan has %q", v, text)
			}
		}
		deploys.deploys()
	}
	deploys.stop()
	if left := w.GitLab.Variables("transmogrify"); len(left) > 0 {
		t.Errorf("the group still has %+v", left)
	}
}

// The credential to the registry is of another kind, and then of another group: what it
// replaces works no longer.
func TestOtherCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+strings.Replace(app, `project = "transmogrify/`, `project = "transmogrify/tools/`, 1))
	d := w.deployment(t, "app")
	tokens := func() (all []string) {
		for _, group := range []string{"transmogrify", "transmogrify/tools"} {
			for _, token := range w.GitLab.Tokens(group) {
				if token.Active {
					all = append(all, group+" "+token.Name)
				}
			}
			for _, token := range w.GitLab.DeployTokens(group) {
				if token.Active {
					all = append(all, group+" deploy "+token.Name)
				}
			}
		}
		return all
	}
	for _, c := range []struct {
		kind  inventory.CredentialKind
		group string
		want  string
	}{
		{inventory.GroupAccessToken, "transmogrify/tools", "transmogrify/tools deploy-user@web1"},
		{inventory.DeployToken, "transmogrify/tools", "transmogrify/tools deploy deploy-user@web1"},
		{inventory.DeployToken, "transmogrify", "transmogrify deploy deploy-user@web1"},
		{inventory.GroupAccessToken, "transmogrify/tools", "transmogrify/tools deploy-user@web1"},
		{inventory.GroupAccessToken, "transmogrify", "transmogrify deploy-user@web1"},
	} {
		w.Inventory.Registry.Credential.Kind, w.Inventory.Registry.Group, d.TokenGroup = c.kind, c.group, c.group
		w.apply(t).saysNot(t, "revoked or expired")
		w.converged(t)
		if got := tokens(); !slices.Equal(got, []string{c.want}) {
			t.Errorf("the tokens are %q, want %q", got, c.want)
		}
		w.works(t, d, "deploy")
	}
	if kept := w.sh(t, "web1", "ls /home/deploy-user/.docker"); strings.Contains(kept, "before-provision") {
		t.Errorf("a login of our own is kept as somebody else's: %s", kept)
	}
}

// GitLab gives a project another path: everything goes on, and the inventory follows.
func TestProjectRenamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	d := w.deployment(t, "app")
	w.GitLab.Rename(d.Project, "frobnicate")
	w.run(t, "plan", "--exit-code").exits(t, 0).says(t, "note: GitLab has moved project transmogrify/frobnicator to transmogrify/frobnicate",
		`write project = "transmogrify/frobnicate" in the inventory`)
	w.converged(t)
	if v, ok := w.GitLab.Variable("transmogrify", "SSH_AUTH", "production"); !ok || v.Value.IsZero() {
		t.Error("the variables are gone")
	}
	w.run(t, "rotate-key", "--only", "repo-key").exits(t, 0)

	d.Project = "transmogrify/frobnicate"
	w.apply(t).says(t, "set the origin of ~deploy-user/frobnicator to ssh://git@")
	w.converged(t)
	if plan := w.plan(t); len(plan) > 0 {
		t.Errorf("at last the plan has %q", plan)
	}
	w.sh(t, "web1", `runuser -u deploy-user -- env HOME=/home/deploy-user git -C /home/deploy-user/frobnicator ls-remote --quiet origin HEAD >/dev/null`)

	w.GitLab.Rename("transmogrify", "ops")
	w.run(t, "plan").exits(t, 1).says(t, "GitLab has moved project transmogrify/frobnicate to ops/frobnicate, in group ops: write these in the inventory")
}
