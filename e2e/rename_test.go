package e2e_test

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"provision/e2e/rehearsal"
	"provision/inventory"
)

// Two deployments of one user, with a database, a service that waits for a migration,
// and a worker.
const shops = head + web1 + `
[defaults.deployment]
host = "web1"
user = "deploy-user"
environment = "production"
wait = "30s"
rollback = true
[deployments.shop]
project = "transmogrify/shop"
directory = "shop"
variables = { group = "transmogrify", prefix = "SHOP_" }
[deployments.blog]
project = "transmogrify/blog"
directory = "blog"
variables = { group = "transmogrify", prefix = "BLOG_" }
`

func shopProject(o *rehearsal.Options) {
	o.Files = func(_, image string) map[string]string {
		return map[string]string{"compose.yaml": strings.ReplaceAll(`services:
  app:
    image: IMAGE
    init: true
    depends_on: {migrate: {condition: service_completed_successfully}}
  db:
    image: IMAGE
    init: true
    volumes: ["data:/data"]
  worker:
    image: IMAGE
    init: true
    command: ["/bin/sh", "-c", "while :; do sleep 1; done"]
    healthcheck: {disable: true}
  migrate:
    image: IMAGE
    command: ["/bin/sh", "-c", "exit 0"]
    healthcheck: {disable: true}
volumes:
  data: {}
`, "IMAGE", image)}
	}
}

// A pusher pushes and deploys new versions of a deployment without a pause, until it is stopped.
type pusher struct {
	world *world
	d     inventory.Deployment // where its jobs find their variables
	quit  chan struct{}
	done  sync.WaitGroup
	n     int
}

func (w *world) startPusher(t *testing.T, d *inventory.Deployment, first int) *pusher {
	t.Helper()
	p := &pusher{world: w, d: *d, quit: make(chan struct{}), n: first}
	begun := make(chan struct{})
	p.done.Go(func() {
		for i := 0; ; i++ {
			if err := w.Push(t.Context(), p.d.Project, strconv.Itoa(p.n)); err != nil {
				t.Error(err)
			}
			if i == 0 {
				close(begun)
			}
			if j := w.ci(t, &p.d, "deploy"); j.code != 0 {
				t.Errorf("a deploy of %s failed: %+v", p.d.Project, j)
			}
			p.n++
			select {
			case <-p.quit:
				return
			default:
			}
		}
	})
	<-begun
	return p
}

// stop lets the last deploy end, and returns the version that runs by then.
func (p *pusher) stop() string {
	close(p.quit)
	p.done.Wait()
	return strconv.Itoa(p.n - 1)
}

// ids are those of all containers, with the time of their start.
func (w *world) ids(t *testing.T) string {
	t.Helper()
	return w.sh(t, "web1", `docker ps --all --quiet | sort | xargs docker inspect --format '{{.Id}} {{.State.StartedAt}}'`)
}

func (w *world) gateLines(t *testing.T, user string) []string {
	t.Helper()
	return strings.Fields(w.sh(t, "web1", `sed -n 's|.*/gate \([^ ]*\) .*|\1|p' "/home/$1/.ssh/authorized_keys"`, user))
}

// onlyNames fails the test unless a plan has want and, besides that, only notes the names
// in GitLab.
func onlyNames(t *testing.T, plan []string, want ...string) {
	t.Helper()
	planned(t, plan, want...)
	for _, text := range plan {
		if !slices.Contains(want, text) && !strings.HasSuffix(text, "(only its description: the names have changed)") {
			t.Errorf("the plan has %q", text)
		}
	}
}

