package provision

import (
	"slices"
	"strings"
	"testing"
)

// interrupting has one change of a step interrupt, and one need another step.
type interrupting struct {
	Step
	change, needs string
}

func (s interrupting) Plan(f Facts) ([]Change, error) {
	changes, err := s.Step.Plan(f)
	for i := range changes {
		if changes[i].Object == s.change {
			changes[i].Interrupts = Interruption{"app", 5}
		}
		changes[i].Needs = s.needs
	}
	return changes, err
}

// What interrupts is made only where that may be. Without that, what stands behind it
// in its step, what needs it, and what is for later after it are left out and told;
// all else is made, and nothing fails.
func TestInterruptions(t *testing.T) {
	for _, may := range []bool{false, true} {
		w := newWorld(t)
		steps := []Step{
			interrupting{w.step("a", []Change{w.file("a1"), w.file("a2"), w.file("a3")}), "a2", ""},
			interrupting{w.step("b", []Change{w.file("b1")}), "", "a"},
			w.step("c", []Change{w.file("c1")}),
			w.step("d", []Change{w.file("d1")}, "make a2"),
		}
		var made, left []string
		err := Apply(t.Context(), Target{Name: "h", Host: w.host, Interrupt: may}, steps, func(e Event) {
			switch e.Kind {
			case Done:
				made = append(made, e.Change.Object)
			case LeftOut:
				left = append(left, strings.TrimPrefix(e.Change.String(), "make "))
			case Failed, NotRun:
				t.Errorf("%v: %s", e.Change, e.Kind)
			}
		})
		if err != nil {
			t.Error(err)
		}
		wantMade, wantLeft := []string{"a1", "a2", "a3", "b1", "c1", "d1"}, []string(nil)
		if !may {
			wantMade, wantLeft = []string{"a1", "c1"}, []string{"a2 (interrupts app, about 5 s)", "a3", "b1", "d1"}
		}
		if !slices.Equal(made, wantMade) || !slices.Equal(left, wantLeft) {
			t.Errorf("interruptions are allowed: %v\nmade %q, want %q\nleft %q, want %q", may, made, wantMade, left, wantLeft)
		}
	}
}
