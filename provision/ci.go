package provision

import (
	"bytes"
	"fmt"
	"strings"

	"provision/provision/shape"
)

// A CIStep is a step that the holder of a CI key may look at.
type CIStep interface {
	Step

	// LookAsCI says how to look for CI. [Step.Plan] takes what was seen that way, too.
	LookAsCI() CIProbe
}

// A CIProbe is what CI may see of a host. It is another type than [Probe], so that what
// is for an admin gets into no program that a CI key can start. What CI is told is a
// state, a number, a digest, an id or a name; never what somebody has written into
// a file. The questions to GitLab are those of [Step.Probe].
type CIProbe struct {
	// Script runs as the deploy user. What it prints is dropped, but for its facts.
	Script Script

	// Facts are all that it may report, and what each of them looks like. A fact that
	// does not look like that never leaves the host: it is [unshaped]. One that stands
	// here under no key is dropped. The host is not trusted with either: an answer
	// that has another fact is no answer.
	Facts shape.Facts
}

// unshaped is what the fact "unseen" says of one that does not have its shape, before
// its key.
const unshaped = "what has another form than CI is shown: "

// told are the shapes of all that a probe may report.
func (p CIProbe) told() shape.Facts {
	unseen := []shape.Shape{shape.After(unshaped, shape.Shape(p.Facts.Keys()))}
	if own, ok := p.Facts["unseen"]; ok {
		unseen = append(unseen, own)
	}
	return p.Facts.With(shape.Facts{"unseen": shape.Either(unseen...)})
}

// pipe is what the output of a look program goes through on its way to CI: nothing passes
// but the lines of the engine and facts that have their shapes. Mark is a word of the shell.
// Scripts are followed one by one, as a key means another thing in each.
func pipe(probes []CIProbe, mark string) string {
	const at = "\x00"
	var b bytes.Buffer
	for i, p := range probes {
		fmt.Fprintf(&b, "\\%%%s begin %d$%%,\\%%%s end %d %%{\n", at, i, at, i)
		fmt.Fprintf(&b, "s%%^.*(%s fact %s)$%%\\1%%p\nt\n", at, p.told().Pattern())
		fmt.Fprintf(&b, "s%%^.*(%s fact )%s=.*$%%\\1unseen=%s\\2%%p\nt\n}\n", at, p.Facts.Keys(), unshaped)
	}
	fmt.Fprintf(&b, "s%%^.*(%s (begin [0-9]+|end [0-9]+ [0-9]+))$%%\\1%%p\n", at)
	var script strings.Builder
	for i, part := range strings.Split(b.String(), at) {
		if i > 0 {
			script.WriteString(mark)
		}
		quoted, _ := quote(part)
		script.WriteString(quoted)
	}
	return "sed -n -E " + script.String()
}
