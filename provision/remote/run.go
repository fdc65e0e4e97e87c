package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"provision/provision/hint"
)

const (
	// stopping bounds the wait for a program that was told to stop: five
	// seconds that the wrapper gives it, and the way there and back.
	stopping = 15 * time.Second

	// draining bounds the wait for output after the exit status: it is on
	// its way, unless a process that was left behind holds the stream.
	draining = 5 * time.Second
)

// An ExitError tells that a program ran and failed.
type ExitError struct {
	Status int
	Stderr string // the end of what it wrote there, in one visible line
}

func (e *ExitError) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return fmt.Sprintf("exit status %d: %s", e.Status, e.Stderr)
}

// Run gives program to a new root shell and copies what it prints to out.
// One call is one round trip; a second one is spent where sudo may prompt.
//
// The program reaches the host through the standard input of the shell, all of
// it or nothing: a program that was cut on the way does not start. Its own
// commands read from that same stream, so they should be given another.
//
// When ctx ends, the program and all of its process group are stopped, first by
// SIGTERM, then by SIGKILL, and Run returns when they are gone; the error
// wraps that of ctx. The same happens on the host when the connection drops.
// What a program moved to a session of its own is not stopped, and what it left
// in the background may live on, but what that prints is dropped.
//
// The other errors are an [*ExitError]; a [*BecomeError], when nothing has run;
// [ErrLost]; and those of program and out. After Run has returned nothing more
// is written to out.
func (c *Conn) Run(ctx context.Context, program io.Reader, out io.Writer) error {
	c.dialer.runs.Add(1)
	return c.run(ctx, program, nil, out)
}

// Hold is Run for a program that others run beside, such as one that holds a
// lock. [Dialer.Runs] does not count it.
func (c *Conn) Hold(ctx context.Context, program io.Reader, out io.Writer) error {
	return c.run(ctx, program, nil, out)
}

// Feed is Run for a program that reads in, all of it, from its file descriptor 3. It
// begins to once it has printed something. Of in no more is read than the program
// takes, and some of it is read ahead; a read that is under way when Feed returns
// goes on until in ends. When ctx ends, or the connection drops, the program sees the
// end of in, and has to end by itself.
func (c *Conn) Feed(ctx context.Context, program, in io.Reader, out io.Writer) error {
	c.dialer.runs.Add(1)
	return c.run(ctx, program, in, out)
}

func (c *Conn) run(ctx context.Context, program, in io.Reader, out io.Writer) error {
	text, err := io.ReadAll(program)
	if err != nil {
		return err
	}
	c.mu.Lock()
	refused := c.refused
	c.mu.Unlock()
	if refused != nil {
		return refused
	}
	if err := ctx.Err(); err != nil {
		return err
	}

	mark := rand.Text()
	prompt := ""
	if c.become == Sudo && c.target.Password != nil {
		prompt = "provision-" + mark
	}
	around := wrapper
	if in != nil {
		around = feedWrapper
	}
	sh, err := c.start(ctx, command(c.become, prompt, around))
	if err != nil {
		return err
	}
	defer sh.close()
	r := newRun(sh, out, prompt)
	defer r.close()
	if in != nil {
		go r.feed(in)
	}
	c.dialer.trace(c.target.Name, fmt.Sprintf("a shell of root by %s, for a program of %d bytes", orNone(c.become), len(text)), nil)
	err = c.follow(ctx, r, framed(text, mark))
	c.dialer.trace(c.target.Name, "the shell has ended", err)
	if err != nil && errors.Is(err, errRefused) {
		c.mu.Lock()
		c.refused = err
		c.mu.Unlock()
	}
	return err
}

func orNone(b Become) Become {
	if b == "" {
		return None
	}
	return b
}

func (c *Conn) start(ctx context.Context, command string) (*shell, error) {
	if c.link == nil {
		return local(command)
	}
	return c.link.command(ctx, command)
}

