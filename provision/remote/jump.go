package remote

import (
	"context"
	"fmt"
	"strings"
)

// Close ends the connections to jump hosts, and so those that go through them.
func (d *Dialer) Close() error {
	d.jumps.Clear()
	d.mu.Lock()
	jumped := d.jumped
	d.jumped = nil
	d.mu.Unlock()
	for _, l := range jumped {
		l.Close()
	}
	return nil
}

// through connects to the jump hosts of a route, one through another, and
// returns the connection to the last; nil if there is none.
func (d *Dialer) through(ctx context.Context, route []endpoint) (via *link, err error) {
	for i, e := range route {
		if via, err = d.jump(ctx, route[:i+1], via); err != nil {
			return nil, fmt.Errorf("jump host %s: %w", e.Alias, err)
		}
	}
	return via, nil
}

// jump returns the connection to the last of the jump hosts on a route, whose
// predecessor is via. All that go through it share it; one that was lost is
// made again for the next who asks.
func (d *Dialer) jump(ctx context.Context, route []endpoint, via *link) (*link, error) {
	names := make([]string, len(route))
	for i, e := range route {
		names[i] = e.String()
	}
	name := strings.Join(names, " ")
	d.jumps.ForgetIf(name, (*link).gone)
	return d.jumps.Get(ctx, name, func(ctx context.Context) (*link, error) {
		l, err := d.link(ctx, route[len(route)-1], via)
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil { // nobody waits for it any more
			l.Close()
			return nil, ctx.Err()
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.jumped = append(d.jumped, l)
		return l, nil
	})
}
