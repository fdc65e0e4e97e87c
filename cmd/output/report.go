// Package output prints what a run does, as text or as JSON, with lines that show
// what is under way at a terminal, and keeps the trace of it. It knows nothing of
// where the work comes from.
package output

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
// is begun, what scripts print, and what is ok; nothing else changes.
//
// On a terminal the last lines show what is under way, see live; they are gone at
// the end. Those are cut to the terminal, all others wrap. What failed, has
// drifted or is a breach is red, what was done green, and nothing else has a colour. None of that
// is there where the output is no terminal, or TERM is dumb; NO_COLOR takes away
// the colours, and CI the lines that do not stay.
//
// With --output json each line is an object; a field that does not apply is
// left out. The last line has "event": "summary". What else there is stands in
// docs/schema/output.schema.json. Every line has a version: new fields and
// events may come with the same one, and it goes up when one goes away or comes
// to mean something else.

// Version is that of the lines of JSON output.
const Version = 2

// A Report prints what happens. Its methods may be called from many goroutines.
type Report struct {
	Options
	Tally Tally // of what was printed

	mu    sync.Mutex
	start time.Time
}

// Options say where a [Report] goes, and what is in it.
type Options struct {
	Out, Errs io.Writer
	JSON      bool
	Verbose   bool
	Interrupt bool   // what interrupts is made
	Live      *Live  // nil: nothing is shown
	Trace     *Trace // nil: nothing is kept
}

// New begins a report.
func New(o Options) *Report {
	if o.Live == nil {
		o.Live = &Live{}
	}
	return &Report{Options: o, start: time.Now()}
}

// Took is how long ago the report began.
func (r *Report) Took() time.Duration { return time.Since(r.start) }

// A Tally counts what a run did.
type Tally struct {
	Hosts   int `json:"hosts"`
	Failed  int `json:"failed"`
	Changes int `json:"changes"` // made, or in a plan: to make
	Later   int `json:"later,omitempty"`
	LeftOut int `json:"left_out,omitempty"` // of a plan: without --interrupt
	Notes   int `json:"notes,omitempty"`

	Cost
}

// A Cost is what a run took: SSH connections, those to jump hosts included, and
// programs sent over them.
type Cost struct {
	Connections int `json:"connections"`
	Trips       int `json:"trips"`
}

// print writes whole lines.
func (r *Report) print(out io.Writer, text string) {
	r.Trace.Printed(text)
	r.Live.Print(out, text)
}

// A Line is one line of JSON output.
type Line struct {
	Version    int           `json:"version"`
	Event      string        `json:"event"`
	Host       string        `json:"host,omitempty"`
	Deployment string        `json:"deployment,omitempty"`
	Step       string        `json:"step,omitempty"`
	Change     string        `json:"change,omitempty"`
	ID         string        `json:"id,omitempty"`
	Verb       string        `json:"verb,omitempty"`
	Object     string        `json:"object,omitempty"`
	Detail     string        `json:"detail,omitempty"`
	Text       string        `json:"text,omitempty"`
	Hint       string        `json:"hint,omitempty"` // what Hints hold, a line each
	Hints      []string      `json:"-"`
	Output     []string      `json:"output,omitempty"`
	Interrupts *Interruption `json:"interrupts,omitempty"`
	Time       string        `json:"time,omitempty"`
	By         string        `json:"by,omitempty"`
	Seconds    float64       `json:"seconds,omitempty"`
	*Tally
	*Status
}

// An Interruption is what stops for a while because of a change.
type Interruption struct {
	What    string `json:"what"`
	Seconds int    `json:"seconds"`
}

// lineOf returns a line that is about a change.
func lineOf(c provision.Change, l Line) Line {
	l.Change, l.ID, l.Verb, l.Object = c.String(), c.ID(l.Step).String(), string(c.Verb), c.Object
	if i := c.Interrupts; i.What != "" {
		l.Interrupts = &Interruption{visible.String(i.What), i.Seconds}
	}
	return l
}

func (r *Report) object(l Line) {
	l.Version, l.Hint = Version, visible.Lines(strings.Join(l.Hints, "\n"))
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // strings and numbers only
	}
	r.print(r.Out, string(b)+"\n")
}

// Plan prints what is missing on one host.
func (r *Report) Plan(host string, plan provision.Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Tally.Hosts++
	if plan.Missing() == 0 {
		r.say(Line{Event: "nothing", Host: host, Text: "nothing to do"})
	}
	r.plan(host, plan)
}

// PlanPart prints what is missing on a host that counts as failed, as some of it
// cannot be met: see [Report.Fail].
func (r *Report) PlanPart(host string, plan provision.Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plan(host, plan)
}

func (r *Report) plan(host string, plan provision.Plan) {
	if _, left := plan.WithoutInterruptions(); !r.Interrupt {
		r.Tally.LeftOut += left.Missing()
	}
	for _, s := range plan {
		for _, c := range s.Changes {
			event := "change"
			if c.Do == nil {
				event = "later"
				r.Tally.Later++
			}
			r.Tally.Changes++
			r.say(lineOf(c, Line{Event: event, Host: host, Step: s.Step, Detail: strings.TrimSuffix(c.Detail, "\n")}))
		}
		for _, n := range s.Notes {
			r.Tally.Notes++
			r.note(host, s.Step, n.Text, n.Hint)
		}
	}
}

