package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"provision/provision/forge"
	"provision/provision/secret"
)

// A world is what the wishes of these tests are about: files on a host, and
// names in GitLab.
type world struct {
	host   *shellHost
	dir    string
	gitlab map[string]bool
}

func newWorld(t *testing.T) *world {
	return &world{&shellHost{argv: sh}, t.TempDir(), map[string]bool{}}
}

// file is a change that makes a file.
func (w *world) file(name string) Change {
	return Change{Verb: "make", Object: name, Do: Script{Text: `: >"$1"`, Args: []string{filepath.Join(w.dir, name)}}}
}

func (w *world) call(name string) Change {
	return Change{Object: "call " + name, Do: Call(func(context.Context, forge.Forge) error { w.gitlab[name] = true; return nil })}
}

// step wishes for what all its changes make, and plans those that are missing.
// A change is planned for later until the facts in after are seen.
func (w *world) step(name string, changes []Change, after ...string) Step {
	return fixed{
		name:  name,
		probe: Script{Text: `for file in "$1"/*; do fact has "make ${file##*/}"; done`, Args: []string{w.dir}},
		ask: func(context.Context, forge.Forge) (Facts, error) {
			f := Facts{}
			for name := range w.gitlab {
				f.Add("gitlab", "call "+name)
			}
			return f, nil
		},
		plan: func(f Facts) ([]Change, error) {
			var missing []Change
			for _, c := range changes {
				if f.Has("has", c.String()) || f.Has("gitlab", c.String()) {
					continue
				}
				if slices.ContainsFunc(after, func(a string) bool { return !f.Has("has", a) && !f.Has("gitlab", a) }) {
					c = Later(c.Verb, c.Object, "")
				}
				missing = append(missing, c)
			}
			return missing, nil
		},
	}
}

// apply returns what was done, in order, and every other event that is not
// a beginning.
func apply(t *testing.T, ctx context.Context, host Host, steps []Step) (events []string, err error) {
	t.Helper()
	var began []string
	err = Apply(ctx, Target{Name: "h", Host: host}, steps, func(e Event) {
		if e.Host != "h" {
			t.Errorf("an event of host %q", e.Host)
		}
		change := e.Step + ": " + e.Change.String()
		switch e.Kind {
		case Began:
			began = append(began, change)
			return
		case Done, Failed:
			if !slices.Contains(began, change) {
				t.Errorf("%s is %s and never began", change, e.Kind)
			}
		}
		events = append(events, strings.TrimSpace(strings.Trim(change, ": ")+" "+string(e.Kind)+" "+e.Text))
	})
	return events, err
}

func checkEvents(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("events\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if fmt.Sprint(err) != want {
		t.Errorf("error\n got %v\nwant %s", err, want)
	}
}

func TestApply(t *testing.T) {
	w := newWorld(t)
	steps := []Step{
		w.step("a", []Change{w.file("a1"), w.call("a2"), w.file("a3")}),
		w.step("k 1", []Change{w.call("k1"), w.file("k2")}),
		w.step("k 2", []Change{w.call("k3"), w.file("k4")}),
		w.step("l", []Change{w.file("l1")}, "make k4"),
		w.step("m", []Change{w.file("m1")}),
	}
	events, err := apply(t, t.Context(), w.host, steps)
	if err != nil {
		t.Fatal(err)
	}
	checkEvents(t, events, "looked",
		"a: make a1 done", "a: call a2 done", "a: make a3 done",
		"k 1: call k1 done", "k 2: call k3 done", "k 1: make k2 done", "k 2: make k4 done",
		"l: make l1 done", "m: make m1 done")
	// the look; a1; a3; k2 and k4, with the look; l1 and m1, with the look
	if n := w.host.trips.Load(); n != 5 {
		t.Errorf("%d trips, want 5", n)
	}

	w.host.trips.Store(0)
	events, err = apply(t, t.Context(), w.host, steps)
	if err != nil {
		t.Fatal(err)
	}
	checkEvents(t, events, "looked")
	if n := w.host.trips.Load(); n != 1 {
		t.Errorf("%d trips to a host that has all, want 1", n)
	}
}

