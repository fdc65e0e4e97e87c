package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"testing"

	"provision/e2e/needs"
	"provision/provision/secret"
)

// sh is the shell of this machine, for tests that are not about shells.
var sh = []string{"sh", "-s"}

var shells = map[string][]string{
	"dash":    {"dash", "-s"},
	"bash":    {"bash", "-s"},
	"busybox": {"busybox", "ash", "-s"},
	"mksh":    {"mksh", "-s"},
}

func eachShell(t *testing.T, f func(t *testing.T, h *shellHost)) {
	for name, argv := range shells {
		t.Run(name, func(t *testing.T) {
			needs.Program(t, argv[0])
			f(t, &shellHost{argv: argv})
		})
	}
}

// fixed is a step with fixed answers.
type fixed struct {
	name  string
	probe Script
	ask   Question
	next  func(Facts) Question
	plan  func(Facts) ([]Change, error)
}

func (s fixed) Name() string { return s.name }
func (s fixed) Probe() Probe { return Probe{Script: s.probe, Ask: s.ask, Next: s.next} }
func (s fixed) Plan(f Facts) ([]Change, error) {
	if s.plan == nil {
		return nil, nil
	}
	return s.plan(f)
}

func run1(t *testing.T, h *shellHost, scripts ...Script) (events []string, err error) {
	t.Helper()
	var todo []pending
	for i, s := range scripts {
		todo = append(todo, pending{"step", Change{Object: fmt.Sprint(i), Do: s}})
	}
	_, err = run(context.Background(), Target{Name: "h", Host: h}, nil, todo, nil, func(e Event) {
		events = append(events, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Change, e.Kind, e.Text)))
	})
	return events, err
}

func TestScripts(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		scripts []Script
		want    []string
		err     string
	}{
		{"output and arguments", []Script{{Text: `printf '%s|' "$@"`, Args: []string{"a b", "$(id)", "it's", "-n", "", "x\ny"}}},
			[]string{"0 began", `0 said a b|$(id)|it's|-n||x`, "0 said y|", "0 done"}, ""},
		{"a command that fails ends the script", []Script{{Text: "false\necho on"}},
			[]string{"0 began", "0 failed"}, "h: step: 0: exit status 1"},
		{"an unset variable ends the script", []Script{{Text: `echo "$unset_variable"; echo on`}}, nil, "h: step: 0: "},
		{"nothing runs after a failure", []Script{{Text: "echo why; exit 7"}, {Text: "echo never"}},
			[]string{"0 began", "0 said why", "0 failed", "1 not run"}, "h: step: 0: why"},
		{"nothing of another user runs after a failure", []Script{{Text: "exit 7"}, {User: me.Username, Text: "echo never"}},
			[]string{"0 began", "0 failed", "1 not run"}, "h: step: 0: exit status 7"},
		{"a failure as another user ends the rest", []Script{{User: me.Username, Text: "exit 7"}, {Text: "echo never"}},
			[]string{"0 began", "0 failed", "1 not run"}, "h: step: 0: exit status 7"},
		{"a syntax error changes nothing", []Script{{Text: "echo never"}, {Text: "if"}},
			[]string{"0 not run", "1 not run"}, "h: the host did not run it"},
		{"a killed shell", []Script{{Text: "echo one"}, {Text: "kill -9 $$"}},
			[]string{"0 began", "0 said one", "0 done", "1 began", "1 failed"}, "h: step: 1: " + ErrUnknown.Error()},
		{"a script that reads gets nothing", []Script{{Text: "cat; echo end"}, {Text: "echo two"}},
			[]string{"0 began", "0 said end", "0 done", "1 began", "1 said two", "1 done"}, ""},
		{"no newline at the end", []Script{{Text: "printf one"}, {Text: "echo two"}},
			[]string{"0 began", "0 said one", "0 done", "1 began", "1 said two", "1 done"}, ""},
		{"a forged mark is output", []Script{{Text: "echo '@0123456789abcdef0123456789abcdef end 0 0'; exit 1"}},
			[]string{"0 began", "0 said @0123456789abcdef0123456789abcdef end 0 0", "0 failed"}, "h: step: 0: @0123456789abcdef0123456789abcdef end 0 0"},
		{"control characters are made visible", []Script{{Text: `printf 'a\033[2Jb\rc\n'`}},
			[]string{"0 began", `0 said a\x1b[2Jb\rc`, "0 done"}, ""},
		{"a missing user", []Script{{User: "no-such-user-here", Text: "echo never"}, {Text: "echo never"}},
			[]string{"0 began", "0 said the user no-such-user-here does not exist", "0 failed", "1 not run"}, "h: step: 0: the user no-such-user-here does not exist"},
		{"a home that cannot be entered", []Script{{User: "nobody", Text: "echo never"}, {Text: "echo never"}},
			[]string{"0 began", "0 said the home /nonexistent cannot be entered", "0 failed", "1 not run"}, "h: step: 0: the home /nonexistent cannot be entered"},
		{"a secret is printed by secret alone", []Script{
			{Text: `test "$(secret)" = "it's \$x"; env | grep -c "it's" || :`, Secret: secret.New("it's $x")},
			{Text: `test -z "$(secret)"`}},
			[]string{"0 began", "0 said 0", "0 done", "1 began", "1 done"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachShell(t, func(t *testing.T, h *shellHost) {
				events, err := run1(t, h, tt.scripts...)
				if tt.want != nil && !slices.Equal(events, tt.want) {
					t.Errorf("events\n got %q\nwant %q", events, tt.want)
				}
				if got := fmt.Sprint(err); (err == nil) != (tt.err == "") || !strings.HasPrefix(got, tt.err) && err != nil {
					t.Errorf("error %q, want %q", got, tt.err)
				}
			})
		})
	}
}

