package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/melbahja/goph"
)

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
	known, err := d.hostKeysOf(ctx, e)
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
