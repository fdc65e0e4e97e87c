package provision

import (
	"errors"
	"slices"
)

// A Scope says what a step is about: one deployment of a user, all that a user
// has, or the whole host, which is the zero Scope. What fails stops what comes
// after it in its scope, and nothing else.
type Scope struct {
	User       string
	Deployment string // "": all of the user
}

// A scoped step is not about the whole host.
type scoped interface{ Scope() Scope }

// ScopeOf returns what a step is about.
func ScopeOf(s Step) Scope {
	if s, ok := s.(scoped); ok {
		return s.Scope()
	}
	return Scope{}
}

// covers tells whether what is about s is about other, too.
func (s Scope) covers(other Scope) bool {
	return s == Scope{} || s == other || s == Scope{User: other.User}
}

// failures are what has failed on a host.
type failures struct {
	steps []string // of which the errors are
	errs  []error
	all   bool // one of them is about the whole host
}

// add takes an error, which may join others, of some of the steps. It returns
// false for one that stops all.
func (f *failures) add(steps []Step, err error) bool {
	if err == nil {
		return true
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			f.add(steps, err)
		}
		return !f.all
	}
	if !f.all && f.rest(steps, err) == nil {
		return true
	}
	var e *StepError
	if errors.As(err, &e) {
		if i := indexOf(steps, e.Step); i >= 0 && ScopeOf(steps[i]) != (Scope{}) {
			f.steps = append(f.steps, e.Step)
			f.errs = append(f.errs, err)
			return !f.all
		}
	}
	f.errs = append(f.errs, err)
	f.all = true
	return false
}

// stop tells whether a failure stops one of the steps.
func (f *failures) stop(steps []Step, step string) bool {
	i := indexOf(steps, step)
	return f.all || slices.ContainsFunc(f.steps, func(failed string) bool {
		n := indexOf(steps, failed)
		return n <= i && ScopeOf(steps[n]).covers(ScopeOf(steps[i]))
	})
}

// rest returns the part of an error, which may join others, that does not follow
// from what has failed.
func (f *failures) rest(steps []Step, err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, err := range joined.Unwrap() {
			errs = append(errs, f.rest(steps, err))
		}
		return errors.Join(errs...)
	}
	var e *StepError
	if errors.As(err, &e) && indexOf(steps, e.Step) >= 0 && f.stop(steps, e.Step) {
		return nil
	}
	return err
}

// err joins what has failed; nil if nothing has.
func (f *failures) err() error { return errors.Join(f.errs...) }

// Left returns what [Apply] makes of a plan for some steps, where err is what
// cannot be met, and what of err does not follow from the rest of it.
func (p Plan) Left(steps []Step, err error) (Plan, error) {
	var unmet failures
	unmet.add(steps, err)
	return p.without(steps, unmet), unmet.err()
}

func (p Plan) without(steps []Step, failed ...failures) Plan {
	return slices.DeleteFunc(slices.Clone(p), func(s StepPlan) bool {
		return slices.ContainsFunc(failed, func(f failures) bool { return f.stop(steps, s.Step) })
	})
}

func indexOf(steps []Step, name string) int {
	return slices.IndexFunc(steps, func(s Step) bool { return s.Name() == name })
}
