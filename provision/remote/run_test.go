package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	c := dialLab(t, labTarget("root", None))
	out, err := runs(t.Context(), c, "id -u; echo to stderr >&2; pwd\n")
	if err != nil || out != "0\n/root\n" {
		t.Errorf("Run = %q, %v", out, err)
	}
	// A second program over the same connection.
	_, err = runs(t.Context(), c, "echo 'it \x1b[31m broke' >&2; exit 42")
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Status != 42 || exit.Stderr != `it \x1b[31m broke` {
		t.Errorf("Run = %#v, want exit status 42 and a visible escape", err)
	}
	if _, err := runs(t.Context(), c, "echo fine; if"); !errors.As(err, &exit) || exit.Status == 0 {
		t.Errorf("a syntax error gives %v", err)
	}
	if got := [2]int{c.dialer.Connections(), c.dialer.Runs()}; got != [2]int{1, 3} {
		t.Errorf("connections and runs are %v, want 1 and 3", got)
	}
	if c.HostKey() != lab.hostKeys[0] {
		t.Errorf("HostKey() = %s, want %s", c.HostKey(), lab.hostKeys[0])
	}
}

func TestRunTakesAndGivesMuch(t *testing.T) {
	c := dialLab(t, labTarget("free", Sudo))
	long := strings.Repeat("x", 300_000)
	out, err := runs(t.Context(), c, "printf %s '"+long+"'; printf %s '"+long+"' >&2\n")
	if err != nil || out != long {
		t.Errorf("Run = %d bytes, %v; want %d", len(out), err, len(long))
	}
}

func TestRunsSideBySide(t *testing.T) {
	c := dialLab(t, labTarget("free", Sudo))
	first := newFifo(t)
	done := make(chan error, 1)
	go func() {
		_, err := runs(t.Context(), c, "cat "+first.path)
		done <- err
	}()
	// The first program ends only after the second one has run.
	if _, err := runs(t.Context(), c, "echo over >"+first.path); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// hang is a program of several processes that hold a fifo open and never end.
// Those of a stubborn one do not heed SIGTERM.
func hang(f *fifo, stubborn bool) string {
	trap := ""
	if stubborn {
		trap = `trap "" TERM`
	}
	return fmt.Sprintf("%s\nexec 9>%s\nsleep 1000 | sleep 1000 &\nsleep 1000\n", trap, f.path)
}

func TestCancel(t *testing.T) {
	for _, test := range []struct {
		name     string
		target   Target
		stubborn bool
	}{
		{"root", labTarget("root", None), false},
		{"sudo", labTarget("free", Sudo), false},
		{"sudo with use_pty", labTarget("pty", Sudo), false},
		{"doas", labTarget("doer", Doas), false},
		{"local", Target{Name: "here", Local: true}, false},
		{"deaf to SIGTERM", labTarget("free", Sudo), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := dialLab(t, test.target)
			f := newFifo(t)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := runs(ctx, c, hang(f, test.stubborn))
				done <- err
			}()
			f.opened(t)
			cancel()
			err := <-done
			if !f.isClosed(t) {
				t.Error("Run has returned while the program still runs")
			}
			if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "may still run") {
				t.Errorf("Run = %v, want context.Canceled and no doubt", err)
			}
			// The connection is as good as before.
			if out, err := runs(t.Context(), c, "echo next"); err != nil || out != "next\n" {
				t.Errorf("the next Run = %q, %v", out, err)
			}
		})
	}
}

func TestDroppedLink(t *testing.T) {
	for _, user := range []string{"root", "free", "pty"} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			needLab(t)
			r := newRelay(t)
			target := labTarget(user, Sudo)
			target.Port = r.port
			c := dialLab(t, target)
			f := newFifo(t)
			done := make(chan error, 1)
			go func() {
				_, err := runs(t.Context(), c, hang(f, false))
				done <- err
			}()
			f.opened(t)
			r.cut()
			if err := <-done; !errors.Is(err, ErrLost) {
				t.Errorf("Run = %v, want ErrLost", err)
			}
			f.closed() // or else the test does not end
			if _, err := runs(t.Context(), c, "echo next"); !errors.Is(err, ErrLost) {
				t.Errorf("the next Run = %v, want ErrLost", err)
			}
		})
	}
}

func TestSilence(t *testing.T) {
	needLab(t)
	r := newRelay(t)
	target := labTarget("free", Sudo)
	target.Port = r.port
	d := newDialer(t, "")
	d.Silence = 400 * time.Millisecond
	c, err := d.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f := newFifo(t)
	done := make(chan error, 1)
	go func() {
		_, err := runs(t.Context(), c, hang(f, false))
		done <- err
	}()
	f.opened(t)
	r.freeze()
	err = <-done
	if !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "no answer for 400ms") {
		t.Errorf("Run = %v, want ErrLost after 400ms", err)
	}
	r.cut()
	f.closed()
}

