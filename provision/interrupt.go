package provision

import (
	"fmt"
	"slices"
)

// An Interruption is what stops for a while because of a change. The zero one is
// none.
type Interruption struct {
	What    string // "frobnicator-production", "2 containers"; never a secret, and CI may read it
	Seconds int    // a guess
}

// String returns what stops, and for how long: "2 containers, about 15 s"; "" for none.
func (i Interruption) String() string {
	switch {
	case i.What == "":
		return ""
	case i.Seconds < 120:
		return fmt.Sprintf("%s, about %d s", i.What, i.Seconds)
	}
	return fmt.Sprintf("%s, about %d min", i.What, (i.Seconds+30)/60)
}

// WithoutInterruptions returns what [Apply] makes of a plan where nothing may be
// interrupted, and what it leaves out then: each change that interrupts, those behind
// it in its step, and those that need that step.
func (p Plan) WithoutInterruptions() (rest, left Plan) {
	var held []string // steps
	for _, s := range p {
		at := slices.IndexFunc(s.Changes, func(c Change) bool {
			return c.Interrupts.What != "" || c.Needs != "" && slices.Contains(held, c.Needs)
		})
		if at >= 0 {
			held = append(held, s.Step)
			left = append(left, StepPlan{Step: s.Step, Changes: s.Changes[at:]})
			s.Changes = s.Changes[:at]
		}
		rest = append(rest, s)
	}
	return rest, left
}
