package verify

import (
	"errors"
	"slices"
	"strings"

	"provision/cmd/output"
	"provision/provision"
	"provision/provision/hint"
	"provision/provision/visible"
)

// A verdict is about one step of a host or of a deployment, or about the
// restriction of a key.
type verdict struct {
	deployment string // "" where it is about the whole host
	step       string
	wrong      []finding // what is not as it should be
	breaches   []string  // what the key did that it must not do
	refused    []string  // attempts that were
	notes      []finding
	unchecked  []string // what was to be looked at, and was not
	unseen     []string // what the way of looking has no rights to see

	plan        []provision.Change // what apply would do against what is wrong
	credentials []provision.Credential
}

// A finding is something to tell, and what the reader can do about it.
type finding struct {
	text  string
	hints []string
}

// findingOf is an error as a finding.
func findingOf(err error) finding { return finding{err.Error(), hint.Of(err)} }

// plainly makes findings to which there is no hint.
func plainly(texts ...string) (all []finding) {
	for _, text := range texts {
		all = append(all, finding{text: text})
	}
	return all
}

// String is the finding as a report of tests has it.
func (f finding) String() string {
	return strings.Join(append([]string{f.text}, f.hints...), "\nhint: ")
}

func (v verdict) ok() bool { return len(v.wrong)+len(v.breaches) == 0 }

// missed is what was not seen, for whatever reason.
func (v verdict) missed() string { return strings.Join(slices.Concat(v.unchecked, v.unseen), "; ") }

const breachText = "the CI key can do what it must not: "

// reason is the first of what is not as it should be, in one line.
func (v verdict) reason() string {
	if len(v.breaches) > 0 {
		return firstLine(breachText + v.breaches[0])
	}
	return firstLine(v.wrong[0].text)
}

// firstLine shortens a text to what a list of tests has room for.
func firstLine(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	return output.Cut(visible.String(text), 200)
}

// tell takes notes, and what is drift among them.
func (v *verdict) tell(notes []provision.StepNote) {
	for _, n := range notes {
		note := finding{text: visible.String(n.Text)}
		if n.Hint != "" {
			note.hints = []string{n.Hint}
		}
		if n.Drift {
			v.wrong = append(v.wrong, note)
		} else {
			v.notes = append(v.notes, note)
		}
	}
}

// verdictCounts count verdicts, and attempts.
type verdictCounts struct{ ok, wrong, unchecked, unseen, refused, breaches int }

func (c *verdictCounts) add(v verdict) {
	c.refused += len(v.refused)
	c.breaches += len(v.breaches)
	if len(v.unchecked) > 0 {
		c.unchecked++
	}
	if len(v.unseen) > 0 {
		c.unseen++
	}
	if len(v.wrong) > 0 {
		c.wrong++
	}
	if v.ok() {
		c.ok++
	}
}

// An expectation is what was to be seen of GitLab: what was not, is missed.
type expectation string

const (
	allOfGitLab     expectation = "all"     // with a token
	nothingOfGitLab expectation = "nothing" // without one
)

// judge turns a plan into a verdict on every step. A wish that cannot be met
// is wrong as well; what could not be looked at is returned as an error. So is
// what is for later where nothing is there to do before: an apply would be stuck.
func judge(host, deployment string, list []provision.Step, gitlab expectation, plan provision.Plan, err error) ([]verdict, error) {
	by := map[string]provision.StepPlan{}
	for _, p := range plan {
		by[p.Step] = p
	}
	unmet := map[string]error{}
	var errs []error
	for _, e := range output.Split(err) {
		var step *provision.StepError
		if errors.As(e, &step) && step.Step != "" && step.Change == "" && plan != nil {
			unmet[step.Step] = step.Err
		} else if e != nil {
			errs = append(errs, e)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	stuck := len(unmet) == 0
	for _, p := range plan {
		stuck = stuck && !slices.ContainsFunc(p.Changes, func(c provision.Change) bool { return c.Do != nil })
	}
	var verdicts []verdict
	for _, s := range list {
		p := by[s.Name()]
		if stuck && len(p.Changes) > 0 {
			errs = append(errs, &provision.StepError{Host: host, Step: s.Name(), Change: "look", Err: errors.New(p.Changes[0].String())})
			continue
		}
		v := verdict{deployment: deployment, step: s.Name(), plan: p.Changes, credentials: p.Credentials}
		if gitlab == allOfGitLab && s.Probe().Ask != nil {
			v.unchecked = p.Unchecked
		} else {
			v.unseen = p.Unchecked
		}
		for _, c := range p.Changes {
			would := "apply would "
			if c.Interrupts.What != "" {
				would = "apply --interrupt would "
			}
			v.wrong = append(v.wrong, finding{text: would + c.String()})
		}
		if err := unmet[s.Name()]; err != nil {
			v.wrong = append(v.wrong, findingOf(err))
		}
		v.tell(p.Notes)
		verdicts = append(verdicts, v)
	}
	return verdicts, errors.Join(errs...)
}
