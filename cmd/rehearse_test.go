package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The command rehearse becomes provision-rehearse: the process stays, so a
// signal reaches it, and so do arguments, streams and the exit code.
func TestRehearseBecomesAnotherProgram(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("NOT TESTED: a rehearsal needs Linux")
	}
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bin, elsewhere, links := filepath.Join(root, "bin"), filepath.Join(root, "elsewhere"), filepath.Join(root, "links")
	for _, dir := range []string{bin, elsewhere, links} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, link := filepath.Join(bin, "provision"), filepath.Join(links, "provision")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(program, text, 0o755), os.Symlink(program, link)); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (code int, out, errs string) {
		t.Helper()
		c := exec.CommandContext(t.Context(), link, append([]string{"rehearse"}, args...)...)
		c.Env = []string{programVariable + "=1", "PATH=" + elsewhere}
		var stdout, stderr bytes.Buffer
		c.Stdin, c.Stdout, c.Stderr = strings.NewReader("typed\n"), &stdout, &stderr
		err := c.Run()
		if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
			t.Fatal(err)
		}
		return c.ProcessState.ExitCode(), strings.Replace(stdout.String(), fmt.Sprintf(" %d ", c.Process.Pid), " PID ", 1), stderr.String()
	}
	place := func(dir string) {
		t.Helper()
		script := "#!/bin/sh\nread line\necho \"$0 $$ $# $* $line\"\necho wrong >&2\nexit 7\n"
		if err := os.WriteFile(filepath.Join(dir, "provision-rehearse"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}

	missing := "provision: provision-rehearse is not installed: it is neither in " + bin + " nor on $PATH\n" +
		"  hint: it comes in the archive of provision: install -m 755 provision-rehearse " + bin + "\n"
	if code, out, errs := run(); code != exitFailed || out != "" || errs != missing {
		t.Errorf("without provision-rehearse: exit code %d\n%s%s", code, out, errs)
	}
	for _, dir := range []string{elsewhere, bin} { // what stands beside goes before $PATH
		place(dir)
		want := dir + "/provision-rehearse PID 2 --keep a b.toml typed\n"
		if code, out, errs := run("--keep", "a b.toml"); code != 7 || out != want || errs != "wrong\n" {
			t.Errorf("in %s: exit code %d, want %q:\n%s%s", dir, code, want, out, errs)
		}
	}
	if code, out, errs := run("--kep"); code != exitUsage || out != "" || !strings.Contains(errs, "did you mean --keep?") {
		t.Errorf("a wrong flag: exit code %d\n%s%s", code, out, errs)
	}
}

// What provision-rehearse is given is read as that of every command.
func TestRehearse(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.toml")
	if err := os.WriteFile(broken, []byte("[gitlab]\nurl = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		err  error // of the rehearsal
		code int
		want string // what the rehearsal gets; or, of an error, what is printed
	}{
		{nil, nil, exitOK, "2 hosts, keep false"},
		{[]string{"--keep"}, nil, exitOK, "2 hosts, keep true"},
		{[]string{"../inventory/example.toml", "--keep"}, nil, exitOK, "2 hosts, keep true"},
		{nil, ExitCode(exitMissing), exitMissing, "2 hosts, keep false"},
		{nil, errors.New("no room"), exitFailed, "2 hosts, keep falseprovision: no room\n"},
		{[]string{broken}, nil, exitUsage, broken + ":2:"},
		{[]string{"a", "b"}, nil, exitUsage, `"b"`},
	} {
		var out bytes.Buffer
		code := Run(t.Context(), Env{Args: append([]string{"provision", "rehearse"}, tt.args...), Stdout: &out, Stderr: &out,
			rehearsal: func(_ context.Context, env Env, o RehearseOptions) error {
				fmt.Fprintf(env.Stdout, "%d hosts, keep %t", len(o.Inventory.Hosts), o.Keep)
				return tt.err
			}})
		if said := out.String(); code != tt.code || tt.code == exitUsage && !strings.Contains(said, tt.want) || tt.code != exitUsage && said != tt.want {
			t.Errorf("%q: exit code %d\n%s", tt.args, code, said)
		}
	}
}
