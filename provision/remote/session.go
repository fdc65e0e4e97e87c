package remote

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh"

	"provision/provision/hint"
	"provision/provision/visible"
)

// A shell is a command that runs on a host, with its streams.
type shell struct {
	in          io.WriteCloser // closing it is what the command sees as the end
	out, stderr io.Reader
	exit        <-chan exit // gets one value, as soon as the command ends
	close       func()      // gives up on the command and ends the streams

	// heard, if not nil, is closed when the host has seen the command: one that
	// has said nothing long after that was not started.
	heard <-chan struct{}
}

// exit is how a command ended. With an err there is no status.
type exit struct {
	status int
	err    error
}

// errDenied tells that the host starts no command.
var errDenied = errors.New("the host refuses to run commands")

// session starts a command over SSH: the request is "exec", or "subsystem"
// with the name of one.
//
// It speaks of the channel itself because ssh.Session reports the exit status
// only when every process has let go of the output: a daemon that a program
// left behind would hold us for ever.
func (l *link) session(ctx context.Context, request, command string) (*shell, error) {
	// A host that does not answer this can be left only by hanging up.
	undo := context.AfterFunc(ctx, func() {
		l.end(errClosed)
		l.client.Close()
	})
	defer undo()
	channel := l.open()
	if channel.err != nil {
		return nil, l.unstarted(ctx, channel.err)
	}
	ok, err := channel.SendRequest(request, true, ssh.Marshal(struct{ Command string }{command}))
	if err == nil && !ok {
		err = errDenied
	}
	if err != nil {
		channel.Close()
		return nil, l.unstarted(ctx, err)
	}
	return channel.shell(), nil
}

func (o opened) shell() *shell {
	return &shell{
		in:     input{o.Channel},
		out:    o,
		stderr: o.Stderr(),
		exit:   o.exits,
		close:  func() { o.Close() },
	}
}

// command starts a command without waiting for the word that it runs: what it
// reads may be sent at once. See shell.heard.
func (l *link) command(ctx context.Context, command string) (*shell, error) {
	undo := context.AfterFunc(ctx, func() {
		l.end(errClosed)
		l.client.Close()
	})
	defer undo()
	session := l.ahead()
	if session.err != nil {
		return nil, l.unstarted(ctx, session.err)
	}
	if _, err := session.SendRequest("exec", false, ssh.Marshal(struct{ Command string }{command})); err != nil {
		session.Close()
		return nil, l.unstarted(ctx, err)
	}
	sh := session.shell()
	heard := make(chan struct{})
	sh.heard = heard
	l.watches.Go(func() {
		defer close(heard)
		// Requests are answered in their order, this one by a no.
		_, _ = session.SendRequest("keepalive@openssh.com", true, nil)
	})
	return sh, nil
}

// An opened session has no command yet. Its requests are answered, as sshd(8)
// may ask in any session whether we are alive.
type opened struct {
	ssh.Channel
	exits <-chan exit
	err   error
}

func (l *link) open() opened {
	channel, requests, err := l.client.OpenChannel("session", nil)
	if err != nil {
		return opened{err: err}
	}
	exits := make(chan exit, 1)
	l.watches.Go(func() { l.serve(requests, exits) })
	return opened{channel, exits, nil}
}

// ahead returns a session that was opened while the one before was at work,
// and has the next one opened: so each program but the first takes a round trip
// less. Where MaxSessions of sshd_config(5) does not allow that, a session is
// opened when it is needed.
func (l *link) ahead() opened {
	l.mu.Lock()
	next := l.next
	l.next = nil
	l.mu.Unlock()
	session := opened{err: errNone}
	if next != nil {
		session = <-next
		select {
		case <-session.exits: // the host has closed it
			session.err = errNone
		default:
		}
	}
	if session.err != nil {
		session = l.open()
	}
	// sshd(8) tells the exit status of a command before it counts the session as
	// ended. A sign of life tells that it has gone on since.
	if errors.As(session.err, new(*ssh.OpenChannelError)) && l.alive() {
		session = l.open()
	}
	if session.err != nil {
		return session
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		next := make(chan opened, 1)
		l.next = next
		l.watches.Go(func() { next <- l.open() })
	}
	return session
}

var errNone = errors.New("none was opened ahead")

// unstarted explains why there is no command.
func (l *link) unstarted(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !l.alive():
		return l.lost()
	case errors.As(err, new(*ssh.OpenChannelError)):
		return hint.Add(fmt.Errorf("sshd opens no second session in this connection: %w", err), "MaxSessions in sshd_config(5) must be at least 2 for the admin, one of which holds the lock")
	}
	return fmt.Errorf("no session: %w", err)
}

// alive waits for a sign of life. Where there is none, the link is gone when
// it returns; until then an error on a channel may come before that is known.
func (l *link) alive() bool {
	if _, _, err := l.client.SendRequest("keepalive@openssh.com", true, nil); err == nil {
		return true
	}
	l.client.Close()
	<-l.ctx.Done()
	return false
}

// serve answers the requests of a channel, one of which is the exit status.
func (l *link) serve(requests <-chan *ssh.Request, exits chan<- exit) {
	var ended bool
	end := func(e exit) {
		if !ended {
			exits <- e
		}
		ended = true
	}
	for r := range requests {
		switch r.Type {
		case "exit-status":
			var m struct{ Status uint32 }
			if ssh.Unmarshal(r.Payload, &m) == nil {
				end(exit{status: int(m.Status)})
			}
		case "exit-signal":
			var m struct {
				Signal string
				Core   bool
				Error  string
				Lang   string
			}
			if ssh.Unmarshal(r.Payload, &m) == nil {
				end(exit{err: fmt.Errorf("%w: the shell was killed by %s", ErrLost, visible.Line("SIG"+m.Signal))})
			}
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
	// The channel may be closed a moment before the connection is known to be.
	end(exit{err: ErrLost})
}

// input is the standard input of a channel.
type input struct{ ssh.Channel }

func (i input) Close() error { return i.CloseWrite() }
