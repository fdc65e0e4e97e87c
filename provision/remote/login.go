package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/melbahja/goph"
	"golang.org/x/crypto/ssh"

	"provision/provision/hint"
	"provision/provision/remote/sshconfig"
	"provision/provision/visible"
)

// login connects and authenticates.
func (d *Dialer) login(ctx context.Context, e endpoint, via *link, known *hostKeys) (*link, error) {
	conn, err := d.transport(ctx, e, via)
	if err != nil {
		return nil, unreachable(e, err)
	}

	shaking, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	clock := time.AfterFunc(d.handshake(), func() { stop(errHandshake) })
	defer clock.Stop()
	pause := func() func() {
		clock.Stop()
		return func() { clock.Reset(d.handshake()) }
	}
	closed := context.AfterFunc(shaking, func() { conn.Close() })
	client, key, err := d.authenticate(shaking, conn, e, known, pause)
	if !closed() && err == nil {
		client.Close()
		err = context.Cause(shaking)
	}
	if err != nil {
		conn.Close()
		if shaking.Err() != nil && !errors.As(err, new(*HostKeyError)) {
			err = context.Cause(shaking)
		}
		if errors.Is(err, errHandshake) {
			err = fmt.Errorf("%w within %v", err, d.handshake())
		}
		if p, ok := conn.(*proxy); ok && p.said() != "" {
			err = fmt.Errorf("%w\nProxyCommand: %s", err, p.said())
		}
		return nil, err
	}
	d.connections.Add(1)
	l := &link{client: client, hostKey: keyLine(key)}
	l.ctx, l.end = context.WithCancelCause(context.Background())
	l.watches.Go(l.await)
	l.watches.Go(func() { l.listen(d.silence()) })
	return l, nil
}

// transport opens the bytes that SSH travels over.
func (d *Dialer) transport(ctx context.Context, e endpoint, via *link) (net.Conn, error) {
	timeout := orElse(e.ConnectTimeout, d.connect())
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	var conn net.Conn
	var err error
	switch {
	case via != nil:
		conn, err = via.client.DialContext(ctx, "tcp", e.Address())
	case e.ProxyCommand != "":
		conn, err = startProxy(e.Expand(e.ProxyCommand))
	default:
		var dialer net.Dialer
		conn, err = dialer.DialContext(ctx, "tcp", e.Address())
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return conn, err
}

// authenticate makes a client of conn, which it does not close on errors.
//
// The client is put together here because goph sets neither the host key
// algorithms nor a bound on the handshake.
func (d *Dialer) authenticate(ctx context.Context, conn net.Conn, e endpoint, known *hostKeys,
	pause func() func()) (*goph.Client, ssh.PublicKey, error) {
	transport, err := e.transportConfig()
	if err != nil {
		return nil, nil, err
	}
	algorithms, err := known.algorithms()
	if err != nil {
		return nil, nil, err
	}
	offer, err := d.offer(ctx, e, pause)
	if err != nil {
		return nil, nil, err
	}
	var hostKey ssh.PublicKey
	var methods []string
	config := &goph.Config{
		User: e.User,
		Addr: e.Name,
		Port: uint(e.Port),
		Auth: goph.Auth{ssh.PublicKeys(offer.signers...)},
		Callback: func(name string, addr net.Addr, key ssh.PublicKey) error {
			hostKey = key
			return known.check(name, addr, key)
		},
	}
	heard := &greeting{Conn: conn}
	inner, channels, requests, err := ssh.NewClientConn(heard, e.Address(), &ssh.ClientConfig{
		Config:            transport,
		User:              config.User,
		Auth:              config.Auth,
		HostKeyCallback:   config.Callback,
		HostKeyAlgorithms: algorithms,
		AuthCallback: func(a *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
			methods = a.AllowedMethods
			return nil, nil
		},
	})
	if err == nil {
		return &goph.Client{Client: ssh.NewClient(inner, channels, requests), Config: config}, hostKey, nil
	}
	var negotiation *ssh.AlgorithmNegotiationError
	switch {
	case errors.As(err, new(*HostKeyError)), errors.As(err, new(*sshconfig.RevocationsError)):
		return nil, nil, errors.Unwrap(err) // without "ssh: handshake failed"
	case errors.As(err, &negotiation) && negotiation.What == "host key" && len(known.Keys) > 0:
		refusal := known.refusal()
		refusal.Reason = "it has " + strings.Join(negotiation.RequestedAlgorithms, ", ")
		return nil, nil, refusal
	case hostKey == nil && ctx.Err() == nil && hungUp(err):
		return nil, nil, hint.Add(fmt.Errorf("connect to %s: %w%s", e.Address(), errBusy, heard.refusal()),
			"sshd is busy, or keeps this address out for a while after several attempts (MaxStartups and PerSourcePenalties of sshd_config(5)): wait a minute; journalctl -u ssh there tells")
	case methods == nil || ctx.Err() != nil: // it did not come to authentication
		return nil, nil, fmt.Errorf("connect to %s: %w", e.Address(), err)
	}
	refusal := &AuthError{User: e.User, Tried: offer.tried, Unused: offer.unused, Methods: methods, Given: !e.key.IsZero()}
	if !strings.Contains(err.Error(), "unable to authenticate") {
		refusal.Err = err
	}
	return nil, nil, refusal
}

// A greeting keeps the beginning of what the other side says: sshd(8) says in a
// line of its own why it keeps somebody out.
type greeting struct {
	net.Conn
	mu   sync.Mutex
	said []byte
}

func (g *greeting) Read(p []byte) (int, error) {
	const kept = 100
	n, err := g.Conn.Read(p)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said = append(g.said, p[:min(n, kept-len(g.said))]...)
	return n, err
}

// refusal is what was said in place of a greeting, behind a colon; "" if nothing was.
func (g *greeting) refusal() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	line, _, _ := strings.Cut(string(g.said), "\n")
	if line = visible.Line(line); line == "" || strings.HasPrefix(line, "SSH-") {
		return ""
	}
	return ": " + line
}

// hungUp tells whether the other side ended a connection, or a ProxyCommand
// ended with it.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// errBusy tells that a server hung up before it said who it is.
var errBusy = errors.New("the host hung up before the SSH handshake")
