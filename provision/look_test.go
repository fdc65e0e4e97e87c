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
		yes := Facts{"told": {"yes"}}
		steps := []Step{
			ofOne{fixed{name: "there", probe: Script{Text: "fact there yes"}, ask: answer(yes, nil), next: wants(answer(nil, errors.New("in vain")))}},
			ofOne{fixed{name: "gone", probe: Script{Text: "fact there no"}, ask: answer(yes, nil), next: wants(answer(Facts{"there": {"elsewhere"}}, nil))}},
			ofOne{fixed{name: "odd", next: wants(answer(nil, errors.New("it is odd")))}},
			ofOne{fixed{name: "ill", probe: Script{Text: "exit 3"}, next: wants(answer(yes, nil))}},
		}
		seen, err := Look(t.Context(), Target{Name: "h", Host: h}, steps)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(seen.Of("there"), seen.Of("gone"), seen.Of("ill")); got != "map[there:[yes] told:[yes]] map[there:[no elsewhere] told:[yes]] map[]" {
			t.Errorf("saw %s", got)
		}
		if got := fmt.Sprint(seen.errs["odd"]); got != "h: odd: look: it is odd" || seen.errs["ill"] == nil || asked.Load() != 4 {
			t.Errorf("%d questions; %v", asked.Load(), seen.errs)
		}
	})
}

// ofOne is a step of one deployment.
type ofOne struct{ fixed }

func (s ofOne) Scope() Scope { return Scope{User: s.name, Deployment: s.name} }
