package templates

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"provision/e2e/needs"
)

// A mover that keeps a state has a Docker with one container, which runs or does not.
func newStateMover(t *testing.T, b *box) mover {
	t.Helper()
	m := mover{newBox(t, b.shell), t.TempDir()}
	m.write(t, "app/compose.yaml", "", 0o644)
	m.set(t, "runs", "yes")
	m.stub(t, "getent", "echo user:x:0:0::"+m.home+":/bin/sh")
	m.stub(t, "runuser", `shift 3; exec "$@"`)
	m.stub(t, "logger", ":")
	m.stub(t, "docker", `cd `+quote(m.dir)+`
printf '%s\n' "$*" >>said
case "$*" in
'ps --all'*) [ ! -e there ] && [ ! -e runs ] || echo "c1 `+m.home+`/app" ;;
'inspect --type container'*) printf 'c1\t%s\t0\t0\t2026-01-01T00:00:00\tnone\talways\timage\tdb\tdb-1\tapp\tname\tnull\n' "$(if [ -e runs ]; then echo running; else echo exited; fi)" ;;
'inspect --format'*) echo 'c1 always 0' ;;
stop*) touch there; rm -f runs ;;
start*) touch runs ;;
'rm --force'*) rm -f runs there ;;
esac`)
	return m
}

func (m mover) set(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (m mover) has(name string) bool {
	_, err := os.Stat(filepath.Join(m.dir, name))
	return err == nil
}

// text is a program in which the leases have another length.
func (m mover) text(program string, seconds string) string {
	return strings.NewReplacer("/var/lib/provision", m.dir+"/provision", "held=60 arriving=25", "held="+seconds+" arriving="+seconds,
		"PATH=/usr/local/sbin", "PATH="+m.bin+":/usr/local/sbin").Replace(program)
}

// tell runs a part of a move, and returns the last line of what it prints.
func (m mover) tell(t *testing.T, seconds, what string, args ...string) string {
	t.Helper()
	script := program(m.text(Move, seconds), "", append([]string{what, "app", "user", "app"}, args...)...)
	cmd := exec.Command(m.shell[0], append(slices.Clone(m.shell[1:]), "-c", m.preferStubs(t)+script)...)
	cmd.Env = []string{"HOME=" + m.home, "PATH=" + m.bin + ":" + real, "LC_ALL=C"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	status := statusOf(t, cmd.Run(), &out)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if status != 0 {
		return "failed: " + lines[len(lines)-1]
	}
	return lines[len(lines)-1]
}

// until waits for what a watch does.
func (m mover) until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			said, _ := os.ReadFile(filepath.Join(m.dir, "said"))
			t.Fatalf("%s: not in time\n%s", what, said)
		}
	}
}

func TestStatesOfAMove(t *testing.T) {
	needs.Root(t)
	eachShell(t, func(t *testing.T, b *box) {
		m := newStateMover(t, b)
		state := func() string {
			text, _ := os.ReadFile(filepath.Join(m.dir, "provision/moves/app/state"))
			return strings.TrimSpace(string(text))
		}
		watch := func(seconds string) string { return m.text(MoveProgram, seconds) }
		want := func(what, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		// Whoever moves it is not heard of any more: it starts again.
		want("hold", m.tell(t, "1", "hold", "web2", watch("1"), "me"), "")
		m.until(t, "it starts again", func() bool { return m.has("runs") && state() == "" && !m.has("provision") })
		want("too late", m.tell(t, "1", "gone", "web2", "me"), "failed: app goes on here, as nobody was heard of for too long")

		// Held, no other program moves it, and no deploy has its lock.
		want("hold", m.tell(t, "1000", "hold", "web2", watch("1000"), "me"), "")
		want("held", state(), "held web2")
		if m.has("runs") {
			t.Error("it runs")
		}
		want("a second program", m.tell(t, "1000", "hold", "web3", watch("1000"), "you"), "failed: another program moves app")
		if err := exec.Command("flock", "-n", filepath.Join(m.home, ".provision/app/lock"), "true").Run(); err == nil {
			t.Error("a deploy could begin")
		}
		want("back", m.tell(t, "1000", "back"), "")
		if !m.has("runs") || state() != "" {
			t.Errorf("it does not run again: %q", state())
		}
		m.until(t, "deploys go on", func() bool {
			return exec.Command("flock", "-n", filepath.Join(m.home, ".provision/app/lock"), "true").Run() == nil
		})

		// Gone, it never starts here again.
		want("hold", m.tell(t, "1000", "hold", "web2", watch("1000"), "me"), "")
		want("gone", m.tell(t, "1000", "gone", "web2", "me"), "")
		want("gone twice", m.tell(t, "1000", "gone", "web2", "me"), "")
		want("gone", state(), "gone web2")
		want("back", m.tell(t, "1000", "back"), "failed: app is not here: gone web2")
		want("hold", m.tell(t, "1000", "hold", "web2", watch("1000"), "me"), "failed: app is not here: gone web2")
		if m.has("runs") {
			t.Error("it runs though it is gone")
		}
		said, _ := os.ReadFile(filepath.Join(m.dir, "said"))
		for _, line := range []string{"update --restart=no c1", "stop c1", "update --restart=always c1", "start c1"} {
			if !strings.Contains(string(said), line+"\n") {
				t.Errorf("Docker was not told %q:\n%s", line, said)
			}
		}

		// The new host ends what it has started, and begins anew.
		m = newStateMover(t, b)
		want("arrive", m.tell(t, "1", "arrive", "web1"), "failed: there are containers of app already")
		os.Remove(filepath.Join(m.dir, "runs"))
		want("arrive", m.tell(t, "1", "arrive", "web1"), "")
		want("trial", m.tell(t, "1", "trial", watch("1")), "")
		m.set(t, "runs", "yes")
		m.until(t, "it ends", func() bool { return !m.has("runs") })
		want("arriving", state(), "arriving web1")
		want("arrive", m.tell(t, "1", "arrive", "web1"), "")
		want("trial", m.tell(t, "1000", "trial", watch("1000")), "")
		m.set(t, "runs", "yes")
		want("here", m.tell(t, "1000", "here", "me"), "")
		want("here", state(), "")
		if !m.has("runs") || m.has("provision") {
			t.Error("it does not run on, or the notes stay")
		}
		want("trial", m.tell(t, "1", "trial", watch("1")), "failed: app does not arrive here")
	})
}
