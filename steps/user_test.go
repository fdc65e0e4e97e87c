package steps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"provision/e2e/needs"
	"provision/provision"
)

// asNobody runs a script with a uid, in a folder as its root unless that is "".
func asNobody(t *testing.T, uid, root, script string) (cmd *exec.Cmd, over <-chan struct{}) {
	t.Helper()
	cmd = exec.Command(needs.Program(t, "busybox"), "sh", "-c", script)
	if root != "" {
		cmd.Path = "/busybox"
	}
	var id uint32
	for _, digit := range uid {
		id = id*10 + uint32(digit-'0')
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}, Chroot: root, Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: busybox has to be a static one", err)
	}
	out.Read(make([]byte, 1)) // it is under way
	ended := make(chan struct{})
	go func() { // else it would be there for ever, though dead
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		select {
		case <-ended: // another one may have its number
		default:
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
		<-ended
	})
	return cmd, ended
}

// Before a user is removed nobody gets in, and what it runs is ended, whether it obeys
// or not. A process with its number that has another root is one of a container.
func TestRemoveUserScript(t *testing.T) {
	needs.Root(t)
	for shell, uid := range map[string]string{"dash": "54321", "bash": "54322"} { // busybox has an id of its own
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t, needs.Program(t, shell))
			log := filepath.Join(s.dir, "log")
			s.stub(t, "id", `case $1 in -u) echo `+uid+` ;; *) echo deploy-frobnicator docker ;; esac`)
			for _, program := range []string{"usermod", "gpasswd", "userdel", "loginctl", "systemctl"} {
				s.stub(t, program, `echo "`+program+` $*" >>`+log)
			}
			root := filepath.Join(s.dir, "container")
			if err := os.Mkdir(root, 0o755); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(needs.Program(t, "busybox"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, "busybox"), text, 0o755); err != nil {
				t.Fatal(err)
			}
			_, obeyed := asNobody(t, uid, "", "echo; exec sleep 1000")
			_, killed := asNobody(t, uid, "", "trap '' TERM; echo; while :; do sleep 1; done")
			container, _ := asNobody(t, uid, root, "echo; exec /busybox sleep 1000")
			script := provision.Script{Text: removeUser, Args: []string{"deploy-frobnicator"}}
			step := undo{"user", provision.Probe{}, func(f provision.Facts) ([]provision.Change, error) {
				if text, _ := os.ReadFile(log); strings.Contains(string(text), "userdel") {
					return nil, nil
				}
				return []provision.Change{{Verb: provision.Remove, Object: "it", Do: script}}, nil
			}}
			done, err := s.one(t, step)
			checkDone(t, done, err, "remove it")
			if got, want := string(must(t, log)), "usermod --expiredate 1 --lock deploy-frobnicator\ngpasswd --delete deploy-frobnicator docker\nloginctl terminate-user deploy-frobnicator\nsystemctl stop --no-block user@"+uid+".service\nuserdel --remove deploy-frobnicator\n"; got != want {
				t.Errorf("it ran\n%s, want\n%s", got, want)
			}
			for name, ended := range map[string]<-chan struct{}{"one that obeys": obeyed, "one that does not": killed} {
				select {
				case <-ended:
				case <-time.After(10 * time.Second):
					t.Errorf("%s runs on", name)
				}
			}
			if syscall.Kill(container.Process.Pid, 0) != nil {
				t.Error("the one in the container is ended")
			}
		})
	}
}

func must(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
