package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// jumpConfig makes an alias for the lab and a way through it.
func jumpConfig(t *testing.T) string {
	known := writeFile(t, "known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s\n", lab.port, lab.hostKeys[1]))
	return fmt.Sprintf(`
Host inner
	ProxyJump bastion,second
Host bastion second
	User free
Host second
	ProxyJump nowhere
Host *
	HostName 127.0.0.1
	Port %d
	IdentityFile %s
	UserKnownHostsFile %s
`, lab.port, lab.key, known)
}

func TestJumpHosts(t *testing.T) {
	needLab(t)
	config := jumpConfig(t)
	config = strings.Replace(config, "Host bastion second\n\tUser free", "Host bastion\n\tUser free\nHost second\n\tUser pty", 1)
	d := newDialer(t, config)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			c, err := d.Dial(t.Context(), Target{Name: "inner", Address: "inner", User: "root"})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if out, err := runs(t.Context(), c, "echo through"); err != nil || out != "through\n" {
				t.Errorf("Run = %q, %v", out, err)
			}
		})
	}
	all.Wait()
	if n := d.Connections(); n != 2+3 {
		t.Errorf("%d connections, want one to each of two jump hosts, and three", n)
	}
	// A jump host that was lost is reached anew.
	for _, j := range d.jumps {
		j.link.Close()
	}
	c, err := d.Dial(t.Context(), Target{Address: "inner", User: "root"})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	<-c.link.ctx.Done()
	if _, err := runs(t.Context(), c, "true"); !errors.Is(err, ErrLost) {
		t.Errorf("Run after Dialer.Close = %v", err)
	}
	c.Close()
}

func TestJumpHostIsChecked(t *testing.T) {
	needLab(t)
	config := strings.Replace(jumpConfig(t), "UserKnownHostsFile", "GlobalKnownHostsFile none\n\tUserKnownHostsFile /nowhere\n\t#", 1)
	config = strings.Replace(config, "bastion,second", "bastion", 1)
	target := labTarget("root", None)
	target.Address, target.Port = "inner", 0
	_, err := newDialer(t, config).Dial(t.Context(), target)
	if !errors.As(err, new(*HostKeyError)) || !strings.Contains(err.Error(), "jump host bastion") {
		t.Errorf("Dial = %v", err)
	}
}

func TestProxyCommand(t *testing.T) {
	needLab(t)
	relay := newRelay(t)
	d := newDialer(t, fmt.Sprintf("ProxyCommand ssh -F /dev/null -i %s -o IdentitiesOnly=yes -o StrictHostKeyChecking=no "+
		"-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -p %d -W %%h:%%p free@127.0.0.1\n", lab.key, relay.port))
	c, err := d.Dial(t.Context(), labTarget("root", None))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := runs(t.Context(), c, "echo through"); err != nil || out != "through\n" {
		t.Errorf("Run = %q, %v", out, err)
	}
	relay.cut()
	<-c.link.ctx.Done()
	c.Close()

	d = newDialer(t, "ProxyCommand sh -c 'echo no way to %h >&2'\n")
	_, err = d.Dial(t.Context(), labTarget("root", None))
	if err == nil || !strings.HasSuffix(err.Error(), "ProxyCommand: no way to 127.0.0.1") {
		t.Errorf("Dial = %v", err)
	}
}

// mute accepts connections and says nothing.
func mute(t *testing.T) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

func TestHandshakeTimeout(t *testing.T) {
	d := newDialer(t, "")
	d.Handshake = 100 * time.Millisecond
	_, err := d.Dial(t.Context(), Target{Name: "web1", Address: "127.0.0.1", Port: mute(t), Become: None})
	if !errors.Is(err, errHandshake) || !strings.Contains(err.Error(), "100ms") {
		t.Errorf("Dial = %v", err)
	}
}

func TestDialIsCancelled(t *testing.T) {
	d := newDialer(t, "")
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	d.Passphrase = nil
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			cancel(cause) // in the middle of the handshake
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 1000))
			_, _ = conn.Read(make([]byte, 1000))
		}
	}()
	_, err = d.Dial(ctx, Target{Address: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port})
	if !errors.Is(err, cause) {
		t.Errorf("Dial = %v", err)
	}
}

func TestConnectErrors(t *testing.T) {
	d := newDialer(t, "")
	_, err := d.Dial(t.Context(), Target{Name: "web1", Address: "127.0.0.1", Port: freePort()})
	if err == nil || !strings.HasPrefix(err.Error(), "web1: connect to 127.0.0.1:") || !strings.Contains(err.Error(), "\nhint:") {
		t.Errorf("Dial = %v", err)
	}
	if _, err := d.Dial(t.Context(), Target{Name: "web1", Address: "x", Become: "su"}); err == nil || !strings.Contains(err.Error(), "sudo, doas or none") {
		t.Errorf("Dial = %v", err)
	}
}

// Whatever happens to connections, nothing of them stays.
func TestNoLeaks(t *testing.T) {
	needLab(t)
	t.Run("group", func(t *testing.T) {
		d := newDialer(t, jumpConfig(t))
		for _, target := range []Target{labTarget("free", Sudo), labTarget("stranger", Sudo), {Local: true}, {Address: "bastion", Become: Sudo}} {
			if c, err := d.Dial(t.Context(), target); err == nil {
				_, _ = runs(t.Context(), c, "echo")
				ctx, cancel := context.WithCancel(t.Context())
				f := newFifo(t)
				done := make(chan error, 1)
				go func() { _, err := runs(ctx, c, "exec 9>"+f.path+"; sleep 1000"); done <- err }()
				if target.User != "stranger" {
					f.opened(t)
				}
				cancel()
				<-done
				c.Close()
			}
		}
		d.Close()
	})
	// The last ones are on their way when Close returns; those that are not
	// keep the test from ending.
	for leaked() != "" {
		runtime.Gosched()
	}
}

// leaked returns the stacks of the goroutines that belong to a connection.
func leaked() string {
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	var found []string
	for stack := range strings.SplitSeq(string(all), "\n\n") {
		if !strings.Contains(stack, "_test.go") && (strings.Contains(stack, "provision/remote.") || strings.Contains(stack, "crypto/ssh.")) {
			found = append(found, stack)
		}
	}
	return strings.Join(found, "\n\n")
}
