package e2e_test

import (
	"strings"
	"testing"

	"provision/e2e/lab"
	"provision/e2e/rehearsal"
)

// What was stopped or removed by hand is drift, and apply starts it as the last
// good deploy has left it, also where the name of its image means something
// worse by now.
func TestRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cutHead+cutDeployment("a", true), slowProject)
	w.apply(t)
	w.deploy(t, "a", "2")
	if err := w.PushBroken(t.Context(), "transmogrify/a", "3"); err != nil {
		t.Fatal(err)
	}
	if j := w.ci(t, w.deployment(t, "a"), "deploy"); j.code != 1 || !strings.Contains(j.out, "went back to") {
		t.Fatalf("%+v", j)
	}
	w.runs(t, "a", "2")
	w.run(t, "verify").exits(t, 0)

	for _, c := range []struct{ what, script, says string }{
		{"a service is stopped", "docker kill a-app-1", "start 1 service of a (app has ended with exit code 137)"},
		{"a service is stopped, and ends with 0", "docker stop a-app-1", "start 1 service of a (app is stopped"},
		{"a service is removed", "docker rm -f a-slow-1", "start 1 service of a (slow has 0 containers instead of 1"},
		{"all is removed", "docker rm -f a-app-1 a-slow-1 a-migrate-1", "start 3 services of a"},
		{"a service has failed", `
id=$(docker inspect --format '{{.Id}}' a-migrate-1)
systemctl stop docker.socket docker.service 2>/dev/null
sed -i 's/"ExitCode":0/"ExitCode":3/' "/var/lib/docker/containers/$id/config.v2.json"
systemctl start docker.socket docker.service
docker start a-app-1 a-slow-1`, "start 1 service of a (migrate has ended with exit code 3)"},
	} {
		t.Run(c.what, func(t *testing.T) {
			w.sh(t, "web1", c.script+" >/dev/null")
			w.run(t, "verify").exits(t, 3).says(t, c.says)
			w.apply(t).says(t, c.says)
			w.runs(t, "a", "2")
			w.converged(t)
		})
	}

	// What apply has started is not what a deploy would make of it.
	if j := w.ci(t, w.deployment(t, "a"), "deploy"); j.code != 1 || !strings.Contains(j.out, "went back to") {
		t.Errorf("%+v", j)
	}
	w.runs(t, "a", "2")
}

// A deploy goes back to what the last good one was, also where compose.yaml has
// another name for the image by now, or the override is another one.
func TestBackToAnotherName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cutHead+cutDeployment("a", true), slowProject)
	w.apply(t)
	d := w.deployment(t, "a")
	for tag, broken := range map[string]bool{"good": false, "bad": true} {
		if _, err := w.PushImage(t.Context(), lab.Image{Repository: d.Project, Tag: tag, Version: tag, Healthy: !broken, Broken: broken}); err != nil {
			t.Fatal(err)
		}
	}
	edit := func(tag, override string) {
		t.Helper()
		w.sh(t, "web1", `cd ~deploy-a/a; sed -i "s|\(image: .*/a\).*|\1:$1|" compose.yaml; printf '%s' "$2" >compose.override.yaml`, tag, override)
	}
	// The service that comes first stays as it is, and the other one gets more.
	edit("good", "services: {slow: {environment: {WHICH: one}}}\n")
	if j := w.ci(t, d, "deploy"); j.code != 0 {
		t.Fatalf("%+v", j)
	}
	w.runs(t, "a", "good")
	edit("bad", "services: {slow: {environment: {WHICH: two}}}\n")
	if j := w.ci(t, d, "deploy"); j.code != 1 || !strings.Contains(j.out, ", which runs\n") {
		t.Errorf("%+v", j)
	}
	w.runs(t, "a", "good")
	if got := w.sh(t, "web1", "docker exec a-slow-1 env | grep WHICH"); got != "WHICH=one" {
		t.Errorf("the override is not that of before: %s", got)
	}
}

// A first start takes the newest images, whatever the host has of before. What
// does not become well is taken anew by the next one, and what is well stays.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cutHead+cutDeployment("a", true), func(o *rehearsal.Options) {
		o.Files = func(_, image string) map[string]string {
			return map[string]string{"compose.yaml": "services:\n  app: {image: " + image + "}\n  db: {image: " + image + "/db}\n"}
		}
	})
	d := w.deployment(t, "a")
	push := func(version string, healthy bool) {
		t.Helper()
		for _, repository := range []string{d.Project, d.Project + "/db"} {
			well := healthy || repository != d.Project
			if _, err := w.PushImage(t.Context(), lab.Image{Repository: repository, Version: version, Healthy: well, Broken: !well}); err != nil {
				t.Fatal(err)
			}
		}
	}
	push("1", true)
	w.apply(t)
	push("2", false)
	if j := w.ci(t, d, "deploy"); j.code != 1 || !strings.Contains(j.out, "went back to") {
		t.Fatalf("%+v", j)
	}
	w.drop(t, "a")
	w.remove(t, "a", "--limit", "web1")
	w.Inventory.Deployments = append(w.Inventory.Deployments, d)

	push("3", false)
	w.run(t, "apply").exits(t, 1).says(t, "app is unhealthy")
	push("4", true)
	w.sh(t, "web1", "sed -i 's/app: {/app: {hostname: \"$ABSENT\", /' ~deploy-a/a/compose.yaml")
	w.run(t, "apply").exits(t, 1).says(t, "provision: web1: containers a: compose.yaml of ~deploy-a/a needs variables that are not set: ABSENT\n", "hint: set them in the inventory: env = { ABSENT = … }")
	w.sh(t, "web1", "git -C ~deploy-a/a -c safe.directory='*' checkout --quiet compose.yaml")
	w.apply(t)
	version := func(service string) string {
		return w.sh(t, "web1", `docker inspect --format '{{index .Config.Labels "version"}}' "a-$1-1"`, service)
	}
	if app, db := version("app"), version("db"); app != "4" || db != "3" {
		t.Errorf("app is of version %s and db of %s; want what was ill anew, and what was well as it was", app, db)
	}
}
