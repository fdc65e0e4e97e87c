package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"provision/cmd"
	"provision/e2e/gitlabtest"
)

// A tripwire is an output that stops the command when some changes are done.
type tripwire struct {
	text bytes.Buffer
	left int
	trip func()
}

func (w *tripwire) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(`"event":"done"`)) {
		if w.left--; w.left == 0 {
			w.trip()
		}
	}
	return w.text.Write(p)
}

func (w *tripwire) String() string { return w.text.String() }

// An apply that is interrupted as soon as one change is done, then two, then
// three, gets to the end all the same, with one of everything.
func TestInterruptedAgainAndAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, two)
	flags := []string{"apply", "--output", "json", "--lock-wait", "1m", "--limit"}
	args := w.typed(t, append(flags, "web1")...)
	n := 1
	for ; ; n++ {
		ctx, cancel := context.WithCancel(t.Context())
		out, errors := &tripwire{left: n, trip: cancel}, new(bytes.Buffer)
		code := cmd.Run(ctx, cmd.Env{Args: args, Stdout: out, Stderr: errors})
		cancel()
		r := result{code, out.String(), errors.String()}
		if out.left > 0 {
			r.exits(t, 0)
			break
		}
		r.exits(t, 1).says(t, "interrupted; what is done above is done, and running it again finishes the rest")
	}
	if n < 5 {
		t.Errorf("it was interrupted only %d times", n-1)
	}
	w.finished(t, "web1")

	// The same on the other host, but the program is killed and can say nothing.
	for n = 1; ; n++ {
		command, _, errors := w.process(t, append(flags, "web2")...)
		command.Stdout = nil
		out, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		left := n
		var said strings.Builder
		for lines := bufio.NewScanner(out); left > 0 && lines.Scan(); {
			fmt.Fprintln(&said, lines.Text())
			if strings.Contains(lines.Text(), `"event":"done"`) {
				left--
			}
		}
		if left > 0 {
			command.Wait()
			result{command.ProcessState.ExitCode(), said.String(), errors.String()}.exits(t, 0)
			break
		}
		command.Process.Kill()
		command.Wait()
	}
	if n < 5 {
		t.Errorf("it was killed only %d times", n-1)
	}
	w.finished(t, "web2")
}

// Answers of GitLab that are lost after it has done the work: each time an
// apply says that it does not know, and the next one finds out.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	traps := []*gitlabtest.Trap{
		w.GitLab.Fail(http.MethodPost, "/api/v4/projects/*/deploy_keys", 1, gitlabtest.LostAfter()),
		w.GitLab.Fail(http.MethodPost, "/api/v4/groups/*/access_tokens", 1, gitlabtest.LostAfter()),
		w.GitLab.Fail(http.MethodDelete, "/api/v4/groups/*/access_tokens/*", 1, gitlabtest.LostAfter()),
		w.GitLab.Fail(http.MethodPost, "/api/v4/groups/*/variables", 3, gitlabtest.LostAfter()),
	}
	failed := 0
	for r := w.run(t, "apply"); r.code != 0; r = w.run(t, "apply") {
		r.exits(t, 1)
		r.says(t, "it may or may not be done: run again to see", ": not run: ")
		if failed++; failed > 10 {
			t.Fatalf("it never ends: %v", r)
		}
	}
	// A deletion is asked for again at once, and that it is done already is fine.
	if failed != 5 {
		t.Errorf("%d applies failed, want 5", failed)
	}
	for i, trap := range traps {
		if want := []int{1, 1, 1, 3}[i]; trap.Count() != want {
			t.Errorf("trap %d: %d answers were lost, want %d", i, trap.Count(), want)
		}
	}
	w.finished(t, "web1")
}

// A GitLab that asks for patience gets it.
func TestPatience(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	for _, trap := range []*gitlabtest.Trap{
		w.GitLab.Fail("", "/api/v4/groups/*/variables", 1, gitlabtest.TooManyRequests(1)),
		w.GitLab.Fail(http.MethodPost, "/api/v4/projects/*/deploy_keys", 1, gitlabtest.TooManyRequests(1)),
		w.GitLab.Fail(http.MethodGet, "/api/v4/personal_access_tokens/self", 1, gitlabtest.Failure(http.StatusBadGateway)),
		w.GitLab.Fail(http.MethodGet, "/api/v4/projects/*", 1, gitlabtest.LostBefore()),
	} {
		defer func() {
			if trap.Count() != 1 {
				t.Error("a trap was not sprung")
			}
		}()
	}
	w.apply(t)
	w.finished(t, "web1")
}

// A program that ends while docker logs in, by an interrupt or by a kill,
// leaves nothing running on the host, and no file with half a login: only whose token
// was tried, which the next apply needs to know.
func TestCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		trap := w.GitLab.Fail(http.MethodGet, "/jwt/auth", 1, gitlabtest.Slow(nil))
		command, out, errors := w.process(t, "apply", "--lock-wait", "1m")
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		<-trap.Sprung()
		if files := w.sh(t, "web1", "ls /home/deploy-user/.docker"); !strings.Contains(files, "login.") {
			t.Errorf("docker logs in with %s: this test is too late", files)
		}
		command.Process.Signal(signal)
		command.Wait()
		if signal == syscall.SIGINT {
			r := result{command.ProcessState.ExitCode(), out.String(), errors.String()}.exits(t, 1)
			r.says(t, "web1: registry-login deploy-user: FAILED: docker login ", "web1: known-hosts deploy-user: not run: ",
				"it may or may not be done", "running it again finishes the rest")
		}
		w.sh(t, "web1", "until ! pgrep -u deploy-user; do sleep 0.02; done")
		if files := w.sh(t, "web1", "ls -A /home/deploy-user/.docker"); files != "by-provision" {
			t.Errorf("after %v there are %s", signal, files)
		}
	}
	w.apply(t)
	w.finished(t, "web1")
	if note := w.sh(t, "web1", "cat /home/deploy-user/.docker/by-provision/* | wc -l"); note != "2" {
		t.Errorf("the login and its owner are noted in %s lines", note)
	}
}