// The list of a real host with two deployments: who depends on whom is the
// same, and so is what a call makes and a script spends.
func TestTripsOfARealList(t *testing.T) {
	w := newWorld(t)
	var steps []Step
	add := func(kind string, changes func(name string) []Change, after ...string) {
		for _, name := range []string{"one", "two"} {
			var a []string
			for _, s := range after {
				a = append(a, s+name)
			}
			steps = append(steps, w.step(kind+" "+name, changes(name), a...))
		}
	}
	file := func(what string) func(string) []Change {
		return func(name string) []Change { return []Change{w.file(what + name)} }
	}
	steps = append(steps, w.step("os", nil), w.step("engine", []Change{w.file("engine")}), w.step("gate", []Change{w.file("gate")}))
	add("user", file("user-"))
	add("settings", file("settings-"))
	add("repo-key", file("repo-key-"))
	add("deploy-key", func(name string) []Change { return []Change{w.call("deploy-key-" + name)} }, "make repo-key-")
	add("registry-login", func(name string) []Change {
		credential := secret.Born(nil)
		login := w.file("login-" + name)
		s := login.Do.(Script)
		s.Text, s.Secret = `[ "$(secret)" = born ]; : >"$1"`, credential
		login.Do = s
		token := "token-" + name
		return []Change{{Object: "call " + token, Do: Call(func(context.Context, forge.Forge) error {
			w.gitlab[token] = true
			credential.Fill("born")
			return nil
		})}, login}
	})
	add("known-hosts", file("known-hosts-"))
	add("checkout", file("checkout-"))
	add("ci-variables", func(name string) []Change { return []Change{w.call("target-" + name), w.call("known-" + name)} })
	add("ci-key", func(name string) []Change { return []Change{w.call("auth-" + name), w.file("authorized-" + name)} })
	add("containers", file("up-"))

	if _, err := apply(t, t.Context(), w.host, steps); err != nil {
		t.Fatal(err)
	}
	if n := w.host.trips.Load(); n != 4 {
		t.Errorf("%d trips to a bare host, want 4", n)
	}
	w.host.trips.Store(0)
	if _, err := apply(t, t.Context(), w.host, steps); err != nil {
		t.Fatal(err)
	}
	if n := w.host.trips.Load(); n != 1 {
		t.Errorf("%d trips to a host that has all, want 1", n)
	}
}

func TestOnlyCallsNeedNoTripButLooks(t *testing.T) {
	w := newWorld(t)
	if _, err := apply(t, t.Context(), w.host, []Step{w.step("a", []Change{w.call("1"), w.call("2")})}); err != nil {
		t.Fatal(err)
	}
	if n := w.host.trips.Load(); n != 2 {
		t.Errorf("%d trips, want 2: before and after", n)
	}
}

// A login leaves something on the host: what comes before it has not seen that.
func TestLooksAfterATest(t *testing.T) {
	w := newWorld(t)
	login := Change{Verb: Test, Object: "a login", Do: Call(func(context.Context, forge.Forge) error {
		return os.WriteFile(filepath.Join(w.dir, "came"), nil, 0o644)
	})}
	_, err := apply(t, t.Context(), w.host, []Step{
		w.step("a", []Change{w.file("1")}),
		fixed{name: "b", probe: Script{Text: `! [ -e "$1/came" ] || fact came yes`, Args: []string{w.dir}}, plan: func(f Facts) ([]Change, error) {
			if f.Get("came") != "" {
				return nil, nil
			}
			return []Change{login}, nil
		}},
	})
	checkError(t, err, "<nil>")
}

func TestAppliedButStillMissing(t *testing.T) {
	w := newWorld(t)
	looks := 0
	events, err := apply(t, t.Context(), w.host, []Step{
		fixed{name: "a", plan: func(Facts) ([]Change, error) {
			looks++ // what is told of a change does not make it another one
			return []Change{{Verb: Set, Object: "nothing", Remark: fmt.Sprint("to ", looks), Do: Script{Text: ":"}}}, nil
		}},
	})
	checkEvents(t, events, "looked", "a: set nothing to 1 done")
	checkError(t, err, "h: a: set nothing to 2: applied, but still reported as missing")
}

func TestAlwaysSomethingElseMissing(t *testing.T) {
	w := newWorld(t)
	n := 0
	_, err := apply(t, t.Context(), w.host, []Step{
		fixed{name: "a", plan: func(Facts) ([]Change, error) { n++; return []Change{script(fmt.Sprint(n))}, nil }},
	})
	checkError(t, err, "h: did not converge after 20 rounds")
}

func TestBlocked(t *testing.T) {
	w := newWorld(t)
	events, err := apply(t, t.Context(), w.host, []Step{w.step("a", []Change{w.file("1")}, "make what nobody makes")})
	checkEvents(t, events, "looked")
	checkError(t, err, "h: a: make 1: blocked: no step in this run provides what it needs")
}

