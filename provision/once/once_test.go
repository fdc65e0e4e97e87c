package once

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// source is a question that somebody asks; the answers come when let.
type source struct {
	asked   atomic.Int32
	stopped atomic.Int32
	answer  chan error
}

func (s *source) ask(ctx context.Context) (int32, error) {
	n := s.asked.Add(1)
	select {
	case err := <-s.answer:
		return n, err
	case <-ctx.Done():
		s.stopped.Add(1)
		return 0, ctx.Err()
	}
}

type outcome struct {
	n   int32
	err error
}

func TestMap(t *testing.T) {
	var m *Map[string, int32]
	var s *source
	get := func(ctx context.Context, question string) <-chan outcome {
		out := make(chan outcome, 1)
		go func() {
			n, err := m.Get(ctx, question, s.ask)
			out <- outcome{n, err}
		}()
		synctest.Wait()
		return out
	}
	want := func(t *testing.T, got outcome, n int32, err error) {
		t.Helper()
		if got.n != n || !errors.Is(got.err, err) {
			t.Errorf("got %d, %v; want %d, %v", got.n, got.err, n, err)
		}
	}
	run := func(name string, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, s = &Map[string, int32]{}, &source{answer: make(chan error)}
				f(t)
			})
		})
	}

	run("one question for all, and kept", func(t *testing.T) {
		a, b := get(t.Context(), "q"), get(t.Context(), "q")
		s.answer <- nil
		want(t, <-a, 1, nil)
		want(t, <-b, 1, nil)
		want(t, <-get(t.Context(), "q"), 1, nil)
		other := get(t.Context(), "other")
		s.answer <- nil
		want(t, <-other, 2, nil)
	})
	run("errors are not kept", func(t *testing.T) {
		broken := errors.New("broken")
		a := get(t.Context(), "q")
		s.answer <- broken
		want(t, <-a, 1, broken)
		b := get(t.Context(), "q")
		s.answer <- nil
		want(t, <-b, 2, nil)
	})
	run("the first one gives up, the second gets it", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a, b := get(ctx, "q"), get(t.Context(), "q")
		cancel()
		want(t, <-a, 0, context.Canceled)
		s.answer <- nil
		want(t, <-b, 1, nil)
		want(t, <-get(t.Context(), "q"), 1, nil)
	})
	run("all give up: stopped, and asked anew", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a, b := get(ctx, "q"), get(ctx, "q")
		cancel()
		want(t, <-a, 0, context.Canceled)
		want(t, <-b, 0, context.Canceled)
		synctest.Wait()
		if s.stopped.Load() != 1 {
			t.Error("nobody waits, and the fetch goes on")
		}
		c := get(t.Context(), "q")
		s.answer <- nil
		want(t, <-c, 2, nil)
	})
	run("forgotten while under way", func(t *testing.T) {
		old := get(t.Context(), "q")
		m.Forget("q")
		young := get(t.Context(), "q")
		s.answer <- nil
		s.answer <- nil
		want(t, <-old, 1, nil)
		want(t, <-young, 2, nil)
		want(t, <-get(t.Context(), "q"), 2, nil)
	})
	run("a forgotten fetch does not drop the one in its place", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		old := get(ctx, "q")
		m.Forget("q")
		young := get(t.Context(), "q")
		cancel()
		want(t, <-old, 0, context.Canceled)
		s.answer <- nil
		want(t, <-young, 2, nil)
		want(t, <-get(t.Context(), "q"), 2, nil)
	})
	run("an answer that is stale", func(t *testing.T) {
		a := get(t.Context(), "q")
		m.ForgetIf("q", func(int32) bool { return true }) // there is none yet
		s.answer <- nil
		want(t, <-a, 1, nil)
		m.ForgetIf("q", func(n int32) bool { return n != 1 })
		want(t, <-get(t.Context(), "q"), 1, nil)
		m.ForgetIf("q", func(n int32) bool { return n == 1 })
		b := get(t.Context(), "q")
		s.answer <- nil
		want(t, <-b, 2, nil)
	})
	run("all are forgotten", func(t *testing.T) {
		a := get(t.Context(), "q")
		s.answer <- nil
		want(t, <-a, 1, nil)
		m.Clear()
		b := get(t.Context(), "q")
		s.answer <- nil
		want(t, <-b, 2, nil)
	})
}
