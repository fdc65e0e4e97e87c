package e2e_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"syscall"
	"testing"

	"provision/e2e/lab"
	"provision/e2e/rehearsal"
	"provision/inventory"
)

// handInventory has a deployment whose hosts stand in another order than in the
// inventory, and one that has much to say.
const handInventory = head + web1 + web2 + `
[deployments.shop]
hosts = ["web2", "web1"]
project = "transmogrify/shop"
user = "deploy-shop"
directory = "shop"
environment = "production"
variables = { group = "transmogrify" }
version = "TAG"
wait = "20s"
[deployments.chatty]
hosts = ["web1", "web2"]
project = "transmogrify/chatty"
user = "deploy-chatty"
directory = "chatty"
environment = "chat"
variables = { group = "transmogrify" }
`

// The talker says what it finds in a file of the host.
func handFiles(project, image string) map[string]string {
	text := `services:
  app:
    image: IMAGE:${TAG:-latest}
  seed:
    image: IMAGE:${TAG:-latest}
    command: [sh, -c, "echo seeded"]
    healthcheck: {disable: true}
`
	if project == "transmogrify/chatty" {
		text = `services:
  talker:
    image: IMAGE
    init: true
    healthcheck: {disable: true}
    volumes: ["/run/talk:/talk"]
    command: [sh, -c, 'echo hello; while :; do if [ -e /talk/say ]; then cat /talk/say; busybox rm /talk/say; fi; sleep 0.1; done']
  odd.one_two:
    image: IMAGE
    init: true
    healthcheck: {disable: true}
    command: [sh, -c, 'printf "red \033[31m and \007 loud\n"; exec sleep 1000000']
`
	}
	return map[string]string{"compose.yaml": strings.ReplaceAll(text, "IMAGE", image)}
}

// What an admin does by hand, with a deployment on two hosts.
func TestHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, handInventory, func(o *rehearsal.Options) { o.Files = handFiles })
	w.apply(t)
	t.Run("logs", func(t *testing.T) { testLogs(t, w) })
	t.Run("follow", func(t *testing.T) { testFollow(t, w) })
	t.Run("deploy", func(t *testing.T) { testHandDeploy(t, w) })
	t.Run("version", func(t *testing.T) { testHandVersion(t, w) })
	t.Run("beside CI", func(t *testing.T) { testHandBesideCI(t, w) })
	t.Run("interrupted", func(t *testing.T) { testHandInterrupted(t, w) })
	t.Run("rolling", func(t *testing.T) { testRolling(t, w) })
	t.Run("without a gate", func(t *testing.T) { testHandWithoutGate(t, w) })
}

