package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"provision/provision"
	"provision/provision/hint"
	"provision/provision/visible"
)

// The rules of all output:
//
// What was asked for goes to standard output: plans, what was done, results.
// Errors and questions go to standard error. Every line about a host begins
// with its name, so that the lines of hosts which are worked on side by side
// can be told apart, and grep finds them. Sentences are lower case and have
// no full stop. Whatever a host or GitLab said is made visible before it is
// printed. The last line counts, and says how long it took. --verbose adds what
// is begun, what scripts print, and what is fine; nothing else changes.
//
// On a terminal the last lines show what is under way, see live; they are gone at
// the end. Those are cut to the terminal, all others wrap. What failed, is wrong or
// a breach is red, what was done green, and nothing else has a colour. None of that
// is there where the output is no terminal, or TERM is dumb; NO_COLOR takes away
// the colours, and CI the lines that do not stay.
//
// With --output json each line is an object; a field that does not apply is
// left out. The last line has "event": "summary". What else there is stands in
// docs/schema/output.schema.json. Every line has a version: new fields and
// events may come with the same one, and it goes up when one goes away or comes
// to mean something else.

const outputVersion = 2

// A report prints what happens.
type report struct {
	mu    sync.Mutex
	out   io.Writer
	json  bool
	start time.Time
	tally tally

	verbose bool
	live    *live
	trace   *trace
}

// A tally counts what a run did.
type tally struct {
	Hosts   int `json:"hosts"`
	Failed  int `json:"failed"`
	Changes int `json:"changes"` // made, or in a plan: to make
	Later   int `json:"later,omitempty"`
	Notes   int `json:"notes,omitempty"`

	// What it cost: SSH connections, those to jump hosts included, and
	// programs sent over them.
	Connections int `json:"connections"`
	Trips       int `json:"trips"`
}

func newReport(out io.Writer, output string) *report {
	return &report{out: out, json: output == "json", start: time.Now(), live: &live{}}
}

// report returns a report of what a command does to the fleet.
func (f *fleet) report(env Env, o fleetOptions) *report {
	r := newReport(env.Stdout, o.output)
	r.verbose, r.live, r.trace = o.verbose, f.live, f.trace
	return r
}

// print writes whole lines.
func (r *report) print(out io.Writer, text string) {
	r.trace.printed(text)
	r.live.print(out, text)
}

// A line is one line of JSON output.
type line struct {
	Version    int      `json:"version"`
	Event      string   `json:"event"`
	Host       string   `json:"host,omitempty"`
	Deployment string   `json:"deployment,omitempty"`
	Step       string   `json:"step,omitempty"`
	Change     string   `json:"change,omitempty"`
	ID         string   `json:"id,omitempty"`
	Verb       string   `json:"verb,omitempty"`
	Object     string   `json:"object,omitempty"`
	Detail     string   `json:"detail,omitempty"`
	Text       string   `json:"text,omitempty"`
	Hint       string   `json:"hint,omitempty"`
	hints      []string // what Hint holds, a line each
	Output     []string `json:"output,omitempty"`
	Time       string   `json:"time,omitempty"`
	By         string   `json:"by,omitempty"`
	Seconds    float64  `json:"seconds,omitempty"`
	*tally
}

// lineOf returns a line that is about a change.
func lineOf(c provision.Change, l line) line {
	l.Change, l.ID, l.Verb, l.Object = c.String(), c.ID(l.Step).String(), string(c.Verb), c.Object
	return l
}

func (r *report) object(l line) {
	l.Version, l.Hint = outputVersion, visible.Lines(strings.Join(l.hints, "\n"))
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // strings and numbers only
	}
	r.print(r.out, string(b)+"\n")
}

// plan prints what is missing on one host.
func (r *report) plan(host string, plan provision.Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tally.Hosts++
	if plan.Missing() == 0 {
		r.say(line{Event: "nothing", Host: host, Text: "nothing to do"})
	}
	for _, s := range plan {
		for _, c := range s.Changes {
			event := "change"
			if c.Do == nil {
				event = "later"
				r.tally.Later++
			}
			r.tally.Changes++
			r.say(lineOf(c, line{Event: event, Host: host, Step: s.Step, Detail: strings.TrimSuffix(c.Detail, "\n")}))
		}
		for _, n := range s.Notes {
			r.tally.Notes++
			r.note(host, s.Step, n.Text, n.Hint)
		}
	}
}

// fine prints the steps that lack nothing.
func (r *report) fine(host string, list []provision.Step, plan provision.Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range list {
		if !slices.ContainsFunc(plan, func(p provision.StepPlan) bool { return p.Step == s.Name() && len(p.Changes) > 0 }) {
			r.say(line{Event: "fine", Host: host, Step: s.Name()})
		}
	}
}

