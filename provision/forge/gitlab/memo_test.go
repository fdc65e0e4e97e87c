package gitlab

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// GitLab does not tell the spellings of a path apart, and so an answer is kept
// for all of them.
func TestMemoOfSpellings(t *testing.T) {
	var m memo
	asked := 0
	ask := func(context.Context) (int, error) { asked++; return asked, nil }
	for range 2 {
		for _, question := range []string{"project a/b", "project A/b"} {
			if n, err := remember(t.Context(), &m, question, ask); n != asked || err != nil {
				t.Errorf("%s: %d, %v", question, n, err)
			}
		}
		m.forget("project a/B")
	}
	if asked != 2 {
		t.Errorf("asked %d times, want 2", asked)
	}
}

// Who gives up learns of which question.
func TestMemoOfWhoGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var m memo
	_, err := remember(ctx, &m, "project a/b", func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
	if !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "project a/b: ") {
		t.Errorf("got %v", err)
	}
}
