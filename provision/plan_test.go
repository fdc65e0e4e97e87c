package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"provision/provision/forge"
	"provision/provision/hint"
)

func call(summary string) Change {
	return Change{Object: summary, Do: Call(func(context.Context, forge.Forge) error { return nil })}
}

func script(summary string) Change { return Change{Object: summary, Do: Script{Text: ":"}} }

func TestRound(t *testing.T) {
	tests := []struct {
		name string
		plan Plan
		want string
	}{
		{"nothing", nil, ""},
		{"the order of the list", Plan{{Step: "a", Changes: []Change{script("1"), call("2")}}, {Step: "b", Changes: []Change{script("3")}}}, "a1 a2 b3"},
		{"one kind together: calls first, then scripts", Plan{
			{Step: "k a", Changes: []Change{call("1"), script("2"), call("3"), script("4")}},
			{Step: "k b", Changes: []Change{call("1"), call("2"), script("3"), call("4"), script("5")}}}, "k a1 k b1 k b2 k a2 k b3 k a3 k b4 k a4 k b5"},
		{"the order within a step is kept", Plan{
			{Step: "k a", Changes: []Change{script("1"), call("2")}},
			{Step: "k b", Changes: []Change{call("1"), script("2")}}}, "k b1 k a1 k b2 k a2"},
		{"a kind is one word", Plan{
			{Step: "key a", Changes: []Change{script("1")}},
			{Step: "keys a", Changes: []Change{call("1")}}}, "key a1 keys a1"},
		{"kinds that are apart stay apart", Plan{
			{Step: "k a", Changes: []Change{script("1")}}, {Step: "l", Changes: []Change{script("1")}}, {Step: "k b", Changes: []Change{call("1")}}}, "k a1 l1 k b1"},
		{"later ends it", Plan{
			{Step: "a", Changes: []Change{script("1"), Later("", "2", ""), script("3")}}, {Step: "b", Changes: []Change{script("1")}}}, "a1"},
		{"later of one does not keep others of its kind", Plan{
			{Step: "k a", Changes: []Change{Later("", "1", "")}},
			{Step: "k b", Changes: []Change{call("1"), script("2")}},
			{Step: "l", Changes: []Change{script("1")}}}, "k b1 k b2"},
		{"later alone", Plan{{Step: "a", Changes: []Change{Later("", "1", "")}}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, d := range round(tt.plan) {
				got = append(got, d.step+d.change.String())
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
		})
	}
}

func TestPlanFor(t *testing.T) {
	plans := func(changes ...Change) func(Facts) ([]Change, error) {
		return func(Facts) ([]Change, error) { return changes, nil }
	}
	steps := []Step{
		fixed{name: "silent"},
		fixed{name: "a", plan: plans(script("1"), Note("by the %s", "way"), Later("", "2", ""))},
		fixed{name: "b", plan: plans(Note("only this"))},
		fixed{name: "c", plan: func(f Facts) ([]Change, error) { return []Change{script(f.Get("what"))}, nil }},
	}
	plan, err := PlanFor(steps, SeenOf(map[string]Facts{"c": {"what": {"x", "y"}}}))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range plan {
		got = append(got, s.Step)
		for _, c := range s.Changes {
			got = append(got, c.String())
		}
		for _, n := range s.Notes {
			got = append(got, "("+n.Text+")")
		}
	}
	if want := "a 1 2 (by the way) b (only this) c x"; strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
	if n := plan.Missing(); n != 3 {
		t.Errorf("%d missing, want 3", n)
	}
}

func TestPlanForJoinsErrors(t *testing.T) {
	fails := func(text string) func(Facts) ([]Change, error) {
		return func(Facts) ([]Change, error) { return nil, hint.Add(errors.New(text), "do %s", text) }
	}
	_, err := Check(context.Background(), Target{Name: "h"}, []Step{
		fixed{name: "a", plan: fails("x")}, fixed{name: "b"}, fixed{name: "c", plan: fails("y")},
	})
	if want := "h: a: x\nh: c: y"; fmt.Sprint(err) != want {
		t.Errorf("got  %q\nwant %q", err, want)
	}
	if got, want := hint.Of(err), []string{"do x", "do y"}; !slices.Equal(got, want) {
		t.Errorf("hints %q, want %q", got, want)
	}
}

func TestStepError(t *testing.T) {
	cause := errors.New("why")
	tests := []struct {
		err  error
		want string
	}{
		{&StepError{Host: "h", Step: "s", Change: "c", Err: cause}, "h: s: c: why"},
		{&StepError{Host: "h", Err: cause}, "h: why"},
		{&StepError{Step: "s", Status: 3}, "s: exit status 3"},
		{&StepError{Step: "s", Status: 3, Output: []string{"first", "last"}}, "s: last"},
		{&StepError{Step: "s", Status: 3, Output: []string{"said"}, Err: cause}, "s: why"},
		{at("h", cause), "h: why"},
		{at("h", &StepError{Step: "s", Err: cause}), "h: s: why"},
		{at("other", &StepError{Host: "h", Step: "s", Err: cause}), "h: s: why"},
		{at("h", errors.Join(&StepError{Step: "s", Err: cause}, errors.Join(&StepError{Step: "t", Err: cause}, cause))), "h: s: why\nh: t: why\nh: why"},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
		if !errors.Is(tt.err, cause) && strings.Contains(tt.want, "why") {
			t.Errorf("%q does not wrap its cause", tt.want)
		}
	}
	if at("h", nil) != nil {
		t.Error("at makes an error out of none")
	}
}

func TestFacts(t *testing.T) {
	f := Facts{}
	f.Add("k", "1")
	f.Add("k", "2")
	if f.Get("k") != "1" || f.Get("other") != "" || !f.Has("k", "2") || f.Has("k", "3") || f.Has("other", "") {
		t.Errorf("%v", f)
	}
	if Facts(nil).Get("k") != "" || Facts(nil).Has("k", "") {
		t.Error("no facts have some")
	}
}

func TestProbesOfOneUserTravelTogether(t *testing.T) {
	probe := func(user, arg string) Script { return Script{User: user, Text: ":", Args: []string{arg}} }
	var got []string
	for _, p := range probesOf([]Step{
		fixed{name: "1", probe: probe("a", "x")}, fixed{name: "2", probe: probe("", "x")}, fixed{name: "none"},
		fixed{name: "3", probe: probe("a", "y")}, fixed{name: "4", probe: probe("b", "x")}, fixed{name: "5", probe: probe("", "y")},
		fixed{name: "6", probe: probe("a", "x")}, // looks just like 1
	}) {
		got = append(got, strings.Join(p.steps, "+"))
	}
	if want := []string{"1+6", "3", "2", "5", "4"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
