package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"provision/e2e/rehearsal"
)

// wantedFiles are projects as people have them, that need more than an image.
var wantedFiles = map[string]map[string]string{
	"shop": {
		"compose.yaml": `services:
  web:
    image: IMAGE
    volumes: ["./site.conf:/site.conf:ro"]
    deploy: {replicas: 2}
  db: {image: IMAGE, restart: always}
  cron: {image: IMAGE, restart: always}
  job:
    image: IMAGE
    command: [sh, -c, "exit 0"]
    healthcheck: {disable: true}
  debug: {image: IMAGE, profiles: [debug]}
`,
		"site.conf": "one\n",
	},
	"conf": {"compose.yaml": "services:\n  app: {image: IMAGE}\n", "compose.override.yml": "services:\n  app: {environment: {MOTTO: none}}\n"},
	"deep": {"deploy/compose.yaml": "services:\n  app: {image: IMAGE}\n"},
	"file": {"compose.yaml": "services:\n  app: {image: IMAGE, env_file: secrets.env}\n"},
	"ports": {"compose.yaml": `services:
  web: {image: IMAGE, container_name: front, ports: ["127.0.0.1:18080:80", "18082:82/udp"]}
  api: {image: IMAGE, ports: ["18081:80"]}
`},
	"unset": {"compose.yaml": "services:\n  app: {image: IMAGE, environment: {PASSWORD: \"${DB_PASSWORD}\"}}\n"},
}

func wantedInventory() string {
	text := head + web1
	for _, name := range []string{"shop", "conf", "deep", "file", "unset", "ports"} {
		text += `
[deployments.` + name + `]
host = "web1"
project = "wants/` + name + `"
user = "wants"
directory = "` + name + `"
environment = "production"
variables = { projects = ["wants/` + name + `"] }
`
		if name == "conf" {
			text += withOverride
		}
	}
	return text
}

