package e2e_test

import (
	"strings"
	"testing"

	"provision/e2e/lab"
)

// A service that has done its work is well, though nobody depends on it.
func testOneShot(t *testing.T, z *zoo) {
	const name = "seed"
	z.has(t, name, "app 1 running", "seed 1 exited 0")
	z.push(t, name, "2")
	endsWith(t, z.deploys(t, name, "", 0), "provision: deployed 2 of 2 services in … s")
	z.has(t, name, "app 2 running", "seed 2 exited 0")
	z.has(t, name, "app 2 running", "seed 2 exited 0")
	before := z.containers(t, name)
	endsWith(t, z.deploys(t, name, "", 0), "provision: nothing new: what was deployed at … runs")
	z.untouched(t, name, before)
}

// A migration of the new version that fails: the migration of before is part of
// what a deploy goes back to, though it has ended.
func testFailingMigration(t *testing.T, z *zoo) {
	const name = "migrate"
	before := z.has(t, name, "app 1 running", "migrate 1 exited 0")
	z.push(t, name, "2")
	z.pushImage(t, name, lab.Image{Repository: "zoo/migrate/migrate", Version: "2", Shell: "echo no such table; exit 3"})
	j := z.deploys(t, name, "", 1, "migrate has ended with exit code 3")
	endsWith(t, j, "provision: deploy failed after … s: …migrate has ended with exit code 3; …; went back to the deploy of …, which runs")
	after := z.has(t, name, "app 1 running", "migrate 1 exited 0")
	for i, c := range after {
		if c.Image != before[i].Image {
			t.Errorf("%s has the image %s, and had %s", c.service(), c.Image, before[i].Image)
		}
	}

	// Mended, all is well, and nothing of the failure is left.
	z.pushImage(t, name, lab.Image{Repository: "zoo/migrate/migrate", Version: "3", Shell: "exit 0"})
	endsWith(t, z.deploys(t, name, "", 0), "provision: deployed 2 of 2 services in … s")
	z.has(t, name, "app 2 running", "migrate 3 exited 0")
}

// Without a health check, to run is to be well.
func testDisabledCheck(t *testing.T, z *zoo) {
	const name = "unchecked"
	z.pushImage(t, name, lab.Image{Version: "2", Broken: true})
	endsWith(t, z.deploys(t, name, "", 0), "provision: deployed 1 of 1 services in … s")
	z.has(t, name, "app 2 running")
}

// A container that ends and is started again and again does not run.
func testCrashLoop(t *testing.T, z *zoo) {
	const ends1 = "echo cannot reach the database; sleep 1; exit 1"
	for name, c := range map[string]struct {
		image lab.Image
		runs  string
		end   string
	}{
		"loop":         {lab.Image{Version: "2", Shell: ends1}, "1", "provision: deploy failed after … s: app …; went back to the deploy of …, which runs"},
		"loop-plain":   {lab.Image{Version: "2", Shell: ends1}, "2", "provision: deploy failed after … s: app …"},
		"loop-checked": {lab.Image{Version: "2", Shell: ends1, Broken: true}, "1", "provision: deploy failed after … s: app …; went back to the deploy of …, which runs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			z.pushImage(t, name, c.image)
			endsWith(t, z.deploys(t, name, "", 1), c.end)
			all := z.containers(t, name)
			if len(all) != 1 || all[0].Config.Labels["version"] != c.runs {
				t.Errorf("%s has %d containers, the first one of version %s; want version %s", name, len(all), all[0].Config.Labels["version"], c.runs)
			}
		})
	}
}

// With a restart policy that does not let it end, a service that ends, even
// well, is not well.
func testEnds(t *testing.T, z *zoo) {
	const name = "ends"
	z.pushImage(t, name, lab.Image{Version: "2", Shell: "exit 0"})
	endsWith(t, z.deploys(t, name, "", 1), "provision: deploy failed after … s: app keeps restarting, exit code 0; went back to the deploy of …, which runs")
	z.has(t, name, "app 1 running")
}

// A failed deploy says which service, and what it said of itself, and its logs
// only if that is wanted.
func testReasons(t *testing.T, z *zoo) {
	for name, wants := range map[string]bool{"told": true, "quiet": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			z.pushImage(t, name, lab.Image{Version: "2"})
			j := z.deploys(t, name, "", 1, "app is unhealthy: the database is away\n", "now app: ")
			endsWith(t, j, "provision: deploy failed after … s: app is unhealthy: the database is away; went back to the deploy of …, which runs")
			z.has(t, name, "app 1 running", "other 1 running")
			all := j.out + j.errors
			if got := strings.Contains(all, "  | token 8 of version 2\n"); got != wants {
				t.Errorf("the last line of the log is told: %t, want %t\n%s", got, wants, all)
			}
			if n := strings.Count(all, "token"); wants && n != 5 || !wants && n != 0 {
				t.Errorf("%d lines of the log are told:\n%s", n, all)
			}
			if strings.Contains(all, "other: runs") || strings.Contains(all, "other runs") {
				t.Errorf("what is well is told, too:\n%s", all)
			}
			if log := z.journal(t, name); !strings.Contains(log, "app is unhealthy: the database is away") || strings.Contains(log, "token") {
				t.Errorf("the journal ends with %q", log)
			}
		})
	}
}

