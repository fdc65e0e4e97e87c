package gitlab

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// memo keeps the answers to questions. A question is the sentence that errors
// begin with, like "list the deploy keys of project a/b".
type memo struct {
	mu      sync.Mutex
	fetches map[string]*fetch
}

// A fetch is one question, asked once for all who want to know.
type fetch struct {
	done  chan struct{} // closed when value and err are there
	value any
	err   error

	waiting int // callers; the last one to give up stops the fetch
	stop    context.CancelFunc
}

// remember answers from the memo, or asks. Who asks at the same time waits for
// the same answer; one of them giving up does not disturb the others. Errors
// are not kept.
func remember[T any](ctx context.Context, m *memo, question string, ask func(context.Context) (T, error)) (T, error) {
	f := m.join(ctx, question, func(ctx context.Context) (any, error) { return ask(ctx) })
	defer m.leave(question, f)
	select {
	case <-f.done:
		value, _ := f.value.(T)
		return value, f.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("%s: %w", question, ctx.Err())
	}
}

// forget drops an answer. A fetch under way still answers those who wait for
// it, and nobody after them.
func (m *memo) forget(question string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.fetches, key(question))
}

// Forget implements [forge.Forge].
func (c *Client) Forget() {
	c.memo.mu.Lock()
	defer c.memo.mu.Unlock()
	c.memo.fetches = nil
}

func (m *memo) join(ctx context.Context, question string, ask func(context.Context) (any, error)) *fetch {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.fetches[key(question)]; f != nil {
		f.waiting++
		return f
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	f := &fetch{done: make(chan struct{}), waiting: 1, stop: stop}
	if m.fetches == nil {
		m.fetches = make(map[string]*fetch)
	}
	m.fetches[key(question)] = f
	go func() {
		defer stop()
		value, err := ask(ctx)
		m.mu.Lock()
		defer m.mu.Unlock()
		f.value, f.err = value, err
		if err != nil {
			m.drop(question, f)
		}
		close(f.done)
	}()
	return f
}

func (m *memo) leave(question string, f *fetch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f.waiting--
	select {
	case <-f.done:
	default:
		if f.waiting == 0 {
			f.stop()
			m.drop(question, f)
		}
	}
}

// drop forgets f, unless a later fetch stands in its place. m.mu is held.
func (m *memo) drop(question string, f *fetch) {
	if m.fetches[key(question)] == f {
		delete(m.fetches, key(question))
	}
}

// key makes one of the spellings of a path, for GitLab does not tell them apart.
func key(question string) string { return strings.ToLower(question) }
