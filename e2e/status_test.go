package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"provision/e2e/rehearsal"
	"provision/inventory"
)

// A statusOf is what the gate tells of a deployment, or "provision status".
type statusOf struct {
	Deployment, Host, Text, Branch, Commit string
	Up, Wanted, Behind                     *int
	Services                               []struct {
		Name, State, Verdict, Reason, Image, Digest, Since string
		Up, Wanted                                         *int
		Written                                            int
	}
	Deploying *struct{ Since, By string }
	Last      struct{ Time, By, Outcome, Text string }
}

// status asks the gate for the status, as CI does.
func (w *world) status(t *testing.T, d *inventory.Deployment) (s statusOf) {
	t.Helper()
	j := w.ci(t, d, "status")
	followsSchema(t, j.out)
	if err := json.Unmarshal([]byte(j.out), &s); err != nil || j.code != 0 || strings.Count(j.out, "\n") != 1 {
		t.Fatalf("%v: %+v", err, j)
	}
	return s
}

// shopFiles is a project with several services, a job, and a secret.
var shopFiles = map[string]string{"compose.yaml": `name: shop
services:
  web:
    image: IMAGE
    init: true
    environment: {PASSWORD: "${SHOP_PASSWORD:-S3CR3T!WORD}"}
    labels: {auth: "S3CR3T!WORD"}
    deploy: {replicas: 2}
  db: {image: IMAGE, init: true, restart: always}
  Odd_name.2: {image: IMAGE, init: true, restart: always}
  job:
    image: IMAGE
    command: [sh, -c, "exit 0 # S3CR3T!WORD"]
    healthcheck: {disable: true}
  debug: {image: IMAGE, init: true, profiles: [debug]}
`}

const shop = `
[deployments.shop]
host = "web1"
project = "transmogrify/shop"
user = "deploy-user"
directory = "shop"
environment = "production"
variables = { projects = ["transmogrify/shop"] }
`

