package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"
	"slices"
	"strings"
	"testing"
)

func TestFollow(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		script Script
		said   []string
		facts  string
		err    string
	}{
		{"lines and facts", Script{User: me.Username, Args: []string{"it's"}, Text: `echo "$1"; printf 'a\033[2J\n\nb'; fact k v; echo c >&2`}, []string{"it's", `a\x1b[2J`, "", "b", "c"}, "map[k:[v]]", "<nil>"},
		{"a failure", Script{Text: "fact k v; echo one; fail \"$(printf 'be\\033\\ncause')\"; echo two"}, []string{"one", "cause"}, "map[k:[v]]", `h: be\x1b`},
		{"a failure without a reason", Script{Text: "echo one; exit 3"}, []string{"one"}, "map[]", "h: exit status 3"},
		{"a user who is not there", Script{User: "no-such-user-here", Text: "echo"}, nil, "map[]", "h: the user no-such-user-here does not exist"},
		{"a syntax error", Script{Text: "if"}, nil, "map[]", "h: the host did not run it"},
		{"an argument that no shell holds", Script{Text: "echo", Args: []string{"\x00"}}, nil, "map[]", `h: "\x00" has a NUL byte`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachShell(t, func(t *testing.T, h *shellHost) {
				var said []string
				facts, err := Follow(t.Context(), Target{Name: "h", Host: h}, tt.script, func(line string) { said = append(said, line) })
				if !slices.Equal(said, tt.said) || fmt.Sprint(map[string][]string(facts)) != tt.facts || !strings.HasPrefix(fmt.Sprint(err), tt.err) {
					t.Errorf("said %q, %v, %v\nwant %q, %s, %s", said, facts, err, tt.said, tt.facts, tt.err)
				}
			})
		})
	}
}

// However much is said, all of it is passed on.
func TestFollowALot(t *testing.T) {
	const lines = maxLines + 1000
	line := strings.Repeat("x", maxHeard/maxLines)
	got := 0
	_, err := Follow(t.Context(), Target{Name: "h", Host: &shellHost{argv: sh}}, Script{Text: `yes "$1" | head -n "$2"`, Args: []string{line, fmt.Sprint(lines)}}, func(said string) {
		if said == line {
			got++
		}
	})
	if err != nil || got != lines {
		t.Errorf("%d lines of %d, %v", got, lines, err)
	}
}

// What has begun and is not followed to its end may go on, and the error says so.
func TestFollowUpToAnInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	said := 0
	var host liar = func(ctx context.Context, marks []string, out io.Writer) error {
		io.WriteString(out, marks[0]+" begin 0\nhello\n")
		<-ctx.Done()
		io.WriteString(out, "Terminated\n")
		return ctx.Err()
	}
	facts, err := Follow(ctx, Target{Name: "h", Host: host}, Script{Text: "echo hello; sleep 1000"}, func(string) { said++; cancel() })
	if said != 1 {
		t.Errorf("%d lines", said)
	}
	if !errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) || len(facts) != 0 {
		t.Errorf("%v, %v", facts, err)
	}
	_, err = Follow(ctx, Target{Name: "h", Host: says("", context.Canceled)}, Script{Text: "echo"}, func(string) {})
	if errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("what has not begun: %v", err)
	}
}