func TestAWishThatCannotBeMetChangesNothing(t *testing.T) {
	w := newWorld(t)
	events, err := apply(t, t.Context(), w.host, []Step{
		w.step("a", []Change{w.file("1"), w.call("2")}),
		fixed{name: "b", plan: func(Facts) ([]Change, error) { return nil, errors.New("cannot be") }},
	})
	checkEvents(t, events, "looked")
	checkError(t, err, "h: b: cannot be")
	if files, _ := filepath.Glob(w.dir + "/*"); len(files) > 0 || len(w.gitlab) > 0 {
		t.Errorf("there is %v and %v", files, w.gitlab)
	}
}

func TestACallThatFails(t *testing.T) {
	w := newWorld(t)
	cause := errors.New("GitLab is away")
	fails := Change{Object: "fail", Do: Call(func(context.Context, forge.Forge) error { return cause })}
	steps := []Step{
		w.step("a", []Change{w.file("1"), fails, w.call("2"), w.file("3")}),
		w.step("b", []Change{w.call("4")}),
		w.step("c", []Change{w.file("5")}, "make 3"),
	}
	events, err := apply(t, t.Context(), w.host, steps)
	checkEvents(t, events, "looked", "a: make 1 done", "a: fail failed",
		"a: call 2 not run", "a: make 3 not run", "b: call 4 not run")
	checkError(t, err, "h: a: fail: GitLab is away")
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}

	// Running again goes on from there.
	steps[0] = w.step("a", []Change{w.file("1"), w.call("2"), w.file("3")})
	events, err = apply(t, t.Context(), w.host, steps)
	checkError(t, err, "<nil>")
	checkEvents(t, events, "looked", "a: call 2 done", "a: make 3 done", "b: call 4 done", "c: make 5 done")
}

func TestAScriptThatFails(t *testing.T) {
	w := newWorld(t)
	fails := Change{Object: "fail", Do: Script{Text: "echo why; exit 4"}}
	events, err := apply(t, t.Context(), w.host, []Step{
		w.step("a", []Change{w.call("1"), fails, w.file("2"), w.call("3")}),
		w.step("b", []Change{w.file("4")}),
	})
	checkEvents(t, events, "looked", "a: call 1 done", "a: fail said why", "a: fail failed",
		"a: make 2 not run", "a: call 3 not run", "b: make 4 not run")
	checkError(t, err, "h: a: fail: why")
	var e *StepError
	if !errors.As(err, &e) || e.Status != 4 {
		t.Errorf("%#v", e)
	}
}

func TestASecretThatNobodyFilled(t *testing.T) {
	w := newWorld(t)
	events, err := apply(t, t.Context(), w.host, []Step{
		w.step("a", []Change{{Object: "spend", Do: Script{Text: "secret", Secret: secret.Born(nil)}}, w.file("1")}),
	})
	checkEvents(t, events, "looked", "a: spend not run", "a: make 1 not run")
	if !errors.Is(err, secret.ErrEmpty) {
		t.Errorf("got %v", err)
	}
}

// cut passes on what a host says up to the first line that has text, and then
// is a connection that is lost.
type cut struct {
	Host
	text string
	skip int // trips before that
}

var errLost = errors.New("connection reset")

func (c *cut) Run(ctx context.Context, program io.Reader, out io.Writer) error {
	if c.skip--; c.skip >= 0 {
		return c.Host.Run(ctx, program, out)
	}
	var all strings.Builder
	if err := c.Host.Run(ctx, program, &all); err != nil {
		return err
	}
	for line := range strings.Lines(all.String()) {
		io.WriteString(out, line)
		if strings.Contains(line, c.text) {
			return errLost
		}
	}
	return errors.New("the line to cut behind never came")
}

func TestALostConnection(t *testing.T) {
	tests := []struct {
		name, text string
		events     []string
		err        string
		unknown    bool
	}{
		{"in a script", " begin 1\n",
			[]string{"looked", "a: make 1 done", "a: make 2 failed", "b: make 3 not run"},
			"h: a: make 2: " + ErrUnknown.Error() + " (connection reset)", true},
		{"between two scripts", " end 0 0\n",
			[]string{"looked", "a: make 1 done", "a: make 2 not run", "b: make 3 not run"},
			"h: a: make 2: connection reset", false},
		{"in the look behind them", " begin 3\n",
			[]string{"looked", "a: make 1 done", "a: make 2 done", "b: make 3 done"},
			"h: a: look: " + ErrUnknown.Error() + " (connection reset)", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			steps := []Step{w.step("a", []Change{w.file("1"), w.file("2")}), w.step("b", []Change{w.file("3")})}
			events, err := apply(t, t.Context(), &cut{w.host, tt.text, 1}, steps)
			checkEvents(t, events, tt.events...)
			checkError(t, err, tt.err)
			if !errors.Is(err, errLost) || errors.Is(err, ErrUnknown) != tt.unknown {
				t.Errorf("wraps the wrong errors: %v", err)
			}
		})
	}
}

