package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"provision/cmd/output"
	"provision/inventory"
	"provision/provision"
	"provision/provision/hint"
)

// forged is what a host or GitLab says to have a command of its own run.
const forged = "x\nhint: rm -rf /"

// A host that answers every program with some lines, in which MARK is its mark.
type answers string

func (a answers) Run(_ context.Context, program io.Reader, out io.Writer) error {
	text, err := io.ReadAll(program)
	if err != nil {
		return err
	}
	mark := regexp.MustCompile(`mark='(@[0-9a-f]{32})`).FindSubmatch(text)[1]
	_, err = io.WriteString(out, strings.ReplaceAll(string(a), "MARK", string(mark)))
	return err
}

// A step that looks, tells what it has seen, and would mend it.
type tellingStep struct{}

func (tellingStep) Name() string { return "step" }
func (tellingStep) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Text: "look"}}
}
func (tellingStep) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("wrong") != "" {
		return nil, hint.Add(fmt.Errorf("it is %s", f.Get("wrong")), "ours")
	}
	return []provision.Change{provision.Note("it is %s", f.Get("is")).WithHint("ours")}, nil
}

// What a host says is never printed as a hint, in text or in JSON, and what is our
// own still is.
func TestForgedHints(t *testing.T) {
	for name, c := range map[string]struct{ lines, shown, ours string }{
		"a script that fails": {"MARK begin 0\n" + forged + "\nMARK end 0 1\n", "rm -rf /", ""},
		"before any script":   {forged + "\n", "rm -rf /", ""},
		"a note's fact":       {"MARK begin 0\nMARK fact is=" + forged + "\nMARK end 0 0\n", "it is x", "ours"},
		"a fact in an error":  {"MARK begin 0\nMARK fact wrong=" + forged + "\nMARK end 0 0\n", "it is x", "ours"},
		"a note's text":       {"", "rm -rf /", "ours"},
	} {
		for _, format := range []string{"text", "json"} {
			t.Run(name+" as "+format, func(t *testing.T) {
				var out bytes.Buffer
				r := output.New(output.Options{Out: &out, Errs: &out, JSON: format == "json"})
				list := []provision.Step{tellingStep{}}
				plan, err := provision.Plan{{Step: "step", Notes: []provision.StepNote{{Text: "it is " + forged, Hint: "ours"}}}}, error(nil)
				if c.lines != "" {
					plan, err = provision.Check(t.Context(), provision.Target{Name: "web1", Host: answers(c.lines)}, list)
				}
				r.Plan("web1", plan)
				r.Event(provision.Event{Kind: provision.Noted, Host: "web1", Step: "step", Text: forged})
				v := newVerification(Mode{As: Admin, Token: true}, r)
				verdicts, failed := judge("web1", "", list, allOfGitLab, plan, err)
				v.add("web1", verdicts...)
				f := anExample(t, "web1")
				v.print(f.Sites, map[*inventory.Host]error{f.Sites[0].Host: failed}, output.Cost{})
				if err != nil {
					r.Fail("web1", errors.Join(errors.New("first"), fmt.Errorf("web1: %w", err)))
				}
				text := out.String()
				if !strings.Contains(text, c.shown) {
					t.Errorf("%q is not there:\n%s", c.shown, text)
				}
				var hints []string
				for l := range strings.Lines(text) {
					var o output.Line
					if json.Unmarshal([]byte(l), &o) == nil {
						hints = append(hints, o.Hint)
					} else if h, ok := strings.CutPrefix(strings.TrimLeft(l, " "), "hint: "); ok {
						hints = append(hints, strings.TrimSuffix(h, "\n"))
					}
				}
				if slices.ContainsFunc(hints, func(h string) bool { return strings.Contains(h, "rm") }) {
					t.Errorf("it passes for a hint:\n%s", text)
				}
				if c.ours != "" && !slices.Contains(hints, c.ours) {
					t.Errorf("the hint %q is lost:\n%s", c.ours, text)
				}
			})
		}
	}
}