// What was deployed is told: image, digest and revision.
func testRevision(t *testing.T, z *zoo) {
	const name, revision = "revision", "0123456789abcdef0123456789abcdef01234567"
	digest := z.pushImage(t, name, lab.Image{Version: "2", Healthy: true, Labels: map[string]string{"org.opencontainers.image.revision": revision}})
	image := z.Inventory.Registry.Host + "/zoo/revision"
	j := z.deploys(t, name, "", 0)
	if want := "app: " + image + "@" + digest + " revision " + revision + "\nprovision: deployed 1 of 1 services in "; !strings.HasPrefix(j.out, want) {
		t.Errorf("the job says\n%swant\n%s", j.out, want)
	}
	log := z.journal(t, name)
	if want := "revision: deployed 1 of 1 services in … s: app " + image + "@" + digest[:19] + " revision " + revision[:12] + " (user zoo, …"; !matches(log, want) {
		t.Errorf("the journal ends with\n%s\nwant\n%s", log, want)
	}
	status := z.deploys(t, name, "status", 0)
	for _, want := range []string{`"image":"` + image + `"`, `"digest":"` + digest + `"`, `"revision":"` + revision + `"`, `"verdict":"ok"`} {
		if !strings.Contains(status.out, want) {
			t.Errorf("the status lacks %s:\n%s", want, status.out)
		}
	}

	// The same again, made anew: the image is the same, its container is another.
	z.sh(t, "web1", `docker restart "$1"`, z.containers(t, name)[0].ID)
	z.await(t, "web1", `docker inspect --format '{{.State.Health.Status}}' "$1" | grep -q healthy`, z.containers(t, name)[0].ID)
	z.deploys(t, name, "", 0, image+"@"+digest)
}

// A variable that nobody has set is no empty password.
func testUnset(t *testing.T, z *zoo) {
	const name = "unset"
	before := z.has(t, name, "app 1 running")
	z.write(t, name, "compose.yaml", plain+"    environment:\n      PASSWORD: ${DB_PASSWORD}\n      USERNAME: ${DB_USERNAME}\n      OTHER: ${DB_OTHER-}\n")
	z.push(t, name, "2")
	j := z.deploys(t, name, "", 1, "hint: set them in the inventory: env = { DB_PASSWORD = …, DB_USERNAME = … }")
	if want := "nothing was changed, as compose.yaml needs variables that are not set: DB_PASSWORD DB_USERNAME\n"; !strings.Contains(j.out, want) {
		t.Errorf("the job says\n%swant %q", j.out, want)
	}
	z.untouched(t, name, before)
	z.write(t, name, ".env", "DB_PASSWORD=geheim\nDB_USERNAME=\n")
	z.deploys(t, name, "", 0)
	after := z.has(t, name, "app 2 running")
	if env := strings.Join(after[0].Config.Env, "\n"); !strings.Contains(env, "PASSWORD=geheim") {
		t.Errorf("the environment is\n%s", env)
	}
}

// A file of variables, a mounted file, two containers of a service, and one that
// only a profile starts.
func testMixed(t *testing.T, z *zoo) {
	const name = "mixed"
	z.has(t, name, "app 1 running", "app 1 running")
	z.push(t, name, "2")
	endsWith(t, z.deploys(t, name, "", 0), "provision: deployed 1 of 1 services in … s")
	before := z.has(t, name, "app 2 running", "app 2 running")

	// One of two that is gone is started again, though the images are the same.
	z.sh(t, "web1", `docker rm --force "$1"`, before[1].ID)
	z.deploys(t, name, "", 0)
	z.has(t, name, "app 2 running", "app 2 running")

	z.write(t, name, "app.env", "MOTTO=two\n")
	endsWith(t, z.deploys(t, name, "", 0), "provision: deployed 1 of 1 services in … s")
	for _, c := range z.has(t, name, "app 2 running", "app 2 running") {
		if env := strings.Join(c.Config.Env, "\n"); !strings.Contains(env, "MOTTO=two") {
			t.Errorf("the environment is\n%s", env)
		}
	}
}
