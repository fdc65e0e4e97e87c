package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrLost tells that a connection ended while something was under way on the
// host: it may or may not be done. Looking at the host tells.
var ErrLost = errors.New("the connection is lost: what was under way may or may not be done")

// A Conn is a connection to one host, over which many programs can run, one
// after another or at the same time.
type Conn struct {
	dialer *Dialer
	target Target
	become Become
	link   *link // nil: this machine
	proved atomic.Bool

	mu      sync.Mutex
	refused error // sudo's answer to the password, which must not be sent again
}

// Dial connects to a host. The connection stays until [Conn.Close], also when
// ctx ends.
//
// Its errors begin with the name of the Target. Among them are a
// [*HostKeyError] and an [*AuthError]; for neither does it help to try again.
func (d *Dialer) Dial(ctx context.Context, t Target) (*Conn, error) {
	c, err := d.dial(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Name, err)
	}
	return c, nil
}

func (d *Dialer) dial(ctx context.Context, t Target) (*Conn, error) {
	if !slices.Contains([]Become{Sudo, Doas, None, ""}, t.Become) {
		return nil, fmt.Errorf("become is %q; it can be sudo, doas or none", t.Become)
	}
	c := &Conn{dialer: d, target: t, become: t.Become}
	if t.Local {
		if root() {
			c.become = None
		}
		return c, nil
	}
	route, err := d.route(ctx, t)
	if err != nil {
		return nil, err
	}
	last := route[len(route)-1]
	if last.User == "root" {
		c.become = None
	}
	via, err := d.through(ctx, route[:len(route)-1])
	if err != nil {
		return nil, err
	}
	c.link, err = d.link(ctx, last, via)
	d.trace(t.Name, fmt.Sprintf("connect to %s as %s", last.Address(), last.User), err)
	return c, err
}

// HostKey returns the key that the host has proved to hold, as "type blob"; of
// a certificate, the key that it certifies. It is empty for this machine.
func (c *Conn) HostKey() string {
	if c.link == nil {
		return ""
	}
	return c.link.hostKey
}

// Lost reports whether the connection has ended: whatever is begun over it fails.
func (c *Conn) Lost() bool { return c.link != nil && c.link.gone() }

// Close ends the connection, and with it whatever still runs over it.
func (c *Conn) Close() error {
	if c.link != nil {
		c.link.Close()
	}
	return nil
}
