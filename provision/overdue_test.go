package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"provision/provision/hint"
)

// A look that hangs is ended, and the error says where; a change may take its time and say nothing,
// until it is looked at what it has made.
func TestLooksEnd(t *testing.T) {
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	say := func(out io.Writer, mark, line string) { fmt.Fprintf(out, "%s %s\n", mark, line) }
	steps := []Step{fixed{name: "first", probe: Script{Text: ":"}}, fixed{name: "second", probe: Script{Text: "sleep 3000"}}}
	change := []pending{{"made", Change{Object: "c", Do: Script{Text: "sleep 3600"}}}}
	for _, test := range []struct {
		name  string
		todo  []pending
		host  func(ctx context.Context, mark string, out io.Writer) error
		after time.Duration
		err   string
		ended string
	}{
		{"a probe hangs", nil, func(ctx context.Context, mark string, out io.Writer) error {
			time.Sleep(time.Minute)
			say(out, mark, "begin 0")
			say(out, mark, "end 0 0")
			say(out, mark, "begin 1")
			return hang(ctx)
		}, 4 * time.Minute, "h: second: look: the host has said nothing for 3m0s, and was not waited for", ""},
		{"it goes on and on", nil, func(ctx context.Context, mark string, out io.Writer) error {
			say(out, mark, "begin 0")
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(time.Minute):
					say(out, mark, "fact k=v")
				}
			}
		}, 15 * time.Minute, "h: first: look: the host has not ended within 15m0s, and was not waited for", ""},
		{"it never begins", nil, func(ctx context.Context, _ string, _ io.Writer) error {
			return hang(ctx)
		}, 15 * time.Minute, "h: the host has not ended within 15m0s, and was not waited for", ""},
		{"after a long change", change, func(ctx context.Context, mark string, out io.Writer) error {
			say(out, mark, "begin 0")
			time.Sleep(time.Hour)
			say(out, mark, "end 0 0")
			say(out, mark, "begin 1")
			return hang(ctx)
		}, time.Hour + 3*time.Minute, "h: first: look: the host has said nothing for 3m0s, and was not waited for", "done"},
		{"before the look after a change", change, func(ctx context.Context, mark string, out io.Writer) error {
			say(out, mark, "begin 0")
			say(out, mark, "end 0 0")
			return hang(ctx)
		}, 3 * time.Minute, "h: first: look: the host has said nothing for 3m0s, and was not waited for", "done"},
		{"all is well", change, func(_ context.Context, mark string, out io.Writer) error {
			for i := range 3 {
				time.Sleep(2 * time.Minute)
				say(out, mark, fmt.Sprint("begin ", i))
				time.Sleep(2 * time.Minute)
				say(out, mark, fmt.Sprint("end ", i, " 0"))
			}
			return nil
		}, 12 * time.Minute, "<nil>", "done"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host := liar(func(ctx context.Context, marks []string, out io.Writer) error { return test.host(ctx, marks[0], out) })
				start, ended := time.Now(), ""
				_, err := run(t.Context(), Target{Name: "h", Host: host}, nil, test.todo, steps, func(e Event) {
					if e.Kind != Began {
						ended = string(e.Kind)
					}
				})
				if got := fmt.Sprint(err); got != test.err || ended != test.ended {
					t.Errorf("got %s, the change %q\nwant %s, %q", got, ended, test.err, test.ended)
				}
				if took := time.Since(start); took != test.after {
					t.Errorf("it took %v, want %v", took, test.after)
				}
				if err != nil && (len(hint.Of(err)) == 0 || errors.Is(err, ErrUnknown)) {
					t.Errorf("it has no hint, or leaves open what is done: %v", err)
				}
			})
		})
	}
	t.Run("a change alone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			host := liar(func(_ context.Context, marks []string, out io.Writer) error {
				say(out, marks[0], "begin 0")
				time.Sleep(10 * time.Hour)
				say(out, marks[0], "end 0 0")
				return nil
			})
			if _, err := run(t.Context(), Target{Name: "h", Host: host}, nil, change, nil, func(Event) {}); err != nil {
				t.Error(err)
			}
		})
	})
}
