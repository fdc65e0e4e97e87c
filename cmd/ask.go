package cmd

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"provision/cmd/output"
	"provision/cmd/usage"
	"provision/provision/hint"
	"provision/provision/once"
	"provision/provision/secret"
	"provision/provision/visible"
)

// An asker asks the person at the terminal, one question at a time, and each only
// once in a run.
type asker struct {
	in    *os.File
	lines *bufio.Reader // of in
	out   io.Writer
	pause func() (resume func()) // keeps others from writing to the terminal

	turn  chan struct{} // holds one token: for the question that is asked
	given once.Map[string, secret.Value]

	sudoers int // hosts that may ask for a password of sudo

	// Of whoever has the turn.
	typed    secret.Value // the last password of sudo
	typedFor string       // the host that it was typed for; "": none was typed yet
	forAll   bool         // it may go to all hosts
}

func newAsker(env Env) *asker {
	return &asker{in: env.Stdin, lines: bufio.NewReader(env.Stdin), out: env.Stderr, pause: func() func() { return func() {} }, turn: make(chan struct{}, 1)}
}

// terminal tells whether somebody is there who can answer.
func (a *asker) terminal() bool { return a.in != nil && term.IsTerminal(int(a.in.Fd())) }

// sudo asks for the password of sudo on a host, which is remembered for that
// host. One that was typed for another host goes there only if somebody says so:
// for each host, or after the first one for all. Whoever has taken over a host
// may ask for a password only to get it.
func (a *asker) sudo(ctx context.Context, host string) (secret.Value, error) {
	return a.once(ctx, "sudo "+host, func(ctx context.Context) (secret.Value, error) {
		if a.forAll {
			return a.typed, nil
		}
		question := "password of sudo on " + visible.Line(host)
		if a.typedFor != "" {
			question += " (return: the one typed for " + visible.Line(a.typedFor) + ")"
		}
		text, err := a.secret(ctx, question+": ")
		switch {
		case err != nil:
			return secret.Value{}, err
		case len(text) == 0 && a.typedFor != "":
			return a.typed, nil
		}
		first := a.typedFor == ""
		a.typed, a.typedFor = secret.New(string(text)), host
		if first && a.sudoers > 1 {
			a.forAll, err = a.confirm(ctx, "send it to every host of this run that asks for one?")
		}
		return a.typed, err
	})
}

func (a *asker) passphrase(ctx context.Context, file string) (secret.Value, error) {
	if !a.terminal() {
		return secret.Value{}, fmt.Errorf("there is no terminal to ask for the passphrase of %s", file)
	}
	return a.ask(ctx, fmt.Sprintf("passphrase of %s: ", file))
}

// ask asks a question once in a run. The answer is not shown.
func (a *asker) ask(ctx context.Context, question string) (secret.Value, error) {
	return a.once(ctx, question, func(ctx context.Context) (secret.Value, error) {
		text, err := a.secret(ctx, question)
		return secret.New(string(text)), err
	})
}

// once has a question asked once in a run, while no other is. What is asked may
// use the fields that belong to whoever has the turn.
func (a *asker) once(ctx context.Context, key string, ask func(context.Context) (secret.Value, error)) (secret.Value, error) {
	v, err := a.given.Get(ctx, key, func(ctx context.Context) (secret.Value, error) {
		select {
		case a.turn <- struct{}{}:
			defer func() { <-a.turn }()
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return secret.Value{}, ctx.Err()
		}
		defer a.pause()()
		return ask(ctx)
	})
	if ctx.Err() != nil { // whoever was asked may still have to give the terminal back
		a.turn <- struct{}{}
		<-a.turn
	}
	return v, err
}

// secret asks for a line that is not shown.
func (a *asker) secret(ctx context.Context, question string) ([]byte, error) {
	fmt.Fprint(a.out, question)
	defer fmt.Fprintln(a.out)
	return a.read(ctx)
}

// read reads a line that is not shown. An interrupt ends it, and leaves the
// terminal as it was.
func (a *asker) read(ctx context.Context) ([]byte, error) {
	terminal := int(a.in.Fd())
	before, err := term.GetState(terminal)
	if err != nil {
		return nil, err
	}
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(terminal)
		typed <- line{text, err}
	}()
	select {
	case l := <-typed:
		return l.text, l.err
	case <-ctx.Done():
		term.Restore(terminal, before)
		return nil, ctx.Err()
	}
}

// line asks a question, and returns the line that answers it. The error is io.EOF
// where nobody will answer any more.
func (a *asker) line(ctx context.Context, question string) (string, error) {
	fmt.Fprint(a.out, visible.Lines(question))
	type line struct {
		text string
		err  error
	}
	typed := make(chan line, 1)
	go func() {
		text, err := a.lines.ReadString('\n')
		typed <- line{strings.TrimSpace(text), err}
	}()
	select {
	case l := <-typed:
		if l.text != "" {
			return l.text, nil
		}
		if l.err != nil {
			fmt.Fprintln(a.out)
		}
		return "", l.err
	case <-ctx.Done():
		fmt.Fprintln(a.out)
		return "", ctx.Err()
	}
}

// tries is how often a question is asked whose answers cannot be right.
const tries = 5

// confirm asks a question that is answered with yes or no. Nobody's answer is no.
func (a *asker) confirm(ctx context.Context, question string) (bool, error) {
	for range tries {
		answer, err := a.line(ctx, question+" [y/N] ")
		if err != nil && err != io.EOF {
			return false, err
		}
		switch strings.ToLower(answer) {
		case "y", "yes":
			return true, nil
		case "n", "no", "":
			return false, nil
		}
		fmt.Fprintln(a.out, "answer y or n")
	}
	return false, nil
}

// A question is one that is answered with a line, or beforehand by a flag.
type question struct {
	flag      string
	text      string
	otherwise string // the answer of who types nothing; "": there has to be one
	answer    *string

	read func() error                // takes the answer apart; an error: it is none
	look func(context.Context) error // looks at what it is about, and may return a mistake; nil: nobody can
}

// A mistake tells that an answer is wrong, and that another one may be right.
type mistake struct{ error }

func (m mistake) Unwrap() error { return m.error }

// final makes of a mistake an error that no other answer helps against.
func final(err error) error {
	var wrong mistake
	if errors.As(err, &wrong) {
		return wrong.error
	}
	return err
}

// put asks a question, and asks it again after a mistake.
func (a *asker) put(ctx context.Context, q question) error {
	text := q.text + " "
	if q.otherwise != "" {
		text += "[" + q.otherwise + "] "
	}
	for n := 1; ; n++ {
		answer, err := a.line(ctx, text)
		if err != nil {
			return err
		}
		*q.answer = cmp.Or(answer, q.otherwise)
		err = q.try(ctx)
		if err == nil || ctx.Err() != nil || n == tries || !errors.As(err, new(mistake)) {
			return final(err)
		}
		fmt.Fprintln(a.out, visible.Lines(err.Error())+output.HintLines(hint.Of(err)))
	}
}

// try tells whether the answer can be right.
func (q question) try(ctx context.Context) error {
	if *q.answer == "" {
		return mistake{errors.New("an answer is required")}
	}
	if err := q.read(); err != nil {
		return mistake{usage.Error{Err: err}}
	}
	if q.look == nil {
		return nil
	}
	return q.look(ctx)
}