// What runs, since when, how the last deploy has ended, and how far the clone is
// behind, is told of every deployment; the same to CI, but for what GitLab knows.
func TestStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+web2+shop+strings.Replace(app, "web1", "web2", 1), func(o *rehearsal.Options) {
		o.Files = func(project, image string) map[string]string {
			files := map[string]string{}
			if project == "transmogrify/shop" {
				for name, text := range shopFiles {
					files[name] = strings.ReplaceAll(text, "IMAGE", image)
				}
			}
			return files
		}
	})
	d := w.deployment(t, "shop")
	text := func(code int, says ...string) {
		t.Helper()
		r := w.run(t, "status").exits(t, code)
		r.says(t, says...)
		r.saysNot(t, "S3CR3T")
	}
	// told returns what JSON has of the shop, and fails the test unless the gate has
	// the same.
	told := func() (s statusOf) {
		t.Helper()
		r := w.run(t, "status", "--output", "json", "--limit", "shop").exits(t, 0)
		r.saysNot(t, "S3CR3T")
		if sum := r.summary(t); sum.Trips != 1 || sum.Connections != 1 {
			t.Errorf("it takes %d connections and %d trips", sum.Connections, sum.Trips)
		}
		var ours, gates map[string]any
		line, _, _ := strings.Cut(r.out, "\n")
		json.Unmarshal([]byte(line), &ours)
		json.Unmarshal([]byte(line), &s)
		delete(ours, "host")
		delete(ours, "behind")
		j := w.ci(t, d, "status")
		followsSchema(t, j.out)
		json.Unmarshal([]byte(j.out), &gates)
		if !reflect.DeepEqual(ours, gates) {
			t.Errorf("status has\n%s\nand the gate\n%s", line, j.out)
		}
		return s
	}
	is := func(what string, got *int, want int) {
		t.Helper()
		if got == nil || *got != want {
			t.Errorf("%s is %v, want %d", what, got, want)
		}
	}

	text(0, "web1: shop: it is not installed on the host", "hint: provision apply installs it", "2 hosts, 2 deployments, 2 of them not fully up")
	w.apply(t)
	text(0, "\nweb1  shop        4/4  ", "\nweb2  app         1/1  ", " good, by admin  ", "2 hosts, 2 deployments, ")
	s := told()
	is("up", s.Up, 4)
	is("wanted", s.Wanted, 4)
	is("behind", s.Behind, 0)
	if len(s.Services) != 4 || s.Last.By != "admin" || s.Last.Outcome != "good" || s.Branch != "main" || s.Host != "web1" {
		t.Errorf("it is %+v", s)
	}

	// The project goes on, and one who comes after the clone does not count as well.
	work := filepath.Join(t.TempDir(), "work")
	if out, err := exec.Command("sh", "-euc", `
git clone --quiet "$1" "$2"
cd "$2"
for n in 1 2 3; do git -c user.name=x -c user.email=x@example.com commit --quiet --allow-empty --message "$n"; done
git push --quiet`, "sh", w.GitLab.Repository(d.Project), work).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.push(t, "shop", "2")
	if j := w.ci(t, d, ""); j.code != 0 {
		t.Fatalf("%+v", j)
	}
	s = told()
	is("behind", s.Behind, 3)
	if s.Last.Outcome != "good" || !strings.HasPrefix(s.Last.By, "SHA256:") || !strings.HasPrefix(s.Last.Text, "deployed 4 of 4 services") {
		t.Errorf("it is %+v", s)
	}

	// What a container keeps in itself is told before a deploy throws it away.
	w.sh(t, "web1", `docker exec shop-db-1 sh -c 'head -c 3000000 /dev/zero >/kept'`)
	text(0, "web1: shop: service db has written 3 MB into its container, which go when a deploy makes it anew\n", "hint: give it a volume for what it must keep")
	for _, service := range told().Services {
		if (service.Name == "db") != (service.Written >= 3000000) {
			t.Errorf("%+v", service)
		}
	}

	// What is not up is told, and is no failure.
	w.sh(t, "web1", `docker stop --time 0 shop-web-2; docker rm --force shop-db-1`)
	text(0, "\nweb1  shop        2/4  ", "web1: shop: service web has ended with exit code 137", "web1: shop: service db has no container", " by SHA256:", ", 1 of them not fully up")
	s = told()
	is("up", s.Up, 2)
	is("wanted", s.Wanted, 4)

	// A deploy that fails tells why, and Compose cannot read the project.
	w.sh(t, "web1", `cd /home/deploy-user/shop && printf 'servces: {a: S3CR3T!WORD}\n' >>compose.yaml`)
	if j := w.ci(t, d, ""); j.code == 0 {
		t.Errorf("%+v", j)
	}
	r := w.run(t, "status").exits(t, 0)
	r.says(t, "\nweb1  shop        2/?  ", " failed, by SHA256:", "web1: shop: docker compose cannot read the project", "web1: shop: the last deploy: deploy failed after ")
	s = told()
	if s.Wanted != nil || s.Last.Outcome != "failed" || s.Text != "docker compose cannot read the project" {
		t.Errorf("it is %+v", s)
	}
	w.sh(t, "web1", `cd /home/deploy-user/shop && sed -i '$d' compose.yaml`)

	// Where GitLab gives no answer, nothing is made up.
	w.sh(t, "web1", `runuser -u deploy-user -- git -C /home/deploy-user/shop -c user.name=x -c user.email=x@example.com commit --quiet --allow-empty --message own`)
	text(0, "web1: shop: note: how far the clone is behind is not known: GitLab does not show ")
	if s = told(); s.Behind != nil {
		t.Errorf("it is %+v", s)
	}
	token, err := os.ReadFile(w.Inventory.GitLab.Token.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.Inventory.GitLab.Token.File, []byte("glpat-nobody"), 0o600); err != nil {
		t.Fatal(err)
	}
	text(0, "provision: how far clones are behind is not known: GitLab: the token is unknown, revoked or expired")
	if err := os.WriteFile(w.Inventory.GitLab.Token.File, token, 0o600); err != nil {
		t.Fatal(err)
	}

	// Docker is down, and a host is away.
	w.sh(t, "web1", "systemctl stop docker.socket docker.service")
	w.sh(t, "web2", "systemctl stop ssh.socket ssh.service 2>/dev/null || systemctl stop ssh.service")
	text(1, "\nweb1  shop        ?/4  ", "web1: shop: docker cannot be asked: it does not run", "\nweb2  app         unreachable  -", "provision: web2: ", "2 hosts, 1 deployment, 1 of them not fully up, 1 host failed")
	if state := w.sh(t, "web1", "systemctl is-active docker.service || :"); state != "inactive" {
		t.Errorf("docker is %s", state)
	}
}
