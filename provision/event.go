package provision

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An Event is something that happened during [Apply]. Events of one target
// come one after the other.
type Event struct {
	Host   string
	Step   string
	Change Change // zero where it is about none
	Kind   Kind
	Text   string // Said: one line of output, made visible; Noted: the note
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
	NotRun Kind = "not run" // left out, because something before it failed
	Noted  Kind = "noted"   // the last events
)

// Visible returns s with everything that could steer a terminal or hide text
// written out: control characters, invalid UTF-8, and what changes the
// direction of writing. Tabs stay.
func Visible(s string) string {
	clean := true
	for _, r := range s {
		if hidden(r) {
			clean = false
			break
		}
	}
	if clean && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteString(`\x` + strconv.FormatUint(uint64(s[0])|0x100, 16)[1:])
		case hidden(r):
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteRune(r)
		}
		s = s[size:]
	}
	return b.String()
}

func hidden(r rune) bool {
	return r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp))
}
