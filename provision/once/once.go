// Package once has each question asked once, whoever wants to know.
package once

import (
	"context"
	"sync"
)

// A Map keeps the answers to questions. The zero Map is empty and ready for
// use, by many goroutines.
type Map[K comparable, V any] struct {
	mu    sync.Mutex
	calls map[K]*call[V]
}

// A call is one question, asked once for all who want to know.
type call[V any] struct {
	done  chan struct{} // closed when value and err are there
	value V
	err   error

	waiting int // callers; the last one to give up stops the call
	stop    context.CancelFunc
}

// Get returns the answer that is kept, or asks. Who wants to know meanwhile waits
// for the same answer; one of them giving up does not disturb the others, and
// the context of ask ends when all have. An error goes to all who wait, and is
// not kept.
func (m *Map[K, V]) Get(ctx context.Context, question K, ask func(context.Context) (V, error)) (V, error) {
	c := m.join(ctx, question, ask)
	defer m.leave(question, c)
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

// Forget drops an answer. A call under way still answers those who wait for it,
// and nobody after them.
func (m *Map[K, V]) Forget(question K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.calls, question)
}

// ForgetIf drops an answer that is there, if it is stale.
func (m *Map[K, V]) ForgetIf(question K, stale func(V) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.calls[question]; c != nil && c.isDone() && stale(c.value) {
		delete(m.calls, question)
	}
}

// Clear forgets all answers.
func (m *Map[K, V]) Clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = nil
}

func (m *Map[K, V]) join(ctx context.Context, question K, ask func(context.Context) (V, error)) *call[V] {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.calls[question]; c != nil {
		c.waiting++
		return c
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &call[V]{done: make(chan struct{}), waiting: 1, stop: stop}
	if m.calls == nil {
		m.calls = make(map[K]*call[V])
	}
	m.calls[question] = c
	go func() {
		defer stop()
		value, err := ask(ctx)
		m.mu.Lock()
		defer m.mu.Unlock()
		c.value, c.err = value, err
		if err != nil {
			m.drop(question, c)
		}
		close(c.done)
	}()
	return c
}

func (m *Map[K, V]) leave(question K, c *call[V]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.waiting--; c.waiting == 0 && !c.isDone() {
		c.stop()
		m.drop(question, c)
	}
}

// drop forgets c, unless a later call stands in its place. m.mu is held.
func (m *Map[K, V]) drop(question K, c *call[V]) {
	if m.calls[question] == c {
		delete(m.calls, question)
	}
}

func (c *call[V]) isDone() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}
