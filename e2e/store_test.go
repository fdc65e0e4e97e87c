package e2e_test

import (
	"strings"
	"testing"
)

// Where Docker keeps its images in containerd, it trusts the CA of a registry in
// certs.d for that alone, and not for GitLab, where the tokens come from. It gets it
// there, too, and nothing that runs is stopped for it.
func TestContainerdStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.sh(t, "web1", `
systemctl stop docker.socket docker.service containerd
mkdir -p /etc/docker /var/lib/containerd
mount -t tmpfs tmpfs /var/lib/containerd # as an overlay the root of the lab's hosts cannot hold overlays
echo '{"features": {"containerd-snapshotter": true}}' >/etc/docker/daemon.json
systemctl start containerd docker.socket docker.service`)
	before := w.everything(t)
	const (
		file = "/etc/provision/ca/registries.crt"
		unit = "/etc/systemd/system/docker.service.d/provision-ca.conf"
	)
	planned(t, w.plan(t), "docker-ca: install "+file+" (CA certificates for dockerd, which keeps its images in containerd)",
		"docker-ca: restart docker.service (no container runs)")
	w.apply(t)
	w.converged(t)
	w.runs(t, "app", "1")
	w.deploy(t, "app", "2")
	w.run(t, "verify", "--as", "admin").exits(t, 0)
	w.run(t, "verify", "--key", w.keyFile(t, w.deployment(t, "app"))).exits(t, 0)

	// Nothing is restarted while containers run.
	w.sh(t, "web1", `rm "$1"; systemctl daemon-reload
systemctl reset-failed docker.service # a fourth start within a minute is refused
systemctl restart docker
docker start $(docker ps --all --quiet) >/dev/null`, unit)
	w.push(t, "app", "3")
	if out, err := w.CI(t.Context(), w.deployment(t, "app"), ""); err == nil || !strings.Contains(out, "certificate signed by unknown authority") {
		t.Errorf("without %s the deploy says %s", unit, out)
	}
	since := w.containers(t)
	r := w.run(t, "apply").exits(t, 3)
	r.says(t, "left out: restart docker.service (until then it does not trust the CA for tokens, and can pull nothing) (interrupts 1 container, about 15 s)",
		"hint: provision apply --interrupt --limit web1 ", "1 host, 1 change made, 1 left out")
	r.saysNot(t, "nothing to do")
	if now := w.containers(t); now != since {
		t.Errorf("the containers were %s and are %s: %v", since, now, r)
	}
	plan := w.run(t, "plan", "--output", "json", "--exit-code").exits(t, 3)
	plan.says(t, `"interrupts":{"what":"1 container","seconds":15}`, "1 change to make (1 of them only with --interrupt)")
	plan.lines(t)
	w.run(t, "verify", "--as", "admin").exits(t, 3).says(t, "docker-ca: DRIFT: apply --interrupt would restart docker.service")

	// It is restarted when it may be, and all that ran runs again: also what somebody else
	// has started, with a restart policy or without.
	w.sh(t, "web1", `
image=$(docker image ls --quiet | head -n 1)
docker run --detach --name mine --init "$image"
docker run --detach --name kept --init --restart always "$image"`)
	ran := w.sh(t, "web1", `docker ps --format '{{.ID}} {{.Names}}' | sort`)
	w.run(t, "apply", "--interrupt").exits(t, 0).says(t, "done: restart docker.service")
	if now := w.sh(t, "web1", `docker ps --format '{{.ID}} {{.Names}}' | sort`); now != ran {
		t.Errorf("there ran\n%s\nand there run\n%s", ran, now)
	}
	w.sh(t, "web1", `docker rm --force mine kept`)
	w.converged(t)
	w.deploy(t, "app", "3")

	w.remove(t, "app")
	before.compare(t, w.everything(t))
}
