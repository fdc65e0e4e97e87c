package templates

import (
	"os"
	account "os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"provision/e2e/needs"
)

// led is somebody whom nobody trusts, with a home, beside what only root may see.
type led struct {
	*box
	dir, name string
}

func newLed(t *testing.T, b *box) led {
	t.Helper()
	nobody, err := account.Lookup("nobody")
	if err != nil {
		t.Skip(err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	dir, err := os.MkdirTemp("", "led") // which nobody can enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	home := filepath.Join(dir, "home")
	for _, err := range []error{os.Chmod(dir, 0o755), os.Mkdir(home, 0o755), os.Chown(home, uid, gid), os.WriteFile(filepath.Join(dir, "secret"), []byte("of root\n"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return led{b, dir, "nobody"}
}

func (l led) in(name string) string { return filepath.Join(l.dir, "home", name) }

// swaps has a FIFO take the place of a file when root has looked at that, and before it is opened.
func (l led) swaps(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(l.in(name), []byte("there\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.stub(t, "runuser", "rm "+quote(l.in(name))+" && mkfifo -m 666 "+quote(l.in(name))+`
REAL runuser "$@"`)
}

// What root is to read or to lock in a home is opened as the user whose it is, wherever that
// leads, and not for ever.
func TestLedElsewhere(t *testing.T) {
	needs.Root(t)
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits for what hangs
			needs.Program(t, shell[0])
			ledElsewhere(t, newLed(t, newBox(t, shell)))
		})
	}
}

func ledElsewhere(t *testing.T, l led) {
	run := func(what, text, want string, args ...string) {
		t.Helper()
		out, status := l.run(t, text, "", args...)
		if out != want || status != 0 {
			t.Errorf("%s: status %d, said %q, want %q", what, status, out, want)
		}
	}
	read := `read_as "$1" "$2"; echo end`
	if err := os.WriteFile(l.in("file"), []byte("mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run("a file", read, "mine\nend\n", l.name, l.in("file"))
	run("nothing", read, "end\n", l.name, l.in("nothing"))
	if err := os.Symlink(filepath.Join(l.dir, "secret"), l.in("link")); err != nil {
		t.Fatal(err)
	}
	run("a link", read, "end\n", l.name, l.in("link"))
	run("a lock that is a link", `wait_lock "$1" "$2" 1 || echo refused`, "refused\n", l.name, l.in("link"))
	run("to hold one that is a link", `hold_lock "$1" "$2" "$3" || echo refused; ls "$3"`, "refused\nhome\nsecret\n", l.name, l.in("link"), l.dir)
	if err := syscall.Mkfifo(l.in("fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	run("a FIFO", read, "end\n", l.name, l.in("fifo"))
	run("a lock that is a FIFO", `wait_lock "$1" "$2" 1; hold_lock "$1" "$2" "$3" || echo refused`, "refused\n", l.name, l.in("fifo"), l.dir)
	if err := os.WriteFile(l.in("large"), []byte(strings.Repeat("x", 3<<20)), 0o644); err != nil {
		t.Fatal(err)
	}
	run("a large file", `read_as "$1" "$2" | wc -c | tr -d ' '`, "1048576\n", l.name, l.in("large"))

	run("a lock", `wait_lock "$1" "$2" 1; hold_lock "$1" "$2" "$3"; echo held; flock -n "$2" true || echo taken; ls "$3"`, "held\ntaken\nhome\nsecret\n", l.name, l.in("file"), l.dir)
	run("it is let go", `wait_lock "$1" "$2" 20 && echo free`, "free\n", l.name, l.in("file"))
	run("a lock that is held", `exec 7<"$2"; flock 7; hold_lock "$1" "$2" "$3" || echo refused; wait_lock "$1" "$2" 0 || echo held`, "refused\nheld\n", l.name, l.in("file"), l.dir)

	l.swaps(t, "swapped")
	run("a FIFO in between", read, "end\n", l.name, l.in("swapped"))
	l.swaps(t, "lock")
	run("a FIFO in the place of a lock", `wait_lock "$1" "$2" 0 || echo refused`, "refused\n", l.name, l.in("lock"))
}