// A deployment gets another name in the inventory: on the host it gets that name, and
// nothing else becomes of it.
func TestRename(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shops, shopProject)
	w.apply(t)
	d := w.deployment(t, "shop")
	w.deploy(t, "shop", "2")
	w.sh(t, "web1", "docker exec shop-db-1 sh -c 'echo rows >/data/table'")
	before := w.ids(t)

	d.Name = "store"
	onlyNames(t, w.plan(t), "names store: rename shop to store")
	w.run(t, "verify", "--as", "admin").exits(t, 3).says(t, "apply would rename shop to store")
	w.run(t, "remove", "--deployment", "shop", "--limit", "web1", "--yes", "--volumes").exits(t, 1).says(t, "shop is store under its old name, which the inventory wants: nothing is removed", "renames it")
	w.run(t, "remove", "--deployment", "store", "--yes", "--volumes").exits(t, 1).says(t, "the host has store under its old name, shop: nothing is removed")
	w.apply(t)
	w.converged(t)
	if got := w.plan(t); len(got) > 0 {
		t.Errorf("after it the plan is %q", got)
	}
	w.run(t, "verify").exits(t, 0)
	w.run(t, "verify", "--as", "admin").exits(t, 0)
	if got := w.ids(t); got != before {
		t.Errorf("the containers were\n%s\nand are\n%s", before, got)
	}
	if got := w.gateLines(t, "deploy-user"); slices.Contains(got, "shop") || !slices.Contains(got, "store") || len(got) != 2 {
		t.Errorf("the keys are for %q", got)
	}
	var s struct{ Deployment string }
	j := w.ci(t, d, "status")
	if json.Unmarshal([]byte(j.out), &s) != nil || s.Deployment != "store" || !strings.Contains(j.out, `"outcome":"good"`) {
		t.Errorf("the status is %+v", j)
	}

	// The way back to the last good deploy is still known.
	if err := w.PushBroken(t.Context(), d.Project, "3"); err != nil {
		t.Fatal(err)
	}
	if j := w.ci(t, d, "deploy"); j.code != 1 || !strings.Contains(j.out, "went back to") {
		t.Errorf("%+v", j)
	}
	w.runs(t, "store", "2")
	w.sh(t, "web1", "docker rm -f shop-app-1 >/dev/null")
	w.apply(t).says(t, "start 1 service of store")
	w.runs(t, "store", "2")

	// Once more, while it is deployed. The new name was that of another one once.
	p, q := w.startPusher(t, d, 10), w.startPusher(t, w.deployment(t, "blog"), 10)
	d.Name = "shop"
	w.apply(t)
	d.Name = "web"
	w.apply(t)
	one, two := p.stop(), q.stop()
	w.runs(t, "web", one)
	w.runs(t, "blog", two)
	w.converged(t)
	if got := w.sh(t, "web1", "docker exec shop-db-1 cat /data/table"); got != "rows" {
		t.Errorf("the database has %q", got)
	}

	// A new one takes the name of before, and each goes alone.
	w.remove(t, "web")
	if got := w.sh(t, "web1", "docker ps --all --quiet --filter label=com.docker.compose.project=shop; ls /etc/provision/deployments /usr/local/lib/provision/look /home/deploy-user/.provision; docker image ls --filter reference=provision/kept --format '{{.Tag}}' | sed 's/_.*//' | sort -u"); got != "/etc/provision/deployments:\nblog\n\n/home/deploy-user/.provision:\nblog\n\n/usr/local/lib/provision/look:\nblog\nblog" {
		t.Errorf("after the removal there are %q", got)
	}
	w.works(t, w.deployment(t, "blog"), "deploy")
}

// Two deployments swap their names. Wherever an apply ends, the next one goes on, and
// CI reaches what it has always reached.
func TestSwap(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shops, shopProject)
	w.apply(t)
	shop, blog := w.deployment(t, "shop"), w.deployment(t, "blog")
	w.deploy(t, "shop", "2")
	w.deploy(t, "blog", "3")
	swap := func() { shop.Name, blog.Name = blog.Name, shop.Name }

	swap()
	onlyNames(t, w.plan(t), "names blog: rename shop to blog", "names shop: rename blog to shop")
	p, q := w.startPusher(t, shop, 10), w.startPusher(t, blog, 20)
	w.apply(t)
	one, two := p.stop(), q.stop()
	w.runs(t, shop.Name, one)
	w.runs(t, blog.Name, two)
	w.converged(t)
	w.run(t, "verify").exits(t, 0)
	before := w.ids(t)

	points, been, ended := newPoints(t, w), map[string]bool{}, 0
	swap()
	for {
		point, code := w.applyUntil(t, points, been, func(program *os.Process) { program.Signal(syscall.SIGKILL) }, false)
		if point == "" {
			if code != 0 {
				t.Fatalf("the exit code of an apply that nothing ended is %d", code)
			}
			break
		}
		ended++
		for _, d := range []*inventory.Deployment{shop, blog} {
			if j := w.ci(t, d, "status"); j.code != 0 || !strings.Contains(j.out, `"image":"`+w.Inventory.Registry.Host+"/"+d.Project) {
				t.Errorf("after the end %s the status of %s is %+v", point, d.Project, j)
			}
		}
		if t.Failed() {
			t.Fatal("the end came " + point)
		}
	}
	if ended < 10 {
		t.Errorf("an apply ended %d times", ended)
	}
	w.converged(t)
	if got := w.ids(t); got != before {
		t.Errorf("the containers were\n%s\nand are\n%s", before, got)
	}
	if got := w.sh(t, "web1", "ls /etc/provision /etc/provision/deployments /usr/local/lib/provision/look"); got != "/etc/provision:\ndeployments\n\n/etc/provision/deployments:\nblog\nshop\n\n/usr/local/lib/provision/look:\nblog\nshop" {
		t.Errorf("there are %q", got)
	}
	w.deploy(t, shop.Name, "4")
	w.deploy(t, blog.Name, "5")
}

