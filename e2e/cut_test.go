package e2e_test

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"provision/e2e/rehearsal"
	"provision/e2e/sample"
	"provision/inventory"
)

// Four deployments whose containers take a while to stop, two that go back and
// two that do not.
var cutWorld = cutHead + cutDeployment("a", false) + cutDeployment("b", false) + cutDeployment("c", true) + cutDeployment("d", true)

const cutHead = head + web1 + `
[defaults.deployment]
host = "web1"
environment = "production"
wait = "30s"
`

func cutDeployment(name string, rollback bool) string {
	return fmt.Sprintf(`
[deployments.%[1]s]
project = "transmogrify/%[1]s"
user = "deploy-%[1]s"
directory = "%[1]s"
variables = { group = "transmogrify", prefix = "%[2]s_" }
rollback = %[3]t
`, name, strings.ToUpper(name), rollback)
}

// A cuttable is a connection that can end as links and clients do.
type cuttable struct {
	net.Conn
	gone chan struct{} // closed once nothing arrives any more, either way
}

func (c *cuttable) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	select {
	case <-c.gone:
		select {} // whoever reads has stopped, or the link is silent
	default:
		return n, err
	}
}

func (c *cuttable) Write(b []byte) (int, error) {
	select {
	case <-c.gone:
		return len(b), nil
	default:
		return c.Conn.Write(b)
	}
}

// The ways in which a job loses its deploy.
var cuts = []struct {
	name string
	cut  func(c *cuttable)
}{
	{"the client is killed", func(c *cuttable) {
		c.Conn.(*net.TCPConn).SetLinger(0)
		c.Conn.Close()
	}},
	{"the client is ended", func(c *cuttable) { c.Conn.Close() }},
	{"the client stops, or the link is silent", func(c *cuttable) { close(c.gone) }},
}

// deployCut begins a deploy and loses it after a while. It returns once the
// deploy has ended on the host.
func (w *world) deployCut(t *testing.T, d *inventory.Deployment, after time.Duration, cut func(*cuttable)) {
	t.Helper()
	h := w.Hosts[d.Host.Name]
	signer, err := ssh.ParsePrivateKey([]byte(w.variable(t, "transmogrify", d.Variables.Key("SSH_AUTH"), d.Scope)))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Dial("tcp", net.JoinHostPort(h.Address.String(), strconv.Itoa(h.Port)))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	conn := &cuttable{Conn: plain, gone: make(chan struct{})}
	c, chans, requests, err := ssh.NewClientConn(conn, h.Name, &ssh.ClientConfig{
		User: d.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		t.Fatal(err)
	}
	session, err := ssh.NewClient(c, chans, requests).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	session.Stdout, session.Stderr = io.Discard, io.Discard
	before := w.lastDeploy(t, d)
	if err := session.Start("deploy"); err != nil {
		t.Fatal(err)
	}
	// What is cut before the gate has begun deploys nothing, and is no case.
	w.until(t, d, `[ "$(cat last 2>/dev/null)" != "$3" ]`, before)
	time.Sleep(after) // the moment is the case
	cut(conn)
	w.until(t, d, `[ -s "$(cat last).end" ] && flock -n lock true`)
}

// lastDeploy is the number of the newest deploy.
func (w *world) lastDeploy(t *testing.T, d *inventory.Deployment) string {
	t.Helper()
	return w.sh(t, d.Host.Name, `cat "$(getent passwd "$1" | cut -d : -f 6)/.provision/$2/last"`, d.User, d.Name)
}

// until waits for a condition in the folder where the deploys of d are noted.
func (w *world) until(t *testing.T, d *inventory.Deployment, condition string, args ...string) {
	t.Helper()
	w.sh(t, d.Host.Name, `
cd "$(getent passwd "$1" | cut -d : -f 6)/.provision/$2"
n=0
until `+condition+`; do
	sleep 0.05
	n=$((n + 1))
	[ "$n" -lt 2400 ] || { tail -n 20 "$(cat last).log"; exit 1; }
done`, append([]string{d.User, d.Name}, args...)...)
}

// A deploy that has begun ends, or goes back, whether anybody listens or not.
// Where every case is taken it is cut at a hundred moments, and else at some of them.
func TestCutDeploys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cutWorld, slowProject)
	w.apply(t)

	d := w.deployment(t, "a")
	w.push(t, "a", "2")
	start := time.Now()
	if j := w.ci(t, d, "deploy"); j.code != 0 {
		t.Fatalf("%+v", j)
	}
	whole := time.Since(start)

	moments, each := 8, 2
	if sample.Every() {
		moments, each = 100, 25
	}
	var wg sync.WaitGroup
	for n, name := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			d := w.deployment(t, name)
			running := "1"
			if name == "a" {
				running = "2"
			}
			for i := range each {
				moment := i*4 + n
				version := strconv.Itoa(10 + i)
				broken := d.Rollback && i%2 == 1
				push := w.Push
				if broken {
					push = w.PushBroken
				}
				if err := push(t.Context(), d.Project, version); err != nil {
					t.Error(err)
					return
				}
				after := whole * time.Duration(moment) / time.Duration(moments)
				how := cuts[(moment+moment/len(cuts))%len(cuts)]
				w.deployCut(t, d, after, how.cut)
				if !broken {
					running = version
				}
				if got, err := w.Version(t.Context(), d); err != nil || got != running {
					t.Errorf("%s, after %v of %v, %s: version %s runs, want %s (%v)\n%s", name, after, whole, how.name, got, running, err, w.logOf(t, d))
				}
				if j := w.ci(t, d, "status"); j.code != 0 || strings.Count(j.out, `"verdict":"ok"`) != 3 || !strings.Contains(j.out, `"up":3,"wanted":3`) {
					t.Errorf("%s, after %v of %v, %s: %+v\n%s", name, after, whole, how.name, j, w.logOf(t, d))
				}
			}
		})
	}
	wg.Wait()
	for _, name := range []string{"a", "b", "c", "d"} {
		if got := w.plan(t); len(got) != 0 {
			t.Errorf("after all: the plan has %q", got)
		}
		w.deploy(t, name, "999")
	}
}

// logOf is what the newest deploy of d said.
func (w *world) logOf(t *testing.T, d *inventory.Deployment) string {
	t.Helper()
	return w.sh(t, d.Host.Name, `cd "$(getent passwd "$1" | cut -d : -f 6)/.provision/$2"; cat "$(cat last).log" "$(cat last).end"; docker ps -a --format '{{.Names}} {{.Status}} {{.Image}}'`, d.User, d.Name)
}

// slowProject has two services that are slow to stop, and one that ends.
func slowProject(o *rehearsal.Options) {
	o.Files = func(_, image string) map[string]string {
		return map[string]string{"compose.yaml": `services:
  app:
    image: ` + image + `
    init: true
    stop_signal: SIGTERM
    command: ["/bin/sh", "-c", "trap 'sleep 1; exit 0' TERM; httpd -p 80 -h /www; while :; do sleep 0.1; done"]
    depends_on: {migrate: {condition: service_completed_successfully}}
  slow:
    image: ` + image + `
    stop_signal: SIGCONT
    stop_grace_period: 1s
    depends_on: [app]
  migrate:
    image: ` + image + `
    command: ["/bin/sh", "-c", "sleep 0.3"]
    healthcheck: {disable: true}
`}
	}
}
