package provision

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// lockIn makes a lock on a file of its own, and a step that is missing until
// its script ran.
func lockIn(t *testing.T, owner string, wait time.Duration) (Target, string) {
	t.Helper()
	file := t.TempDir() + "/lock"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return targetWith(file, owner, wait), file
}

func targetWith(file, owner string, wait time.Duration) Target {
	h := &shellHost{argv: sh, replace: []string{"/run/provision.lock", file}}
	return Target{Name: "h", Host: h, Lock: &Lock{Hold: h.Run, Owner: owner, Wait: wait}}
}

func touchStep(file string) Step {
	return fixed{
		name:  "file",
		probe: Script{Args: []string{file}, Text: `! [ -e "$1" ] || fact there yes`},
		plan: func(f Facts) ([]Change, error) {
			if f.Get("there") != "" {
				return nil, nil
			}
			return []Change{{Object: "make it", Do: Script{Args: []string{file}, Text: `: >"$1"`}}}, nil
		},
	}
}

func TestLockIsTakenForChangesOnly(t *testing.T) {
	target, file := lockIn(t, "somebody", 0)
	step := touchStep(file + ".made")
	if err := Apply(context.Background(), target, []Step{step}, func(Event) {}); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(file)
	if !strings.HasSuffix(string(text), "\nsomebody\n") {
		t.Errorf("the lock says %q", text)
	}
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	if err := Apply(context.Background(), target, []Step{step}, func(Event) {}); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(file); len(text) != 0 {
		t.Errorf("a run that changes nothing took the lock: %q", text)
	}
}

// lockAsOther holds the lock of a file as another run would, until the test lets go.
func lockAsOther(t *testing.T, file, owner string) *heldLock {
	t.Helper()
	h, err := targetWith(file, owner, 0).Lock.take(context.Background(), Target{Name: "h"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestLockOfAnotherRun(t *testing.T) {
	target, file := lockIn(t, "me", 0)
	other := lockAsOther(t, file, "anna on laptop, since noon")
	defer other.end()
	var events []Event
	err := Apply(context.Background(), target, []Step{touchStep(file + ".made")}, func(e Event) { events = append(events, e) })
	var locked *LockedError
	if !errors.As(err, &locked) || locked.Owner != "anna on laptop, since noon" {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(file + ".made"); err == nil {
		t.Error("the change was made")
	}
	for _, e := range events {
		if e.Kind == Began || e.Kind == Done {
			t.Errorf("event %v", e)
		}
	}
}

func TestLockIsWaitedForAndThenLooksAgain(t *testing.T) {
	target, file := lockIn(t, "me", time.Minute)
	other := lockAsOther(t, file, "anna")
	looked := make(chan struct{})
	done := make(chan error, 1)
	made := 0
	go func() {
		done <- Apply(context.Background(), target, []Step{touchStep(file + ".made")}, func(e Event) {
			switch e.Kind {
			case Looked:
				close(looked)
			case Done:
				made++
			}
		})
	}()
	<-looked
	// The other run makes what this one has planned, and ends.
	if err := os.WriteFile(file+".made", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other.end()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if made != 0 {
		t.Error("it made what the other run had made")
	}
}

func TestLockOfADeadRun(t *testing.T) {
	target, file := lockIn(t, "me", 0)
	if err := os.WriteFile(file, []byte("0123\nanna\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Apply(context.Background(), target, []Step{touchStep(file + ".made")}, func(Event) {}); err != nil {
		t.Fatal(err)
	}
}

func TestLockThatCannotBeHad(t *testing.T) {
	target, file := lockIn(t, "me", 0)
	target.Lock.Hold = func(context.Context, io.Reader, io.Writer) error { return errors.New("no more sessions") }
	err := Apply(context.Background(), target, []Step{touchStep(file + ".made")}, func(Event) {})
	if err == nil || !strings.Contains(err.Error(), "no more sessions") {
		t.Errorf("got %v", err)
	}
}
