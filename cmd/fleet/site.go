package fleet

import (
	"context"
	"io"

	"provision/inventory"
	"provision/provision"
	"provision/provision/secret"
	"provision/steps"
)

// A Site is one host of a fleet. Only one goroutine may use it at a time, which is
// the work of [Fleet.Each].
type Site struct {
	Host        *inventory.Host
	Deployments []*inventory.Deployment // those that the run is about

	fleet *Fleet
	conn  Conn // nil: there is none yet
}

// Steps returns the steps of the host. Given is that of the fleet, or a change of it.
func (s *Site) Steps(given steps.Given) []provision.Step {
	return steps.For(s.fleet.Inventory, s.Host, s.Deployments, given)
}

// Target connects to the host, unless it is connected or gone, and waits until
// the token of GitLab is known to do. Before that nothing is done anywhere.
func (s *Site) Target(ctx context.Context) (provision.Target, error) {
	o := s.fleet.options
	t := provision.Target{Name: s.Host.Name, Forge: s.fleet.Forge, Trace: s.fleet.conversation(s.Host)}
	if o.Changes {
		t.Interrupt = o.Interrupt
		t.By = admin() + " with provision " + o.Version
	}
	if !o.Gone {
		if err := s.connect(ctx); err != nil {
			return provision.Target{}, err
		}
		t.Host = s.conn
		if o.Changes {
			t.Lock = &provision.Lock{Hold: s.conn.Hold, Owner: lockOwner(), Wait: o.LockWait}
		}
	}
	if err := s.fleet.WaitToken(); err != nil {
		return provision.Target{}, err
	}
	o.Progress.Doing(s.Host.Name, "look")
	return t, nil
}

// Beside is a target for what runs beside what a [Site.Target] is used for, over the
// same connection, and is no trip. There has to be one.
func (s *Site) Beside() provision.Target {
	return provision.Target{Name: s.Host.Name, Host: beside{s.conn}, Trace: s.fleet.conversation(s.Host)}
}

type beside struct{ conn Conn }

func (b beside) Run(ctx context.Context, program io.Reader, out io.Writer) error {
	return b.conn.Hold(ctx, program, out)
}

func (s *Site) connect(ctx context.Context) (err error) {
	if s.conn != nil && !s.conn.Lost() {
		return nil
	}
	s.hangUp()
	conn, err := s.fleet.dialer.Dial(ctx, s.fleet.adminTarget(s.Host))
	if err != nil {
		return err
	}
	s.conn = conn
	return nil
}

func (s *Site) hangUp() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

func (f *Fleet) conversation(h *inventory.Host) func(sent bool, text string) {
	if f.options.Trace == nil {
		return nil
	}
	return f.options.Trace.Conversation(h.Name)
}

// Gate is the target of a look through the gate of a deployment, which takes no
// connection of an admin.
func (s *Site) Gate() provision.Target {
	return provision.Target{Name: s.Host.Name, Forge: s.fleet.Forge, Trace: s.fleet.conversation(s.Host)}
}

// LogIn logs in to a deployment with a key of CI, and waits until the token of
// GitLab is known to do. The caller closes the connection.
func (f *Fleet) LogIn(ctx context.Context, d *inventory.Deployment, key secret.Value, way Way) (Conn, error) {
	if err := f.WaitToken(); err != nil {
		return nil, err
	}
	return f.dialer.Dial(ctx, ciTarget(d, key, way))
}
