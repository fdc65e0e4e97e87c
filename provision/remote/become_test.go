package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"provision/e2e/needs"
	"provision/provision/secret"
)

// wrapperShells are what /bin/sh may be.
var wrapperShells = [][]string{{"dash"}, {"bash"}, {"bash", "--posix"}, {"busybox", "ash"}}

func TestWrapperIsOneHarmlessLine(t *testing.T) {
	if i := strings.IndexAny(strings.ReplaceAll(wrapper, "! ", ""), "'!\n\r\\"); i >= 0 {
		t.Errorf("the wrapper has %q, which some login shell reads in single quotes", wrapper[i])
	}
	cmd := exec.Command(needs.Program(t, "shellcheck"), "--shell=sh", "-")
	cmd.Stdin = strings.NewReader(wrapper + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A wrapped is a wrapper that runs in one of the shells, without SSH.
type wrapped struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    bytes.Buffer
	stderr bytes.Buffer
}

func wrapIn(t *testing.T, shell []string, program string) *wrapped {
	t.Helper()
	needs.Root(t)
	w := &wrapped{cmd: exec.Command(needs.Program(t, shell[0]), append(shell[1:], "-c", wrapper)...)}
	var err error
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.stderr
	w.cmd.Env = append(os.Environ(), "program=exported", "mark=exported")
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.in.Write(framed([]byte(program), "MARK")); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *wrapped) status() int {
	_ = w.cmd.Wait()
	return w.cmd.ProcessState.ExitCode()
}

func TestWrapper(t *testing.T) {
	for _, shell := range wrapperShells {
		t.Run(strings.Join(shell, " "), func(t *testing.T) {
			t.Parallel()
			long := strings.Repeat("\u00e9", 100_000)
			w := wrapIn(t, shell, "env | grep exported; echo "+long+"\n\n# MAR\nexit 7\n\n")
			if status := w.status(); status != 7 || w.out.String() != long+"\n" || w.stderr.String() != readyLine {
				t.Errorf("status %d, %d bytes, stderr %q", status, w.out.Len(), w.stderr.String())
			}
			if w := wrapIn(t, shell, "kill -s KILL $$"); w.status() != 128+9 {
				t.Errorf("a killed shell gives %v", w.cmd.ProcessState)
			}

			// The end may come before the program has begun. A program that
			// was missed would hold the output open.
			for range 20 {
				w := wrapIn(t, shell, "exec sleep 1000")
				w.in.Close()
				w.status()
			}

			for _, stubborn := range []bool{false, true} {
				f := newFifo(t)
				w := wrapIn(t, shell, hang(f, stubborn))
				f.opened(t)
				w.in.Close()
				status := w.status()
				if !f.isClosed(t) {
					t.Errorf("stubborn %v: the program outlives the wrapper", stubborn)
				}
				if want := map[bool]int{false: 128 + 15, true: 128 + 9}[stubborn]; status != want {
					t.Errorf("stubborn %v: status %d, want %d", stubborn, status, want)
				}
			}
		})
	}
}

// Where printf is a program, it would show the other program to everybody.
func TestWrapperRefusesForeignPrintf(t *testing.T) {
	w := wrapIn(t, []string{"mksh"}, "echo ran")
	if status := w.status(); status != 125 || w.out.Len() > 0 || !strings.Contains(w.stderr.String(), notAShell) {
		t.Errorf("status %d, output %q, stderr %q", status, &w.out, &w.stderr)
	}
}

func TestLoginShells(t *testing.T) {
	for _, shell := range loginShells {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			needLab(t)
			needs.Program(t, shell)
			for _, become := range []Become{Sudo, None} {
				c := dialLab(t, labTarget("in"+shell, become))
				out, err := runs(t.Context(), c, `echo "$(id -u)!"; exit 3`)
				var exit *ExitError
				var none *BecomeError
				switch {
				case become == Sudo && (!errors.As(err, &exit) || exit.Status != 3 || out != "0!\n"):
					t.Errorf("Run = %q, %v", out, err)
				case become == None && (!errors.As(err, &none) || !strings.Contains(err.Error(), "the user is not root")):
					t.Errorf("Run without sudo = %q, %v", out, err)
				}
			}
		})
	}
}

