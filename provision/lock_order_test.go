package provision

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"provision/provision/forge"
)

// callStep is missing until its call has been made.
func callStep(made *atomic.Bool) Step {
	return fixed{
		name: "variable",
		plan: func(Facts) ([]Change, error) {
			if made.Load() {
				return nil, nil
			}
			return []Change{{Verb: Set, Object: "it", Do: Call(func(context.Context, forge.Forge) error {
				made.Store(true)
				return nil
			})}}, nil
		},
	}
}

// GitLab, too, is changed only by who holds the lock of the host.
func TestLockGuardsCalls(t *testing.T) {
	target, file := lockIn(t, "me", 0)
	other := lockAsOther(t, file, "anna")
	defer other.end()
	var made atomic.Bool
	err := Apply(t.Context(), target, []Step{callStep(&made)}, func(Event) {})
	if !errors.As(err, new(*LockedError)) {
		t.Errorf("got %v", err)
	}
	if made.Load() {
		t.Error("GitLab was changed without the lock")
	}
}

// When Apply returns, whatever came of it, the lock is free.
func TestLockIsLetGo(t *testing.T) {
	for name, step := range map[string]func(file string) Step{
		"done": touchStep,
		"failed": func(string) Step {
			return fixed{name: "s", plan: func(Facts) ([]Change, error) { return []Change{{Object: "fail", Do: Script{Text: "exit 1"}}}, nil }}
		},
	} {
		t.Run(name, func(t *testing.T) {
			target, file := lockIn(t, "me", 0)
			var held atomic.Int32
			hold := target.Lock.Hold
			target.Lock.Hold = func(ctx context.Context, program io.Reader, out io.Writer) error {
				held.Add(1)
				defer held.Add(-1)
				return hold(ctx, program, out)
			}
			err := Apply(t.Context(), target, []Step{step(file + ".made")}, func(Event) {})
			if (err == nil) != (name == "done") {
				t.Fatalf("got %v", err)
			}
			if text, err := os.ReadFile(file); err != nil || !strings.HasSuffix(string(text), "\nme\n") {
				t.Fatalf("the lock was never held: %q, %v", text, err)
			}
			if held.Load() != 0 {
				t.Error("the lock is still held")
			}
		})
	}
}

// What GitLab said while another run was under way is not believed.
func TestLockForgetsWhatGitLabSaid(t *testing.T) {
	target, file := lockIn(t, "me", time.Minute)
	other := lockAsOther(t, file, "anna")
	var said atomic.Value // what this run remembers of GitLab
	gitlab := &forgetful{forget: func() { said.Store("") }}
	said.Store("")
	target.Forge = gitlab
	var now atomic.Value // what is true
	now.Store("missing")
	var made atomic.Int32
	step := fixed{
		name: "variable",
		ask: func(context.Context, forge.Forge) (Facts, error) {
			if said.Load() == "" {
				said.Store(now.Load())
			}
			return Facts{"is": {said.Load().(string)}}, nil
		},
		plan: func(f Facts) ([]Change, error) {
			if f.Get("is") == "there" {
				return nil, nil
			}
			return []Change{{Verb: Set, Object: "it", Do: Call(func(context.Context, forge.Forge) error { made.Add(1); return nil })}}, nil
		},
	}
	looked := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- Apply(t.Context(), target, []Step{step}, func(e Event) {
			if e.Kind == Looked {
				close(looked)
			}
		})
	}()
	<-looked
	now.Store("there") // the other run has made it
	other.end()
	if err := <-done; err != nil || made.Load() != 0 {
		t.Errorf("it was made %d times more, error %v", made.Load(), err)
	}
}

// A forgetful GitLab tells when it is to forget.
type forgetful struct {
	forge.Forge
	forget func()
}

func (f *forgetful) Forget() { f.forget() }

// Only who looks with fewer rights is content with what GitLab does not show.
func TestPartialLooks(t *testing.T) {
	for _, reason := range []error{forge.ErrForbidden, forge.ErrUnseen, forge.ErrNotFound} {
		step := fixed{name: "a", ask: func(context.Context, forge.Forge) (Facts, error) { return nil, reason }}
		plan, err := Check(t.Context(), Target{Name: "h"}, []Step{step})
		if plan != nil || !errors.Is(err, reason) {
			t.Errorf("%v: plan %v, error %v", reason, plan, err)
		}
		plan, err = Check(t.Context(), Target{Name: "h", Partial: true}, []Step{step})
		if reason == forge.ErrNotFound {
			if plan != nil || !errors.Is(err, reason) {
				t.Errorf("partly, %v: plan %v, error %v", reason, plan, err)
			}
			continue
		}
		if err != nil || len(plan) != 1 || len(plan[0].Unchecked) != 1 || plan[0].Unchecked[0] != reason.Error() {
			t.Errorf("partly, %v: plan %v, error %v", reason, plan, err)
		}
	}
}
