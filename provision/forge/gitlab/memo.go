package gitlab

import (
	"context"
	"fmt"
	"strings"

	"provision/provision/once"
)

// memo keeps the answers to questions. A question is the sentence that errors
// begin with, like "deploy keys of project a/b".
type memo struct{ answers once.Map[string, any] }

// remember answers from the memo, or asks; see [once.Map].
func remember[T any](ctx context.Context, m *memo, question string, ask func(context.Context) (T, error)) (T, error) {
	value, err := m.answers.Get(ctx, key(question), func(ctx context.Context) (any, error) { return ask(ctx) })
	if err != nil && err == ctx.Err() {
		err = fmt.Errorf("%s: %w", question, err)
	}
	answer, _ := value.(T)
	return answer, err
}

// forget drops an answer.
func (m *memo) forget(question string) { m.answers.Forget(key(question)) }

// Forget implements [forge.Forge].
func (c *Client) Forget() { c.memo.answers.Clear() }

// key makes one of the spellings of a path, for GitLab does not tell them apart.
func key(question string) string { return strings.ToLower(question) }
