package templates

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"provision/e2e/needs"
	"provision/e2e/sample"
)

// A box is a home directory of its own and a shell to run scripts in there.
// Nothing outside of it is written.
type box struct {
	shell []string
	home  string
	bin   string // programs in it hide those of the system
}

// Shells that are /bin/sh somewhere, and the awks that are awk.
var (
	shells = map[string][]string{"dash": {"dash"}, "bash": {"bash"}, "busybox": {"busybox", "ash"}}
	awks   = map[string][]string{"mawk": {"mawk"}, "gawk": {"gawk"}, "busybox awk": {"busybox", "awk"}}
)

// awkBeside tells with which awk a shell is found: on Debian and on Fedora. The one of
// busybox is in its shell.
var awkBeside = map[string]string{"dash": "mawk", "bash": "gawk"}

// drawn returns the name of one of all, or each if all cases are taken; with -short, of
// those that are installed: what most of these tests take is the start of programs.
func drawn(t *testing.T, all map[string][]string) []string {
	t.Helper()
	names := slices.Sorted(maps.Keys(all))
	if testing.Short() {
		names = slices.DeleteFunc(names, func(name string) bool { return !installed(all[name]) })
	}
	if len(names) == 0 {
		t.Skip("NOT TESTED: none of these is installed: ", slices.Sorted(maps.Keys(all)))
	}
	return sample.Some(t, names, 1)
}

func installed(command []string) bool {
	_, err := exec.LookPath(command[0])
	return err == nil
}

// eachShell runs f under the shells that are drawn, each with the awk that is beside it
// or, with -short where that is not installed, the awk of the system.
func eachShell(t *testing.T, f func(t *testing.T, b *box)) {
	t.Helper()
	for _, name := range drawn(t, shells) {
		shell := shells[name]
		t.Run(name, func(t *testing.T) {
			needs.Program(t, shell[0])
			b := newBox(t, shell)
			if awk := awks[awkBeside[name]]; awk != nil && (!testing.Short() || installed(awk)) {
				needs.Program(t, awk[0])
				b.stub(t, "awk", "exec "+strings.Join(awk, " ")+` "$@"`)
			}
			f(t, b)
		})
	}
}

func newBox(t *testing.T, shell []string) *box {
	dir := t.TempDir()
	b := &box{shell, filepath.Join(dir, "home"), filepath.Join(dir, "bin")}
	for _, d := range []string{b.home, b.bin} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// preferStubs lets busybox, which prefers its own applets to programs on the
// PATH, run the stubs: it prefers functions to applets.
func (b *box) preferStubs(t *testing.T) string {
	t.Helper()
	if b.shell[0] != "busybox" {
		return ""
	}
	stubs, err := os.ReadDir(b.bin)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, stub := range stubs {
		fmt.Fprintf(&text, "%s() { %s \"$@\"; }\n", stub.Name(), quote(filepath.Join(b.bin, stub.Name())))
	}
	return text.String()
}

// real is where the programs of the system are, as for a program of provision.
const real = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// stub puts a program in front of the system's. In its text REAL runs another
// one of the system.
func (b *box) stub(t *testing.T, name, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "REAL", "env PATH="+real)
	if err := os.WriteFile(filepath.Join(b.bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// program wraps a script as a program of provision does.
func program(text, secret string, args ...string) string {
	var b strings.Builder
	b.WriteString("provision() {\nmark=@mark\n" + Prelude)
	b.WriteString("script0() {\n" + strings.TrimSpace(text) + "\n}\n")
	b.WriteString("(set -eu\ntrap 'exit 1' HUP INT PIPE TERM\n_secret=" + quote(secret) + "\nscript0")
	for _, a := range args {
		b.WriteString(" " + quote(a))
	}
	b.WriteString("\n) </dev/null 2>&1\n}\nprovision\n")
	return b.String()
}

// run runs a script in the home directory, and returns what it prints and its
// exit status.
func (b *box) run(t *testing.T, text, secret string, args ...string) (string, int) {
	t.Helper()
	return b.sh(t, program(text, secret, args...))
}

func (b *box) sh(t *testing.T, program string) (string, int) {
	t.Helper()
	cmd := exec.Command(b.shell[0], append(slices.Clone(b.shell[1:]), "-s")...)
	cmd.Dir = b.home
	cmd.Env = []string{"HOME=" + b.home, "PATH=" + b.bin + ":" + real, "LC_ALL=C"}
	cmd.Stdin = strings.NewReader(b.preferStubs(t) + program)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	status := statusOf(t, cmd.Run(), &out)
	return out.String(), status
}

func statusOf(t *testing.T, err error, out fmt.Stringer) int {
	t.Helper()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return 0
}

func (b *box) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(b.home, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

func (b *box) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.home, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (b *box) mode(t *testing.T, name string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(filepath.Join(b.home, name))
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// names lists a folder.
func (b *box) names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(b.home, dir))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func (b *box) clear(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(b.home); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(b.home, 0o755); err != nil {
		t.Fatal(err)
	}
}
