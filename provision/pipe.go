package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"provision/templates"
)

// A Feeder is a [Host] that runs programs which read something.
type Feeder interface {
	Host
	// Feed is Run for a program that reads in from its file descriptor 3, once it
	// has printed something.
	Feed(ctx context.Context, program, in io.Reader, out io.Writer) error
}

// Pipe runs a script on one host and feeds what it prints to a script on another
// one, which reads it from its file descriptor 3 and has to read all of it. The hosts
// need not reach each other, and what is on its way is never more than a little. Both
// run as root.
//
// It returns how many bytes that were, and the facts that the second script reports.
// An error of either ends both: then what the second one has read is not all.
func Pipe(ctx context.Context, from Target, send Script, to Target, receive Script) (n int64, facts Facts, err error) {
	feeder, ok := to.Host.(Feeder)
	if !ok {
		return 0, nil, fmt.Errorf("%s: this host cannot be fed", to.Name)
	}
	source, err := rawProgram(send)
	if err != nil {
		return 0, nil, at(from.Name, err)
	}
	prog, err := newProgram([]job{{script: receive}})
	if err != nil {
		return 0, nil, at(to.Name, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	data, in := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		counted := &counter{to: in}
		err := from.Host.Run(ctx, strings.NewReader(source), counted)
		n = counted.n
		if err != nil {
			cancel(&StepError{Host: from.Name, Err: err}) // what has come is not all
		}
		in.Close()
		sent <- err
	}()
	results, stray, err := prog.talk(ctx, to, 1, func(ctx context.Context, out io.Writer) error {
		return feeder.Feed(ctx, bytes.NewReader(prog.text), data, out)
	}, func(int, Kind, string) {})
	first := context.Cause(ctx) // before the sender fails as nobody reads
	data.CloseWithError(errors.New("nobody reads any more"))
	_, err = outcome(to, []pending{{}}, nil, results, stray, err, func(int, Kind, string) {})
	failed := <-sent
	var why *StepError
	if errors.As(first, &why) && (!results[0].ended || err == nil) {
		return n, results[0].facts, why
	}
	if err == nil && failed != nil {
		err = &StepError{Host: from.Name, Err: failed}
	}
	return n, results[0].facts, err
}

// rawProgram writes a script as a program that prints nothing else. What the script
// fails with goes to standard error.
func rawProgram(s Script) (string, error) {
	call, err := callOf("script", s.Args)
	if err != nil {
		return "", err
	}
	return `provision() {
unset mark _secret
mark='' _secret=''
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
unset IFS ENV BASH_ENV CDPATH
umask 022
cd / || exit
` + templates.Prelude + `
fail() {
	printf '%s\n' "$1" >&2
	exit 1
}
script() {
` + strings.TrimSpace(s.Text) + `
}
(set -eu
` + onSignal + `
` + call + `
) </dev/null
}
provision
`, nil
}

// A counter counts what is written.
type counter struct {
	to io.Writer
	n  int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	c.n += int64(n)
	return n, err
}
