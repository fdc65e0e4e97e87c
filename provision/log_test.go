package provision

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
)

// Root logs what is made and what is not, and who did it. What runs as another
// user cannot log, and nothing depends on the log.
func TestLogOfChanges(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	const call = `logger -t provision -p auth.notice "$1" </dev/null >/dev/null 2>&1`
	good, bad := Script{Text: "echo on"}, Script{Text: "exit 7"}
	as := func(s Script) Script { s.User = me.Username; return s }
	for _, tt := range []struct {
		name    string
		scripts []Script
		want    string
	}{
		{"done", []Script{good, good}, "0|1"},
		{"failed", []Script{good, bad, good}, "0|failed: 1"},
		{"done as a user", []Script{as(good), as(good), good}, "0|1|2"},
		{"failed as a user", []Script{as(bad), good}, "failed: 0"},
		{"one of two failed as a user", []Script{as(good), as(bad), good}, "failed, or one beside it: 0|failed, or one beside it: 1"},
		{"no such user", []Script{{User: "no-such-user-here", Text: ":"}, good}, "failed: 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachShell(t, func(t *testing.T, h *shellHost) {
				log := filepath.Join(t.TempDir(), "log")
				for _, logger := range []string{`printf '%s\n' "$1" >>` + log, `no-such-logger-here "$1" 2>/dev/null`, call} {
					h.replace = []string{call, logger}
					var todo []pending
					for i, s := range tt.scripts {
						todo = append(todo, pending{"it's", Change{Object: fmt.Sprintf("%d\n$(id)", i), Do: s}})
					}
					target := Target{Name: "h", Host: h, By: "ann"}
					if logger == call {
						target.By = "" // nobody tells who it is
					}
					_, err := run(context.Background(), target, nil, todo, nil, func(Event) {})
					if (err != nil) != strings.Contains(tt.want, "failed") {
						t.Errorf("%s: %v", logger, err)
					}
				}
				text, err := os.ReadFile(log)
				if err != nil {
					t.Fatal(err)
				}
				got := strings.NewReplacer(`\n$(id) (by ann)`, "", "it's: ", "", "\n", "|").Replace(strings.TrimSpace(string(text)))
				if got != tt.want {
					t.Errorf("logged %q, want %q", got, tt.want)
				}
			})
		})
	}
}