// A deployment gets another directory: the old one runs on and is told of until it is
// removed, and no deploy fails.
func TestOtherDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shops, shopProject)
	w.apply(t)
	d := w.deployment(t, "shop")
	w.deploy(t, "shop", "2")
	w.sh(t, "web1", "docker exec shop-db-1 sh -c 'echo rows >/data/table'")

	d.Directory = "store"
	planned(t, w.plan(t), "names shop: rename shop to shop.OLD (~deploy-user/shop is left behind)", "names shop: rename shop.NEXT to shop", "ci-key shop: authorize the current CI key for shop")
	w.run(t, "remove", "--deployment", "shop", "--yes").exits(t, 1).says(t, "the host has shop in ~deploy-user/shop, and the inventory in ~deploy-user/store: nothing is removed")
	p := w.startPusher(t, d, 10)
	w.apply(t)
	p.stop()
	const last = "99"
	w.deploy(t, "shop", last)
	w.converged(t)
	const left = "shop.OLD is installed on this host but not in the inventory"
	const command = "provision remove --deployment shop.OLD --limit web1 "
	w.run(t, "plan").exits(t, 0).says(t, left+": 3 running containers", command)
	w.run(t, "verify", "--as", "admin").exits(t, 3).says(t, left+": 3 running containers", command)
	r := w.run(t, "verify").exits(t, 3)
	r.says(t, left+"\n")
	r.saysNot(t, "running containers")
	if got := w.sh(t, "web1", "docker exec shop-db-1 cat /data/table"); got != "rows" {
		t.Errorf("the old database has %q", got)
	}

	w.remove(t, "shop.OLD", "--limit", "web1").says(t, "the volume shop_data stays with data of shop.OLD")
	w.runs(t, "shop", last)
	w.run(t, "verify").exits(t, 0)
	w.run(t, "verify", "--as", "admin").exits(t, 0)
	w.converged(t)
	w.deploy(t, "shop", "100")
	if got := w.sh(t, "web1", "ls -d /home/deploy-user/shop 2>/dev/null; docker ps --all --quiet --filter label=com.docker.compose.project=shop"); got != "" {
		t.Errorf("of the old one there is %q", got)
	}
}

// A deployment gets another user. What runs as the old one is in the way, which is said
// before anything is made; CI deploys it until it is removed, and its data stays.
func TestOtherUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shops, shopProject)
	w.apply(t)
	d := w.deployment(t, "shop")
	old := *d
	w.drop(t, "blog")
	w.remove(t, "blog", "--limit", "web1")
	w.deploy(t, "shop", "2")
	w.sh(t, "web1", "docker exec shop-db-1 sh -c 'echo rows >/data/table'")

	d.User = "deploy-shop"
	const why = "~deploy-user/shop is left behind, and runs as the Compose project shop, which this one would be, too"
	w.run(t, "plan").exits(t, 1).says(t, why, "once apply has renamed it, provision remove --deployment shop.OLD --limit web1 ")
	p := w.startPusher(t, d, 10)
	w.run(t, "apply").exits(t, 1).says(t, why)
	w.run(t, "apply").exits(t, 1).says(t, why)
	version := p.stop()
	if got, err := w.Version(t.Context(), &old); err != nil || got != version {
		t.Errorf("the old one runs version %q (%v), want %q", got, err, version)
	}
	w.run(t, "verify", "--as", "admin").exits(t, 3).says(t, "shop.OLD is installed on this host but not in the inventory: deploy-user is in the docker group, the key pair of deploy-user, 1 CI key in ~deploy-user/.ssh/authorized_keys, 3 running containers")

	r := w.remove(t, "shop.OLD", "--limit", "web1")
	r.says(t, "revoke the CI key of shop.OLD", "remove user deploy-user", "the volume shop_data stays")
	w.apply(t)
	w.runs(t, "shop", version)
	w.converged(t)
	w.run(t, "verify").exits(t, 0)
	w.run(t, "verify", "--as", "admin").exits(t, 0)
	if got := w.sh(t, "web1", "docker exec shop-db-1 cat /data/table; id deploy-user 2>/dev/null || echo gone"); got != "rows\ngone" {
		t.Errorf("there is %q", got)
	}
	for _, k := range w.GitLab.DeployKeys(d.Project) {
		if k.Title != "deploy-shop@web1" {
			t.Errorf("GitLab has the deploy key %s", k.Title)
		}
	}
	if ids := w.active("transmogrify", "deploy-user@web1"); len(ids) > 0 {
		t.Errorf("the tokens %v of the old user work", ids)
	}
	w.deploy(t, "shop", "100")
}
