package e2e_test

import (
	"slices"
	"testing"
)

// Two deployments of two users on one host, and one on another.
const two = head + web1 + web2 + app + withOverride + `
[deployments.tool]
hosts = ["web1", "web2"]
project = "transmogrify/tool"
user = "deploy-tool"
directory = "tool"
environment = "staging"
variables = { group = "transmogrify" }
`

// A bare host takes one connection, one more for each key of CI to be tried, and
// at most five round trips; one that has everything takes one of each.
func TestApply(t *testing.T) {
	t.Parallel()
	w := newWorld(t, two)
	for host, deployments := range map[string]int{"web1": 2, "web2": 1} {
		s := w.apply(t, "--limit", host, "--output", "json").summary(t)
		if s.Hosts != 1 || s.Changes == 0 || s.Connections != 1+deployments || s.Trips > 5 {
			t.Errorf("%s, bare: %+v; want changes, in %d connections and at most 5 trips", host, s, 1+deployments)
		}
		s = w.apply(t, "--limit", host, "--output", "json").summary(t)
		if s.Hosts != 1 || s.Changes != 0 || s.Connections != 1 || s.Trips != 1 {
			t.Errorf("%s, again: %+v; want no change, in 1 connection and 1 trip", host, s)
		}
	}
	w.runs(t, "app", "1")
	w.runs(t, "tool", "1")

	r := w.apply(t)
	r.says(t, "web1: nothing to do\n", "web2: nothing to do\n", "2 hosts, 0 changes made, ")
	if r.errors != "" {
		t.Errorf("an apply without changes complains: %v", r)
	}
	if steps := w.missing(t); len(steps) > 0 {
		t.Errorf("after an apply the plan has %v", slices.Sorted(slices.Values(steps)))
	}

	// No two hosts and no two deployments share a secret.
	secrets := map[string]string{}
	for name, scope := range map[string]string{"app on web1": "production", "tool on web1": "staging/web1", "tool on web2": "staging/web2"} {
		secrets[w.variable(t, "transmogrify", "SSH_AUTH", scope)] = name
	}
	if len(secrets) != 3 {
		t.Errorf("two of three deployments share a key: %d keys", len(secrets))
	}
	for _, name := range []string{"deploy-user@web1", "deploy-tool@web1", "deploy-tool@web2"} {
		if n := len(w.active("transmogrify", name)); n != 1 {
			t.Errorf("there are %d tokens named %s, want 1", n, name)
		}
	}
}
