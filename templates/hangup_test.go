package templates

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"provision/e2e/needs"
)

// underSSHD has a command run as sshd runs one that came through the gate: below a process of
// the name that sshd gives to that of a connection, and stays there with the connection. It
// says the number of that process before all else, on standard output.
func (b *box) underSSHD(t *testing.T, name string, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	dash := needs.Program(t, "dash")
	text, err := os.ReadFile(dash)
	if err != nil {
		t.Fatal(err)
	}
	sshd := filepath.Join(filepath.Dir(b.home), name)
	if err := os.WriteFile(sshd, text, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd.Args = append([]string{sshd, "-c", `echo $$; "$1" -c 'shift; "$@"; exit' /usr/local/lib/provision/gate "$@" & wait; exec 1>&-; read -r _ <&3; :`, "sshd", dash, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = sshd
	in, stays, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, in)
	t.Cleanup(func() { in.Close(); stays.Close() })
	return cmd
}

// over waits for a process to end, which it does in time or not.
func over(cmd *exec.Cmd) bool {
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		<-ended
		return false
	}
}

// A key that is out has its connection ended, by the first thing that it asks for; others
// go on, and so do connections that none of ours came by.
func TestGateHangsUp(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gateBox) {
		t.Parallel()
		for _, name := range []string{"sshd", "sshd-session"} {
			g.write(t, ".ssh/authorized_keys", keyLine("other", theKey), 0o600)
			cmd := g.underSSHD(t, name, g.command(t, "web"))
			var said strings.Builder
			cmd.Stderr = &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if !over(cmd) {
				t.Errorf("%s: the connection is open", name)
			}
			if state := cmd.ProcessState.Sys().(syscall.WaitStatus); state.Signal() != syscall.SIGTERM || said.String() != "provision: refused: key-revoked: this key is no longer allowed\n" {
				t.Errorf("%s: it ended with %v, after %q", name, cmd.ProcessState, said.String())
			}
		}
	})
}

// A deploy that runs goes on when its client is gone, and nobody follows it; one that waits
// is not wanted any more, but by those who joined it.
func TestWaitingAskerGone(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		held := d.hold(t)
		first := d.asker(t, "deploy")
		release := held()
		first.line(t)

		client := d.underSSHD(t, "sshd-session", d.command("ask", "web", "SHA256:key", "192.0.2.7", "deploy"))
		out, err := client.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Start(); err != nil {
			t.Fatal(err)
		}
		said := bufio.NewReader(out)
		if line, _ := said.ReadString('\n'); !strings.HasPrefix(line, "provision: waiting for the deploy that began at ") {
			t.Fatalf("it was told %q", line)
		}
		joined := d.asker(t, "deploy")
		if line := joined.line(t); line != waitsAlready {
			t.Errorf("one was told %q", line)
		}
		if err := client.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for { // the asker lets go of it
			if _, err := said.ReadString('\n'); err != nil {
				break
			}
		}
		_ = client.Wait()
		if got := d.read(t, d.state+"/waiting"); got != "2\n" {
			t.Errorf("deploy %q waits", got)
		}
		if err := joined.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = joined.cmd.Wait()
		if out, err := exec.Command("flock", "-w", "30", filepath.Join(d.home, d.state, "next"), "true").CombinedOutput(); err != nil {
			t.Fatalf("it waits on: %v %s", err, out)
		}
		if _, err := os.Stat(filepath.Join(d.home, d.state, "waiting")); err == nil || d.read(t, d.state+"/last") != "1\n" {
			t.Errorf("it left that it waits: %v", err)
		}
		release()
		if status, outcome, _ := first.end(t); status != 0 || outcome != firstGood {
			t.Errorf("the first ended with %d, %s", status, outcome)
		}
		if status, outcome, said := d.ask(t, "deploy"); status != 0 || outcome != same || strings.Contains(said, "before this one") {
			t.Errorf("the next one ended with %d, %s, and was told %s", status, outcome, said)
		}
		if log, _ := os.ReadFile(filepath.Join(filepath.Dir(d.home), "log")); !strings.Contains(string(log), "web: not deployed, as nobody waits for it any more") {
			t.Errorf("the log is %s", log)
		}
	})
}