// What Compose makes of a project is known before anything is started, and what
// runs is held against what it wants.
func TestWanted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wantedInventory(), func(o *rehearsal.Options) {
		o.Files = func(project, image string) map[string]string {
			files := map[string]string{}
			for name, text := range wantedFiles[strings.TrimPrefix(project, "wants/")] {
				files[name] = strings.ReplaceAll(text, "IMAGE", image)
			}
			return files
		}
	})

	// Some of it GitLab shows before there is a clone.
	w.run(t, "plan").exits(t, 1).says(t, "web1: user wants: create system user wants\n",
		"provision: web1: containers deep: the project wants/deep has no compose.yaml\n", "hint: the project needs a compose.yaml in its root",
		"provision: web1: containers conf: docker compose reads compose.override.yml in place of ")

	w.sh(t, "web1", "systemd-run --quiet --unit taker systemd-socket-activate --listen 18081 /bin/true")
	// Whatever else is to be done is done, and no deploy changes anything in vain.
	told := []string{
		"provision: web1: containers deep: docker compose cannot read ~wants/deep: no configuration file provided", "hint: the project needs a compose.yaml in its root",
		"provision: web1: containers unset: compose.yaml of ~wants/unset needs variables that are not set: DB_PASSWORD\n", "hint: set them in the inventory: env = { DB_PASSWORD = … }",
		"provision: web1: containers ports: port 18081/tcp, which service api of ~wants/ports publishes, is taken by another program\n",
		"provision: web1: containers conf: docker compose reads compose.override.yml in place of the compose.override.yaml of ~wants/conf\n",
	}
	r := w.run(t, "apply").exits(t, 1)
	r.says(t, "web1: containers shop: done: start ", "web1: ci-key unset: done: ",
		"provision: web1: containers file: start the containers of file: ", "nothing was changed, as Compose cannot read the project: ", "secrets.env")
	r.says(t, told...)
	told = append(told, "1 host, 0 changes to make, 1 host failed",
		"provision: web1: containers file: docker compose cannot read ~wants/file: ", "secrets.env", "hint: that file is not in the project: have the inventory write it, with files = ")
	w.run(t, "plan").exits(t, 1).says(t, told...)

	// CI knows that something is wrong, but not what Compose says, which may quote a
	// secret.
	const secret = "S3CR3T!WORD"
	w.sh(t, "web1", `printf '%s\n' "$1" >/home/wants/file/.env`, secret)
	w.run(t, "plan").exits(t, 1).says(t, "web1: containers file: docker compose cannot read ~wants/file: ", "S3CR3T")
	ci := func(name string) result {
		t.Helper()
		key := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(key, []byte(w.variable(t, "wants/"+name, "SSH_AUTH", "production")), 0o600); err != nil {
			t.Fatal(err)
		}
		return w.run(t, "verify", "--key", key, "--limit", name)
	}
	for name, says := range map[string]string{
		"file": "containers file: DRIFT: docker compose cannot read ~wants/file\n", "deep": "containers deep: DRIFT: docker compose cannot read ~wants/deep\n",
		"unset": "containers unset: DRIFT: compose.yaml of ~wants/unset needs variables that are not set: DB_PASSWORD", "conf": "containers conf: DRIFT: docker compose reads compose.override.yml ",
		"ports": "containers ports: DRIFT: port 18081/tcp, which service api of ~wants/ports publishes, is taken\n",
	} {
		r := ci(name).exits(t, 3)
		r.says(t, says)
		r.saysNot(t, "S3CR3T")
	}
	ci("shop").exits(t, 0)

	image := w.sh(t, "web1", "docker inspect --format {{.Config.Image}} shop-db-1")
	for _, c := range []struct{ begin, end, says string }{
		{"docker create --name front $1", "docker rm front", "containers ports: the container name front, which service web of ~wants/ports is to have, is taken by container front\n"},
		{"docker run --detach --name proxy --publish 18079-18080:80-81 $1", "docker rm -f proxy", "containers ports: port 18080/tcp, which service web of ~wants/ports publishes, is taken by container proxy\n"},
		{"systemd-run --quiet --unit other systemd-socket-activate --datagram --listen 127.0.0.1:18082 /bin/true", "systemctl stop other", "containers ports: port 18082/udp, which service web of ~wants/ports publishes, is taken by another program\n"},
	} {
		w.sh(t, "web1", "systemctl stop taker; "+c.begin, image)
		w.run(t, "plan", "--limit", "ports").exits(t, 1).says(t, c.says)
		w.sh(t, "web1", c.end)
	}
	// Another address of the host is another place.
	w.sh(t, "web1", "ip address add 127.9.9.9/8 dev lo; systemd-run --quiet --unit apart systemd-socket-activate --listen 127.9.9.9:18080 /bin/true")
	w.sh(t, "web1", `cd /home/wants
rm conf/compose.override.yml file/.env
cp deep/deploy/compose.yaml deep/
echo A=b >file/secrets.env
echo DB_PASSWORD=x >unset/.env
chown -R wants: .`)
	w.apply(t)
	w.converged(t)

	// An override that Compose does not take is not put in place.
	override := filepath.Join(w.dir, "override.yaml")
	writeOverride := func(text string) {
		t.Helper()
		if err := os.WriteFile(override, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := w.read(t, "/home/wants/conf/compose.override.yaml")
	writeOverride("servces:\n  app: {\"@{motto}\": x}\n")
	w.run(t, "apply").exits(t, 1).says(t, "provision: web1: override conf: update ~wants/conf/compose.override.yaml (for the next deploy): Compose does not take it beside compose.yaml: ", "servces")
	if now := w.read(t, "/home/wants/conf/compose.override.yaml"); now != before {
		t.Errorf("the override is\n%s", now)
	}
	if j := w.ci(t, w.deployment(t, "conf"), ""); j.code != 0 {
		t.Errorf("%+v", j)
	}
	writeOverride(overrideText)
	w.converged(t)

	// A start that was cut short.
	drift := func(code int, says ...string) {
		t.Helper()
		for _, r := range []result{w.run(t, "verify", "--as", "admin", "--limit", "shop"), ci("shop")} {
			r.exits(t, code).says(t, says...)
		}
	}
	running := w.sh(t, "web1", `docker ps --all --no-trunc --format '{{.ID}} {{.Names}}' --filter label=com.docker.compose.project=shop | grep -v cron | sort`)
	w.sh(t, "web1", "docker rm -f shop-cron-1; rm -r /home/wants/.provision/shop")
	drift(3, "containers shop: DRIFT: apply would start 1 service of shop (cron has 0 containers instead of 1)")
	w.apply(t).says(t, "web1: containers shop: done: start 1 service of shop (cron has 0 containers instead of 1)")
	if now := w.sh(t, "web1", `docker ps --all --no-trunc --format '{{.ID}} {{.Names}}' --filter label=com.docker.compose.project=shop | grep -v cron | sort`); now != running {
		t.Errorf("what ran was made anew:\n%s\nnow\n%s", running, now)
	}
	drift(0)
	w.sh(t, "web1", "docker stop --time 0 shop-web-2")
	drift(3, "start 1 service of shop (web ")
	w.apply(t)
	drift(0)

	// compose.yaml loses a service and gains another one; what somebody has started
	// of a profile is left alone.
	w.sh(t, "web1", `cd /home/wants/shop
docker compose --profile debug up --detach --no-recreate debug
sed -i 's/^  cron:/  queue:/' compose.yaml`)
	drift(3, "service cron runs, and compose.yaml no longer has it", "apply would start 1 service of shop (queue was never started)")
	w.sh(t, "web1", "cd /home/wants/shop && sed -i 's/^  db: {/  db: {environment: [A=b], /' compose.yaml")
	running = w.sh(t, "web1", "docker inspect --format {{.State.StartedAt}} shop-db-1 shop-web-1 shop-web-2")
	w.run(t, "apply").exits(t, 0).says(t, "web1: containers shop: done: start 1 service of shop (queue was never started)")
	drift(0)
	if now := w.sh(t, "web1", "docker inspect --format {{.State.StartedAt}} shop-db-1 shop-web-1 shop-web-2"); now != running {
		t.Errorf("what ran was made anew: %s, and now %s", running, now)
	}
	if j := w.ci(t, w.deployment(t, "shop"), ""); j.code != 0 {
		t.Fatalf("%+v", j)
	}
	drift(0)
	if got := w.sh(t, "web1", `docker ps --format '{{.Names}}' --filter label=com.docker.compose.project=shop | sort | paste -s -d ' '`); got != "shop-db-1 shop-debug-1 shop-queue-1 shop-web-1 shop-web-2" {
		t.Errorf("there runs %s", got)
	}

	// A file that is mounted changes, as git pull changes it.
	w.sh(t, "web1", "cd /home/wants/shop && echo two >new && mv new site.conf")
	w.run(t, "verify", "--as", "admin", "--limit", "shop").exits(t, 0).says(t, "note: ~wants/shop/site.conf has changed since service web was started")
	w.run(t, "verify", "--as", "admin", "--limit", "shop", "--strict").exits(t, 3)

	// Somebody else's image.
	w.sh(t, "web1", `cd /home/wants/shop
echo 'FROM '"$(docker inspect --format '{{.Config.Image}}' shop-db-1)" | docker commit --change 'LABEL other=yes' shop-db-1 other:1
docker rm -f shop-db-1
printf 'services: {db: {image: "other:1", pull_policy: never}}\n' >/run/other.yaml
docker compose --file compose.yaml --file /run/other.yaml up --detach --no-deps db`)
	w.run(t, "verify", "--as", "admin", "--limit", "shop").exits(t, 0).says(t, "note: service db runs another image than the one of the last good deploy")
}

// The clone is made, and fetched into, with the key that GitLab has for it, also
// where the user has others, which GitLab knows elsewhere.
func TestOwnKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.sh(t, "web1", `useradd --create-home --shell /bin/sh deploy-user
runuser -u deploy-user -- ssh-keygen -q -t rsa -b 2048 -N '' -f /home/deploy-user/.ssh/id_rsa 2>/dev/null || {
	install -d -m 700 -o deploy-user -g deploy-user /home/deploy-user/.ssh
	runuser -u deploy-user -- ssh-keygen -q -t rsa -b 2048 -N '' -f /home/deploy-user/.ssh/id_rsa
}`)
	w.GitLab.AddUser("somebody")
	w.GitLab.AddProject("secrets/other", "main")
	w.GitLab.AddDeployKey("secrets/other", "somebody", "a key", w.read(t, "/home/deploy-user/.ssh/id_rsa.pub"))
	w.apply(t)
	w.converged(t)
	w.sh(t, "web1", `runuser -u deploy-user -- env HOME=/home/deploy-user git -C /home/deploy-user/frobnicator fetch --quiet`)

	// The inventory has another branch by now.
	d := w.deployment(t, "app")
	was := d.Branch
	d.Branch = "release"
	w.run(t, "verify", "--as", "admin").exits(t, 3).says(t, "web1: checkout app: DRIFT: ~deploy-user/frobnicator is at the branch main, and not at release\n",
		"hint: provision update --limit app ", " brings it there; then deploy")
	w.run(t, "apply").exits(t, 0).says(t, "note: ~deploy-user/frobnicator is at the branch main, and not at release")
	d.Branch = was
	w.run(t, "verify", "--as", "admin").exits(t, 0)
}
