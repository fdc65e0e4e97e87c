// Package fleettest has hosts for tests that are no hosts: what they answer to
// programs, to words at the gate, and to attempts, a test says.
package fleettest

import (
	"context"
	"io"
	"sync"

	"provision/cmd/fleet"
	"provision/provision/remote"
)

// Hosts are a [fleet.Dialer]. A field that is nil answers nothing, without an
// error. The fields must not change while they are in use.
type Hosts struct {
	Login   func(remote.Target) error                     // an error: the host does not let them in
	Program func(host string, program []byte) []byte      // what a root shell prints
	Gate    func(words string) (said string, err error)   // what the forced command says
	Attempt func() (tried []remote.Attempt, failed error) // what a key could do

	mu     sync.Mutex
	logins []remote.Target
	trips  int
	open   int
	cut    bool
}

// Dial implements [fleet.Dialer].
func (h *Hosts) Dial(_ context.Context, t remote.Target) (fleet.Conn, error) {
	h.mu.Lock()
	h.logins = append(h.logins, t)
	h.mu.Unlock()
	if h.Login != nil {
		if err := h.Login(t); err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open++
	h.cut = false
	return &conn{hosts: h, host: t.Name}, nil
}

// Logins returns who has logged in, or has tried to.
func (h *Hosts) Logins() []remote.Target {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]remote.Target{}, h.logins...)
}

// Trips returns how many programs were run, but for those that hold a lock.
func (h *Hosts) Trips() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.trips
}

// Open returns how many connections are open.
func (h *Hosts) Open() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open
}

// Cut ends all connections, as a network does.
func (h *Hosts) Cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut = true
}

type conn struct {
	hosts *Hosts
	host  string
}

func (c *conn) Run(_ context.Context, program io.Reader, out io.Writer) error {
	c.hosts.mu.Lock()
	c.hosts.trips++
	c.hosts.mu.Unlock()
	return c.answer(program, out)
}

func (c *conn) answer(program io.Reader, out io.Writer) error {
	text, err := io.ReadAll(program)
	if err != nil || c.hosts.Program == nil {
		return err
	}
	_, err = out.Write(c.hosts.Program(c.host, text))
	return err
}

// Hold answers like Run, and ends with ctx.
func (c *conn) Hold(ctx context.Context, program io.Reader, out io.Writer) error {
	if err := c.answer(program, out); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (c *conn) Feed(_ context.Context, program, in io.Reader, out io.Writer) error {
	if err := c.answer(program, out); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, in)
	return err
}

func (c *conn) Ask(_ context.Context, words string, out io.Writer) error {
	if c.hosts.Gate == nil {
		return nil
	}
	said, err := c.hosts.Gate(words)
	if _, failed := io.WriteString(out, said); failed != nil {
		return failed
	}
	return err
}

func (c *conn) Prove(context.Context) ([]remote.Attempt, error) {
	if c.hosts.Attempt == nil {
		return nil, nil
	}
	return c.hosts.Attempt()
}

func (c *conn) Lost() bool {
	c.hosts.mu.Lock()
	defer c.hosts.mu.Unlock()
	return c.hosts.cut
}

func (c *conn) Close() error {
	c.hosts.mu.Lock()
	defer c.hosts.mu.Unlock()
	c.hosts.open--
	return nil
}
