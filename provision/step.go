package provision

import (
	"context"
	"io"
	"slices"
	"strings"

	"provision/provision/forge"
	"provision/provision/secret"
)

// A Step is one thing that a host must have: a user, a login, a checkout.
// The value says what is wanted. It holds no connection and keeps no state.
type Step interface {
	// Name is unique on a host. Its first word is the kind of the step:
	// "user deploy-frobnicator" is a user.
	Name() string

	// Probe says how to look.
	Probe() Probe

	// Plan returns what is missing. It is pure: the same facts give the same
	// changes, and nothing is touched. An error means that what is
	// wanted cannot be had on this host as it is: then nothing is made of this
	// step, nor of those after it that depend on it, see [Scope].
	Plan(Facts) ([]Change, error)
}

// A Probe looks and never changes anything. Each part may be empty.
type Probe struct {
	// Script runs on the host and reports with the shell function fact. A
	// script of a user who does not exist is not run and reports nothing.
	Script Script

	// Ask looks in GitLab, at the same time.
	Ask Question

	// Next returns what else to ask in GitLab, if what was seen calls for it; else
	// nil. It waits for the host, so it is for what is rare.
	Next func(Facts) Question
}

// A Question looks in GitLab.
type Question func(context.Context, forge.Forge) (Facts, error)

// An Action is what a change does: a [Script] or a [Call].
type Action interface{ action() }

// A Script is POSIX shell for the host. It runs with set -eu, without input,
// as a function of its own: return ends it. What it traps on EXIT runs however
// it ends, but for a kill -9.
type Script struct {
	// User runs it, with a clean environment in the home directory; empty
	// means root, in the directory /.
	User string

	// Text is a constant: what is linted is what runs. The functions of
	// templates/prelude.sh are there for it to use.
	Text string

	// Args are $1, $2, …
	Args []string

	// Secret is printed by the shell function secret, and by nothing else.
	Secret secret.Value
}

// A Call changes something in GitLab. A secret that is born there fills a
// [secret.Value] that a later script spends.
type Call func(context.Context, forge.Forge) error

type note string

type drift string

func (Script) action() {}
func (Call) action()   {}
func (note) action()   {}
func (drift) action()  {}

func (Credential) action() {}

// A Host runs shell programs as root.
type Host interface {
	// Run gives program to a new shell, and copies what it prints to out.
	// One call is one round trip. When ctx ends, the program is ended on the
	// host as well.
	Run(ctx context.Context, program io.Reader, out io.Writer) error
}

// A Target is a host and the GitLab that it works with.
type Target struct {
	Name  string // what events and errors call the host
	Host  Host
	Forge forge.Forge

	// Partial says that what may not be looked at in GitLab is no error: such
	// steps come out unchecked.
	Partial bool

	// Lock is taken before the first change; nil: none.
	Lock *Lock

	// Interrupt says that changes are made that interrupt what runs. Without it
	// they are left out, see [Plan.WithoutInterruptions].
	Interrupt bool

	// By is who changes the host, for the host's own log; "": nothing is
	// logged.
	By string

	// Trace, if it is not nil, is told all that is said: what the host is sent, a
	// whole program with "(secret)" for each secret, and each line that comes
	// back, made visible. Calls may overlap.
	Trace func(sent bool, text string)
}

// Facts are what one probe saw: a list of values by key. A probe never
// reports a secret; public halves and digests only.
//
// Values of the key "unseen" say what the probe had no rights to see.
type Facts map[string][]string

// Get returns the first value of key, or "".
func (f Facts) Get(key string) string {
	if len(f[key]) == 0 {
		return ""
	}
	return f[key][0]
}

// Has reports whether value is among those of key.
func (f Facts) Has(key, value string) bool { return slices.Contains(f[key], value) }

// Add appends a value to those of key.
func (f Facts) Add(key, value string) { f[key] = append(f[key], value) }

// clone returns facts to which more can be added.
func (f Facts) clone() Facts {
	c := make(Facts, len(f))
	for key, values := range f {
		c[key] = slices.Clone(values)
	}
	return c
}

// Seen is what the probes of a host saw. The zero Seen has seen nothing.
type Seen struct {
	facts map[string]Facts // by the name of the step
	errs  map[string]error // of the steps that could not be looked at
}

// SeenOf is what probes saw, by the name of the step.
func SeenOf(facts map[string]Facts) Seen { return Seen{facts: facts} }

// Of returns what the probe of a step saw.
func (s Seen) Of(step string) Facts { return s.facts[step] }

func kind(step string) string {
	kind, _, _ := strings.Cut(step, " ")
	return kind
}
