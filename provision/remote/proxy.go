package remote

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"provision/provision/visible"
)

// A proxy is a ProxyCommand of ssh_config(5), whose standard input and output
// are the connection.
type proxy struct {
	cmd   *exec.Cmd
	in    *os.File // what the command reads
	out   *os.File // what it prints
	close func() error

	mu     sync.Mutex
	stderr []byte // the beginning of it
}

func startProxy(command string) (*proxy, error) {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		in.Close()
		theirIn.Close()
		return nil, err
	}
	cmd := exec.Command("/bin/sh", "-c", "exec "+command)
	p := &proxy{cmd: cmd, in: in, out: out}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirIn, theirOut, complaints{p}
	cmd.WaitDelay = time.Second
	// A session of its own: an interrupt at the terminal is for us to handle.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirIn.Close()
	theirOut.Close()
	if err != nil {
		in.Close()
		out.Close()
		return nil, fmt.Errorf("ProxyCommand: %w", err)
	}
	p.close = sync.OnceValue(func() error {
		in.Close()
		out.Close()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		return nil
	})
	return p, nil
}

// said returns what the command wrote to standard error.
func (p *proxy) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return visible.Line(string(p.stderr))
}

// complaints is the standard error of a proxy.
type complaints struct{ *proxy }

func (c complaints) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stderr = append(c.stderr, b[:min(len(b), stderrKept-len(c.stderr))]...)
	return len(b), nil
}

func (p *proxy) Read(b []byte) (int, error)  { return p.out.Read(b) }
func (p *proxy) Write(b []byte) (int, error) { return p.in.Write(b) }
func (p *proxy) Close() error                { return p.close() }

// The addresses are of no use to anybody, but may not be nil.
func (p *proxy) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4zero} }
func (p *proxy) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4zero} }

func (p *proxy) SetDeadline(t time.Time) error {
	if err := p.SetReadDeadline(t); err != nil {
		return err
	}
	return p.SetWriteDeadline(t)
}
func (p *proxy) SetReadDeadline(t time.Time) error  { return p.out.SetReadDeadline(t) }
func (p *proxy) SetWriteDeadline(t time.Time) error { return p.in.SetWriteDeadline(t) }
