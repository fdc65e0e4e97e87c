package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"provision/provision/forge"
	"provision/provision/hint"
)

type refusal struct{ reason string }

func (r refusal) Error() string  { return "set variable X of group g: " + r.reason }
func (r refusal) Reason() string { return r.reason }
func (r refusal) Unwrap() error  { return forge.ErrForbidden }

// What a change in GitLab was to do is said once: by the change.
func TestACallSaysWhatItDoesOnce(t *testing.T) {
	for text, err := range map[string]error{
		"no":                               hint.Add(refusal{"no"}, "ask an Owner"),
		"x: set variable X of group g: no": hint.Add(fmt.Errorf("x: %w", refusal{"no"}), "ask an Owner"),
	} {
		_, got := apply(t, t.Context(), newWorld(t).host, []Step{fixed{name: "a", plan: func(Facts) ([]Change, error) {
			return []Change{{Verb: Set, Object: "X of group g", Do: Call(func(context.Context, forge.Forge) error { return err })}}, nil
		}}})
		checkError(t, got, "h: a: set X of group g: "+text)
		if !errors.Is(got, forge.ErrForbidden) || !slices.Equal(hint.Of(got), []string{"ask an Owner"}) {
			t.Errorf("%v wraps too little: hints %q", got, hint.Of(got))
		}
	}
}
