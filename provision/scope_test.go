package provision

import (
	"context"
	"errors"
	"testing"

	"provision/provision/forge"
)

// about is a step that is not about the whole host.
type about struct {
	Step
	scope Scope
}

func (s about) Scope() Scope { return s.scope }

var (
	ann = Scope{User: "ann"}
	one = Scope{User: "ann", Deployment: "one"}
	two = Scope{User: "ann", Deployment: "two"}
	bob = Scope{User: "bob", Deployment: "three"}
)

func TestScopes(t *testing.T) {
	host := Scope{}
	for _, s := range []Scope{host, ann, one, two, bob} {
		for _, other := range []Scope{host, ann, one, two, bob} {
			want := s == host || s == other || s == ann && (other == one || other == two)
			if got := s.covers(other); got != want {
				t.Errorf("%v covers %v: %v", s, other, got)
			}
		}
	}
}

// What fails stops what comes after it in its scope, whatever that is.
func TestAFailureStopsItsScope(t *testing.T) {
	away := errors.New("GitLab is away")
	tests := []struct {
		name   string
		fails  Change
		scope  Scope
		not    map[string]bool // what is not made
		reason string
	}{
		{"a script of a deployment", Change{Object: "fail", Do: Script{Text: "echo why; exit 4"}}, one, map[string]bool{"one": true}, "why"},
		{"a call of a deployment", Change{Object: "fail", Do: Call(func(context.Context, forge.Forge) error { return away })}, one, map[string]bool{"one": true}, "GitLab is away"},
		{"of a user", Change{Object: "fail", Do: Script{Text: "exit 4"}}, ann, map[string]bool{"ann": true, "one": true, "two": true}, "exit status 4"},
		{"of the host", Change{Object: "fail", Do: Script{Text: "exit 4"}}, Scope{}, map[string]bool{"ann": true, "one": true, "two": true, "bob": true, "host": true}, "exit status 4"},
		{"what is still missing", Change{Object: "fail", Do: Script{Text: ":"}}, one, nil, "applied, but still reported as missing"},
		{"what nobody provides", Later("", "fail", ""), one, map[string]bool{"one": true}, "blocked: no step in this run provides what it needs"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			step := func(name string, s Scope, changes ...Change) Step { return about{w.step(name, changes), s} }
			events, err := apply(t, t.Context(), w.host, []Step{
				step("before", one, w.file("before")),
				step("fails", test.scope, test.fails),
				step("a", ann, w.file("ann")),
				step("b", one, w.call("one")),
				step("c", two, w.file("two")),
				step("d", bob, w.call("bob")),
				w.step("e", []Change{w.file("host")}),
			})
			var e *StepError
			if !errors.As(err, &e) || e.Step != "fails" || e.Error() != "h: fails: fail: "+test.reason {
				t.Errorf("error %v, want %s", err, test.reason)
			}
			told := map[string]int{}
			for _, event := range events {
				told[event]++
			}
			if told["before: make before done"] != 1 {
				t.Error("what stands before it is not made")
			}
			for what, change := range map[string]string{"ann": "a: make ann", "one": "b: call one", "two": "c: make two", "bob": "d: call bob", "host": "e: make host"} {
				want := change + " done"
				if test.not[what] {
					want = change + " not run"
				}
				if told[want] != 1 || told[change+" done"]+told[change+" not run"] != 1 {
					t.Errorf("%q is not told once:\n%q", want, events)
				}
			}
		})
	}
}

// A wish that cannot be met stops what comes after it for as long as it cannot.
func TestAWishThatCanBeMetLater(t *testing.T) {
	w := newWorld(t)
	picky := func(missing string) Step {
		s := w.step("picky", []Change{w.file("met")}).(fixed)
		plan := s.plan
		s.plan = func(f Facts) ([]Change, error) {
			if !f.Has("has", missing) {
				return nil, errors.New("cannot be")
			}
			return plan(f)
		}
		return about{s, one}
	}
	steps := []Step{
		about{w.step("a", []Change{w.file("needed")}), one},
		picky("make needed"),
		about{w.step("b", []Change{w.file("one")}), one},
		about{w.step("c", []Change{w.file("bob")}), bob},
	}
	events, err := apply(t, t.Context(), w.host, steps)
	checkError(t, err, "<nil>")
	checkEvents(t, events, "looked", "a: make needed done", "c: make bob done", "picky: make met done", "b: make one done")

	steps[1] = picky("make what nobody makes")
	w2 := newWorld(t)
	w.dir = w2.dir
	for i, name := range []string{"needed", "", "one", "bob"} {
		if name != "" {
			scope := ScopeOf(steps[i])
			steps[i] = about{w.step(steps[i].Name(), []Change{w.file(name)}), scope}
		}
	}
	events, err = apply(t, t.Context(), w.host, steps)
	checkError(t, err, "h: picky: cannot be")
	checkEvents(t, events, "looked", "a: make needed done", "c: make bob done", "b: make one not run")
}

