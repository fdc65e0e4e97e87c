package e2e_test

import (
	"slices"
	"testing"

	"provision/e2e/rehearsal"
)

// A deployment gets another name, environment and prefix at once: its old jobs deploy
// until they are rendered anew, and then nothing of the old is left.
func TestOtherEnvironment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	d := w.deployment(t, "app")
	deploys := startDeployer(t, w, rehearsal.DeployJob(d, ""))

	d.Name, d.Environment, d.Scope, d.Variables.Prefix = "store", "live", "live", "STORE_"
	w.run(t, "plan").exits(t, 0).says(t, "rename app to store", "until a deploy has come in by the new ones")
	w.apply(t)
	deploys.deploys()
	w.converged(t)
	deploys.deploys()
	deploys.stop()

	w.works(t, d, "deploy")
	w.apply(t).says(t, "remove CI variable SSH_AUTH (group transmogrify, environment production)")
	w.converged(t)
	for _, v := range w.GitLab.Variables("transmogrify") {
		if v.Scope != "live" {
			t.Errorf("there is still %s of %s", v.Key, v.Scope)
		}
	}
	if got := w.gateLines(t, "deploy-user"); !slices.Equal(got, []string{"store"}) {
		t.Errorf("the keys are for %q", got)
	}
	w.works(t, d, "deploy")
}

// One of two is taken out, and the other one gets its name: the one that is wanted goes on,
// and of the other one everything goes by the command that is printed, also in GitLab.
func TestOneTakesTheNameOfAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shops, shopProject)
	w.apply(t)
	d := w.deployment(t, "shop")
	w.deploy(t, "shop", "2")
	w.drop(t, "blog")

	d.Name = "blog"
	planned(t, w.plan(t), "names blog: rename blog to blog.OLD (~deploy-user/blog is left behind)", "names blog: rename shop to blog")
	p := w.startPusher(t, d, 10)
	w.apply(t)
	w.converged(t)
	const command = "provision remove --deployment blog.OLD --limit web1 "
	w.run(t, "plan").exits(t, 0).says(t, "blog.OLD is installed on this host but not in the inventory", command)
	w.run(t, "verify", "--as", "admin").exits(t, 3).says(t, command)
	w.remove(t, "blog.OLD", "--limit", "web1").says(t, "remove CI variable BLOG_SSH_AUTH")
	version := p.stop()
	w.runs(t, "blog", version)
	w.converged(t)
	w.run(t, "verify", "--as", "admin").exits(t, 0)
	for _, v := range w.GitLab.Variables("transmogrify") {
		if v.Description != "Set by provision for blog on web1." || v.Key[:5] != "SHOP_" {
			t.Errorf("there is %s: %s", v.Key, v.Description)
		}
	}
	if got := w.gateLines(t, "deploy-user"); !slices.Equal(got, []string{"blog"}) {
		t.Errorf("the keys are for %q", got)
	}
}
