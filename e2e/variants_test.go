package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"provision/e2e/gitlabtest"
	"provision/e2e/sample"
	"provision/inventory"
)

// What may be said in an inventory about credentials and variables works from
// end to end.
func TestVariants(t *testing.T) {
	t.Parallel()
	for _, c := range sample.Some(t, []struct {
		name, registry, deployment string
		edition                    gitlabtest.Edition
		check                      func(*testing.T, *world)
	}{
		{
			name: "a deploy token, and variables of projects", edition: gitlabtest.EEFree,
			registry: `credential = "deploy-token"`,
			deployment: strings.Replace(app, `{ group = "transmogrify" }`,
				`{ projects = ["transmogrify/frobnicator", "transmogrify/backend"], prefix = "PROD_" }`, 1),
			check: func(t *testing.T, w *world) {
				for _, base := range []string{"SSH_AUTH", "SSH_KNOWN_HOSTS", "SSH_DEPLOY_TARGET"} {
					if w.variable(t, "transmogrify/frobnicator", "PROD_"+base, "production") != w.variable(t, "transmogrify/backend", "PROD_"+base, "production") {
						t.Errorf("the two projects have different %s", base)
					}
				}
				tokens := w.GitLab.DeployTokens("transmogrify")
				if len(tokens) != 1 || !slices.Equal(tokens[0].Scopes, []string{"read_registry"}) || tokens[0].Expires.IsZero() {
					t.Fatalf("the deploy tokens are %+v", tokens)
				}
				// One that is gone is replaced.
				w.api(t, http.MethodDelete, fmt.Sprintf("/groups/transmogrify/deploy_tokens/%d", tokens[0].ID), "")
				if got := w.missing(t); !slices.Equal(got, []string{"registry-login deploy-user"}) {
					t.Errorf("without its token the plan is about %v", got)
				}
			},
		},
		{
			name: "a credential of one's own, and variables for all environments", edition: gitlabtest.EEFree,
			registry:   `credential = { username = "reader", password = { env = "UNUSED" } }`,
			deployment: strings.Replace(app, `environment = "production"`, "", 1),
			check: func(t *testing.T, w *world) {
				if n := len(w.GitLab.Tokens("transmogrify")); n != 0 {
					t.Errorf("%d tokens were made", n)
				}
				// Another password replaces it.
				right := w.Inventory.Registry.Credential.Password
				w.Inventory.Registry.Credential.Password = w.secretFile(t, "another")
				if got := w.missing(t); !slices.Equal(got, []string{"registry-login deploy-user"}) {
					t.Errorf("with another password the plan is about %v", got)
				}
				before := w.read(t, "/home/deploy-user/.docker/config.json")
				w.run(t, "apply").exits(t, 1).says(t, "registry-login deploy-user: docker login "+w.Inventory.Registry.Host)
				if got := w.read(t, "/home/deploy-user/.docker/config.json"); got != before {
					t.Error("a login that failed has replaced one that works")
				}
				w.Inventory.Registry.Credential.Password = right
			},
		},
		{
			name:     "one user for two deployments, of a group above both",
			registry: `group = "transmogrify"`,
			deployment: app + `
[deployments.other]
host = "web1"
project = "transmogrify/sub/other"
user = "deploy-user"
directory = "other"
environment = "production"
branch = "release/1"
variables = { group = "transmogrify/sub", prefix = "X_" }
`,
			check: func(t *testing.T, w *world) {
				if ids := w.active("transmogrify", "deploy-user@web1"); len(ids) != 1 {
					t.Errorf("one user has the tokens %v", ids)
				}
				w.runs(t, "other", "1")
				keys := w.GitLab.DeployKeys("transmogrify/sub/other")
				if len(keys) != 1 || keys[0].Key != w.GitLab.DeployKeys("transmogrify/frobnicator")[0].Key || keys[0].CanPush {
					t.Errorf("the deploy keys of the other project are %v", keys)
				}
			},
		},
	}, 1) {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, head+c.registry+web1+c.deployment, edition(c.edition))
			w.apply(t)
			w.converged(t)
			w.deploy(t, "app", "2")
			c.check(t, w)
			w.apply(t)
			w.converged(t)
			w.deploy(t, "app", "3")
		})
	}
}

// Where GitLab has no environments for variables of groups, that is said, with
// the way out, and no variable is left behind.
func TestNoScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app, edition(gitlabtest.EEFree))
	for range 2 {
		r := w.run(t, "apply").exits(t, 1)
		r.says(t, "no environment scopes for variables of groups", "variables = { projects = [", "web1: ci-key app: not run: ")
	}
	if left := w.GitLab.Variables("transmogrify"); len(left) > 0 {
		t.Errorf("the group has the variables %v", left)
	}
	w.Inventory.Deployments[0].Variables = inventory.Variables{Projects: []string{"transmogrify/frobnicator"}}
	w.apply(t)
	w.converged(t)
	w.deploy(t, "app", "2")
	if ids := w.active("transmogrify", "deploy-user@web1"); len(ids) != 1 {
		t.Errorf("after three applies the tokens are %v", ids)
	}
}
