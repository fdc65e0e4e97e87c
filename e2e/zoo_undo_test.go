package e2e_test

import (
	"slices"
	"strings"
	"testing"

	"provision/e2e/lab"
)

// An override that pins a tag goes back together with the images.
func testPinned(t *testing.T, z *zoo) {
	const name = "pinned"
	before := z.has(t, name, "app 1 running")
	z.applying.Lock()
	defer z.applying.Unlock()
	z.deployment(t, name).Parameters["tag"] = "two"
	z.apply(t, "--limit", name)
	j := z.deploys(t, name, "", 1)
	endsWith(t, j, "provision: deploy failed after … s: app is unhealthy…; went back to the deploy of …, which runs")
	after := z.has(t, name, "app 1 running")
	if after[0].Image != before[0].Image || !strings.HasSuffix(after[0].Config.Image, "/zoo/pinned:one") {
		t.Errorf("it runs %s, %s", after[0].Config.Image, after[0].Image)
	}

	// Mended, the new tag is deployed.
	z.pushImage(t, name, lab.Image{Version: "3", Tag: "two", Healthy: true})
	z.deploys(t, name, "", 0, "zoo/pinned:two@sha256:")
	z.has(t, name, "app 3 running")
}

// The images of a host do not grow with each deploy, and no deployment loses
// what it may have to go back to.
func testSixDeploys(t *testing.T, z *zoo) {
	shared, three := z.Inventory.Registry.Host+"/zoo/shared", z.Inventory.Registry.Host+"/zoo/many-three"
	push := func(name, version string) {
		z.pushImage(t, name, lab.Image{Version: version, Healthy: true, Labels: map[string]string{"test": "six deploys"}})
	}
	for _, version := range []string{"2", "3"} {
		push("neighbour", version)
		z.deploys(t, "neighbour", "", 0)
	}
	kept := z.images(t, "web1", "provision/kept:neighbour_*")
	if len(kept) != 2 {
		t.Fatalf("the neighbour keeps %q, want two images", kept)
	}
	before := z.has(t, "neighbour", "app 3 running")
	for _, version := range []string{"4", "5", "6", "7", "8", "9"} {
		for _, name := range []string{"many", "many-three"} { // the same image in two repositories
			push(name, version)
			z.deploys(t, name, "", 0)
			z.has(t, name, "app "+version+" running")
		}
	}
	for name, want := range map[string]int{"many": 2, "many-three": 3, "neighbour": 2} {
		if got := z.images(t, "web1", "provision/kept:"+name+"_*"); len(got) != want {
			t.Errorf("of %s the images %q are kept, want %d", name, got, want)
		}
	}
	if got := z.images(t, "web1", "provision/kept:neighbour_*"); !slices.Equal(got, kept) {
		t.Errorf("the neighbour kept %q, and now keeps %q", kept, got)
	}
	z.untouched(t, "neighbour", before)

	// 2 and 3 are the neighbour's, 7 is the one of many-three.
	if all := z.imageVersions(t, "web1", shared); !slices.Equal(all, []string{"2", "3", "7", "8", "9"}) {
		t.Errorf("there are the versions %q of %s", all, shared)
	}
	if all := z.imageVersions(t, "web1", three); !slices.Equal(all, []string{"7", "8", "9"}) {
		t.Errorf("there are the versions %q of %s", all, three)
	}

	// What was tried in vain does not stay either.
	for range 3 {
		z.pushImage(t, "many", lab.Image{Version: "10", Broken: true, Ballast: 1})
		z.deploys(t, "many", "", 1)
		z.has(t, "many", "app 9 running")
	}
	push("many", "11")
	z.deploys(t, "many", "", 0)
	if all := z.imageVersions(t, "web1", shared); !slices.Equal(all, []string{"11", "2", "3", "7", "8", "9"}) {
		t.Errorf("after failures there are the versions %q of %s", all, shared)
	}
}

// images returns the ids of the images whose names match a pattern.
func (z *zoo) images(t *testing.T, host, pattern string) []string {
	t.Helper()
	return strings.Fields(z.sh(t, host, `docker images --no-trunc --format '{{.ID}}' --filter "reference=$1" | sort -u`, pattern))
}

// imageVersions returns the versions that are on a host of the images that were
// pulled from a repository, sorted as text, but for 1, which all projects share.
func (z *zoo) imageVersions(t *testing.T, host, repository string) []string {
	t.Helper()
	return strings.Fields(z.sh(t, host, `
docker images --quiet --no-trunc | sort -u |
	xargs docker image inspect --format '{{index .Config.Labels "version"}} {{.RepoTags}} {{.RepoDigests}}' |
	grep -F -e "[$1@" -e "[$1:" -e " $1@" -e " $1:" | cut -d ' ' -f 1 | grep -vx 1 | sort`, repository))
}