// Fine prints the steps that lack nothing.
func (r *Report) Fine(host string, list []provision.Step, plan provision.Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range list {
		if !slices.ContainsFunc(plan, func(p provision.StepPlan) bool { return p.Step == s.Name() && len(p.Changes) > 0 }) {
			r.say(Line{Event: "fine", Host: host, Step: s.Name()})
		}
	}
}

// Event prints what happens during an apply.
func (r *Report) Event(e provision.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case provision.Began:
		r.Live.Doing(e.Host, e.Step+": "+e.Change.String())
		if r.Verbose {
			r.say(lineOf(e.Change, Line{Event: "began", Host: e.Host, Step: e.Step}))
		}
	case provision.Said:
		if r.Verbose {
			r.say(Line{Event: "said", Host: e.Host, Step: e.Step, Text: e.Text})
		}
	case provision.Done:
		r.Tally.Changes++
		r.say(lineOf(e.Change, Line{Event: "done", Host: e.Host, Step: e.Step}))
	case provision.Failed:
		r.say(lineOf(e.Change, Line{Event: "failed", Host: e.Host, Step: e.Step}))
	case provision.NotRun:
		r.say(lineOf(e.Change, Line{Event: "not run", Host: e.Host, Step: e.Step}))
	case provision.LeftOut:
		r.Tally.LeftOut++
		l := Line{Event: "left out", Host: e.Host, Step: e.Step}
		if e.Hint != "" {
			l.Hints = []string{e.Hint}
		}
		r.say(lineOf(e.Change, l))
	case provision.Noted:
		r.Tally.Notes++
		r.note(e.Host, e.Step, e.Text, e.Hint)
	}
}

// note prints a note, which may have a hint.
func (r *Report) note(host, step, text, hint string) {
	l := Line{Event: "note", Host: host, Step: step, Text: visible.String(text)}
	if hint != "" {
		l.Hints = []string{visible.String(hint)}
	}
	r.say(l)
}

// Applied prints how one host ended.
func (r *Report) Applied(host string, changes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Tally.Hosts++
	if changes == 0 {
		r.say(Line{Event: "nothing", Host: host, Text: "nothing to do"})
	}
}

// signs are the words by which lines of text are told apart.
var signs = map[string]string{
	"done": "done", "failed": "FAILED", "not run": "not run", "left out": "left out",
	"later": "later", "note": "note",
	"wrong": "DRIFT", "breach": "BREACH", "unchecked": "not checked",
	"began": "began", "said": "output", "fine": "ok", "refused": "refused",
}

// colours are those of some signs.
var colours = map[string]string{"done": Green, "failed": Red, "wrong": Red, "breach": Red}

// Say prints one line. What a host or GitLab said may be anywhere in it.
func (r *Report) Say(l Line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.say(l)
}

func (r *Report) say(l Line) {
	l.Change, l.By = visible.String(l.Change), visible.String(l.By)
	l.ID, l.Object = visible.String(l.ID), visible.String(l.Object)
	l.Text, l.Detail = visible.Lines(l.Text), visible.Lines(l.Detail)
	if r.JSON {
		r.object(l)
		return
	}
	var parts []string
	sign := Paint(r.Out, colours[l.Event], signs[l.Event])
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
	text += strings.TrimPrefix(HintLines(l.Hints)+"\n", "\n")
	for d := range strings.Lines(l.Detail) {
		text += l.Host + ":     " + strings.TrimSuffix(d, "\n") + "\n"
	}
	r.print(r.Out, text)
}

// Fail prints the error of one host.
func (r *Report) Fail(host string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Tally.Failed++
	told := map[string]bool{} // what several steps ask of GitLab is refused once
	for _, err := range Split(err) {
		whole, hints := visible.Lines(err.Error()), hint.Of(err)
		var output []string
		var step *provision.StepError
		if errors.As(err, &step) && len(step.Output) > 1 {
			output = step.Output
		}
		if r.JSON {
			r.object(Line{Event: "error", Host: host, Text: whole, Hints: hints, Output: output})
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
		r.print(r.Errs, text+ErrorLines(r.Errs, strings.ReplaceAll(whole, "\n", "\n  ")+HintLines(hints)))
	}
}

// Summary prints the last line. Verb is what happened to the changes: "made",
// "to make".
func (r *Report) Summary(verb string, cost Cost) {
	t := r.Tally
	text := fmt.Sprintf("%s, %s %s", Count(t.Hosts+t.Failed, "host"), Count(t.Changes, "change"), verb)
	if t.Failed > 0 {
		text += fmt.Sprintf(", %s failed", Count(t.Failed, "host"))
	}
	switch {
	case t.LeftOut > 0 && verb == "made":
		text += fmt.Sprintf(", %d left out", t.LeftOut)
	case t.LeftOut > 0:
		text += fmt.Sprintf(" (%d of them only with --interrupt)", t.LeftOut)
	}
	if t.Later > 0 {
		text += fmt.Sprintf(" (%d of them to be planned after the others)", t.Later)
	}
	if t.Notes > 0 {
		text += ", " + Count(t.Notes, "note")
	}
	r.Last(text, cost)
}

// Last prints the last line: what was counted, and how long it took.
func (r *Report) Last(text string, cost Cost) {
	r.mu.Lock()
	defer r.mu.Unlock()
	took := r.Took()
	if !r.JSON {
		r.print(r.Out, fmt.Sprintf("%s, %s\n", text, Seconds(took)))
		return
	}
	r.Tally.Cost = cost
	r.object(Line{Event: "summary", Text: text, Seconds: took.Round(time.Millisecond).Seconds(), Tally: &r.Tally})
}
