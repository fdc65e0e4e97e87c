package provision

// An Event is something that happened during [Apply]. Events of one target
// come one after the other.
type Event struct {
	Host   string
	Step   string
	Change Change // zero where it is about none
	Kind   Kind
	Text   string // Said: one line of output, made visible; Noted: the note
	Hint   string // Noted, LeftOut: what the reader can do; may be empty
}

// Kind says what happened.
type Kind string

// The kinds of events.
const (
	Looked Kind = "looked" // the first look is over
	Began  Kind = "began"
	Said   Kind = "said"
	Done   Kind = "done"
	Failed Kind = "failed"
	NotRun Kind = "not run" // because something before it failed

	LeftOut Kind = "left out" // as it interrupts what runs, or needs what does: see [Target]
	Noted   Kind = "noted"    // the last events
)