// shopRuns fails the test unless the hosts of shop run these versions, web1 first.
func shopRuns(t *testing.T, w *world, want ...string) {
	t.Helper()
	got := map[string]string{}
	for _, d := range w.Inventory.Deployments {
		if d.Name == "shop" {
			version, err := w.Version(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			got[d.Host.Name] = version
		}
	}
	if all := []string{got["web1"], got["web2"]}; !slices.Equal(all, want) {
		t.Errorf("web1 and web2 run %q, want %q", all, want)
	}
}

// A deploy goes from host to host in the order of the inventory, and the host
// logs who asked for it.
func testHandDeploy(t *testing.T, w *world) {
	w.push(t, "shop", "2")
	r := w.run(t, "deploy", "shop").exits(t, 0)
	r.says(t, "web2: deployed 2 of 2 services in ", "web1: deployed 2 of 2 services in ", "web1:     app: "+w.Inventory.Registry.Host+"/transmogrify/shop:latest@sha256:", "\n2 hosts deployed, ")
	if end, begin := strings.Index(r.out, "web2: deployed "), strings.Index(r.out, "web1: "); end < 0 || begin < end {
		t.Errorf("web1 began before web2 was done:\n%v", r)
	}
	shopRuns(t, w, "2", "2")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	w.run(t, "log", "--limit", "web1").exits(t, 0).says(t, fmt.Sprintf(": user deploy-shop, key -, from %s@%s with provision ", me.Username, machine))
	w.run(t, "deploy", "shop").exits(t, 0).says(t, "web1: nothing new: what was deployed at ")
}

// What is no version is known before anybody is asked. The first host that fails is the
// last.
func testHandVersion(t *testing.T, w *world) {
	for _, i := range []lab.Image{{Version: "3", Tag: "1.4.2", Healthy: true}, {Version: "4", Tag: "2.0", Broken: true}} {
		i.Repository = "transmogrify/shop"
		if _, err := w.PushImage(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	w.run(t, "deploy", "--limit", "web1", "shop", "--tag", "1.4.2").exits(t, 0).says(t, "web1: deployed 2 of 2 services in ", "\n1 host deployed, ")
	shopRuns(t, w, "3", "2")

	w.run(t, "deploy", "shop", "--tag", "a b; id").exits(t, 2).says(t, `--tag is "a b; id": a version is a tag or a digest`)
	w.run(t, "deploy", "chatty", "--tag", "1.4.2").exits(t, 2).says(t, "the inventory lets nobody choose a version of chatty", `hint: write version = "TAG" into deployments.chatty`)
	shopRuns(t, w, "3", "2")

	r := w.run(t, "deploy", "shop", "--tag", "2.0", "--output", "json").exits(t, 1)
	lines := r.lines(t)
	if failed := of("error", lines); len(failed) != 1 || failed[0].Host != "web2" || !strings.Contains(failed[0].Text, "app is unhealthy") {
		t.Errorf("the errors are %+v", failed)
	}
	if left := of("not deployed", lines); len(left) != 1 || left[0].Host != "web1" {
		t.Errorf("left out is %+v", left)
	}
	if said, good := of("progress", lines), of("deployed", lines); len(said) == 0 || said[0].Host != "web2" || len(good) > 0 {
		t.Errorf("said was %+v, and deployed %+v", said, good)
	}
	shopRuns(t, w, "3", "4")
	w.run(t, "deploy", "shop", "--tag", "1.4.2").exits(t, 0).says(t, "\n2 hosts deployed, ")
	shopRuns(t, w, "3", "3")
}

// holdDeploys keeps deploys on web1 from beginning, as one that runs does.
func (w *world) holdDeploys(t *testing.T, user, deployment string) (release func()) {
	t.Helper()
	held := make(chan error, 1)
	go func() {
		_, err := w.Hosts["web1"].Exec(t.Context(), `
exec 9<"/home/$1/.provision/$2/lock"
flock 9
touch /run/held
while [ -e /run/held ]; do sleep 0.02; done`, user, deployment)
		held <- err
	}()
	w.sh(t, "web1", "until [ -e /run/held ]; do sleep 0.02; done")
	return func() {
		t.Helper()
		w.sh(t, "web1", "rm /run/held")
		if err := <-held; err != nil {
			t.Fatal(err)
		}
	}
}

// A deploy by hand and one of CI take the same lock: of two that would do the same
// work, one does it.
func testHandBesideCI(t *testing.T, w *world) {
	w.push(t, "shop", "5")
	d := w.Inventory.Deployments[slices.IndexFunc(w.Inventory.Deployments, func(d *inventory.Deployment) bool { return d.Name == "shop" && d.Host.Name == "web1" })]
	w.sh(t, "web1", `sed -i /^TAG=/d /home/deploy-shop/shop/.env`)
	release := w.holdDeploys(t, "deploy-shop", "shop")
	jobs := make(chan job, 1)
	go func() { jobs <- w.ci(t, d, "deploy") }()
	w.until(t, d, `grep -q 'waiting for the deploy that began at ' "$(cat last).log"`)
	last := w.lastDeploy(t, d)
	c := begins(t, w, "deploy", "shop", "--limit", "web1")
	c.waits(t, "web1: another deploy waits already, and does this one's work too")
	release()
	c.ends(t, 0)
	c.says(t, "web1: deployed 2 of 2 services in ")
	if j := <-jobs; j.code != 0 || !strings.Contains(j.out, "provision: deployed 2 of 2 services in ") {
		t.Errorf("%+v", j)
	}
	if now := w.lastDeploy(t, d); now != last {
		t.Errorf("after deploy %s there was another one, %s", last, now)
	}
	shopRuns(t, w, "5", "3")
}

// A deploy that nobody follows any more ends well.
func testHandInterrupted(t *testing.T, w *world) {
	w.push(t, "shop", "6")
	release := w.holdDeploys(t, "deploy-shop", "shop")
	c := begins(t, w, "deploy", "shop", "--limit", "web1")
	c.waits(t, "web1: waiting for the deploy that began at ")
	c.interrupt(t)
	c.ends(t, 1)
	c.says(t, "web1: interrupted; a deploy that has begun goes on to its end", "hint: provision log --limit web1 --since 1h ")
	shopRuns(t, w, "5", "3")
	release()
	w.sh(t, "web1", `
until [ -s "/home/deploy-shop/.provision/shop/$(cat /home/deploy-shop/.provision/shop/last).end" ]; do sleep 0.05; done
while pgrep -u deploy-shop -f 'deploy ask' >/dev/null; do sleep 0.05; done`)
	shopRuns(t, w, "6", "3")
	w.run(t, "log", "--limit", "web1", "--since", "1h").exits(t, 0).says(t, "shop: deployed 2 of 2 services in ")
	w.run(t, "deploy", "shop", "--limit", "web1").exits(t, 0).says(t, "nobody heard how the deploy before this one ended: deployed ")
}

// The jobs of a rolling deploy reach a host each.
func testRolling(t *testing.T, w *world) {
	w.sh(t, "web2", `sed -i /^TAG=/d /home/deploy-shop/shop/.env`)
	w.push(t, "shop", "7")
	jobs := renderJobs(t, w, nil, "--rolling", "--deployment", "shop")
	if len(jobs) != 2 {
		t.Errorf("there are %d jobs", len(jobs))
	}
	for _, step := range []struct{ job, web1, web2 string }{{"deploy shop web2", "6", "7"}, {"deploy shop web1", "7", "7"}} {
		job := jobs[step.job]
		job.In = "transmogrify"
		if out, err := w.Run(t.Context(), job); err != nil {
			t.Fatalf("%s: %v\n%s", step.job, err, out)
		}
		shopRuns(t, w, step.web1, step.web2)
	}
}

// A host that has no gate, or an older one, gets one by apply.
func testHandWithoutGate(t *testing.T, w *world) {
	const gate = "/usr/local/lib/provision/gate"
	w.sh(t, "web2", `cp -p "$1" /run/gate; sed 's/^\[ "$key" = - \] || //' /run/gate >"$1"`, gate)
	w.run(t, "deploy", "shop").exits(t, 1).says(t, "web2: the gate of the host is older than this program", "hint: provision apply --limit web2 ", "web1: not deployed")
	w.sh(t, "web2", `rm "$1"`, gate)
	w.run(t, "deploy", "shop").exits(t, 1).says(t, "web2: the gate is not installed", "hint: provision apply --limit web2 ", "web1: not deployed")
	w.apply(t, "--limit", "web2")
	w.run(t, "deploy", "shop").exits(t, 0)
}

// What containers have printed is printed, and cannot do anything to a terminal.
func testLogs(t *testing.T, w *world) {
	r := w.run(t, "logs", "chatty", "--limit", "web1").exits(t, 0)
	r.says(t, "talker-1 ", "| hello\n", `odd.one_two-1  | red \x1b[31m and \a loud`, "\n1 host, 2 lines, ")
	r.saysNot(t, "\x1b", "\a", "web1: ", `\x1b[2K`)
	r = w.run(t, "logs", "chatty", "--service", "talker").exits(t, 0)
	r.says(t, "web1: ", "web2: ", "| hello\n", "\n2 hosts, 2 lines, ")
	r.saysNot(t, "odd", "loud")
	w.run(t, "logs", "chatty", "-s", "talker", "-s", "odd.one_two", "--limit", "web2").exits(t, 0).says(t, "| hello\n", " loud\n")

	w.sh(t, "web1", `printf 'first\nsecond\n' >/run/talk/new; mv /run/talk/new /run/talk/say; while [ -e /run/talk/say ]; do sleep 0.05; done`)
	r = w.run(t, "logs", "chatty", "--limit", "web1", "--tail", "1", "--service", "talker").exits(t, 0)
	r.says(t, "| second\n", "\n1 host, 1 line, ")
	when := w.sh(t, "web1", `docker logs --timestamps "$(docker ps --quiet --filter label=com.docker.compose.service=talker)" 2>&1 | sed -n 's/ second$//p'`)
	r = w.run(t, "logs", "chatty", "--limit", "web1", "--since", when, "--output", "json").exits(t, 0)
	if said := of("output", r.lines(t)); len(said) != 1 || said[0].Host != "web1" || !strings.HasSuffix(said[0].Text, "| second") {
		t.Errorf("since %s: %v", when, r)
	}

	w.run(t, "logs", "chatty", "--limit", "web1", "--service", "walker").exits(t, 1).says(t, "web1: no such service: walker; there are containers of: odd.one_two talker")
	w.sh(t, "web1", "mv /home/deploy-chatty/chatty /home/deploy-chatty/gone")
	w.run(t, "logs", "chatty", "--limit", "web1").exits(t, 1).says(t, "web1: the deployment is not there yet")
	w.sh(t, "web1", "mv /home/deploy-chatty/gone /home/deploy-chatty/chatty")
}

// Whoever follows hears what comes. When they go, so does all that ran for them.
func testFollow(t *testing.T, w *world) {
	const running = `pgrep -u deploy-chatty -f 'compose.* logs'`
	for name, leave := range map[string]func(*testing.T, *client){
		"interrupted": func(t *testing.T, c *client) {
			c.interrupt(t)
			c.ends(t, 0)
			c.says(t, "1 host, ")
		},
		"killed": func(t *testing.T, c *client) {
			c.command.Process.Kill()
			c.ends(t, -1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := begins(t, w, "logs", "chatty", "--follow", "--limit", "web1", "--tail", "1")
			c.waits(t, "talker-1 ")
			w.sh(t, "web1", running+" >/dev/null; echo more >/run/talk/new; mv /run/talk/new /run/talk/say")
			c.waits(t, "| more")
			leave(t, c)
			if left := w.sh(t, "web1", "timeout 20 sh -c \"while "+running+" >/dev/null; do sleep 0.05; done\" || "+running+" -a"); left != "" {
				t.Errorf("after the client has gone there are still\n%s", left)
			}
		})
	}
}

// A client is a command that runs as a process of its own.
type client struct {
	command *exec.Cmd
	lines   *bufio.Scanner
	stderr  strings.Builder
	result
}

// begins starts a command on the inventory.
func begins(t *testing.T, w *world, args ...string) *client {
	t.Helper()
	command, _, _ := w.process(t, args...)
	command.Stdout = nil
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c := &client{command: command, lines: bufio.NewScanner(out)}
	command.Stderr = &c.stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// waits reads on until a line has that text.
func (c *client) waits(t *testing.T, text string) {
	t.Helper()
	for c.lines.Scan() {
		c.out += c.lines.Text() + "\n"
		if strings.Contains(c.lines.Text(), text) {
			return
		}
	}
	t.Fatalf("it never says %q:\n%s%s", text, c.out, &c.stderr)
}

func (c *client) interrupt(t *testing.T) {
	t.Helper()
	if err := c.command.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

// ends waits for the end, and fails the test unless that is the exit code.
func (c *client) ends(t *testing.T, code int) {
	t.Helper()
	for c.lines.Scan() {
		c.out += c.lines.Text() + "\n"
	}
	c.command.Wait()
	c.code, c.errors = c.command.ProcessState.ExitCode(), c.stderr.String()
	c.exits(t, code)
}
