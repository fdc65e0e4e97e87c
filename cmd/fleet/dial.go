package fleet

import (
	"context"
	"io"

	"provision/inventory"
	"provision/provision"
	"provision/provision/remote"
	"provision/provision/secret"
)

// A Dialer connects to hosts, from many goroutines.
type Dialer interface {
	Dial(context.Context, remote.Target) (Conn, error)
}

// A Conn is a connection to one host, as [remote.Conn] describes it.
type Conn interface {
	provision.Host
	Hold(ctx context.Context, program io.Reader, out io.Writer) error
	Feed(ctx context.Context, program, in io.Reader, out io.Writer) error
	Ask(ctx context.Context, words string, out io.Writer) error
	Prove(ctx context.Context) ([]remote.Attempt, error)
	Lost() bool // it has ended, and is of no use any more
	Close() error
}

type overSSH struct{ dialer *remote.Dialer }

func (o overSSH) Dial(ctx context.Context, t remote.Target) (Conn, error) {
	conn, err := o.dialer.Dial(ctx, t)
	if err != nil {
		return nil, err // no Conn that holds a nil
	}
	return conn, nil
}

// adminTarget says how an admin reaches a host.
func (f *Fleet) adminTarget(h *inventory.Host) remote.Target {
	t := remote.Target{
		Name: h.Name, Local: h.Local, Address: h.Address, Port: h.Port, User: h.User, Identity: h.Identity,
		HostKeys: h.HostKeys, Become: remote.Become(h.Become),
	}
	switch ask := f.options.Password; {
	case !h.BecomePassword.IsZero(): // which is for the hosts that name it alone
		t.Password = h.BecomePassword.Read
	case ask != nil:
		t.Password = func(ctx context.Context) (secret.Value, error) { return ask(ctx, h.Name) }
	}
	return t
}

// A Way is one of the two to a host, where CI has another address for it.
type Way string

// The ways to a host.
const (
	WayOfAdmin Way = "admin"
	WayOfCI    Way = "ci"
)

// ciTarget says how a key of CI reaches a deployment.
func ciTarget(d *inventory.Deployment, key secret.Value, way Way) remote.Target {
	h := d.Host
	t := remote.Target{Name: h.Name + ": " + d.Name, Address: h.Address, Port: h.Port, User: d.User, HostKeys: h.HostKeys, Become: remote.None, Key: key}
	if h.CIAddress != "" && (way == WayOfCI || h.Local) {
		t.Address, t.Port = h.CIAddress, h.CIPort
	}
	return t
}
