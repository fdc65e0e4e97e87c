package steps

import (
	"slices"
	"strings"

	"provision/provision"
)

// RotateKinds are the credentials that can be rotated, as people name them,
// with the kind of the step that looks after each.
var RotateKinds = map[string]string{
	"ci-key":         "ci-key",
	"repo-key":       "repo-key",
	"registry-token": "registry-login",
}

// A rotatable step looks after a credential that can be replaced: its plan
// does so where [Given.Retire] has what is in use.
type rotatable interface {
	provision.Step

	// inUse returns the credentials that are to be replaced, none of them
	// secret: public halves and names. There are none where none is made yet.
	inUse(provision.Facts) []string
}

// Retire returns what [Given.Retire] has to be for the credentials of some
// kinds of steps to be replaced: the ones that are in use now, and whether
// there are some.
func Retire(steps []provision.Step, seen provision.Seen, kinds ...string) (retire map[string][]string, some bool) {
	retire = map[string][]string{}
	for _, step := range steps {
		name := step.Name()
		kind, _, _ := strings.Cut(name, " ")
		s, ok := step.(rotatable)
		if !ok || !slices.ContainsFunc(kinds, func(k string) bool { return RotateKinds[k] == kind }) {
			continue
		}
		if inUse := s.inUse(seen.Of(name)); len(inUse) > 0 {
			retire[name], some = inUse, true
		}
	}
	return retire, some
}