// A program of which a part is missing does not start, whatever the part is.
func TestCutProgram(t *testing.T) {
	c := dialLab(t, labTarget("free", Sudo))
	mark := "MARK"
	whole := framed([]byte("echo ran"), mark)
	for n := range len(whole) + 1 {
		sh, err := c.start(t.Context(), command(Sudo, "", wrapper))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sh.in.Write(whole[:n]); err != nil {
			t.Fatal(err)
		}
		if n == len(whole) {
			// Whole, it runs as long as the stream is open.
			line := make([]byte, 4)
			if _, err := io.ReadFull(sh.out, line); err != nil || string(line) != "ran\n" {
				t.Errorf("the whole program prints %q, %v", line, err)
			}
		}
		sh.in.Close()
		out, _ := io.ReadAll(sh.out)
		if e := <-sh.exit; len(out) > 0 || n < len(whole) && e.status != 125 {
			t.Errorf("after %d of %d bytes: status %d, output %q", n, len(whole), e.status, out)
		}
		sh.close()
	}
}

// A process that a program leaves behind does not hold Run up.
func TestLeftBehind(t *testing.T) {
	for _, target := range []Target{labTarget("free", Sudo), {Name: "here", Local: true}} {
		t.Run(target.Name, func(t *testing.T) {
			t.Parallel()
			c := dialLab(t, target)
			out, err := runs(t.Context(), c, "sleep 1000 & echo $!")
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(out))
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Errorf("what the program left is gone: %v", err)
			}
		})
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

// A writer that fails stops the program.
func TestBrokenWriter(t *testing.T) {
	c := dialLab(t, labTarget("free", Sudo))
	f := newFifo(t)
	done := make(chan error, 1)
	go func() {
		done <- c.Run(t.Context(), strings.NewReader("exec 9>"+f.path+"; yes"), brokenWriter{})
	}()
	f.opened(t)
	if err := <-done; !errors.Is(err, errBroken) {
		t.Errorf("Run = %v, want the writer's error", err)
	}
	if !f.isClosed(t) {
		t.Error("the program still runs")
	}
}

// Neither the environment nor the list of processes holds the program.
func TestProgramStaysOnTheStream(t *testing.T) {
	const canary = "canary-3f1d9c"
	for _, target := range []Target{labTarget("free", Sudo), labTarget("root", None), {Name: "here", Local: true}} {
		t.Setenv("program", "exported")
		t.Setenv("PROVISION_CANARY", canary)
		c := dialLab(t, target)
		program := `: ` + canary + `
env
for f in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do
	case $f in /proc/` + strconv.Itoa(os.Getpid()) + `/*) continue ;; esac
	if grep -aq ca[n]ary-3f1d9c "$f" 2>/dev/null; then echo "found in $f"; fi
done`
		out, err := runs(t.Context(), c, program)
		if err != nil || !strings.Contains(out, "PATH=") {
			t.Fatalf("Run = %q, %v", out, err)
		}
		if strings.Contains(out, "found in") || strings.Contains(out, "\nprogram=") || strings.Contains(out, canary) {
			t.Errorf("the program shows: %s", out)
		}
	}
}

// The prompt and the first word of the wrapper are found however the stream
// is cut; after the first word, a prompt is only text.
func TestListen(t *testing.T) {
	const stream = "a lecture\nPROMPT" + "Sorry.\nPROMPT" + "\n" + ready + "\nPROMPT of a program"
	for size := 1; size <= len(stream); size++ {
		r := &run{prompt: "PROMPT", ready: make(chan struct{}), prompts: make(chan struct{}, 8)}
		for rest := []byte(stream); len(rest) > 0; {
			n := min(size, len(rest))
			r.listen(bytes.Clone(rest[:n]))
			rest = rest[n:]
		}
		if !r.isReady() || len(r.prompts) != 2 || r.said() != "PROMPT of a program" {
			t.Errorf("in pieces of %d: ready %v, %d prompts, said %q", size, r.isReady(), len(r.prompts), r.said())
		}
	}
}

func TestStderrIsBounded(t *testing.T) {
	c := dialLab(t, labTarget("root", None))
	_, err := runs(t.Context(), c, "yes | head -c 1000000 >&2; echo the end >&2; exit 1")
	var exit *ExitError
	if !errors.As(err, &exit) || len(exit.Stderr) > 2*stderrKept || !strings.HasSuffix(exit.Stderr, "the end") {
		t.Errorf("Run = %.80v", err)
	}
}
