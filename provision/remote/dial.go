package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/melbahja/goph"
	"golang.org/x/crypto/ssh"
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
	var via *link
	for i, jump := range route[:len(route)-1] {
		if via, err = d.jump(ctx, route[:i+1], via); err != nil {
			return nil, fmt.Errorf("jump host %s: %w", jump.Alias, err)
		}
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

// Close ends the connection, and with it whatever still runs over it.
func (c *Conn) Close() error {
	if c.link != nil {
		c.link.Close()
	}
	return nil
}

// Close ends the connections to jump hosts, and so those that go through them.
func (d *Dialer) Close() error {
	d.mu.Lock()
	jumps := d.jumps
	d.jumps = nil
	d.mu.Unlock()
	for _, j := range jumps {
		<-j.done
		if j.link != nil {
			j.link.Close()
		}
	}
	return nil
}

// A jump is a connection to a jump host, shared by all that go through it.
type jump struct {
	done chan struct{} // closed when link and err are there
	link *link
	err  error
}

// jump returns the connection to the last of the jump hosts on a route, whose
// predecessor is via. Who comes first makes it, the others wait; a connection
// that failed or was lost is made again for the next who asks.
func (d *Dialer) jump(ctx context.Context, route []endpoint, via *link) (*link, error) {
	names := make([]string, len(route))
	for i, e := range route {
		names[i] = e.String()
	}
	name := strings.Join(names, " ")
	for {
		d.mu.Lock()
		j, ok := d.jumps[name]
		if ok && j.over() {
			ok = false
		}
		if !ok {
			j = &jump{done: make(chan struct{})}
			if d.jumps == nil {
				d.jumps = make(map[string]*jump)
			}
			d.jumps[name] = j
		}
		d.mu.Unlock()
		if !ok {
			j.link, j.err = d.link(ctx, route[len(route)-1], via)
			close(j.done)
			return j.link, j.err
		}
		select {
		case <-j.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// Somebody else's cancel is none of ours.
		if errors.Is(j.err, context.Canceled) || errors.Is(j.err, context.DeadlineExceeded) {
			continue
		}
		return j.link, j.err
	}
}

func (j *jump) over() bool {
	select {
	case <-j.done:
		return j.err != nil || j.link.ctx.Err() != nil
	default:
		return false
	}
}

// A link is an authenticated SSH connection.
type link struct {
	client  *goph.Client
	hostKey string

	ctx     context.Context // ends with the connection; its cause is why
	end     context.CancelCauseFunc
	watches sync.WaitGroup

	mu   sync.Mutex
	next <-chan opened // see ahead
}

var (
	errClosed    = errors.New("it was closed on this side")
	errHungUp    = errors.New("the host hung up")
	errHandshake = errors.New("the host did not finish the SSH handshake")
)

const (
	// loginsAtOnce is how many logins one server is asked for at a time, be it
	// by many names or as the jump host of many: sshd(8) begins to hang up at
	// random when ten are under way (MaxStartups of sshd_config(5)).
	loginsAtOnce = 8

	// redials is how often a server is tried again that hung up before it said
	// who it is: it has other logins to deal with.
	redials   = 2
	firstWait = 500 * time.Millisecond
)

// link connects to an endpoint, through via unless that is nil.
func (d *Dialer) link(ctx context.Context, e endpoint, via *link) (*link, error) {
	known, err := d.hostKeysOf(e)
	if err != nil {
		return nil, err
	}
	turn := d.turn(e)
	for n := 0; ; n++ {
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		l, err := d.login(ctx, e, via, known)
		<-turn
		if !errors.Is(err, errBusy) || n == redials {
			return l, err
		}
		wait := firstWait << n
		clock := time.NewTimer(wait + rand.N(wait)) // those that were refused together do not come back together
		select {
		case <-clock.C:
		case <-ctx.Done():
			clock.Stop()
			return nil, ctx.Err()
		}
	}
}

// turn returns what bounds the logins to a server. Of a ProxyCommand that is
// whoever the command goes through, which has the same words for all hosts.
func (d *Dialer) turn(e endpoint) chan struct{} {
	server := e.Address()
	if e.ProxyCommand != "" {
		server = e.ProxyCommand
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.turns == nil {
		d.turns = make(map[string]chan struct{})
	}
	if d.turns[server] == nil {
		d.turns[server] = make(chan struct{}, loginsAtOnce)
	}
	return d.turns[server]
}

// errBusy tells that a server hung up before it said who it is.
var errBusy = errors.New("the host hung up before the SSH handshake")

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
	if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "SSH-") {
		return ""
	}
	return ": " + visible([]byte(line))
}

// hungUp tells whether the other side ended a connection, or a ProxyCommand
// ended with it.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

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
		User:              config.User,
		Auth:              config.Auth,
		HostKeyCallback:   config.Callback,
		HostKeyAlgorithms: known.algorithms(),
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
	case errors.As(err, new(*HostKeyError)):
		return nil, nil, errors.Unwrap(err) // without "ssh: handshake failed"
	case errors.As(err, &negotiation) && negotiation.What == "host key" && len(known.Keys) > 0:
		refusal := known.refusal()
		refusal.Reason = "it has " + strings.Join(negotiation.RequestedAlgorithms, ", ")
		return nil, nil, refusal
	case hostKey == nil && ctx.Err() == nil && hungUp(err):
		return nil, nil, withHint(fmt.Errorf("connect to %s: %w%s", e.Address(), errBusy, heard.refusal()),
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

// await notices the end of the connection.
func (l *link) await() {
	err := l.client.Wait()
	if err == nil || errors.Is(err, io.EOF) {
		err = errHungUp
	}
	l.end(err)
}

// listen asks the host for a sign of life now and then, and ends a connection
// over which nobody answers: TCP alone would notice after hours.
func (l *link) listen(silence time.Duration) {
	every := time.NewTicker(silence / 4)
	defer every.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-every.C:
		}
		patience := time.AfterFunc(silence*3/4, func() {
			l.end(fmt.Errorf("no answer for %v", silence))
			l.client.Close()
		})
		_, _, err := l.client.SendRequest("keepalive@openssh.com", true, nil)
		patience.Stop()
		if err != nil {
			return
		}
	}
}

// Close ends the connection and waits for what watches it.
func (l *link) Close() {
	l.end(errClosed)
	l.client.Close()
	l.watches.Wait()
}

// gone reports whether the connection has ended, or is about to: the channel of
// a command may end a moment earlier.
func (l *link) gone() bool { return l.ctx.Err() != nil }

// lost returns the error of work that the end of the connection cut short.
func (l *link) lost() error {
	return fmt.Errorf("%w: %w", ErrLost, context.Cause(l.ctx))
}
