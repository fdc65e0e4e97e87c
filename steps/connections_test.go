package steps

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"provision/e2e/needs"
)

// A fakeSSHD makes processes like those of sshd for connections of a user.
type fakeSSHD struct {
	s        *sandbox
	program  string // a shell that is called as sshd calls what it makes for a connection
	uid, log string
}

func newFakeSSHD(t *testing.T, s *sandbox, uid string) *fakeSSHD {
	t.Helper()
	dir, err := os.MkdirTemp("", "sshd") // t.TempDir is for its owner alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f := &fakeSSHD{s, filepath.Join(dir, "sshd-session"), uid, filepath.Join(s.dir, "journal")}
	if err := os.WriteFile(f.program, must(t, needs.Program(t, "dash")), 0o755); err != nil {
		t.Fatal(err)
	}
	s.stub(t, "id", `if [ $# = 1 ]; then echo 0; else echo `+uid+`; fi`)
	s.stub(t, "sshd", `cat `+filepath.Join(s.dir, "options"))
	s.stub(t, "journalctl", `cat "`+f.log+`.${6#_PID=}"`)
	f.options(t, "authorizedkeyscommand none\nauthorizedkeysfile .ssh/authorized_keys %h/.ssh/%%%u\n")
	return f
}

func (f *fakeSSHD) options(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.s.dir, "options"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A fakeConnection has a process of root and one of the user.
type fakeConnection struct {
	root, user int
	over       chan struct{}
}

func (c fakeConnection) isOver() bool {
	select {
	case <-c.over:
		return true
	case <-time.After(10 * time.Second):
		return false
	}
}

// open begins a connection in which the text runs, and says in the log of sshd what is given.
func (f *fakeSSHD) open(t *testing.T, runs, log string) fakeConnection {
	t.Helper()
	in, stays, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	said, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(f.program)
	cmd.Args = []string{"sshd-session", "-c", `setpriv --reuid "$1" --clear-groups "$0" -c "$2" & wait`, f.program, f.uid, `echo $$; ` + runs + `read -r _ <&3`}
	cmd.Stdout, cmd.ExtraFiles = out, []*os.File{in}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	out.Close()
	var pid [32]byte
	n, err := said.Read(pid[:])
	if err != nil {
		t.Fatal(err)
	}
	c := fakeConnection{root: cmd.Process.Pid, over: make(chan struct{})}
	if c.user, err = strconv.Atoi(strings.TrimSpace(string(pid[:n]))); err != nil {
		t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		close(c.over)
	}()
	t.Cleanup(func() { stays.Close(); <-c.over; said.Close() })
	if log != "" {
		if err := os.WriteFile(fmt.Sprintf("%s.%d", f.log, c.root), []byte(log), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// accepted is a line of the log of sshd; ago is how long it has stood there.
func accepted(t *testing.T, user, key string, ago time.Duration) string {
	t.Helper()
	var up float64
	if _, err := fmt.Sscan(string(must(t, "/proc/uptime")), &up); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("[%12.6f] web1 sshd-session[1]: Accepted publickey for %s from 192.0.2.7 port 50000 ssh2: ED25519 %s\n", up-ago.Seconds(), user, key)
}

// Connections whose key is out are closed, if nobody needs them any more, and no others.
func TestConnectionsScript(t *testing.T) {
	needs.Root(t)
	needs.Program(t, "ssh-keygen")
	uid := 54330
	for _, shell := range []string{"dash", "bash", "mksh"} { // busybox has an id of its own
		uid++
		t.Run(shell, func(t *testing.T) { testConnections(t, newSandbox(t, needs.Program(t, shell)), strconv.Itoa(uid)) })
	}
}

func testConnections(t *testing.T, s *sandbox, uid string) {
	t.Helper()
	const user = "deploy-frobnicator"
	f := newFakeSSHD(t, s, uid)
	first, second, gone := key1.fingerprint, key2.fingerprint, newTestKey('3').fingerprint
	last := newTestKey('4')
	s.write(t, ".ssh/authorized_keys", `expiry-time="202601010000Z" `+newTestKey('3').public+"\n"+`expiry-time="299901010000Z" `+last.public+"\n# one\n\n"+`restrict,command="/usr/local/lib/provision/gate app `+first+`" `+key1.public+" provision:app\n", 0o600)
	s.write(t, ".ssh/%"+user, key2.public, 0o600)

	stay := map[string]fakeConnection{
		"of a key that is let in":             f.open(t, "", accepted(t, user, first, 0)),
		"of a key that ends some day":         f.open(t, "", accepted(t, user, last.fingerprint, 0)),
		"of a key of another file":            f.open(t, "", accepted(t, user, second, 0)),
		"in which a deploy runs":              f.open(t, "/bin/sh -c 'read -r _ <&3; :' /usr/local/lib/provision/gate & ", accepted(t, user, gone, 0)),
		"of which the log says nothing":       f.open(t, "", ""),
		"by a certificate":                    f.open(t, "", strings.Replace(accepted(t, user, gone, 0), "ED25519 "+gone, "ED25519-CERT "+gone+" ID anna (serial 0) CA ED25519 "+gone, 1)),
		"before which another had its number": f.open(t, "", accepted(t, user, gone, time.Hour)),
		"that a client wrote the log of":      f.open(t, "", strings.Replace(accepted(t, user, gone, 0), "]: ", "]: Invalid user x]: ", 1)),
		"of another user":                     f.open(t, "", accepted(t, "root", gone, 0)),
	}
	f.options(t, "authorizedkeyscommand /usr/bin/keys\nauthorizedkeysfile .ssh/authorized_keys\n")
	idle, shell := f.open(t, "", accepted(t, user, gone, 0)), f.open(t, "sleep 1000 & ", accepted(t, user, gone, 0))
	done, err := s.one(t, connections{user: user})
	checkDone(t, done, err) // nobody knows what the program says

	f.options(t, "authorizedkeyscommand none\nauthorizedkeysfile .ssh/authorized_keys %h/.ssh/%%%u\n")
	done, err = s.one(t, connections{user: user})
	checkDone(t, done, err, "close open SSH connections of "+user+" (2 connections with a revoked key: "+gone+")")
	for name, c := range map[string]fakeConnection{"an idle one": idle, "one in which something else runs": shell} {
		if !c.isOver() {
			t.Errorf("%s is open", name)
		}
	}
	for name, c := range stay {
		if syscall.Kill(c.user, 0) != nil {
			t.Errorf("one %s is closed", name)
		}
	}
}
