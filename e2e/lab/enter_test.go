package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"provision/e2e/lab"
)

// A lab inside this lab is one that can be killed, and around which
// everything can be seen. The variable says what its program does.
const nestedVariable = "LAB_TEST_NESTED"

// runNested is the program of a nested lab.
func runNested(l *lab.Lab, what string) int {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGUSR1)
	if what == "host" {
		if _, err := l.Boot(context.Background(), lab.Options{Names: []string{"nested.example.com"}}); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	fmt.Println(l.Shell())
	for s := range signals {
		fmt.Println(s)
		if s == syscall.SIGUSR1 {
			break
		}
	}
	return 7
}

// A nested lab, with the processes that make it.
type nested struct {
	shell                string
	outer, init, program int
	stdout               *bufio.Reader
	cmd                  *exec.Cmd
}

func startNested(t *testing.T, what string) *nested {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), nestedVariable+"="+what)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	n := &nested{outer: cmd.Process.Pid, stdout: bufio.NewReader(stdout), cmd: cmd}
	if n.shell, err = n.stdout.ReadString('\n'); !strings.HasPrefix(n.shell, "nsenter ") {
		t.Fatalf("the nested lab says %q (%v)", n.shell, err)
	}
	n.init = child(t, n.outer)
	n.program = child(t, n.init)
	return n
}

// child returns the only child, or the first one, of a process.
func child(t *testing.T, pid int) int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if fields := strings.Fields(string(text)); len(fields) > 0 {
			child, err := strconv.Atoi(fields[0])
			if err != nil {
				t.Fatal(err)
			}
			return child
		}
	}
	t.Fatalf("process %d has no children", pid)
	return 0
}

// Whichever process of a lab is killed, nothing is left of it.
func TestKill(t *testing.T) {
	needLab(t)
	// What else uses /tmp on this machine must not disturb the comparison.
	if err := syscall.Mount("tmpfs", "/tmp", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount("/tmp", 0) })

	for _, c := range []struct {
		name   string
		victim func(*nested) int
	}{
		{"outer", func(n *nested) int { return n.outer }},
		{"init", func(n *nested) int { return n.init }},
		{"program", func(n *nested) int { return n.program }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := world(t)
			n := startNested(t, "host")
			during := world(t)
			for _, kind := range []string{"process", "namespace"} {
				if count(during, kind) <= count(before, kind) {
					t.Fatalf("a running lab shows no %s more; this test would not see one that is left", kind)
				}
			}

			cgroup := cgroupOf(t, n.program)
			if _, err := os.Stat(filepath.Join(cgroup, "host-nested.example.com")); err != nil {
				t.Fatal("not where the lab has its cgroups:", err)
			}

			init, err := unix.PidfdOpen(n.init, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(init)
			if err := syscall.Kill(c.victim(n), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			n.cmd.Wait()
			// The end of PID 1 is the end of all processes of its namespace.
			died, err := unix.Poll([]unix.PollFd{{Fd: int32(init), Events: unix.POLLIN}}, 20_000)
			if err != nil || died != 1 {
				t.Fatalf("the lab goes on without its %s (%v)", c.name, err)
			}
			if c.name == "outer" {
				// Nobody was left to remove the cgroups; the next lab does.
				next := startNested(t, "")
				next.cmd.Process.Signal(syscall.SIGUSR1)
				next.cmd.Wait()
			}
			for thing := range world(t) {
				if !before[thing] {
					t.Errorf("left: %s", thing)
				}
			}
			if _, err := os.Stat(cgroup); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left: %s (%v)", cgroup, err)
			}
		})
	}
}

// cgroupOf returns the directory in which a lab has all its cgroups.
func cgroupOf(t *testing.T, program int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", program))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return filepath.Dir(filepath.Join("/sys/fs/cgroup", strings.TrimSpace(path)))
		}
	}
	t.Fatalf("process %d has no cgroup v2: %s", program, text)
	return ""
}

// world lists what a lab is made of: "KIND NAME" of all processes, mounts and
// namespaces, and of files where a lab might put any. Cgroups are not in it,
// because those of other labs on the machine are in the same place.
func world(t *testing.T) map[string]bool {
	t.Helper()
	things := map[string]bool{}
	namespaces, err := filepath.Glob("/proc/[0-9]*/ns/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range namespaces {
		if to, err := os.Readlink(file); err == nil {
			things["namespace "+to] = true
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range processes {
		if command, err := os.ReadFile(dir + "/cmdline"); err == nil {
			things["process "+filepath.Base(dir)+" "+strings.ReplaceAll(string(command), "\x00", " ")] = true
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		things["mount "+strings.TrimSpace(line)] = true
	}
	for _, dir := range []string{"/run", "/tmp"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			things["file "+path] = true
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return things
}

func count(things map[string]bool, kind string) int {
	n := 0
	for thing := range things {
		if strings.HasPrefix(thing, kind+" ") {
			n++
		}
	}
	return n
}

// Root can look into a running lab from outside.
func TestShell(t *testing.T) {
	needLab(t)
	if _, err := l.Name("outer-lab.example.com"); err != nil {
		t.Fatal(err)
	}
	n := startNested(t, "host")
	cmd := exec.Command("sh", "-c", n.shell)
	cmd.Stdin = strings.NewReader("getent hosts nested.example.com; getent hosts outer-lab.example.com; ls -A ~; uname -n")
	out, err := cmd.Output()
	if got := strings.Join(strings.Fields(string(out)), " "); got != "10.213.128.1 nested.example.com control" {
		t.Errorf("a shell in the lab printed %q (%v)", got, err)
	}
}

// A signal to the outer process group, as a terminal sends it, reaches the
// program exactly once, and the program's exit status comes back.
func TestSignal(t *testing.T) {
	needLab(t)
	n := startNested(t, "")
	expect := func(want string) {
		t.Helper()
		if line, err := n.stdout.ReadString('\n'); line != want+"\n" {
			t.Errorf("the program printed %q (%v), want %q", line, err, want)
		}
	}
	if err := syscall.Kill(-n.outer, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	expect("terminated")
	if err := n.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	expect("user defined signal 1")
	n.cmd.Wait()
	if got := n.cmd.ProcessState.ExitCode(); got != 7 {
		t.Errorf("exit status %d, want the program's 7", got)
	}
}

// Orphans become children of the lab's init, which reaps them.
func TestOrphans(t *testing.T) {
	needLab(t)
	out, err := exec.Command("sh", "-c", "sleep 0 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	status := "/proc/" + strings.TrimSpace(string(out))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(status); errors.Is(err, fs.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there", status)
		}
	}
}