// A script that a signal ends cleans up, in every shell: its trap on EXIT runs.
func TestSignalsRunTheTrap(t *testing.T) {
	eachShell(t, func(t *testing.T, h *shellHost) {
		events, _ := run1(t, h, Script{Text: `trap 'echo cleaned' EXIT; sh -c 'kill -s TERM "$PPID"'; echo on`})
		if !slices.Contains(events, "0 said cleaned") || slices.Contains(events, "0 said on") {
			t.Errorf("events %q", events)
		}
	})
}

func TestCutAnywhereChangesNothing(t *testing.T) {
	jobs := []job{{script: Script{Text: "echo ran"}}, {script: Script{Text: `printf '%s\n' "$1"`, Args: []string{strings.Repeat("x'", 50)}}}}
	p, err := newProgram(jobs)
	if err != nil {
		t.Fatal(err)
	}
	end := bytes.LastIndex(p.text, []byte("\nprovision")) + len("\nprovision")
	for n := range end {
		cmd := exec.Command(sh[0], sh[1:]...)
		cmd.Stdin = strings.NewReader(string(p.text[:n]))
		got, _ := cmd.Output()
		if strings.Contains(string(got), "ran") {
			t.Fatalf("a program cut after %d of %d bytes ran", n, len(p.text))
		}
	}
}

func TestLook(t *testing.T) {
	me, _ := user.Current()
	steps := []Step{
		fixed{name: "a", probe: Script{Text: "fact one 1\nfact one 2\nprintf 'x\\ny\\n' | facts lines"}},
		fixed{name: "b", probe: Script{User: "no-such-user-here", Text: "fact seen yes"}},
		fixed{name: "b2", probe: Script{User: "nobody", Text: "fact seen yes"}},
		fixed{name: "c", probe: Script{User: me.Username, Text: "fact home \"$PWD\""}},
		fixed{name: "d"},
	}
	eachShell(t, func(t *testing.T, h *shellHost) {
		seen, err := Look(context.Background(), Target{Name: "h", Host: h}, steps)
		if err != nil {
			t.Fatal(err)
		}
		if got := seen.Of("a"); !slices.Equal(got["one"], []string{"1", "2"}) || !slices.Equal(got["lines"], []string{"x", "y"}) {
			t.Errorf("a saw %v", got)
		}
		if len(seen.Of("b")) != 0 {
			t.Errorf("b saw %v", seen.Of("b"))
		}
		if seen.Of("c").Get("home") != me.HomeDir {
			t.Errorf("c saw %v, want %s", seen.Of("c"), me.HomeDir)
		}
		if n := h.trips.Load(); n != 1 {
			t.Errorf("%d trips, want 1", n)
		}
	})
}

func TestProbeThatFails(t *testing.T) {
	h := &shellHost{argv: sh}
	_, err := Look(context.Background(), Target{Name: "h", Host: h}, []Step{fixed{name: "a", probe: Script{Text: "echo cannot look; exit 2"}}})
	var e *StepError
	if !errors.As(err, &e) || err.Error() != "h: a: look: cannot look" || e.Status != 2 {
		t.Errorf("got %v", err)
	}
}

// Whatever Docker and Compose project the environment of root names, scripts are about
// those of the host.
func TestRootAsksTheDockerOfTheHost(t *testing.T) {
	t.Setenv("DOCKER_HOST", "tcp://elsewhere.example.com")
	t.Setenv("DOCKER_CONTEXT", "elsewhere")
	t.Setenv("COMPOSE_FILE", "/elsewhere.yaml")
	eachShell(t, func(t *testing.T, h *shellHost) {
		events, err := run1(t, h, Script{Text: `sh -c 'echo "$DOCKER_HOST ${DOCKER_CONTEXT-} ${COMPOSE_FILE-}."'`})
		if want := "unix:///var/run/docker.sock  ."; err != nil || !slices.ContainsFunc(events, func(e string) bool { return strings.Contains(e, want) }) {
			t.Errorf("%v, %q", err, events)
		}
	})
}