// Two deployments of one image: the one that goes back takes nothing from the other.
func testTwins(t *testing.T, z *zoo) {
	image := z.Inventory.Registry.Host + "/zoo/twin"
	other := z.has(t, "twin-b", "app 1 running")
	if err := z.PushBroken(t.Context(), "zoo/twin", "2"); err != nil {
		t.Fatal(err)
	}
	z.deploys(t, "twin-a", "", 1)
	z.has(t, "twin-a", "app 1 running")
	if version := z.sh(t, "web1", `docker image inspect --format '{{index .Config.Labels "version"}}' "$1"`, image); version != "2" {
		t.Errorf("the name %s means version %s, want what was pulled last, 2", image, version)
	}
	z.untouched(t, "twin-b", other)

	z.push(t, "twin-b", "3")
	z.deploys(t, "twin-b", "", 0)
	z.has(t, "twin-b", "app 3 running")
	z.has(t, "twin-a", "app 1 running")
	z.deploys(t, "twin-a", "", 0)
	z.has(t, "twin-a", "app 3 running")
}

// A service that is called otherwise now does not run twice.
func testRenamedService(t *testing.T, z *zoo) {
	const name = "renamed"
	z.has(t, name, "old 1 running")
	z.write(t, name, "compose.yaml", "services:\n  new:\n    image: IMAGE\n")
	endsWith(t, z.deploys(t, name, "", 0, "new: "), "provision: deployed 1 of 1 services in … s")
	z.has(t, name, "new 1 running")
}

// A project that is called otherwise now would run beside the old one, with empty
// volumes: that is refused.
func testRenamedProject(t *testing.T, z *zoo) {
	const name = "own-name"
	before := z.has(t, name, "app 1 running")
	z.write(t, name, "compose.yaml", "name: zoo-other-name\n"+plain)
	j := z.deploys(t, name, "", 1, "nothing was changed, as the containers here are those of the Compose project own-name, and zoo-other-name would start beside it")
	endsWith(t, j, `hint: put "name: own-name" into compose.yaml; or …`)
	z.untouched(t, name, before)
	z.write(t, name, "compose.yaml", "name: own-name\n"+plain)
	z.push(t, name, "2")
	z.deploys(t, name, "", 0)
	z.has(t, name, "app 2 running")
}

// What no registry has does not hold up the rest.
func testBuilt(t *testing.T, z *zoo) {
	const name = "built"
	before := z.has(t, name, "app 1 running", "built 1 running", "foreign 1 running")
	z.push(t, name, "2")
	j := z.deploys(t, name, "", 0, "built: zoo-built:1", "foreign: registry.invalid/zoo-foreign:1")
	endsWith(t, j, "provision: deployed 1 of 3 services in … s")
	after := z.has(t, name, "app 2 running", "built 1 running", "foreign 1 running")
	if !slices.Equal(ids(after[1:]), ids(before[1:])) {
		t.Errorf("the others were %q, and are %q", ids(before[1:]), ids(after[1:]))
	}
}

// A registry that is away changes nothing, and nothing has to be undone.
func testRegistryDown(t *testing.T, z *zoo) {
	const name = "offline"
	z.push(t, name, "2")
	z.deploys(t, name, "", 0)
	before := z.has(t, name, "app 2 running", "seed 2 exited 0")
	seeds := z.sh(t, "web1", "cat /run/zoo/offline/seeds")
	if err := z.Registry.Close(); err != nil {
		t.Fatal(err)
	}
	j := z.deploys(t, name, "", 1)
	endsWith(t, j, "provision: deploy failed after … s: nothing was changed, as … cannot be pulled: …")
	if strings.Contains(j.out, "went back") {
		t.Errorf("it says\n%s", j.out)
	}
	z.untouched(t, name, before)
	if now := z.sh(t, "web1", "cat /run/zoo/offline/seeds"); now != seeds {
		t.Errorf("the one-shot has run again:\n%s", now)
	}
}

// Without Docker there is one thing to say.
func testDockerDown(t *testing.T, z *zoo) {
	const name = "offline"
	z.sh(t, "web1", "systemctl stop docker.socket docker.service")
	j := z.deploys(t, name, "", 1)
	endsWith(t, j, "provision: deploy failed after … s: nothing was changed, as Docker does not answer: …")
	if all := j.out + j.errors; strings.Contains(all, "went back") || strings.Contains(all, "going back") || strings.Contains(all, "cannot be pulled") {
		t.Errorf("it says\n%s", all)
	}
	if lines := strings.Count(j.out, "\n"); lines > 2 {
		t.Errorf("it says more than one thing:\n%s", j.out)
	}
	if log := z.journal(t, name); !strings.Contains(log, "Docker does not answer") {
		t.Errorf("the journal ends with %q", log)
	}
}
