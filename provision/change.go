package provision

import (
	"fmt"
	"strings"
)

// A Change is one thing to do. Verb and Object say what, for programs and for
// people; they are told apart by them, so the two are unique in a step and hold
// nothing that differs from one look to the next without being another change.
type Change struct {
	Verb   Verb
	Object string // the file, the account or the object of GitLab that changes; never a secret
	Remark string // what else is told, behind the object: "(the old one stays active)", "as deploy"
	Detail string // more to show in a plan, such as a diff
	Hint   string // what the reader can do where it fails, or about a note; may be empty
	Do     Action // a Script or a Call; nil: see [Later]

	Interrupts Interruption // made only where that may be: see [Target]
	Needs      string       // a step without whose changes this one is not made; "": none
}

// String returns the change as a lower-case imperative sentence, in one line
// if its parts are.
func (c Change) String() string {
	var words []string
	for _, word := range []string{string(c.Verb), c.Object, c.Remark} {
		if word != "" {
			words = append(words, word)
		}
	}
	if c.Interrupts.What != "" {
		words = append(words, "(interrupts "+c.Interrupts.String()+")")
	}
	return strings.Join(words, " ")
}

// A Verb is what is done to the object of a [Change].
type Verb string

// The verbs of changes. Where a program has a name for it, that is the verb.
const (
	Add          Verb = "add"
	Authorize    Verb = "authorize"
	Chmod        Verb = "chmod"
	Clone        Verb = "clone"
	Copy         Verb = "copy"
	Create       Verb = "create"
	Delete       Verb = "delete"
	DockerLogin  Verb = "docker login"
	DockerLogout Verb = "docker logout"
	Enable       Verb = "enable"
	Generate     Verb = "generate"
	Install      Verb = "install"
	Remove       Verb = "remove"
	Rename       Verb = "rename"
	Restart      Verb = "restart"
	Restore      Verb = "restore"
	Revoke       Verb = "revoke"
	Set          Verb = "set"
	Start        Verb = "start"
	Stop         Verb = "stop"
	Switch       Verb = "switch"
	Test         Verb = "test"
	Update       Verb = "update"
	Write        Verb = "write"
)

// Verbs returns all verbs that a change of this program may have.
func Verbs() []Verb {
	return []Verb{
		Add, Authorize, Chmod, Clone, Copy, Create, Delete, DockerLogin, DockerLogout, Enable, Generate,
		Install, Remove, Rename, Restart, Restore, Revoke, Set, Start, Stop, Switch, Test, Update, Write,
	}
}

// An ID tells a change from all others of a host, in every run.
type ID struct {
	Step   string
	Verb   Verb
	Object string
}

// ID returns the id of the change in a step.
func (c Change) ID(step string) ID { return ID{step, c.Verb, c.Object} }

// String returns the id in one line: "STEP: VERB OBJECT".
func (id ID) String() string { return id.Step + ": " + string(id.Verb) + " " + id.Object }

// Later is a change that is foreseen, but can be planned only after the
// changes ahead of it are made and the host is looked at again.
func Later(verb Verb, object, remark string) Change {
	return Change{Verb: verb, Object: object, Remark: remark}
}

// Note is something to tell that needs no change.
func Note(format string, args ...any) Change { return Change{Do: note(fmt.Sprintf(format, args...))} }

// Drift is something to tell that is not as it should be, and that no change
// would help: a verification fails for it.
func Drift(format string, args ...any) Change { return Change{Do: drift(fmt.Sprintf(format, args...))} }

// WithHint returns the change with a hint.
func (c Change) WithHint(format string, args ...any) Change {
	c.Hint = fmt.Sprintf(format, args...)
	return c
}

// Lasts tells of a credential that is there, and how long it goes on working.
func Lasts(c Credential) Change { return Change{Do: c} }

// A Credential is one that somebody can use, until it ends.
type Credential struct {
	Name string // never the secret itself
	Ends bool
	Days int // whole days until then, if it ends
}

// String returns the name, and how long it lasts.
func (c Credential) String() string {
	if !c.Ends {
		return c.Name + ": no end"
	}
	return fmt.Sprintf("%s: %d days left", c.Name, c.Days)
}