func TestBecomeErrors(t *testing.T) {
	for _, test := range []struct {
		user   string
		become Become
		want   []string
	}{
		{"free", None, []string{"the user is not root", `become = "sudo"`}},
		{"asked", Sudo, []string{"a password is required", "NOPASSWD"}},
		{"stranger", Sudo, []string{"exit status 1", "hint:"}},
		{"misled", Sudo, []string{"did not make the user root"}},
		{"ttyless", Sudo, []string{"must have a tty", "!requiretty"}},
		{"bare", Sudo, []string{"install sudo"}},
		{"bare", Doas, []string{"install doas"}},
		{"stranger", Doas, []string{"permit nopass"}},
		{"doasked", Doas, []string{"only from a terminal", "permit nopass"}},
	} {
		t.Run(test.user+" "+string(test.become), func(t *testing.T) {
			c := dialLab(t, labTarget(test.user, test.become))
			out, err := runs(t.Context(), c, "echo ran")
			var none *BecomeError
			if !errors.As(err, &none) || out != "" {
				t.Fatalf("Run = %q, %v; want a BecomeError", out, err)
			}
			for _, want := range test.want {
				if !strings.Contains(told(err), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
		})
	}
}

// What sudo-rs says, which is not in words of sudo.
func TestSudoRs(t *testing.T) {
	for said, want := range map[string]string{
		"sudo: interactive authentication is required":                                 "name the password of sudo as become_password",
		"sudo: A terminal is required to authenticate":                                 "name the password of sudo as become_password",
		"sudo: maximum 3 incorrect authentication attempts":                            "name the password of sudo as become_password",
		"sudo: I'm sorry admin. I'm afraid I can't do that":                            "let this user run /bin/sh as root",
		"sudo: Sorry, user admin may not run /bin/sh on web1.":                         "let this user run /bin/sh as root",
		"sudo: Sorry, user admin is not allowed to execute '/bin/sh' as root on web1.": "let this user run /bin/sh as root",
		"sudo: Sorry, user admin is not allowed to authenticate as root.":              "let this user run /bin/sh as root",
	} {
		err := (&Conn{become: Sudo}).becomeError(1, said)
		if !strings.Contains(told(err), want) || !strings.Contains(err.Error(), said) {
			t.Errorf("%s: %s", said, told(err))
		}
	}
}

func TestDoas(t *testing.T) {
	c := dialLab(t, labTarget("doer", Doas))
	if out, err := runs(t.Context(), c, "id -u"); err != nil || out != "0\n" {
		t.Errorf("Run = %q, %v", out, err)
	}
}

// passwords hands out a password and counts how often.
type passwords struct {
	text  string
	err   error
	asked int
}

func (p *passwords) get(context.Context) (secret.Value, error) {
	p.asked++
	return secret.New(p.text), p.err
}

func TestPassword(t *testing.T) {
	for _, user := range []string{"asked", "ptyasked"} {
		p := &passwords{text: lab.password}
		target := labTarget(user, Sudo)
		target.Password = p.get
		c := dialLab(t, target)
		for run := range 2 {
			out, err := runs(t.Context(), c, "id -u; cat")
			if err != nil || out != "0\n" || p.asked != run+1 {
				t.Errorf("%s: Run = %q, %v, asked %d times", user, out, err, p.asked)
			}
		}
	}
}

// With NOPASSWD nobody is asked, and nothing but the program is sent.
func TestPasswordNotWanted(t *testing.T) {
	p := &passwords{text: "false"}
	target := labTarget("free", Sudo)
	target.Password = p.get
	c := dialLab(t, target)
	if out, err := runs(t.Context(), c, "id -u; cat"); err != nil || out != "0\n" || p.asked != 0 {
		t.Errorf("Run = %q, %v, asked %d times", out, err, p.asked)
	}
}

// A wrong password is sent once, and never again over this connection.
func TestPasswordRefused(t *testing.T) {
	p := &passwords{text: "wrong"}
	target := labTarget("asked", Sudo)
	target.Password = p.get
	c := dialLab(t, target)
	for range 2 {
		out, err := runs(t.Context(), c, "echo ran")
		if !errors.Is(err, errRefused) || out != "" || p.asked != 1 {
			t.Errorf("Run = %q, %v, asked %d times", out, err, p.asked)
		}
	}
}

// The password is no help where sudo is missing or lets the user do nothing.
func TestPasswordInVain(t *testing.T) {
	for user, want := range map[string]string{"bare": "install sudo", "stranger": "let this user run /bin/sh as root"} {
		p := &passwords{text: lab.password}
		target := labTarget(user, Sudo)
		target.Password = p.get
		c := dialLab(t, target)
		_, err := runs(t.Context(), c, "echo ran")
		if !errors.As(err, new(*BecomeError)) || !strings.Contains(told(err), want) {
			t.Errorf("%s: Run = %v", user, err)
		}
	}
}

func TestPasswordErrors(t *testing.T) {
	gone := errors.New("nobody there")
	for _, p := range []*passwords{{err: gone}, {text: "two\nlines"}} {
		target := labTarget("asked", Sudo)
		target.Password = p.get
		c := dialLab(t, target)
		out, err := runs(t.Context(), c, "echo ran")
		if err == nil || out != "" || p.asked != 1 || p.err != nil && !errors.Is(err, gone) {
			t.Errorf("Run = %q, %v, asked %d times", out, err, p.asked)
		}
		if err != nil && strings.Contains(err.Error(), "two") {
			t.Errorf("the error has the password: %v", err)
		}
	}
}

// A cancel while a person is asked leaves no sudo behind.
func TestCancelWhileAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	target := labTarget("asked", Sudo)
	target.Password = func(ctx context.Context) (secret.Value, error) {
		cancel()
		<-ctx.Done()
		return secret.Value{}, ctx.Err()
	}
	c := dialLab(t, target)
	if out, err := runs(ctx, c, "echo ran"); !errors.Is(err, context.Canceled) || out != "" {
		t.Errorf("Run = %q, %v", out, err)
	}
}
