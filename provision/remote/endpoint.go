package remote

import (
	"context"
	"errors"

	"provision/provision/remote/sshconfig"
	"provision/provision/secret"
)

// An endpoint is one SSH server with everything that ssh_config(5) and the
// Target say of it.
type endpoint struct {
	sshconfig.Host
	key    secret.Value // of the Target: offered alone
	pinned []string     // of the Target
}

// config is what ssh_config(5) says.
func (d *Dialer) config() *sshconfig.Config {
	if d.Config != nil {
		return d.Config
	}
	return &d.ownConfig
}

// route lists the servers on the way to t: jump hosts first, t itself last.
func (d *Dialer) route(ctx context.Context, t Target) ([]endpoint, error) {
	hosts, err := d.config().Route(ctx, t.Address, sshconfig.Given{User: t.User, Port: t.Port, Identity: t.Identity})
	if circle := new(sshconfig.CircleError); errors.As(err, &circle) {
		return nil, withHint(err, "%s", circle.Hint())
	}
	if err != nil {
		return nil, err
	}
	route := make([]endpoint, len(hosts))
	for i, h := range hosts {
		route[i].Host = h
	}
	last := &route[len(route)-1]
	last.key, last.pinned = t.Key, t.HostKeys
	return route, nil
}
