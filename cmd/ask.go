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

// An asker asks the person at the terminal, one question at a time, and for the
// same password only once in a run.
type asker struct {
	in    *os.File
	lines *bufio.Reader // of in
	out   io.Writer
	pause func() (resume func()) // keeps others from writing to the terminal

	turn  chan struct{} // holds one token: for the question that is asked
	given once.Map[string, secret.Value]
}

func newAsker(env Env) *asker {
	return &asker{in: env.Stdin, lines: bufio.NewReader(env.Stdin), out: env.Stderr, pause: func() func() { return func() {} }, turn: make(chan struct{}, 1)}
}

// terminal tells whether somebody is there who can answer.
func (a *asker) terminal() bool { return a.in != nil && term.IsTerminal(int(a.in.Fd())) }

// sudo asks for the one password that is used on all hosts.
func (a *asker) sudo(ctx context.Context) (secret.Value, error) {
	return a.ask(ctx, "password of sudo, for all hosts that want one: ")
}

func (a *asker) passphrase(ctx context.Context, file string) (secret.Value, error) {
	if !a.terminal() {
		return secret.Value{}, fmt.Errorf("there is no terminal to ask for the passphrase of %s", file)
	}
	return a.ask(ctx, fmt.Sprintf("passphrase of %s: ", file))
}

func (a *asker) ask(ctx context.Context, question string) (secret.Value, error) {
	v, err := a.given.Get(ctx, question, func(ctx context.Context) (secret.Value, error) {
		select {
		case a.turn <- struct{}{}:
			defer func() { <-a.turn }()
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return secret.Value{}, ctx.Err()
		}
		defer a.pause()()
		fmt.Fprint(a.out, question)
		text, err := a.read(ctx)
		fmt.Fprintln(a.out)
		return secret.New(string(text)), err
	})
	if ctx.Err() != nil { // whoever was asked may still have to give the terminal back
		a.turn <- struct{}{}
		<-a.turn
	}
	return v, err
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
