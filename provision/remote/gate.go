package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Ask sends words to the forced command of a deploy key and copies what that
// prints to out. The session has no input, no terminal, and no root shell.
//
// No words at all are words too: the gate takes them for a deploy.
//
// The errors are an [*ExitError], [ErrLost], that of out, and that of ctx. When
// ctx ends, Ask no longer waits, but sshd(8) does not stop a command whose
// session is closed: what was asked for may still be done. After Ask has
// returned nothing more is written to out.
func (c *Conn) Ask(ctx context.Context, words string, out io.Writer) error {
	if c.link == nil {
		return errNoGate
	}
	c.dialer.trace(c.target.Name, fmt.Sprintf("ask the gate: %q", words), nil)
	said, err := c.link.ask(ctx, "exec", words, "", out)
	if err == nil && said.status != 0 {
		err = &ExitError{Status: said.status, Stderr: said.stderr}
	}
	c.dialer.trace(c.target.Name, "the gate has answered", err)
	return err
}

var errNoGate = errors.New("this machine is not reached over SSH, so there is no forced command")

// An answer is how a command ended, and the end of what it wrote to standard
// error, in one visible line.
type answer struct {
	status int
	stderr string
}

// ask makes a request that starts a command, "exec" or "subsystem", gives the
// command its input, and follows it to its end and that of its output.
func (l *link) ask(ctx context.Context, request, words, in string, out io.Writer) (answer, error) {
	if err := ctx.Err(); err != nil {
		return answer{}, err
	}
	sh, err := l.session(ctx, request, words)
	if err != nil {
		return answer{}, err
	}
	defer sh.close()
	r := newRun(sh, out, "")
	defer r.close()
	r.send([]byte(in))
	r.hangUp()
	var e exit
	select {
	case e = <-sh.exit:
	case err := <-r.unwritable:
		return answer{}, err
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
	r.drain()
	switch {
	case e.err != nil && l.gone():
		return answer{}, l.lost()
	case e.err != nil:
		return answer{}, e.err
	}
	select {
	case err := <-r.unwritable: // which is there before the streams have ended
		return answer{}, err
	default:
	}
	select {
	case <-r.copied:
		return answer{status: e.status, stderr: r.said()}, nil
	default:
		return answer{}, errUnended
	}
}

var errUnended = errors.New("the command has ended, but not its output: something that it left behind holds the stream")
