package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"provision/e2e/gitlabtest"
)

const threeOfTwo = head + web1 + app + `
[deployments.tool]
host = "web1"
project = "transmogrify/tool"
user = "deploy-tool"
directory = "tool"
environment = "production"
variables = { projects = ["transmogrify/tool"] }

[deployments.other]
host = "web1"
project = "transmogrify/frobnicator"
user = "deploy-user"
directory = "other"
environment = "staging"
variables = { group = "transmogrify" }
`

// aboutTool fails what GitLab is asked about the project of the deployment tool.
func aboutTool(status int) gitlabtest.Fault {
	fail := gitlabtest.Failure(status)
	return func(answer http.ResponseWriter, r *http.Request, gitlab http.Handler) {
		if strings.Contains(r.URL.Path, "tool") {
			fail(answer, r, gitlab)
			return
		}
		gitlab.ServeHTTP(answer, r)
	}
}

// A deployment that cannot be had does not keep others of its host from being
// made, whatever the reason is and whenever it shows.
func TestOneDeploymentFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, threeOfTwo)
	works := func(t *testing.T, names ...string) {
		t.Helper()
		for _, name := range names {
			if j := w.ci(t, w.deployment(t, name), ""); j.code != 0 {
				t.Errorf("the deploy of %s: %+v", name, j)
			}
		}
	}

	// It cannot be looked at.
	trap := w.GitLab.Fail(http.MethodGet, "/api/v4/projects/*/deploy_keys", 0, aboutTool(http.StatusForbidden))
	plan := w.run(t, "plan").exits(t, 1)
	plan.says(t, "web1: checkout app: clone ", "provision: web1: deploy-key deploy-tool transmogrify/tool: look: ")
	plan.saysNot(t, "checkout tool")
	r := w.run(t, "apply", "--limit", "app", "--limit", "tool").exits(t, 1)
	r.says(t, "web1: containers app: done: start ", "provision: web1: deploy-key deploy-tool transmogrify/tool: look: ",
		"web1: registry-login deploy-tool: not run: ", "web1: checkout tool: not run: clone ", "web1: repo-key deploy-tool: done: ")
	trap.Remove()
	works(t, "app")

	// A change fails, and another one of the same user is in the same program.
	trap = w.GitLab.Fail(http.MethodPost, "/api/v4/projects/*/deploy_keys", 0, aboutTool(http.StatusForbidden))
	r = w.run(t, "apply").exits(t, 1)
	r.says(t, "web1: containers other: done: start ", "web1: deploy-key deploy-tool transmogrify/tool: FAILED: ", "web1: checkout tool: not run: clone ",
		"provision: web1: deploy-key deploy-tool transmogrify/tool: ")
	trap.Remove()
	works(t, "app", "other")

	// It cannot be had as the host is.
	w.sh(t, "web1", `mkdir /home/deploy-tool/tool; chown deploy-tool: /home/deploy-tool/tool`)
	w.sh(t, "web1", `docker ps -q --filter label=com.docker.compose.project=frobnicator | xargs docker stop`)
	r = w.run(t, "apply").exits(t, 1)
	r.says(t, "provision: web1: checkout tool: ~deploy-tool/tool is there, but is no clone with an origin",
		"web1: containers app: done: start ", "web1: registry-login deploy-tool: done: ")
	works(t, "app", "other")
	r = w.run(t, "plan").exits(t, 1)
	r.says(t, "provision: web1: checkout tool: ~deploy-tool/tool is there")
	r.saysNot(t, "nothing to do", "containers tool")

	w.sh(t, "web1", "rmdir /home/deploy-tool/tool")
	w.apply(t)
	w.finished(t, "web1")
	w.converged(t)
	works(t, "tool")
}
