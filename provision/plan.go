package provision

import (
	"errors"

	"provision/provision/hint"
)

// A Plan says what is missing on a host, in the order of the steps. Steps
// that lack nothing are not in it, unless they have something to tell.
type Plan []StepPlan

// A StepPlan is the part of one step in a plan.
type StepPlan struct {
	Step    string
	Changes []Change
	Notes   []StepNote

	// Credentials are those that were seen to be in use.
	Credentials []Credential

	// Unchecked is what could not be seen; of the rest of the step Changes
	// are what is missing.
	Unchecked []string
}

// A StepNote is a note in a plan.
type StepNote struct {
	Text  string
	Hint  string // what the reader can do; may be empty
	Drift bool   // it is not as it should be, see [Drift]
}

// Missing counts the changes of a plan, those for later included.
func (p Plan) Missing() int {
	n := 0
	for _, s := range p {
		n += len(s.Changes)
	}
	return n
}

// PlanFor returns what is missing for the steps to be true. It is pure. The
// error joins one [StepError] for each step that cannot be met; the plan is
// that of the others, and never nil.
func PlanFor(steps []Step, seen Seen) (Plan, error) {
	plan := Plan{}
	var errs []error
	for _, step := range steps {
		if err := seen.errs[step.Name()]; err != nil {
			errs = append(errs, err)
			continue
		}
		facts := seen.Of(step.Name())
		s := StepPlan{Step: step.Name(), Unchecked: facts["unseen"]}
		if unchecked := facts[unchecked]; len(unchecked) > 0 {
			s.Unchecked = unchecked
			plan = append(plan, s)
			continue
		}
		changes, err := step.Plan(facts)
		if err != nil {
			errs = append(errs, &StepError{Step: step.Name(), Err: err})
			continue
		}
		for _, c := range changes {
			switch do := c.Do.(type) {
			case note:
				s.Notes = append(s.Notes, StepNote{Text: string(do), Hint: c.Hint})
			case drift:
				s.Notes = append(s.Notes, StepNote{Text: string(do), Hint: c.Hint, Drift: true})
			case Credential:
				s.Credentials = append(s.Credentials, do)
			default:
				s.Changes = append(s.Changes, c)
			}
		}
		if len(s.Changes)+len(s.Notes)+len(s.Credentials)+len(s.Unchecked) > 0 {
			plan = append(plan, s)
		}
	}
	return plan, errors.Join(errs...)
}

// unchecked is the key of what the engine itself could not look at.
const unchecked = "\x00unchecked"

// A pending change is one that is to be made in a round.
type pending struct {
	step   string
	change Change
}

func (d pending) id() ID { return d.change.ID(d.step) }

// round returns the changes that can be made now, in order: see the comment
// of the package.
func round(plan Plan) []pending {
	var todo []pending
	for i := 0; i < len(plan); {
		end := i + 1
		for end < len(plan) && kind(plan[end].Step) == kind(plan[i].Step) {
			end++
		}
		made, all := together(plan[i:end])
		todo = append(todo, made...)
		if !all {
			break
		}
		i = end
	}
	return todo
}

// together interleaves the changes of steps of one kind: what all of them
// call first, then what all of them run on the host, and so on. It leaves out
// what stands behind a [Later], and then reports false.
func together(steps []StepPlan) (todo []pending, all bool) {
	next := make([]int, len(steps))
	take := func(want func(Action) bool) (some bool) {
		for i, s := range steps {
			for next[i] < len(s.Changes) && want(s.Changes[next[i]].Do) {
				todo = append(todo, pending{s.Step, s.Changes[next[i]]})
				next[i]++
				some = true
			}
		}
		return some
	}
	for take(isCall) || take(isScript) {
	}
	for i, s := range steps {
		if next[i] < len(s.Changes) {
			return todo, false
		}
	}
	return todo, true
}

func isCall(a Action) bool   { _, ok := a.(Call); return ok }
func isScript(a Action) bool { _, ok := a.(Script); return ok }

// repeated returns an error for each step of which something that was made is
// still missing, which would go on for ever.
func repeated(plan Plan, made map[ID]bool) error {
	var errs []error
	for _, s := range plan {
		for _, c := range s.Changes {
			if c.Do != nil && made[c.ID(s.Step)] {
				err := error(&StepError{Step: s.Step, Change: c.String(), Err: errors.New("applied, but still reported as missing")})
				if c.Hint != "" {
					err = hint.Add(err, "%s", c.Hint)
				}
				errs = append(errs, err)
				break
			}
		}
	}
	return errors.Join(errs...)
}

// blocked returns an error for the first step of which nothing can be made.
func blocked(plan Plan) error {
	for _, s := range plan {
		for _, c := range s.Changes {
			return &StepError{Step: s.Step, Change: c.String(), Err: errors.New("blocked: no step in this run provides what it needs")}
		}
	}
	return nil
}