func TestAHostThatCannotBeReached(t *testing.T) {
	w := newWorld(t)
	_, err := apply(t, t.Context(), says("", errLost), []Step{w.step("a", []Change{w.file("1")})})
	checkError(t, err, "h: connection reset")
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := newWorld(t)
	trips := 0
	host := liar(func(ctx context.Context, marks []string, out io.Writer) error {
		if trips++; trips == 1 {
			fmt.Fprintf(out, "%s begin 0\n%[1]s end 0 0\n", marks[0])
			return nil
		}
		fmt.Fprintf(out, "%s begin 0\nhalf way\n", marks[0])
		<-ctx.Done()
		return ctx.Err()
	})
	var events []string
	err := Apply(ctx, Target{Name: "h", Host: host}, []Step{w.step("a", []Change{w.file("1"), w.file("2"), w.call("3")})}, func(e Event) {
		events = append(events, e.Change.String()+" "+string(e.Kind))
		if e.Text == "half way" {
			cancel()
		}
	})
	checkEvents(t, events, " looked", "make 1 began", "make 1 said", "make 1 failed", "make 2 not run", "call 3 not run")
	if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

func TestNotesAreToldOnce(t *testing.T) {
	w := newWorld(t)
	steps := []Step{
		w.step("a", []Change{w.file("1"), Note("mind this")}),
		w.step("b", []Change{w.file("2")}, "make 1"),
	}
	events, err := apply(t, t.Context(), w.host, steps)
	checkError(t, err, "<nil>")
	checkEvents(t, events, "looked", "a: make 1 done", "b: make 2 done", "a noted mind this")
	plan, err := Check(t.Context(), Target{Name: "h", Host: w.host}, steps)
	if err != nil || plan.Missing() != 0 || len(plan) != 1 {
		t.Errorf("plan %v, error %v", plan, err)
	}
}

// What changes have ended is no longer told, and what they have brought is; but
// what a step says beside its own changes stays.
func TestNotesOfTheEnd(t *testing.T) {
	w := newWorld(t)
	noted := func(name string, made bool, also ...Change) Step {
		look := w.step(name, also).(fixed)
		missing := look.plan
		look.plan = func(f Facts) ([]Change, error) {
			changes, err := missing(f)
			if f.Has("has", "make 1") == made {
				changes = append(changes, Note("made is %v", made))
			}
			return changes, err
		}
		return look
	}
	events, err := apply(t, t.Context(), w.host, []Step{noted("before", false), noted("after", true), noted("own", false, w.file("1"))})
	checkError(t, err, "<nil>")
	checkEvents(t, events, "looked", "own: make 1 done", "own noted made is false", "after noted made is true")
}

func TestHostAndGitLabTogether(t *testing.T) {
	both := fixed{
		name:  "a",
		probe: Script{Text: "fact host 1\nfact host 2"},
		ask: func(context.Context, forge.Forge) (Facts, error) {
			return Facts{"gitlab": {"3"}}, nil
		},
	}
	h := &shellHost{argv: sh}
	seen, err := Look(t.Context(), Target{Name: "h", Host: h}, []Step{both})
	if err != nil || fmt.Sprint(seen.facts) != "map[a:map[gitlab:[3] host:[1 2]]]" {
		t.Errorf("saw %v, error %v", seen, err)
	}

	// No probe on the host at all.
	seen, err = Look(t.Context(), Target{Name: "h"}, []Step{fixed{name: "a", ask: both.ask}})
	if err != nil || fmt.Sprint(seen.facts) != "map[a:map[gitlab:[3]]]" {
		t.Errorf("saw %v, error %v", seen, err)
	}

	refused := errors.New("refused")
	both.ask = func(context.Context, forge.Forge) (Facts, error) { return nil, refused }
	other := both
	other.name = "b"
	_, err = Look(t.Context(), Target{Name: "h", Host: says("", errLost)}, []Step{both, other})
	checkError(t, err, "h: connection reset\nh: a: look: refused\nh: b: look: refused")
	if !errors.Is(err, refused) || !errors.Is(err, errLost) {
		t.Errorf("%v wraps too little", err)
	}
}
