package e2e_test

import (
	"strings"
	"testing"

	"provision/e2e/lab"
)

// prepareStore has Docker on web2 keep its images in containerd, as it does by
// default from version 29 on.
func (z *zoo) prepareStore(t *testing.T) {
	t.Helper()
	ca, err := z.Lab.CA()
	if err != nil {
		t.Fatal(err)
	}
	// This store trusts a registry's own CA not where tokens come from.
	z.sh(t, "web2", `
printf %s "$1" >/usr/local/share/ca-certificates/lab.crt
update-ca-certificates >/dev/null
systemctl stop docker.socket docker.service containerd
mkdir -p /etc/docker /var/lib/containerd
mount -t tmpfs tmpfs /var/lib/containerd # as an overlay the root of the lab's hosts cannot hold overlays
echo '{"features": {"containerd-snapshotter": true}}' >/etc/docker/daemon.json
systemctl start containerd docker.socket docker.service
docker info --format '{{.DriverStatus}}' | grep -q io.containerd`, string(ca.PEM()))
}

// The way back does not depend on how Docker keeps its images.
func testStore(t *testing.T, z *zoo) {
	const name = "store"
	z.pushImage(t, name, lab.Image{Version: "2", Healthy: true, Labels: map[string]string{"org.opencontainers.image.revision": "abc"}})
	z.deploys(t, name, "", 0, "zoo/store@sha256:", " revision abc\n")
	z.has(t, name, "app 2 running")
	if err := z.PushBroken(t.Context(), "zoo/store", "3"); err != nil {
		t.Fatal(err)
	}
	endsWith(t, z.deploys(t, name, "", 1), "provision: deploy failed after … s: app is unhealthy…; went back to the deploy of …, which runs")
	z.has(t, name, "app 2 running")
	for _, version := range []string{"4", "5", "6"} {
		z.push(t, name, version)
		z.deploys(t, name, "", 0)
	}
	z.has(t, name, "app 6 running")
	if kept := z.images(t, "web2", "provision/kept:store_*"); len(kept) != 2 {
		t.Errorf("the images %q are kept, want two", kept)
	}

	z.push(t, "store-migrate", "2")
	z.pushImage(t, "store-migrate", lab.Image{Repository: "zoo/store-migrate/migrate", Version: "2", Shell: "exit 3"})
	endsWith(t, z.deploys(t, "store-migrate", "", 1), "provision: deploy failed after … s: …migrate has ended with exit code 3; …; went back to the deploy of …, which runs")
	z.has(t, "store-migrate", "app 1 running", "migrate 1 exited 0")
}

// prepareSmallDisk gives Docker on web3 little room.
func (z *zoo) prepareSmallDisk(t *testing.T) {
	t.Helper()
	z.sh(t, "web3", `
systemctl stop docker.socket docker.service
mount -t tmpfs -o size=48m tmpfs /var/lib/docker
systemctl start docker.socket docker.service`)
}

// A version that does not fit changes nothing, and the reason is told.
func testFullDisk(t *testing.T, z *zoo) {
	const name = "big"
	z.applies(t, name, 0)
	before := z.has(t, name, "app 1 running")
	z.pushImage(t, name, lab.Image{Version: "2", Healthy: true, Ballast: 64 << 20})
	j := z.deploys(t, name, "", 1, "no space left on device")
	endsWith(t, j, "provision: deploy failed after … s: nothing was changed, as app cannot be pulled: …no space left on device…")
	z.untouched(t, name, before)
	z.push(t, name, "3")
	z.deploys(t, name, "", 0)
	z.has(t, name, "app 3 running")
}

// Somebody else's project of the same name is not replaced.
func testForeignProject(t *testing.T, z *zoo) {
	z.sh(t, "web3", importing+`
import zoo-alice:1
mkdir -p /home/alice/alice
printf 'services:\n  app:\n    image: zoo-alice:1\n' >/home/alice/alice/compose.yaml
cd /home/alice/alice
docker compose up --detach`)
	foreign := z.sh(t, "web3", `docker ps --all --no-trunc --quiet --filter label=com.docker.compose.project=alice`)
	z.applies(t, "alice", 1).says(t, "/home/zoo/alice and /home/alice/alice are one Compose project, alice")
	j := z.deploys(t, "alice", "", 1)
	endsWith(t, j, "hint: give each a name of its own…")
	result(j).says(t, "nothing was changed, as /home/zoo/alice and /home/alice/alice are one Compose project, alice")
	if now := z.sh(t, "web3", `docker ps --no-trunc --quiet --filter label=com.docker.compose.project=alice`); now != foreign {
		t.Errorf("alice's container was %s, and now there is %q", foreign, now)
	}
	z.has(t, "alice")
}

// Two deployments whose compose.yaml gives them one name: the second one is
// refused, and the first one runs on.
func testOneName(t *testing.T, z *zoo) {
	z.applies(t, "frob-production", 0)
	before := z.has(t, "frob-production", "app 1 running")
	z.applies(t, "frob-staging", 1).says(t, "/home/zoo/frob-staging and /home/zoo/frob-production are one Compose project, frobnicator")
	z.push(t, "frob-staging", "2")
	z.deploys(t, "frob-staging", "", 1, "/home/zoo/frob-staging and /home/zoo/frob-production are one Compose project, frobnicator")
	z.untouched(t, "frob-production", before)
	z.has(t, "frob-staging")
	z.deploys(t, "frob-production", "", 0)
	z.has(t, "frob-production", "app 2 running")

	// With a name of its own it is deployed.
	z.write(t, "frob-staging", "compose.yaml", strings.Replace(named, "frobnicator", "frobnicator-staging", 1))
	z.deploys(t, "frob-staging", "", 0)
	z.has(t, "frob-staging", "app 2 running")
	z.has(t, "frob-production", "app 2 running")
}
