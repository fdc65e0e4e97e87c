package e2e_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"provision/inventory"
)

// A deployment gets a second host, and loses it for good. What it had in GitLab
// goes in the one case with its old environment, in the other with its host; and
// that the host does not answer is no obstacle.
func TestHostGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+web2+strings.Replace(app, `host = "web1"`, `hosts = ["web1", "web2"]`, 1))
	names := func() []string { return slices.Sorted(maps.Keys(w.inGitLab(t))) }
	hosts, deployments := w.Inventory.Hosts, w.Inventory.Deployments
	one := *deployments[0]
	one.Scope = "production"
	single := func() { w.Inventory.Hosts, w.Inventory.Deployments = hosts[:1], []*inventory.Deployment{&one} }
	single()
	w.apply(t)
	alone := names()

	w.Inventory.Hosts, w.Inventory.Deployments = hosts, deployments
	w.apply(t, "--finish").says(t, "stale-variables app: done: remove CI variable SSH_AUTH (group transmogrify, environment production)\n",
		"note: the jobs of app use an old environment or prefix, and fail until")
	w.converged(t)
	together := names()
	if len(together) <= len(alone) || slices.Contains(together, "variable SSH_AUTH of transmogrify for production") {
		t.Fatalf("GitLab has %q", together)
	}

	if err := w.Hosts["web2"].PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.run(t, "remove", "--gone", "web2").exits(t, 2).says(t, "there is no terminal to ask whether to remove what web2 has in GitLab")
	w.run(t, "remove", "--gone", "web3", "--yes").exits(t, 0).says(t, "GitLab has nothing of web3 where ", "; did you mean web", "web3: nothing to do")
	w.run(t, "remove", "--gone", "web2", "--deployment", "app", "--yes").exits(t, 2)
	if got := names(); !slices.Equal(got, together) {
		t.Fatalf("GitLab had %q and has %q", together, got)
	}
	w.Inventory.Deployments = deployments[:1]
	w.run(t, "remove", "--gone", "web2", "--yes").exits(t, 2).says(t, "deploys nothing on web2\n  hint: take [hosts.web2] out of it, too")
	w.Inventory.Deployments = deployments
	r := w.run(t, "remove", "--gone", "web2", "--yes", "--output", "json").exits(t, 0)
	r.says(t, "still names web2")
	if s := r.summary(t); s.Connections != 0 || s.Changes != 5 {
		t.Errorf("%+v", s)
	}
	w.run(t, "remove", "--gone", "web2", "--yes").exits(t, 0).says(t, "web2: nothing to do")

	single()
	w.apply(t, "--finish")
	w.converged(t)
	if got := names(); !slices.Equal(got, alone) {
		t.Errorf("GitLab had %q and has %q", alone, got)
	}
	w.works(t, &one, "deploy")
}
