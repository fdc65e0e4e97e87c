package e2e_test

import (
	"slices"
	"strings"
	"testing"

	"provision/e2e/rehearsal"
)

// inFolder is a project that says itself, in an .env that git tracks, where its
// Compose files are. The one in the folder has variables of its own, too.
var inFolder = map[string]string{
	".env":        "COMPOSE_FILE=deploy/compose.yaml:deploy/more.yaml\nMOTTO=one\n",
	"deploy/.env": "MOTTO=two\nPLACE=here\n",
	"deploy/compose.yaml": `services:
  app:
    image: IMAGE
    environment: {MOTTO: "${MOTTO}", PLACE: "${PLACE}"}
    volumes: ["./file:/file:ro"]
`,
	"deploy/more.yaml": "services:\n  app:\n    labels: {more: \"yes\"}\n",
	"deploy/file":      "text\n",
}

// A project in a folder of its clone is started, deployed, gone back to, looked at
// and removed as one in its root.
func TestProjectInAFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app+"rollback = true\nwait = \"60s\"\n", filesOf(inFolder))
	w.apply(t)
	w.converged(t)
	a := &appWorld{world: w}
	ids := func() string {
		t.Helper()
		return w.sh(t, "web1", `docker ps --all --no-trunc --format '{{.Label "com.docker.compose.project"}} {{.Label "com.docker.compose.service"}} {{.Label "more"}} {{.ID}}'`)
	}
	first := ids()
	if !strings.HasPrefix(first, "deploy app yes ") || strings.Contains(first, "\n") {
		t.Fatalf("there runs %s", first)
	}
	has := func() {
		t.Helper()
		if got := a.inApp(t, `echo "$MOTTO $PLACE $(cat /file)"`); got != "one here text" {
			t.Errorf("the app has %q", got)
		}
	}
	has()
	a.byHand(t, "docker compose up --detach")
	if got := ids(); got != first {
		t.Errorf("docker compose up made %s of %s", got, first)
	}
	w.deploy(t, "app", "2")
	has()
	if j := w.ci(t, w.deployment(t, "app"), "status"); j.code != 0 || !strings.Contains(j.out, `"name":"app"`) {
		t.Errorf("%+v", j)
	}
	if err := w.PushBroken(t.Context(), "transmogrify/frobnicator", "3"); err != nil {
		t.Fatal(err)
	}
	if j := w.ci(t, w.deployment(t, "app"), ""); j.code != 1 || !strings.Contains(j.out, "went back to the deploy of") || strings.Contains(j.out, "not all of it") {
		t.Errorf("%+v", j)
	}
	w.runs(t, "app", "2")
	has()

	w.sh(t, "web1", "docker rm --force $(docker ps --quiet)")
	if got := w.missing(t); !slices.Equal(got, []string{"containers app"}) {
		t.Errorf("there is missing %s", got)
	}
	w.apply(t)
	w.runs(t, "app", "2")
	has()
	w.run(t, "verify", "--as", "admin").exits(t, 0)
	w.run(t, "remove", "--deployment", "app", "--yes").exits(t, 0)
	if got := w.sh(t, "web1", "docker ps --all --quiet; docker network ls --quiet --filter label=com.docker.compose.project; ls -A /home"); got != "" && got != "admin" {
		t.Errorf("there is left: %s", got)
	}
}

// A project may move into a folder: its containers stay what they are.
func TestProjectMoves(t *testing.T) {
	t.Parallel()
	const compose = "services:\n  app:\n    image: IMAGE\n"
	w := newWorld(t, head+web1+app, filesOf(map[string]string{"compose.yaml": compose, "deploy/compose.yaml": compose}))
	w.apply(t)
	d := w.deployment(t, "app")
	before := w.sh(t, "web1", "docker ps --all --quiet")
	d.Compose = []string{"deploy/compose.yaml"}
	planned(t, w.plan(t), "app-env app: write .env of app (COMPOSE_PROJECT_NAME and COMPOSE_FILE; for the next deploy)")
	w.apply(t)
	w.converged(t)
	if j := w.ci(t, d, ""); j.code != 0 {
		t.Fatalf("%+v", j)
	}
	if now := w.sh(t, "web1", "docker ps --all --quiet"); now != before {
		t.Errorf("there were %s, and are %s", before, now)
	}
	w.deploy(t, "app", "2")
	w.converged(t)
	d.Compose = nil
	planned(t, w.plan(t), "app-env app: remove the lines of the inventory from .env of app")
	w.apply(t)
	w.deploy(t, "app", "3")
	w.converged(t)
	if left := w.sh(t, "web1", "ls -A /home/deploy-user/frobnicator"); left != ".git\ncompose.yaml\ndeploy" {
		t.Errorf("the clone has %s", left)
	}
}

// filesOf makes every project of a world of those files.
func filesOf(files map[string]string) func(*rehearsal.Options) {
	return func(o *rehearsal.Options) {
		o.Files = func(_, image string) map[string]string {
			all := map[string]string{}
			for name, text := range files {
				all[name] = strings.ReplaceAll(text, "IMAGE", image)
			}
			return all
		}
	}
}

// A rehearsal has neither the project nor the secrets, and makes up both.
func TestAppRehearsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app+appKeys, func(o *rehearsal.Options) { o.Secrets = false })
	w.apply(t)
	w.converged(t)
	w.deploy(t, "app", "2")
}
