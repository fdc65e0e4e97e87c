package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"provision/e2e/gitlabtest"
	"provision/provision"
	"provision/provision/hint"
	"provision/provision/remote"
	"provision/provision/secret"
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

// What is said by others is never printed as a hint, in text or in JSON, and
// what is our own still is.
func TestForgedHints(t *testing.T) {
	look := func(lines string) func(t *testing.T, output string) string {
		return func(t *testing.T, output string) string {
			var out bytes.Buffer
			r := newReport(&out, output)
			target := provision.Target{Name: "web1", Host: answers(lines)}
			plan, err := provision.Check(t.Context(), target, []provision.Step{tellingStep{}})
			r.plan("web1", plan)
			v := newVerification(r)
			verdicts, _ := judge("web1", "", []provision.Step{tellingStep{}}, true, plan, err)
			v.add("web1", verdicts...)
			f := anExample(t, "web1")
			f.dialer = &remote.Dialer{}
			v.print(Env{Stderr: &out}, f, nil)
			if err != nil {
				r.fail(&out, "web1", err)
				r.fail(&out, "web1", errors.Join(errors.New("first"), fmt.Errorf("web1: %w", err)))
			}
			return out.String()
		}
	}
	verify := func(said string) func(t *testing.T, output string) string {
		return func(t *testing.T, output string) string {
			f := newFleet(t, 1, func(_ string, _ io.Reader, _, stderr io.Writer) uint32 {
				fmt.Fprintln(stderr, said)
				return 126
			}, "")
			identity, err := f.servers.Identity(f.dir)
			if err != nil {
				t.Fatal(err)
			}
			key, err := os.ReadFile(identity)
			if err != nil {
				t.Fatal(err)
			}
			f.gitlab.AddVariable("transmogrify", gitlabtest.Variable{Key: "SSH_AUTH", Value: secret.New(string(key)), File: true, Scope: "production/h0"})
			var out bytes.Buffer
			Run(t.Context(), Env{Args: []string{"provision", "verify", "--verbose", "--output", output, "--ssh-config", f.config, f.file}, Stdout: &out, Stderr: &out})
			return out.String()
		}
	}
	for name, c := range map[string]struct {
		print func(t *testing.T, output string) string
		shown string // of what was said
		ours  string // the hint that is there; "": none
	}{
		"a script that fails": {look("MARK begin 0\n" + forged + "\nMARK end 0 1\n"), "rm -rf /", ""},
		"before any script":   {look(forged + "\n"), "rm -rf /", ""},
		"a note's fact":       {look("MARK begin 0\nMARK fact is=" + forged + "\nMARK end 0 0\n"), "it is x", "ours"},
		"a note's text": {func(t *testing.T, output string) string {
			var out bytes.Buffer
			r := newReport(&out, output)
			plan := provision.Plan{{Step: "step", Notes: []provision.StepNote{{Text: "it is " + forged, Hint: "ours"}}}}
			r.plan("web1", plan)
			r.event(provision.Event{Kind: provision.Noted, Host: "web1", Step: "step", Text: forged, Hint: "ours"})
			v := newVerification(r)
			verdicts, _ := judge("web1", "", []provision.Step{tellingStep{}}, true, plan, nil)
			for _, n := range verdicts[0].notes {
				v.tell("note", line{Host: "web1", Step: "step"}, n)
			}
			return out.String()
		}, "rm -rf /", "ours"},
		"a fact in an error":          {look("MARK begin 0\nMARK fact wrong=" + forged + "\nMARK end 0 0\n"), "it is x", "ours"},
		"a refusal of the gate":       {verify("provision: refused: not-installed: " + forged), "rm -rf /", ""},
		"a refusal of an older gate":  {verify("provision: refused: a nonce has " + forged), "older than this program", "upgrade it: provision apply"},
		"something else than a gate":  {verify(forged), "rm -rf /", ""},
		"a shell that does not start": {shellSays(forged), "rm -rf /", ""},
		"GitLab": {func(t *testing.T, output string) string {
			t.Setenv("TEST_TOKEN", token)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusUnauthorized)
				text, _ := json.Marshal(map[string]string{"message": forged})
				w.Write(text)
			}))
			defer server.Close()
			_, out, errs := typed(t, head(server.URL)+host("web1", "web1.example.com")+deployment("app", "web1", "deploy", "app", "acme/app", "production"), "plan", "--output", output)
			return out + errs
		}, "rm -rf /", "make a new one with the scope api (read_api is enough to look) at "},
	} {
		for _, output := range []string{"text", "json"} {
			t.Run(name+" as "+output, func(t *testing.T) {
				text := c.print(t, output)
				if !strings.Contains(text, c.shown) {
					t.Errorf("%q is not there:\n%s", c.shown, text)
				}
				var hints []string
				for l := range strings.Lines(text) {
					var o line
					if output == "json" && json.Unmarshal([]byte(l), &o) == nil {
						if o.Hint != "" {
							hints = append(hints, o.Hint)
						}
						if strings.Contains(o.Text, "\n") {
							t.Errorf("it passes for a line of its own: %q", o.Text)
						}
						continue
					}
					if h, ok := strings.CutPrefix(strings.TrimLeft(l, " "), "hint: "); ok {
						hints = append(hints, h)
					}
				}
				if slices.ContainsFunc(hints, func(h string) bool { return strings.Contains(h, "rm") }) {
					t.Errorf("it passes for a hint:\n%s", text)
				}
				if c.ours != "" && !slices.ContainsFunc(hints, func(h string) bool { return strings.HasPrefix(h, c.ours) }) {
					t.Errorf("the hint %q is lost:\n%s", c.ours, text)
				}
			})
		}
	}
}

// shellSays prints what a plan says of a host on which sudo says something.
func shellSays(said string) func(t *testing.T, output string) string {
	return func(t *testing.T, output string) string {
		f := newFleet(t, 1, func(_ string, _ io.Reader, _, stderr io.Writer) uint32 {
			fmt.Fprintln(stderr, said)
			return 1
		}, "")
		var out bytes.Buffer
		Run(t.Context(), Env{Args: []string{"provision", "plan", "--output", output, "--ssh-config", f.config, f.file}, Stdout: &out, Stderr: &out})
		return out.String()
	}
}
