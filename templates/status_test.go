package templates

import (
	encoding "encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// status asks for the status, and returns what is said, with times as TIME.
func (d *deployBox) status(t *testing.T) string {
	t.Helper()
	out, err := d.command("status", "web").CombinedOutput()
	if err != nil || !encoding.Valid(out) {
		t.Fatalf("%v: %s", err, out)
	}
	return tookForm.ReplaceAllString(timeForm.ReplaceAllString(string(out), "TIME"), "$1 N s")
}

// shows fails the test unless the status is this, as far as this goes.
func (d *deployBox) shows(t *testing.T, want string) {
	t.Helper()
	got := d.status(t)
	var is, wanted map[string]any
	if err := encoding.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err)
	}
	encoding.Unmarshal([]byte(got), &is)
	for key, value := range wanted {
		if !reflect.DeepEqual(is[key], value) && !(value == nil && is[key] == nil) {
			t.Errorf("%s is %v, want %v, in\n%s", key, is[key], value, got)
		}
	}
}

const wellShown = `"up":2,"wanted":2,"services":[` +
	`{"name":"web","up":1,"wanted":1,"state":"running","health":"healthy","verdict":"ok","reason":"is healthy","image":"registry/web:1","digest":"` + id1 + `","since":"TIME"},` +
	`{"name":"db","up":1,"wanted":1,"state":"running","health":"healthy","verdict":"ok","reason":"is healthy","image":"registry/db:1","digest":"` + id2 + `","since":"TIME"}]`

// The status is what runs, what is wanted, and how the last deploy has ended.
func TestStatus(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		const head = `{"version":2,"event":"deployment","deployment":"web",`
		if got, want := d.status(t), head+`"up":0,"wanted":2,"services":[`+
			`{"name":"web","up":0,"wanted":1,"state":"missing","verdict":"bad","reason":"has no container"},`+
			`{"name":"db","up":0,"wanted":1,"state":"missing","verdict":"bad","reason":"has no container"}]}`+"\n"; got != want {
			t.Errorf("before a deploy it is\n%swant\n%s", got, want)
		}
		if _, err := os.Stat(filepath.Join(d.home, ".provision")); !os.IsNotExist(err) {
			t.Errorf("a look has left something: %v", err)
		}
		d.check(t, 0, firstGood, "deploy")
		const last = `,"last":{"time":"TIME","by":"SHA256:key","outcome":"good","text":"deployed 2 of 2 services in N s"}`
		if got, want := d.status(t), head+wellShown+last+"}\n"; got != want {
			t.Errorf("after a deploy it is\n%swant\n%s", got, want)
		}
		d.check(t, 0, same, "deploy")
		d.shows(t, `{"last":{"time":"TIME","by":"SHA256:key","outcome":"same","text":"nothing new: what was deployed at TIME runs"}}`)

		d.set(t, "fail-config", "services.web.environment.PASSWORD must be a \"hunter2\"\n")
		d.write(t, "web dir/compose.yaml", "services:\n", 0o644)
		if status, _, _ := d.ask(t, "deploy"); status != 1 {
			t.Errorf("the deploy ended with %d", status)
		}
		if got := d.status(t); strings.Contains(strings.Split(got, `"last"`)[0], "hunter2") {
			t.Errorf("a file is quoted: %s", got)
		}
		d.shows(t, `{"up":2,"wanted":null,"text":"docker compose cannot read the project","last":{"time":"TIME","by":"SHA256:key","outcome":"failed",
			"text":"deploy failed after N s: nothing was changed, as Compose cannot read the project: services.web.environment.PASSWORD must be a \"hunter2\""}}`)
		d.settings(t, "version=TAG\n")
		d.shows(t, `{"wanted":null,"text":"no version was deployed yet"}`)
		d.settings(t, "")
		os.Remove(filepath.Join(d.dir, "fail-config"))

		d.set(t, "fail-ps", "Cannot connect to the Docker daemon\n")
		d.shows(t, `{"up":null,"wanted":2,"services":[{"name":"web","wanted":1},{"name":"db","wanted":1}],"text":"docker cannot be asked: Cannot connect to the Docker daemon"}`)
		d.stub(t, "systemctl", "echo inactive")
		d.shows(t, `{"up":null,"wanted":2,"text":"docker cannot be asked: it does not run"}`)
	})
}

// What Compose is asked stays for as long as nothing changes that it has read.
func TestStatusAsksComposeOnce(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		d.check(t, 0, firstGood, "deploy")
		d.set(t, "fail-config", "it was asked\n")
		d.shows(t, `{"up":2,"wanted":2,"text":null}`)
		d.write(t, "web dir/compose.yaml", "services: {}\n", 0o644)
		d.shows(t, `{"up":2,"wanted":null,"text":"docker compose cannot read the project"}`)
	})
}