// framed writes a program as the wrapper reads it.
func framed(program []byte, mark string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d %s\n", len(program)+1+len(mark), mark)
	b.Write(program)
	b.WriteString("\n" + mark)
	return b.Bytes()
}

// follow gives the program to the shell at the right moment and follows it
// to its end.
func (c *Conn) follow(ctx context.Context, r *run, program []byte) error {
	stopped := ctx.Done()
	var shellReady, prompted <-chan struct{}
	var hesitates <-chan time.Time
	if r.prompt == "" {
		r.start(program)
	} else {
		// What sudo did not ask for the shell would take for its program.
		shellReady, prompted = r.ready, r.prompts
		clock := time.NewTimer(c.dialer.handshake())
		defer clock.Stop()
		hesitates = clock.C
	}
	asked := false
	heard := r.shell.heard
	var late <-chan time.Time
	for {
		select {
		case <-heard:
			heard = nil
			if r.prompt == "" && !r.isReady() {
				clock := time.NewTimer(c.dialer.handshake())
				defer clock.Stop()
				late = clock.C
			}
		case <-late:
			if !r.isReady() {
				return fmt.Errorf("%w: no shell within %v", errDenied, c.dialer.handshake()) // nothing runs that could be waited for
			}
		case <-shellReady:
			shellReady, prompted, hesitates = nil, nil, nil
			r.start(program)
		case <-prompted:
			if asked {
				return c.giveUp(r, errRefused)
			}
			asked = true
			line, err := c.password(ctx)
			if err != nil {
				return c.giveUp(r, err)
			}
			r.send(line)
			c.dialer.trace(c.target.Name, "sudo asks for a password, and is given one", nil)
			clock := time.NewTimer(c.dialer.handshake())
			defer clock.Stop()
			hesitates = clock.C
		case <-hesitates:
			return c.giveUp(r, hint.Add(fmt.Errorf("sudo neither asked for the password nor ran the shell within %v: %s",
				c.dialer.handshake(), r.said()), "it may want something else than a password; NOPASSWD in sudoers(5) is the way out"))
		case e := <-r.shell.exit:
			return c.ended(r, e, asked)
		case err := <-r.unwritable:
			return c.giveUp(r, err)
		case <-stopped:
			return c.giveUp(r, ctx.Err())
		}
	}
}

// password returns the line that sudo reads.
func (c *Conn) password(ctx context.Context) ([]byte, error) {
	value, err := c.target.Password(ctx)
	if err != nil {
		return nil, fmt.Errorf("password of sudo: %w", err)
	}
	text, err := value.Reveal()
	if err != nil {
		return nil, fmt.Errorf("password of sudo: %w", err)
	}
	if strings.ContainsAny(text, "\r\n\x00") {
		return nil, errors.New("the password of sudo has more than one line")
	}
	return []byte(text + "\n"), nil
}

// ended turns the end of the shell into the result of Run.
func (c *Conn) ended(r *run, e exit, asked bool) error {
	r.drain()
	switch {
	case e.err != nil && c.link != nil && c.link.gone():
		return c.link.lost()
	case e.err != nil:
		return e.err
	case !r.isReady() && asked && e.status != 0 && (strings.Contains(r.said(), "incorrect password") || strings.Contains(r.said(), "incorrect authentication")):
		return errRefused
	case !r.isReady():
		return c.becomeError(e.status, r.said())
	case e.status != 0:
		return &ExitError{Status: e.status, Stderr: r.said()}
	}
	select {
	case err := <-r.unwritable:
		return err
	default:
		return nil
	}
}

// giveUp stops what runs and waits until it has stopped. It returns the
// reason.
func (c *Conn) giveUp(r *run, reason error) error {
	r.hangUp()
	clock := time.NewTimer(stopping)
	defer clock.Stop()
	select {
	case e := <-r.shell.exit:
		if e.err == nil {
			return reason
		}
	case <-clock.C:
	}
	if !r.started {
		return reason
	}
	return fmt.Errorf("%w (the host did not confirm that the program has stopped; it may still run)", reason)
}
