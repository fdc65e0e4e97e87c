package cmd

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"provision/inventory"
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

func (v verdict) fine() bool { return len(v.wrong)+len(v.breaches) == 0 }

// missed is what was not seen, for whatever reason.
func (v verdict) missed() string { return strings.Join(slices.Concat(v.unchecked, v.unseen), "; ") }

const breachText = "the deploy key can do what it must not: "

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
	return cut(visible.String(text), 200)
}

// verdictCounts count verdicts, and attempts.
type verdictCounts struct{ fine, wrong, unchecked, unseen, refused, breaches int }

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
	if v.fine() {
		c.fine++
	}
}

// judge turns a plan into a verdict on every step. A wish that cannot be met
// is wrong as well; what could not be looked at is returned as an error. So is
// what is for later where nothing is there to do before: an apply would be stuck.
// With a token, whatever is asked of GitLab was to be seen.
func judge(host, deployment string, list []provision.Step, token bool, plan provision.Plan, err error) ([]verdict, error) {
	by := map[string]provision.StepPlan{}
	for _, p := range plan {
		by[p.Step] = p
	}
	unmet := map[string]error{}
	var errs []error
	for _, e := range split(err) {
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
		if token && s.Probe().Ask != nil {
			v.unchecked = p.Unchecked
		} else {
			v.unseen = p.Unchecked
		}
		for _, c := range p.Changes {
			v.wrong = append(v.wrong, finding{text: "apply would " + c.String()})
		}
		if err := unmet[s.Name()]; err != nil {
			v.wrong = append(v.wrong, findingOf(err))
		}
		for _, n := range p.Notes {
			note := finding{text: visible.String(n.Text)}
			if n.Hint != "" {
				note.hints = []string{n.Hint}
			}
			v.notes = append(v.notes, note)
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, errors.Join(errs...)
}

// A verification collects what was found out.
type verification struct {
	*report
	mu       sync.Mutex
	verdicts map[string][]verdict // by host
	errs     map[string]error     // by host: what could not be looked at
	partly   map[string][]string  // by host: the deployments that this is about, if not all
	drift    bool
	strict   bool // a note is a reason to fail
}

func newVerification(r *report) *verification {
	return &verification{report: r, verdicts: map[string][]verdict{}, errs: map[string]error{}, partly: map[string][]string{}}
}

// A lost is what could not be looked at: whole hosts, and deployments where it is
// not all of a host.
type lost struct {
	hosts       int
	deployments []string
}

func (v *verification) lost(f *fleet) lost {
	var l lost
	for _, h := range f.hosts {
		for _, d := range v.partly[h.Name] {
			l.deployments = append(l.deployments, d+" on "+h.Name)
		}
		if v.errs[h.Name] != nil && len(v.partly[h.Name]) == 0 {
			l.hosts++
		}
	}
	return l
}

func (l lost) any() bool { return l.hosts+len(l.deployments) > 0 }

// String names deployments if they are few, for a line to stay one.
func (l lost) String() string {
	var parts []string
	if len(l.deployments) > 2 {
		parts = append(parts, count(len(l.deployments), "deployment"))
	} else {
		for _, d := range l.deployments {
			parts = append(parts, visible.String(d))
		}
	}
	if l.hosts > 0 {
		parts = append(parts, count(l.hosts, "host"))
	}
	return strings.Join(parts, " and ")
}

// add takes verdicts about a host. Deployments of one user see the same of it; a
// note is taken once.
func (v *verification) add(host string, verdicts ...verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range verdicts {
		verdicts[i].notes = slices.DeleteFunc(slices.Clone(verdicts[i].notes), func(note finding) bool {
			return slices.ContainsFunc(v.verdicts[host], func(before verdict) bool {
				return before.step == verdicts[i].step && slices.ContainsFunc(before.notes, func(n finding) bool { return n.text == note.text })
			})
		})
	}
	v.verdicts[host] = append(v.verdicts[host], verdicts...)
}

// lose takes the deployments of a host that could not be looked at, where others
// could.
func (v *verification) lose(host string, deployments []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.partly[host] = deployments
}

// print prints what is not fine, host by host, and how much is.
func (v *verification) print(env Env, f *fleet, errs map[*inventory.Host]error) {
	var counts verdictCounts
	var gaps []gap
	for _, h := range f.hosts {
		for _, verdict := range v.verdicts[h.Name] {
			at := line{Host: h.Name, Deployment: verdict.deployment, Step: verdict.step}
			for i, b := range verdict.breaches {
				f := finding{text: breachText + b}
				if i == len(verdict.breaches)-1 {
					f.hints = []string{"apply puts authorized_keys right, and sshd_config is yours; then the key is to be replaced: provision rotate-key --only ci-key --limit " + h.Name}
				}
				v.tell("breach", at, f)
			}
			v.wrong(at, verdict.wrong)
			if missed := verdict.missed(); missed != "" {
				gaps = append(gaps, gap{at, missed})
			}
			for _, n := range verdict.notes {
				v.tally.Notes++
				v.tell("note", at, n)
			}
			if v.verbose {
				for _, name := range verdict.refused {
					v.tell("refused", at, finding{text: name})
				}
				if verdict.fine() && verdict.missed() == "" {
					v.tell("fine", at, finding{})
				}
			}
			counts.add(verdict)
			v.drift = v.drift || !verdict.fine()
		}
		if err := errs[h]; err != nil {
			v.fail(env.Stderr, h.Name, err)
			v.errs[h.Name] = err
			continue
		}
		v.tally.Hosts++
	}
	v.gaps(gaps)
	text := fmt.Sprintf("%s, %s fine", count(v.tally.Hosts+v.tally.Failed, "host"), count(counts.fine, "step"))
	if counts.wrong > 0 {
		text += fmt.Sprintf(", %d WRONG", counts.wrong)
	}
	switch {
	case counts.breaches == 1:
		text += ", 1 BREACH"
	case counts.breaches > 1:
		text += fmt.Sprintf(", %d BREACHES", counts.breaches)
	}
	if counts.unchecked > 0 {
		text += fmt.Sprintf(", %d not fully checked", counts.unchecked)
	}
	if counts.unseen > 0 {
		text += fmt.Sprintf(", %d not fully visible", counts.unseen)
	}
	if v.tally.Notes > 0 {
		text += ", " + count(v.tally.Notes, "note")
		if v.strict {
			text += " that --strict FAILS FOR"
		}
	}
	if counts.refused > 0 {
		text += fmt.Sprintf(", %d attempts refused", counts.refused)
	}
	if lost := v.lost(f); lost.any() {
		text += fmt.Sprintf(", %s COULD NOT BE LOOKED AT", lost)
	}
	v.last(text, f)
}

// wrong prints what is not as it should be at one step. A line of text begins it
// once, for the lines to be as many as the last line counts.
func (v *verification) wrong(at line, reasons []finding) {
	if !v.json && len(reasons) > 0 {
		all := finding{}
		for i, r := range reasons {
			if i > 0 {
				all.text += "\n"
			}
			all.text += r.text
			all.hints = append(all.hints, r.hints...)
		}
		reasons = []finding{all}
	}
	for _, reason := range reasons {
		v.tell("wrong", at, reason)
	}
}

// A gap is what could not be looked at, and where.
type gap struct {
	line
	what string
}

// gaps prints what could not be looked at. To be read by somebody, what is the
// same in many places is said once.
func (v *verification) gaps(gaps []gap) {
	places := map[string][]line{}
	for _, g := range gaps {
		places[g.what] = append(places[g.what], g.line)
	}
	for _, g := range gaps {
		same := places[g.what]
		if len(same) == 1 || v.json || v.verbose {
			v.tell("unchecked", g.line, finding{text: g.what})
			continue
		}
		delete(places, g.what) // said
		if len(same) > 0 {
			hosts := slices.CompactFunc(same, func(a, b line) bool { return a.Host == b.Host })
			v.tell("unchecked", line{}, finding{text: fmt.Sprintf("%d steps of %s: %s", len(same), count(len(hosts), "host"), g.what)})
		}
	}
}

// tell prints one finding.
func (v *verification) tell(event string, l line, f finding) {
	l.Event, l.Text, l.hints = event, f.text, f.hints
	v.say(l)
}

// writeJUnit writes a report as GitLab shows it: one suite for each host, one
// case for each step.
func (v *verification) writeJUnit(file string) error {
	suites := junit.Testsuites{Name: "provision verify", Time: fmt.Sprintf("%.3f", time.Since(v.start).Seconds())}
	for _, host := range v.hosts() {
		suite := junit.Testsuite{Name: host, Time: "0"} // hosts are looked at side by side
		for _, verdict := range v.verdicts[host] {
			class := host
			if verdict.deployment != "" {
				class += "." + verdict.deployment
			}
			c := junit.Testcase{Name: verdict.step, Classname: class}
			if !verdict.fine() {
				text := joined(slices.Concat(plainly(verdict.breaches...), verdict.wrong))
				c.Failure = &junit.Result{Message: verdict.reason(), Type: "drift", Data: visible.Lines(text)}
			}
			if verdict.fine() && v.strict && len(verdict.notes) > 0 {
				c.Failure = &junit.Result{Message: firstLine(verdict.notes[0].text), Type: "note", Data: visible.Lines(joined(verdict.notes))}
			}
			var said []string
			if missed := verdict.missed(); missed != "" {
				said = append(said, "not checked: "+missed)
			}
			for _, n := range verdict.notes {
				said = append(said, "note: "+n.String())
			}
			if len(said) > 0 {
				c.SystemOut = &junit.Output{Data: visible.Lines(strings.Join(said, "\n"))}
			}
			suite.AddTestcase(c)
		}
		if err := v.errs[host]; err != nil {
			suite.AddTestcase(junit.Testcase{Name: "look", Classname: host, Error: &junit.Result{
				Message: firstLine(err.Error()), Type: "error", Data: visible.Lines(findingOf(err).String()),
			}})
		}
		suites.AddSuite(suite)
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(suites.WriteXML(out), out.Close())
}

// joined are some findings, one below the other.
func joined(all []finding) string {
	var texts []string
	for _, f := range all {
		texts = append(texts, f.String())
	}
	return strings.Join(texts, "\n")
}

func (v *verification) hosts() []string {
	hosts := map[string]bool{}
	for h := range v.verdicts {
		hosts[h] = true
	}
	for h := range v.errs {
		hosts[h] = true
	}
	return slices.Sorted(maps.Keys(hosts))
}