// event prints what happens during an apply.
func (r *report) event(e provision.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case provision.Began:
		r.live.doing(e.Host, e.Step+": "+e.Change.String())
		if r.verbose {
			r.say(lineOf(e.Change, line{Event: "began", Host: e.Host, Step: e.Step}))
		}
	case provision.Said:
		if r.verbose {
			r.say(line{Event: "said", Host: e.Host, Step: e.Step, Text: e.Text})
		}
	case provision.Done:
		r.tally.Changes++
		r.say(lineOf(e.Change, line{Event: "done", Host: e.Host, Step: e.Step}))
	case provision.Failed:
		r.say(lineOf(e.Change, line{Event: "failed", Host: e.Host, Step: e.Step}))
	case provision.NotRun:
		r.say(lineOf(e.Change, line{Event: "not run", Host: e.Host, Step: e.Step}))
	case provision.Noted:
		r.tally.Notes++
		r.note(e.Host, e.Step, e.Text, e.Hint)
	}
}

// note prints a note, which may have a hint.
func (r *report) note(host, step, text, hint string) {
	l := line{Event: "note", Host: host, Step: step, Text: visible.String(text)}
	if hint != "" {
		l.hints = []string{visible.String(hint)}
	}
	r.say(l)
}

// applied prints how one host ended.
func (r *report) applied(host string, changes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tally.Hosts++
	if changes == 0 {
		r.say(line{Event: "nothing", Host: host, Text: "nothing to do"})
	}
}

// signs are the words by which lines of text are told apart.
var signs = map[string]string{
	"done": "done", "failed": "FAILED", "not run": "not run",
	"later": "later", "note": "note",
	"wrong": "WRONG", "breach": "BREACH", "unchecked": "not checked",
	"began": "began", "said": "output", "fine": "fine", "refused": "refused",
}

// colours are those of some signs.
var colours = map[string]string{"done": green, "failed": red, "wrong": red, "breach": red}

// say prints one line. What a host or GitLab said may be anywhere in it.
func (r *report) say(l line) {
	l.Change, l.By = visible.String(l.Change), visible.String(l.By)
	l.Text, l.Detail = visible.Lines(l.Text), visible.Lines(l.Detail)
	l.ID, l.Object = visible.String(l.ID), visible.String(l.Object)
	if r.json {
		r.object(l)
		return
	}
	var parts []string
	sign := paint(r.out, colours[l.Event], signs[l.Event])
	for _, p := range []string{l.Host, l.Time, l.By, l.Deployment, l.Step, sign, l.Change + l.Text} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	first, more, _ := strings.Cut(strings.Join(parts, ": "), "\n")
	text := first + "\n"
	for m := range strings.Lines(more) {
		text += l.Host + ":     " + strings.TrimSuffix(m, "\n") + "\n"
	}
	text += strings.TrimPrefix(hintLines(l.hints)+"\n", "\n")
	for d := range strings.Lines(l.Detail) {
		text += l.Host + ":     " + strings.TrimSuffix(d, "\n") + "\n"
	}
	r.print(r.out, text)
}

// fail prints the error of one host.
func (r *report) fail(errs io.Writer, host string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tally.Failed++
	told := map[string]bool{} // what several steps ask of GitLab is refused once
	for _, err := range split(err) {
		whole, hints := visible.Lines(err.Error()), hint.Of(err)
		var output []string
		var step *provision.StepError
		if errors.As(err, &step) && len(step.Output) > 1 {
			output = step.Output
		}
		if r.json {
			r.object(line{Event: "error", Host: host, Text: whole, hints: hints, Output: output})
			continue
		}
		if step != nil && step.Err != nil {
			reason := step.Err.Error()
			if told[reason] {
				continue
			}
			told[reason] = true
		}
		text := ""
		for _, l := range output {
			text += host + ":     " + l + "\n"
		}
		r.print(errs, text+errorLines(errs, strings.ReplaceAll(whole, "\n", "\n  ")+hintLines(hints)))
	}
}

// errorLines writes an error as it is printed to out.
func errorLines(out io.Writer, text string) string {
	return paint(out, red, "provision:") + " " + text + "\n"
}

// split returns the errors that were joined in err, if any were.
func split(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, split(e)...)
	}
	return all
}

// summary prints the last line. Verb is what happened to the changes: "made",
// "to make".
func (r *report) summary(verb string, f *fleet) {
	t := r.tally
	text := fmt.Sprintf("%s, %s %s", count(t.Hosts+t.Failed, "host"), count(t.Changes, "change"), verb)
	if t.Failed > 0 {
		text += fmt.Sprintf(", %s failed", count(t.Failed, "host"))
	}
	if t.Later > 0 {
		text += fmt.Sprintf(" (%d of them to be planned after the others)", t.Later)
	}
	if t.Notes > 0 {
		text += ", " + count(t.Notes, "note")
	}
	r.last(text, f)
}

// last prints the last line: what was counted, and how long it took.
func (r *report) last(text string, f *fleet) {
	took := time.Since(r.start)
	if !r.json {
		r.print(r.out, fmt.Sprintf("%s, %s\n", text, seconds(took)))
		return
	}
	r.tally.Connections, r.tally.Trips = f.dialer.Connections(), f.dialer.Runs()
	r.object(line{Event: "summary", Text: text, Seconds: took.Round(time.Millisecond).Seconds(), tally: &r.tally})
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
