package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"

	"provision/provision/secret"
)

// An asker asks the person at the terminal for passwords, one question at a
// time, and the same one only once in a run.
type asker struct {
	in    *os.File
	out   io.Writer
	pause func() (resume func()) // keeps others from writing to the terminal

	mu    sync.Mutex
	given map[string]secret.Value
}

func newAsker(env Env) *asker {
	return &asker{in: env.Stdin, out: env.Stderr, pause: func() func() { return func() {} }, given: map[string]secret.Value{}}
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
	a.mu.Lock()
	defer a.mu.Unlock()
	if v, ok := a.given[question]; ok {
		return v, nil
	}
	defer a.pause()()
	fmt.Fprint(a.out, question)
	text, err := a.read(ctx)
	fmt.Fprintln(a.out)
	if err != nil {
		return secret.Value{}, err
	}
	v := secret.New(string(text))
	a.given[question] = v
	return v, nil
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
