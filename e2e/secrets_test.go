package e2e_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// confine runs a command where no file can be written but below $TMPDIR.
const confine = `
mount --make-rprivate /
for dir in $(cut -d ' ' -f 5 /proc/self/mountinfo); do
	[ "$dir" = "$TMPDIR" ] || mount -o remount,bind,ro "$dir" 2>/dev/null || :
done
for dir in / /tmp /var/tmp /run /dev/shm "$HOME" "$PWD"; do
	! [ -d "$dir" ] || ! touch "$dir/written" 2>/dev/null || { echo "$dir can be written" >&2; exit 99; }
done
exec "$@"`

// A cell is a place where the client can write, and every file that is written
// there is read, also one that is gone again.
type cell struct {
	dir string
	fd  int // of fanotify(7)
}

func newCell(t *testing.T) cell {
	t.Helper()
	c := cell{dir: t.TempDir()}
	if err := unix.Mount("tmpfs", c.dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(c.dir, 0); err != nil {
			t.Error(err)
		}
	})
	var err error
	if c.fd, err = unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_NONBLOCK|unix.FAN_CLOEXEC|unix.FAN_UNLIMITED_QUEUE, unix.O_RDONLY); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(c.fd) })
	if err := unix.FanotifyMark(c.fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, unix.FAN_CLOSE_WRITE, unix.AT_FDCWD, c.dir); err != nil {
		t.Fatal(err)
	}
	return c
}

// process returns the command as a process in the cell.
func (c cell) process(t *testing.T, w *world, args ...string) (command *exec.Cmd, out, errors *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command, out, errors = w.process(t, args...)
	command.Args = append([]string{"unshare", "--mount", "sh", "-c", confine, "sh", self}, command.Args[1:]...)
	command.Env = append(command.Env, "TMPDIR="+c.dir)
	if command.Path, err = exec.LookPath("unshare"); err != nil {
		t.Fatal(err)
	}
	return command, out, errors
}

// written returns what was written since the last time.
func (c cell) written(t *testing.T) []string {
	t.Helper()
	var texts []string
	buffer := make([]byte, 64<<10)
	for {
		n, err := unix.Read(c.fd, buffer)
		if err == unix.EAGAIN {
			return texts
		} else if err != nil {
			t.Fatal(err)
		}
		var event unix.FanotifyEventMetadata
		for at := 0; at < n; at += int(event.Event_len) {
			if err := binary.Read(bytes.NewReader(buffer[at:n]), binary.NativeEndian, &event); err != nil {
				t.Fatal(err)
			}
			file := os.NewFile(uintptr(event.Fd), "written")
			text, err := io.ReadAll(file)
			file.Close()
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, string(text))
		}
	}
}

// Old and new secrets are seen nowhere, neither when they are made, nor looked
// at, nor replaced, nor when that fails. And the client that does it all puts
// none into a file, not even for a moment.
func TestSecretsOfRotation(t *testing.T) {
	t.Parallel()
	w, canaries := canaryWorld(t)
	var printed strings.Builder
	run := func(wants int, command *exec.Cmd, out, errors *bytes.Buffer) {
		t.Helper()
		command.Run()
		if code := command.ProcessState.ExitCode(); code != wants {
			t.Fatalf("%q: the exit code is %d, want %d:\n%s%s", command.Args, code, wants, out, errors)
		}
		fmt.Fprintf(&printed, "%s%s", out, errors)
	}
	cell := newCell(t)
	traces := 0
	confined := func(wants int, args ...string) {
		t.Helper()
		traces++
		args = append(args, "--verbose", "--trace", fmt.Sprintf("%s/trace%d", cell.dir, traces))
		command, out, errors := cell.process(t, w, args...)
		run(wants, command, out, errors)
	}

	s := startSampler(t, w)
	confined(0, "apply")
	first := w.born(t)
	confined(0, "plan", "--output", "json")
	confined(0, "verify")
	confined(0, "verify", "--output", "json")
	confined(0, "verify", "--as", "admin")

	trap := w.GitLab.Fail(http.MethodPut, "/api/v4/groups/*/variables/*", 0, func(answer http.ResponseWriter, r *http.Request, _ http.Handler) {
		var body bytes.Buffer
		body.ReadFrom(r.Body)
		http.Error(answer, body.String()+fmt.Sprint(r.Header), http.StatusBadRequest)
	})
	confined(1, "rotate-key", "--limit", "app")
	if trap.Count() == 0 {
		t.Error("the rotation did not fail where it should")
	}
	trap.Remove()
	confined(0, "rotate-key", "--output", "json")
	confined(0, "apply")
	second := w.born(t)

	// As a job of CI: the key is a file, and the report another.
	dir := t.TempDir()
	key, report := filepath.Join(dir, "key"), filepath.Join(dir, "verify.xml")
	if err := os.WriteFile(key, []byte(w.variable(t, "transmogrify", "SSH_AUTH", "production")), 0o600); err != nil {
		t.Fatal(err)
	}
	command, out, errors := w.process(t, "verify", "--key", key, "--limit", "app", "--junit", report)
	run(0, command, out, errors)
	w.sh(t, "web1", "echo >>/usr/local/lib/provision/gate")
	command, out, errors = w.process(t, "verify", "--as", "admin", "--junit", report+"2")
	run(3, command, out, errors)
	for _, file := range []string{report, report + "2"} {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), "<testcase") {
			t.Fatalf("%v: %s", err, text)
		}
		printed.Write(text)
	}
	seen := s.stop()

	for i, c := range first {
		if slices.Equal(c.texts, second[i].texts) {
			t.Errorf("%s was not replaced", c.name)
		}
		c.name, c.homes = c.name+" before the rotation", nil
		canaries = append(canaries, c)
	}
	canaries = append(canaries, second...)
	if len(seen) < 500 {
		t.Errorf("only %d processes were seen: the sampler proves nothing", len(seen))
	}
	files := cell.written(t)
	if !slices.ContainsFunc(files, func(text string) bool { return strings.Contains(text, w.Hosts["web1"].HostKeys[0]) }) {
		t.Errorf("none of the %d files that were seen is the client's list of host keys: the cell proves nothing", len(files))
	}
	if n := len(slices.DeleteFunc(slices.Clone(files), func(text string) bool { return !strings.Contains(text, " provision * ") })); n != traces {
		t.Errorf("%d traces were seen, of %d", n, traces)
	}
	for _, file := range files {
		if found := find(canaries, file); found != nil {
			t.Errorf("%v: in a file of the client: %q", found, file)
		}
	}
	for _, leak := range w.leaks(t, canaries, seen, printed.String(), os.Getenv("HOME")) {
		t.Error(leak)
	}
}
