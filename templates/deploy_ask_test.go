package templates

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// hold makes the next pull wait, and returns what waits for that pull, which
// returns what lets it go on. Pulls after it do not wait.
func (d *deployBox) hold(t *testing.T) (held func() (release func())) {
	t.Helper()
	fifo := filepath.Join(d.dir, "hold")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	return func() func() {
		t.Helper()
		f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(fifo); err != nil {
			t.Fatal(err)
		}
		return func() { f.Close() }
	}
}

// An asker is a client that asks for a deploy, and does not wait yet.
type asker struct {
	cmd  *exec.Cmd
	said *bufio.Reader
	out  bytes.Buffer
}

func (d *deployBox) asker(t *testing.T, what string, version ...string) *asker {
	t.Helper()
	a := &asker{cmd: d.command(append([]string{"ask", "web", "SHA256:key", "192.0.2.7", what}, version...)...)}
	errs, err := a.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.said, a.cmd.Stdout = bufio.NewReader(errs), &a.out
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return a
}

// line waits for the next line that is said to the client.
func (a *asker) line(t *testing.T) string {
	t.Helper()
	line, err := a.said.ReadString('\n')
	if err != nil {
		t.Errorf("it said %q, %v, and %s", line, err, &a.out)
	}
	return strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "provision: ")
}

func (a *asker) end(t *testing.T) (status int, outcome, said string) {
	t.Helper()
	rest, err := io.ReadAll(a.said)
	if err != nil {
		t.Error(err)
	}
	return statusOf(t, a.cmd.Wait(), &a.out), tookForm.ReplaceAllString(a.out.String(), "$1 N s"), string(rest)
}

// ended waits until a deploy has ended, whoever listens.
func (d *deployBox) ended(t *testing.T, id int) {
	t.Helper()
	for _, held := range []string{fmt.Sprint(id, ".log"), "lock"} { // it lets go of them in no order
		if out, err := exec.Command("flock", filepath.Join(d.home, d.state, held), "true").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}

const waitsAlready = "another deploy waits already, and does this one's work too"

// Whoever asks while a deploy runs, however many, gets one more: that of the one
// that runs may be older than what was pushed.
func TestAskOneForAll(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		held := d.hold(t)
		first := d.asker(t, "deploy")
		release := held()
		if line := first.line(t); line != "pulling" {
			t.Errorf("the first was told %q", line)
		}
		d.set(t, "fail-next-pull", "the second one\n")
		askers := make([]*asker, 19)
		for i := range askers {
			askers[i] = d.asker(t, "deploy")
		}
		begins := 0
		for _, a := range askers {
			if line := a.line(t); strings.HasPrefix(line, "waiting for the deploy that began at ") {
				begins++
			} else if line != waitsAlready {
				t.Errorf("one was told %q", line)
			}
		}
		if begins != 1 {
			t.Errorf("%d began a deploy", begins)
		}
		d.set(t, "fail-pull-web", "the second one\n")
		release()
		if status, outcome, _ := first.end(t); status != 0 || outcome != firstGood {
			t.Errorf("the first ended with %d, %s", status, outcome)
		}
		for _, a := range askers {
			if status, outcome, said := a.end(t); status != 1 || outcome != "provision: deploy failed after N s: nothing was changed, as web cannot be pulled: the second one\n" {
				t.Errorf("one ended with %d, %s%s", status, outcome, said)
			}
		}
		if got := d.read(t, d.state+"/last"); got != "2\n" {
			t.Errorf("there were %s deploys", got)
		}
		os.Remove(filepath.Join(d.dir, "fail-pull"))
		if _, _, said := d.ask(t, "deploy"); strings.Contains(said, "before this one") {
			t.Errorf("the next one was told what others have heard: %s", said)
		}
	})
}

// Twenty at once are two deploys at most, and each ends as one of them does.
func TestAskAtOnce(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		held := d.hold(t)
		d.set(t, "fail-next-pull", "the second one\n")
		askers := make([]*asker, 20)
		for i := range askers {
			askers[i] = d.asker(t, "deploy")
		}
		release := held()
		second := make([]bool, len(askers))
		for i, a := range askers {
			line := a.line(t)
			if line == waitsAlready { // for the first one, or for the second
				line = a.line(t)
			}
			second[i] = strings.HasPrefix(line, "waiting for the deploy that began at ")
			if !second[i] && line != "pulling" {
				t.Errorf("one was told %q", line)
			}
		}
		d.set(t, "fail-pull-web", "the second one\n")
		release()
		for i, a := range askers {
			want := map[bool]string{false: firstGood, true: "provision: deploy failed after N s: nothing was changed, as web cannot be pulled: the second one\n"}[second[i]]
			if status, outcome, _ := a.end(t); outcome != want || (status != 0) != second[i] {
				t.Errorf("one of the second: %v, ended with %d, %s", second[i], status, outcome)
			}
		}
		if got := d.read(t, d.state+"/last"); got != "1\n" && got != "2\n" {
			t.Errorf("there were %s deploys", got)
		}
	})
}

// A deploy of one version is not the work of one that asks for another.
func TestAskForVersions(t *testing.T) {
	eachDeploy(t, "version=TAG\n", func(t *testing.T, d *deployBox) {
		held := d.hold(t)
		first := d.asker(t, "deploy")
		release := held()
		first.line(t)
		one := d.asker(t, "deploy", "1")
		one.line(t)
		two, three := d.asker(t, "deploy", "2"), d.asker(t, "deploy", "1")
		if line := three.line(t); line != waitsAlready {
			t.Errorf("one of the same version was told %q", line)
		}
		release()
		for i, a := range []*asker{first, one, two, three} {
			if status, outcome, said := a.end(t); status != 0 || strings.Contains(said, waitsAlready) {
				t.Errorf("%d ended with %d, %s%s", i, status, outcome, said)
			}
		}
		if last, env := d.read(t, d.state+"/last"), d.read(t, "web dir/.env"); last != "3\n" || env != "TAG=2\n" {
			t.Errorf("there were %s deploys, .env is %q", last, env)
		}
	})
}

