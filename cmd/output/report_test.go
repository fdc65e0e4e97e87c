package output

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"provision/provision"
	"provision/provision/hint"
	"provision/provision/visible"
)

// What a host or GitLab said may stand in a summary, a note, a detail, an error
// and a hint. None of it steers a terminal, or passes for a line of its own.
func TestReportIsVisible(t *testing.T) {
	const hostile = "\x1b]0;title\a\x1b[2J\x9b31m\u202eevil\u2066\r\b\x7f\xff"
	for _, output := range []string{"text", "json"} {
		var out, errs bytes.Buffer
		r := New(Options{Out: &out, Errs: &errs, JSON: output == "json"})
		r.Plan("web1", provision.Plan{{
			Step:    "checkout app",
			Changes: []provision.Change{{Verb: provision.Set, Object: hostile + "\nweb1: forged", Detail: "+" + hostile + "\n-" + hostile + "\n"}, provision.Later(provision.Set, hostile, hostile)},
			Notes:   []provision.StepNote{{Text: hostile + "\nweb1: forged", Hint: hostile + "\nweb1: forged"}},
		}})
		for _, kind := range []provision.Kind{provision.Done, provision.Failed, provision.NotRun, provision.Noted} {
			r.Event(provision.Event{Host: "web1", Step: "user app", Change: provision.Change{Verb: provision.Set, Object: hostile + "\nweb1: forged"}, Text: hostile + "\nweb1: forged", Kind: kind})
		}
		r.Fail("web1", errors.Join(
			hint.Add(fmt.Errorf("is a clone of %s", hostile), "remove %s", hostile),
			&provision.StepError{Host: "web1", Step: "checkout app", Err: errors.New(hostile)}))
		r.Say(Line{Event: "wrong", Host: "web1", Text: hostile, Hints: []string{hostile}})

		text := out.String() + errs.String()
		if n := strings.Count(text, "evil"); n < 14 {
			t.Errorf("%s: what was said is there %d times only:\n%s", output, n, text)
		}
		for line := range strings.Lines(text) {
			if line = strings.TrimSuffix(line, "\n"); visible.String(line) != line || strings.HasPrefix(line, "web1: forged") {
				t.Errorf("%s: %q", output, line)
			}
		}
	}
}

// Text of many lines that a host has said does not pass for lines about others,
// whether it is a finding or an error.
func TestLinesOfAHost(t *testing.T) {
	const said = "first\nweb2: app: fine\nprovision: web2: all is well"
	var out bytes.Buffer
	r := New(Options{Out: &out, Errs: &out})
	r.Say(Line{Event: "breach", Host: "web1", Text: said})
	r.Fail("web1", errors.New("exit status 1: "+said))
	for line := range strings.Lines(out.String()) {
		if !strings.HasPrefix(line, "web1: ") && !strings.HasPrefix(line, "provision: exit status 1: first") && !strings.HasPrefix(line, "  ") {
			t.Errorf("%q", line)
		}
	}
	if n := strings.Count(out.String(), "web2: app: fine"); n != 2 {
		t.Errorf("it is said %d times:\n%s", n, &out)
	}
}

// What identifies a change is the same in a plan and when it is made, whatever
// else is said of it.
func TestChangeInJSON(t *testing.T) {
	var out bytes.Buffer
	r := New(Options{Out: &out, JSON: true})
	change := provision.Change{Verb: provision.DockerLogin, Object: "registry.example.com", Remark: "as deploy", Do: provision.Script{}}
	r.Plan("web1", provision.Plan{{Step: "registry-login deploy", Changes: []provision.Change{change}}})
	change.Remark = "as deploy, again"
	r.Event(provision.Event{Host: "web1", Step: "registry-login deploy", Change: change, Kind: provision.Done})
	const id = `"id":"registry-login deploy: docker login registry.example.com","verb":"docker login","object":"registry.example.com"`
	want := `{"version":2,"event":"change","host":"web1","step":"registry-login deploy","change":"docker login registry.example.com as deploy",` + id + "}\n" +
		`{"version":2,"event":"done","host":"web1","step":"registry-login deploy","change":"docker login registry.example.com as deploy, again",` + id + "}\n"
	if out.String() != want {
		t.Errorf("printed\n%swant\n%s", &out, want)
	}
}