// A service is up where all its containers are well; a job that has ended with 0
// is. Of several containers the worst is told of. What Compose does not want is
// there, and is not counted.
func TestStatusOfServices(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		d.config(t, `{"name":"shop","services":{"web":{"image":"registry/web:1","scale":2},"db":{"image":"registry/db:1","scale":3},"job":{"image":"registry/job:1"},"off":{"image":"registry/off:1","scale":0}}}`)
		line := func(id, state, health, policy, service, revision string) string {
			return strings.Join([]string{id, state, "2026-01-02T03:04:05.678Z", health, policy, id1, service, "shop-" + service, "shop", "registry/" + service + ":1", revision}, "\t") + "\n"
		}
		d.set(t, "containers", line("a", "running\t0\t0", "healthy", "always", "web", `"1f2e"`)+
			line("b", "exited\t3\t7", "none", "always", "web", "null")+
			line("c", "running\t0\t0", "none", "always", "db", `"a\"b\\c"`)+
			line("d", "exited\t0\t0", "none", "no", "job", "null")+
			line("e", "created\t0\t0", "none", "no", "debug", `"`+strings.Repeat("x", 300)+`"`))
		if got, want := d.status(t), `"up":1,"wanted":3,"services":[`+
			`{"name":"web","up":1,"wanted":2,"state":"exited","health":"none","verdict":"bad","reason":"is stopped, exit code 3","image":"registry/web:1","digest":"`+id1+`","since":"2026-01-02T03:04:05Z"},`+
			`{"name":"db","up":1,"wanted":3,"state":"running","health":"none","verdict":"bad","reason":"has 1 of 3 containers","image":"registry/db:1","digest":"`+id1+`","revision":"a\"b\\c","since":"2026-01-02T03:04:05Z"},`+
			`{"name":"job","up":1,"wanted":1,"state":"exited","health":"none","verdict":"ok","reason":"has ended with 0","image":"registry/job:1","digest":"`+id1+`","since":"2026-01-02T03:04:05Z"},`+
			`{"name":"debug","up":0,"wanted":0,"state":"created","health":"none","verdict":"bad","reason":"was never started","image":"registry/debug:1","digest":"`+id1+`","since":"2026-01-02T03:04:05Z"}]`; !strings.Contains(got, strings.ReplaceAll(want, "2026-01-02T03:04:05Z", "TIME")) {
			t.Errorf("it is\n%swant\n%s", got, want)
		}
	})
}

// An image has the name that compose.yaml gives it, whatever it is called here.
func TestStatusOfKeptImages(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		d.check(t, 0, firstGood, "deploy")
		d.set(t, "containers", strings.NewReplacer("registry/web:1\tnull", keptName(id1)+"\t\"abc\\\"def\"", "running\t0\t0", "restarting\t1\t3").Replace(d.get(t, "containers")))
		const rest = `"up":0,"wanted":1,"state":"restarting","health":"healthy","verdict":"wait","reason":"keeps restarting, exit code 1"`
		d.shows(t, `{"up":0,"services":[{"name":"web",`+rest+`,"image":"registry/web:1","digest":"`+id1+`","revision":"abc\"def","since":"TIME"},
			{"name":"db",`+rest+`,"image":"registry/db:1","digest":"`+id2+`","since":"TIME"}]}`)
	})
}

// A deploy that runs is told with its beginning, and one that somebody ended is
// no deploy that ended well.
func TestStatusOfDeploys(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		d.check(t, 0, firstGood, "deploy")
		const good = `{"time":"TIME","by":"SHA256:key","outcome":"good","text":"deployed 2 of 2 services in N s"}`
		held := d.hold(t)
		runs := d.asker(t, "deploy")
		release := held()
		d.shows(t, `{"deploying":{"since":"TIME","by":"SHA256:key"},"last":`+good+`}`)
		waits := d.asker(t, "deploy")
		if line := waits.line(t); !strings.HasPrefix(line, "waiting for the deploy that began at ") {
			t.Errorf("the second was told %q", line)
		}
		d.shows(t, `{"deploying":{"since":"TIME","by":"SHA256:key"},"last":`+good+`}`)
		release()
		runs.end(t)
		waits.end(t)
		d.shows(t, `{"deploying":null,"last":{"time":"TIME","by":"SHA256:key","outcome":"same","text":"nothing new: what was deployed at TIME runs"}}`)

		held = d.hold(t)
		killed := d.asker(t, "deploy")
		release = held()
		var stub, session int
		if _, err := fmt.Sscan(d.get(t, "holder"), &stub, &session); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(session, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		release()
		killed.end(t)
		d.shows(t, `{"last":{"time":"TIME","outcome":"cut","text":"ended from outside before it was done"}}`)

		// What a gate of an older version has left says too little.
		d.ask(t, "deploy")
		end := d.state + "/5.end"
		_, rest, _ := strings.Cut(strings.TrimPrefix(d.read(t, end), "0\n"), "\n")
		d.write(t, end, "0\n"+rest, 0o600)
		d.shows(t, `{"last":null}`)
		// The first start is an admin's.
		if out, err := d.command("ask", "web", "-", "apply", "start").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		d.shows(t, `{"last":{"time":"TIME","by":"admin","outcome":"same","text":"nothing new: what was deployed at TIME runs"}}`)
	})
}

func TestStatusOfClone(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		out, err := exec.Command("sh", "-euc", `cd "$1"
git init --quiet --initial-branch release/2
git -c user.name=x -c user.email=x@example.com commit --quiet --allow-empty --message first
git rev-parse HEAD`, "sh", d.folder).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		d.shows(t, `{"branch":"release/2","commit":"`+strings.TrimSpace(string(out))+`"}`)
	})
}
