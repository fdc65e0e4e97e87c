package steps

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"provision/e2e/needs"
	"provision/e2e/sample"
	"provision/provision"
	"provision/provision/forge/forgetest"
	"provision/templates"
)

// A sandbox is a host in a folder. Programs run under a shell of choice with
// every user's home in the folder, and stubs of runuser and getent that make
// it so; of the constants in a program some lead into the folder, PATH first
// of all. Nothing outside of it is written.
type sandbox struct {
	dir   string
	bin   string // programs in it hide those of the system
	shell string
	trips atomic.Int32
}

const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func newSandbox(t *testing.T, shell string) *sandbox {
	t.Helper()
	dir := t.TempDir()
	s := &sandbox{dir: dir, bin: filepath.Join(dir, "bin"), shell: shell}
	for _, d := range []string{"bin", "home/deploy-frobnicator", "etc/ssh"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if filepath.Base(shell) == "busybox" { // which is a shell by that name only
		s.shell = filepath.Join(dir, "ash")
		if err := os.Symlink(shell, s.shell); err != nil {
			t.Fatal(err)
		}
	}
	s.installDeploy(t)
	s.stub(t, "getent", `case "$1 $2" in
"passwd deploy-frobnicator") echo "$2:x:999:999::`+dir+`/home/$2:/bin/sh" ;;
*) PATH=`+systemPath+` exec getent "$@" ;;
esac`)
	// runuser -u USER -- COMMAND: the shell of the sandbox takes the place of /bin/sh.
	s.stub(t, "runuser", `shift 3
for word; do
	shift
	[ "$word" != /bin/sh ] || word=`+s.shell+`
	set -- "$@" "$word"
done
exec "$@"`)
	return s
}

// installDeploy puts the deploy there as the gate step does, but for its constants.
func (s *sandbox) installDeploy(t *testing.T) {
	t.Helper()
	text := templates.Deploy
	for _, constant := range [][2]string{{"settings=/", "settings=" + s.dir + "/"}, {"program=/", "program=" + s.dir + "/"}, {"setsid /bin/sh ", "setsid " + s.shell + " "}} {
		if strings.Count(text, constant[0]) != 1 {
			t.Fatalf("the deploy has %d times %q", strings.Count(text, constant[0]), constant[0])
		}
		text = strings.Replace(text, constant[0], constant[1], 1)
	}
	file := s.dir + deployFile
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (s *sandbox) stub(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// Run implements [provision.Host].
func (s *sandbox) Run(ctx context.Context, program io.Reader, out io.Writer) error {
	s.trips.Add(1)
	text, err := io.ReadAll(program)
	if err != nil {
		return err
	}
	for _, constant := range [][2]string{
		{"PATH=" + systemPath + " ", "PATH=" + s.bin + ":" + systemPath + " "},
		{"/etc/ssh/", s.dir + "/etc/ssh/"}, {"/etc/docker/", s.dir + "/etc/docker/"}, {"/etc/provision/", s.dir + "/etc/provision/"},
		{"/bin/sh " + deployFile, s.shell + " " + s.dir + deployFile},
	} {
		text = bytes.ReplaceAll(text, []byte(constant[0]), []byte(constant[1]))
	}
	cmd := exec.CommandContext(ctx, s.shell, "-s")
	cmd.Env = []string{"PATH=" + systemPath}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), out, out
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) {
		return err
	}
	return nil
}

func (s *sandbox) path(name string) string {
	return filepath.Join(s.dir, "home/deploy-frobnicator", name)
}

func (s *sandbox) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func (s *sandbox) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(s.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (s *sandbox) names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(s.path(dir))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func (s *sandbox) mode(t *testing.T, name string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(s.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// target returns the sandbox as a target.
func (s *sandbox) target(f *forgetest.Fake) provision.Target {
	return provision.Target{Name: "web1", Host: s, Forge: f}
}

// apply applies steps, and returns the changes that were made.
func (s *sandbox) apply(t *testing.T, f *forgetest.Fake, steps ...provision.Step) (done []string, err error) {
	t.Helper()
	err = provision.Apply(t.Context(), s.target(f), steps, func(e provision.Event) {
		if e.Kind == provision.Done {
			done = append(done, e.Change.String())
		}
		if e.Kind == provision.Said {
			t.Logf("%s: %s", e.Step, e.Text)
		}
	})
	return done, err
}

// eachSandbox runs f in a sandbox with each shell, or with one that is drawn.
func eachSandbox(t *testing.T, f func(t *testing.T, s *sandbox)) {
	t.Helper()
	for _, shell := range sample.Some(t, []string{"dash", "bash", "busybox"}, 1) {
		t.Run(shell, func(t *testing.T) {
			f(t, newSandbox(t, needs.Program(t, shell)))
		})
	}
}