// What cannot be looked at stops what comes after it in its scope, on the host
// and in GitLab.
func TestALookThatFails(t *testing.T) {
	away := errors.New("no such project")
	for name, fails := range map[string]fixed{
		"h: fails: look: cannot look":     {name: "fails", probe: Script{Text: "echo cannot look; exit 2"}},
		"h: fails: look: exit status 2":   {name: "fails", probe: Script{Text: "exit 2"}},
		"h: fails: look: no such project": {name: "fails", ask: func(context.Context, forge.Forge) (Facts, error) { return nil, away }},
	} {
		fails.plan = func(Facts) ([]Change, error) {
			t.Errorf("%s: it is planned without a look", name)
			return nil, nil
		}
		w := newWorld(t)
		steps := []Step{
			about{w.step("before", []Change{w.file("before")}), one},
			about{fails, one},
			about{w.step("a", []Change{w.file("one")}), one},
			about{w.step("b", []Change{w.file("bob")}), bob},
		}
		events, err := apply(t, t.Context(), w.host, steps)
		checkError(t, err, name)
		checkEvents(t, events, "looked", "before: make before done", "b: make bob done", "a: make one not run")

		w = newWorld(t)
		steps[1] = fails
		events, err = apply(t, t.Context(), w.host, steps)
		checkError(t, err, name)
		checkEvents(t, events)
	}
}

// What follows from a change that has failed is not told beside it.
func TestWhatFollowsFromAFailure(t *testing.T) {
	w := newWorld(t)
	fails := w.step("a", []Change{{Object: "fail", Do: Script{Text: "echo why; exit 4"}}}).(fixed)
	plan, looks := fails.plan, 0
	fails.plan = func(f Facts) ([]Change, error) {
		if looks++; looks > 1 {
			return nil, errors.New("as it has failed")
		}
		return plan(f)
	}
	_, err := apply(t, t.Context(), w.host, []Step{about{fails, one}, about{w.step("b", []Change{w.file("bob")}), bob}})
	checkError(t, err, "h: a: fail: why")
}

// Behind a lost connection nothing is made, whatever it is about.
func TestALostConnectionStopsAll(t *testing.T) {
	w := newWorld(t)
	host := &cut{Host: w.host, text: " begin 0", skip: 1}
	events, err := apply(t, t.Context(), host, []Step{
		about{w.step("a", []Change{w.file("one")}), one},
		about{w.step("b", []Change{w.file("bob")}), bob},
	})
	if !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	checkEvents(t, events, "looked", "a: make one failed", "b: make bob not run")
}

func TestWhatIsLeftOfAPlan(t *testing.T) {
	steps := []Step{about{fixed{name: "a"}, one}, about{fixed{name: "b"}, bob}, about{fixed{name: "c"}, one}, fixed{name: "d"}}
	plan := Plan{{Step: "a"}, {Step: "b"}, {Step: "c"}, {Step: "d"}}
	left := func(err error) (names string) {
		rest, _ := plan.Left(steps, err)
		for _, s := range rest {
			names += s.Step
		}
		return names
	}
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, "abcd"},
		{&StepError{Step: "a"}, "bd"},
		{&StepError{Step: "c"}, "abd"},
		{errors.Join(&StepError{Step: "a"}, &StepError{Step: "c"}), "bd"},
		{errors.Join(&StepError{Step: "c"}, &StepError{Step: "b"}), "ad"},
		{&StepError{Step: "d"}, ""},
		{errors.New("something else"), ""},
	} {
		if got := left(test.err); got != test.want {
			t.Errorf("after %v there is %q left, want %q", test.err, got, test.want)
		}
	}
	first, second := &StepError{Step: "a", Err: errors.New("no")}, &StepError{Step: "c", Err: errors.New("so neither")}
	if _, err := plan.Left(steps, errors.Join(first, second)); !errors.Is(err, first) || errors.Is(err, second) {
		t.Errorf("what cannot be met is %v", err)
	}
}
