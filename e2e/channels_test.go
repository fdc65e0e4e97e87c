package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"provision/e2e/lab"
	"provision/inventory"
)

// login connects to a host with a private key.
func (w *world) login(t *testing.T, host, user string, private []byte) *ssh.Client {
	t.Helper()
	h := w.Hosts[host]
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	known, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.HostKeys[0]))
	if err != nil {
		t.Fatal(err)
	}
	client, err := ssh.Dial("tcp", fmt.Sprintf("%s:%d", h.Address, h.Port), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.FixedHostKey(known), HostKeyAlgorithms: []string{known.Type()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// ask runs a command, whatever bytes it has.
func ask(t *testing.T, client *ssh.Client, command string) job {
	t.Helper()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	var out, errs bytes.Buffer
	session.Stdout, session.Stderr = &out, &errs
	err = session.Run(command)
	var exit *ssh.ExitError
	switch {
	case errors.As(err, &exit):
		return job{exit.ExitStatus(), out.String(), errs.String()}
	case err != nil:
		t.Fatal(err)
	}
	return job{0, out.String(), errs.String()}
}

// Everything that SSH can do besides running a command is tried twice: with
// the key of the admin, for whom it has to work, or the try would prove
// nothing; and with the key of CI, for whom it must not.
func testChannels(t *testing.T, w *world, d *inventory.Deployment) {
	// Without xauth sshd would refuse X11 to everybody.
	w.sh(t, "web1", `printf '#!/bin/sh\nexit 0\n' >/usr/bin/xauth; chmod 755 /usr/bin/xauth`)
	adminKey, err := os.ReadFile(w.Inventory.Host("web1").Identity)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string][]byte{"admin": adminKey, d.User: []byte(w.variable(t, "transmogrify", "SSH_AUTH", d.Scope))}
	for name, try := range map[string]func(*testing.T, way) error{
		"terminal":       session(requestTerminal),
		"agent":          session(agent.RequestAgentForwarding),
		"X11":            session(requestX11),
		"sftp":           session(startSFTP),
		"-L":             tryLocal,
		"-D":             tryDynamic,
		"-R":             tryRemote,
		"socket forward": tryUnix,
		"socket listen":  tryListenUnix,
	} {
		t.Run(name, func(t *testing.T) {
			for user, key := range keys {
				err := try(t, w.way(t, user, key))
				switch {
				case user == "admin" && err != nil:
					t.Error("it does not even work for the admin:", err)
				case user != "admin" && err == nil:
					t.Error("it works with the key of CI")
				}
			}
		})
	}
}

// A way is how one user gets to the host.
type way struct {
	client  *ssh.Client
	openssh []string // the command line of ssh up to the options
	target  string
	host    *lab.Host
	port    string // of the host, for what listens there; each user has one, as sshd frees it late
}

func (w *world) way(t *testing.T, user string, key []byte) way {
	t.Helper()
	h := w.Hosts["web1"]
	dir := t.TempDir()
	identity, known := filepath.Join(dir, "key"), filepath.Join(dir, "known_hosts")
	for name, text := range map[string][]byte{identity: key, known: []byte(h.KnownHosts())} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return way{
		client: w.login(t, "web1", user, key),
		openssh: []string{"ssh", "-F", "none", "-i", identity, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
			"-o", "UserKnownHostsFile=" + known, "-o", "ExitOnForwardFailure=yes", "-N"},
		target: user + "@" + h.Name,
		host:   h,
		port:   map[bool]string{true: "2345", false: "2346"}[user == "admin"],
	}
}

// start runs ssh with one more option until the test ends.
func (w way) start(t *testing.T, option, value string) (ended <-chan error) {
	t.Helper()
	cmd := exec.Command(w.openssh[0], append(w.openssh[1:], option, value, w.target)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() { cmd.Process.Kill() })
	return done
}

// session tries something in a session.
func session(try func(*ssh.Session) error) func(*testing.T, way) error {
	return func(t *testing.T, w way) error {
		s, err := w.client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return try(s)
	}
}

func requestTerminal(s *ssh.Session) error { return s.RequestPty("xterm", 24, 80, ssh.TerminalModes{}) }

func requestX11(s *ssh.Session) error {
	ok, err := s.SendRequest("x11-req", true, ssh.Marshal(struct {
		Single           bool
		Protocol, Cookie string
		Screen           uint32
	}{false, "MIT-MAGIC-COOKIE-1", strings.Repeat("0", 32), 0}))
	if err == nil && !ok {
		err = errors.New("refused")
	}
	return err
}

// startSFTP says hello, as a server may start for the request and refuse later.
func startSFTP(s *ssh.Session) error {
	in, err := s.StdinPipe()
	if err != nil {
		return err
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.RequestSubsystem("sftp"); err != nil {
		return err
	}
	if _, err := in.Write([]byte{0, 0, 0, 5, 1, 0, 0, 0, 3}); err != nil { // SSH_FXP_INIT, version 3
		return err
	}
	answer := make([]byte, 5)
	if _, err := out.Read(answer); err != nil {
		return err
	}
	if answer[4] != 2 { // SSH_FXP_VERSION
		return fmt.Errorf("it answers %x", answer)
	}
	return nil
}

// freePort returns a port of this machine that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// through says something to a port that ssh listens on, as soon as it does, and
// wants to hear the host's own sshd behind it.
func through(t *testing.T, port, hello string, ended <-chan error) error {
	for {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			select {
			case err := <-ended:
				return fmt.Errorf("ssh ended: %v", err)
			case <-time.After(10 * time.Millisecond):
				continue
			}
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(hello)); err != nil {
			return err
		}
		said, err := bufio.NewReader(conn).ReadString('\n')
		if !strings.Contains(said, "SSH-2.0-") {
			return fmt.Errorf("it says %q (%v)", said, err)
		}
		return nil
	}
}

func tryLocal(t *testing.T, w way) error {
	port := freePort(t)
	return through(t, port, "", w.start(t, "-L", port+":127.0.0.1:22"))
}

func tryDynamic(t *testing.T, w way) error {
	port := freePort(t)
	// SOCKS4: connect to port 22 of 127.0.0.1 for nobody.
	return through(t, port, "\x04\x01\x00\x16\x7f\x00\x00\x01\x00", w.start(t, "-D", port))
}

func tryRemote(t *testing.T, w way) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, "hello")
			conn.Close()
		}
	}()
	ended := w.start(t, "-R", w.port+":"+l.Addr().String())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	said := make(chan string, 1)
	go func() {
		out, _ := w.host.Exec(ctx, `until bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && head -n 1 <&3' bash "$1" 2>/dev/null; do sleep 0.05; done`, w.port)
		said <- out
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("ssh ended: %v", err)
	case text := <-said:
		if text != "hello\n" {
			return fmt.Errorf("the host heard %q", text)
		}
		return nil
	}
}

func tryUnix(t *testing.T, w way) error {
	conn, err := w.client.Dial("unix", "/run/dbus/system_bus_socket")
	if err != nil {
		return err
	}
	return conn.Close()
}

func tryListenUnix(t *testing.T, w way) error {
	l, err := w.client.ListenUnix("/tmp/listen-" + w.client.User())
	if err != nil {
		return err
	}
	return l.Close()
}
