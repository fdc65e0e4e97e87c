package provision

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"provision/provision/forge"
)

// What is asked next follows from what the host and GitLab have told, and is asked
// of no step that could not be looked at.
func TestAskNext(t *testing.T) {
	eachShell(t, func(t *testing.T, h *shellHost) {
		var asked atomic.Int64
		answer := func(f Facts, err error) Question {
			return func(context.Context, forge.Forge) (Facts, error) { asked.Add(1); return f, err }
		}
		wants := func(q Question) func(Facts) Question {
			return func(f Facts) Question {
				if f.Has("there", "yes") && f.Has("told", "yes") {
					return nil
				}
				return q
			}
		}
		yes, keys := Facts{"told": {"yes"}}, []string{"told", "own"}
		steps := []Step{
			ofOne{fixed{name: "there", probe: Script{Text: "fact there yes"}, keys: keys, ask: answer(yes, nil), next: wants(answer(nil, errors.New("in vain")))}},
			ofOne{fixed{name: "gone", probe: Script{Text: "fact there no"}, keys: keys, ask: answer(yes, nil), next: wants(answer(Facts{"own": {"elsewhere"}}, nil))}},
			ofOne{fixed{name: "odd", next: wants(answer(nil, errors.New("it is odd")))}},
			ofOne{fixed{name: "ill", probe: Script{Text: "exit 3"}, keys: keys, next: wants(answer(yes, nil))}},
		}
		seen, err := Look(t.Context(), Target{Name: "h", Host: h}, steps)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(seen.Of("there"), seen.Of("gone"), seen.Of("ill")); got != "map[there:[yes] told:[yes]] map[own:[elsewhere] there:[no] told:[yes]] map[]" {
			t.Errorf("saw %s", got)
		}
		if got := fmt.Sprint(seen.errs["odd"]); got != "h: odd: look: it is odd" || seen.errs["ill"] == nil || asked.Load() != 4 {
			t.Errorf("%d questions; %v", asked.Load(), seen.errs)
		}
	})
}

// What GitLab tells, a host cannot: a step that it tries to lie about is one that could not be
// looked at, and the others are as they were.
func TestForgedFacts(t *testing.T) {
	ask := func(f Facts) Question {
		return func(context.Context, forge.Forge) (Facts, error) { return f, nil }
	}
	step := func(name, says string, f Facts, keys ...string) Step {
		return ofOne{fixed{name: name, probe: Script{Text: says}, ask: ask(f), keys: keys}}
	}
	steps := []Step{
		step("honest", "fact mine 1", Facts{"token": {"7"}, "unseen": {"x"}}, "token"),
		step("forged", "fact mine 2; fact token 8", Facts{"token": {"7"}}, "token"),
		step("behind", "fact 'days ssh-ed25519 AAAA' 8", Facts{"days x": {"7"}}, "days"),
		step("engine", `printf '%s fact \000unchecked=all is well\n' "$mark"`, nil),
		step("undeclared", "fact mine 3", Facts{"token": {"7"}}),
		ofOne{fixed{name: "next", probe: Script{Text: "fact own 9"}, next: func(Facts) Question { return ask(Facts{"own": {"1"}}) }, keys: []string{"own"}}},
		ofOne{fixed{name: "next-undeclared", probe: Script{Text: "fact mine 4"}, next: func(Facts) Question { return ask(Facts{"own": {"1"}}) }}},
	}
	for _, before := range steps[:2] { // a probe that two steps have in common
		s := before.(ofOne)
		s.name += "-too"
		s.probe, s.keys = Script{Text: "fact mine 2; fact token 8"}, nil
		s.ask = nil
		steps = append(steps, s)
	}
	seen, err := Look(t.Context(), Target{Name: "h", Host: &shellHost{argv: sh}}, steps)
	if err != nil {
		t.Fatal(err)
	}
	for step, want := range map[string]string{
		"honest":          "<nil>",
		"forged":          `h: forged: look: the host reports "token", which is for GitLab to tell`,
		"behind":          `h: behind: look: the host reports "days", which is for GitLab to tell`,
		"engine":          `h: engine: look: the host reports "\x00unchecked", which is for GitLab to tell`,
		"undeclared":      `h: undeclared: look: the host could report "token", which is asked of GitLab`,
		"next":            `h: next: look: the host reports "own", which is for GitLab to tell`,
		"next-undeclared": `h: next-undeclared: look: the host could report "own", which is asked of GitLab`,
		"honest-too":      "<nil>",
		"forged-too":      "<nil>",
	} {
		if got := fmt.Sprint(seen.errs[step]); got != want {
			t.Errorf("%s: got %s\nwant %s", step, got, want)
		}
	}
	if got := fmt.Sprint(seen.Of("honest")); got != "map[mine:[1] token:[7] unseen:[x]]" {
		t.Errorf("saw %s", got)
	}
	plan, err := PlanFor(steps, seen)
	if plan == nil || err == nil {
		t.Errorf("planned %v, %v", plan, err)
	}
}

// ofOne is a step of one deployment.
type ofOne struct{ fixed }

func (s ofOne) Scope() Scope { return Scope{User: s.name, Deployment: s.name} }