// A client that is gone, or has stopped reading, ends no deploy; how it ended is
// told to the next one, and once.
func TestAskerGone(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		held := d.hold(t)
		gone := d.asker(t, "deploy")
		release := held()
		if err := gone.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = gone.cmd.Wait()
		release()
		d.ended(t, 1)
		if got := tookForm.ReplaceAllString(d.read(t, d.state+"/1.end"), "$1 N s"); timeForm.ReplaceAllString(got, "TIME") != "0\nended good TIME SHA256:key\n"+firstGood {
			t.Errorf("it ended with %s", got)
		}
		const untold = "nobody heard how the deploy before this one ended: "
		status, outcome, said := d.ask(t, "deploy")
		if status != 0 || outcome != same || !strings.HasPrefix(said, "provision: "+untold+"deployed 2 of 2 services in N s\n") {
			t.Errorf("the next one ended with %d, %s, and was told %s", status, outcome, said)
		}
		if _, _, said := d.ask(t, "deploy"); strings.Contains(said, untold) {
			t.Errorf("the one after it was told %s", said)
		}

		// Nobody reads what it says, nor how it ended.
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		deaf := d.command("ask", "web", "SHA256:key", "192.0.2.7", "deploy")
		deaf.Stdout, deaf.Stderr = write, write
		read.Close()
		if err := deaf.Run(); err == nil {
			t.Error("who was not listened to ends with 0")
		}
		write.Close()
		d.ended(t, 4)
		if status, _, said := d.ask(t, "deploy"); status != 0 || !strings.HasPrefix(said, "provision: "+untold+"nothing new: ") {
			t.Errorf("the next one ended with %d, and was told %s", status, said)
		}
	})
}

// A deploy that is killed has no outcome, and says so to whoever follows and to
// the next one.
func TestDeployKilled(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		held := d.hold(t)
		a := d.asker(t, "deploy")
		release := held()
		var stub, session int
		if _, err := fmt.Sscan(d.get(t, "holder"), &stub, &session); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(session, syscall.SIGKILL); err != nil { // setsid has made it the first of its session
			t.Fatal(err)
		}
		release()
		if status, outcome, _ := a.end(t); status != 1 || outcome != "provision: the deploy was ended from outside before it was done; run the job again\n" {
			t.Errorf("it ended with %d, %s", status, outcome)
		}
		// The pull of the one that was killed may hold the lock a moment longer.
		status, outcome, said := d.ask(t, "deploy")
		if line, rest, _ := strings.Cut(said, "\n"); strings.HasPrefix(line, "provision: waiting for the deploy that began at ") {
			said = rest
		}
		if status != 0 || outcome != firstGood || !strings.HasPrefix(said, "provision: the deploy before this one was ended from outside before it was done\n") {
			t.Errorf("the next one ended with %d, %s, and was told %s", status, outcome, said)
		}
	})
}

// An outcome of another time, from before the count was lost, is nobody's.
func TestAskAfterAFullDisk(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		d.write(t, d.state+"/last", "", 0o600)
		d.write(t, d.state+"/1.end", "0\nprovision: nothing new\n", 0o600)
		d.set(t, "fail-config", "no\n")
		d.check(t, 1, "provision: deploy failed after N s: nothing was changed, as Compose cannot read the project: no\n", "deploy")

		held := d.hold(t)
		d.write(t, d.state+"/last", "", 0o600)
		a := d.asker(t, "deploy")
		release := held()
		if _, err := os.Stat(filepath.Join(d.home, d.state, "1.end")); err == nil {
			t.Error("while the deploy runs, there is an outcome")
		}
		release()
		a.end(t)
	})
}

// Of the deploys that have ended, the last ones are kept.
func TestDeployForgets(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		for range 13 {
			d.ask(t, "deploy")
		}
		for _, file := range []string{"want", "log", "end", "told"} {
			files, err := filepath.Glob(filepath.Join(d.home, d.state, "*."+file))
			if err != nil || len(files) < 10 || len(files) > 11 {
				t.Errorf("%d files .%s: %v", len(files), file, files)
			}
		}
	})
}

// How a deploy has ended is told to whoever follows, also where the program of an
// older version has run it.
func TestFollowOlder(t *testing.T) {
	follow := Deploy[strings.Index(Deploy, "follow() {"):strings.Index(Deploy, "fail_to() {")]
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		for end, want := range map[string]string{
			"0\nended good 2026-01-02T03:04:05Z SHA256:key\nweb: x\nprovision: deployed\n": "web: x\nprovision: deployed\n",
			"0\nweb: x\nprovision: deployed\n":                                             "web: x\nprovision: deployed\n",
			"0\nprovision: nothing new\n":                                                  "provision: nothing new\n",
		} {
			for file, text := range map[string]string{"log": "", "want": "deploy\n", "end": end} {
				d.write(t, d.state+"/7."+file, text, 0o600)
			}
			if out, status := d.alone(t, follow+"id=7\nfollow\n"); status != 0 || out != want {
				t.Errorf("%q: status %d, %q", end, status, out)
			}
		}
	})
}
