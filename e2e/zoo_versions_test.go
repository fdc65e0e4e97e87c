package e2e_test

import (
	"strings"
	"testing"

	"provision/e2e/lab"
)

// What CI chooses is written down where Compose reads it, once it is well.
func testVersions(t *testing.T, z *zoo) {
	env := func(name string) string {
		return z.sh(t, "web1", `cat "/home/zoo/$1/.env" 2>/dev/null || :`, name)
	}
	for _, name := range []string{"versioned", "versioned-plain"} {
		z.has(t, name) // nothing was deployed yet
		if j := z.job(t, name, "deploy"); j.code != 1 || !strings.Contains(j.out, "variables that are not set: TAG") {
			t.Errorf("a deploy of no version: %+v", j)
		}
		z.write(t, name, ".env", "OTHER=kept\n")
		z.pushImage(t, name, lab.Image{Version: "1", Tag: "1.4.2", Healthy: true})
		j := z.deploys(t, name, "deploy 1.4.2", 0, "app: "+z.Inventory.Registry.Host+"/zoo/"+name+":1.4.2@sha256:")
		endsWith(t, j, "provision: deployed 1 of 1 services in … s")
		before := z.has(t, name, "app 1 running")
		if got := env(name); got != "OTHER=kept\nTAG=1.4.2" {
			t.Errorf(".env of %s is %q", name, got)
		}

		// Without a version, the one that was chosen stays.
		endsWith(t, z.deploys(t, name, "deploy", 0), "provision: nothing new: what was deployed at … runs")
		endsWith(t, z.deploys(t, name, "deploy 1.4.2", 0), "provision: nothing new: what was deployed at … runs")
		z.untouched(t, name, before)

		// A tag that there is not changes nothing.
		endsWith(t, z.deploys(t, name, "deploy 9.9", 1), "provision: deploy failed after … s: nothing was changed, as app cannot be pulled: …")
		z.untouched(t, name, before)

		z.pushImage(t, name, lab.Image{Version: "2", Tag: "2.0", Broken: true})
		j = z.deploys(t, name, "deploy 2.0", 1)
		if name == "versioned" {
			endsWith(t, j, "provision: deploy failed after … s: app is unhealthy…; went back to the deploy of …, which runs")
			z.has(t, name, "app 1 running")
		} else {
			endsWith(t, j, "provision: deploy failed after … s: app is unhealthy…")
			z.has(t, name, "app 2 running")
		}
		if got := env(name); got != "OTHER=kept\nTAG=1.4.2" {
			t.Errorf("after a failure .env of %s is %q", name, got)
		}
		digest := z.pushImage(t, name, lab.Image{Version: "3", Tag: "3.0", Healthy: true})
		z.deploys(t, name, "deploy 3.0", 0, digest)
		z.has(t, name, "app 3 running")
		if got := env(name); got != "OTHER=kept\nTAG=3.0" {
			t.Errorf("after the next version .env of %s is %q", name, got)
		}
	}
	if j := z.job(t, "seed", "deploy 1.4.2"); j.code != 126 || !strings.HasPrefix(j.errors, "provision: refused: ") {
		t.Errorf("a version where nobody may choose one: %+v", j)
	}
}

// A migration that comes before the switch: if it fails, the old version is not
// touched.
func testBefore(t *testing.T, z *zoo) {
	const name = "before"
	ran := func() int {
		return strings.Count(z.sh(t, "web1", "cat /run/zoo/before/migrations 2>/dev/null || :"), "migrated")
	}
	before := z.has(t, name, "app 1 running")
	z.push(t, name, "2")
	z.pushImage(t, name, lab.Image{Repository: "zoo/before/migrate", Version: "2", Shell: migrating + "echo no such table; exit 3"})
	was := ran()
	j := z.deploys(t, name, "", 1, "no such table")
	endsWith(t, j, "provision: deploy failed after … s: nothing was changed, as migrate has ended with exit code 3")
	z.untouched(t, name, before)
	if n := ran() - was; n != 1 {
		t.Errorf("the failing migration has run %d times", n)
	}

	z.pushImage(t, name, lab.Image{Repository: "zoo/before/migrate", Version: "3", Shell: migrating + "exit 0"})
	was = ran()
	endsWith(t, z.deploys(t, name, "", 0), "provision: deployed 1 of 1 services in … s")
	z.has(t, name, "app 2 running")
	if n := ran() - was; n != 1 {
		t.Errorf("the migration has run %d times, want once", n)
	}
	endsWith(t, z.deploys(t, name, "", 0), "provision: nothing new: what was deployed at … runs")
}
