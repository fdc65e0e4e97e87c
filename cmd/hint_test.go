package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"provision/cmd/output"
)

// forged is what a host or GitLab says to have a command of its own run.
const forged = "x\nhint: rm -rf /"

// What is said by others is never printed as a hint, in text or in JSON, and
// what is our own still is.
func TestForgedHints(t *testing.T) {
	verify := func(said string) func(t *testing.T, format string) string {
		return func(t *testing.T, format string) string {
			f := newFleet(t, 1, func(_ string, _ io.Reader, _, stderr io.Writer) uint32 {
				fmt.Fprintln(stderr, said)
				return 126
			}, "")
			f.giveKeyToCI(t)
			var out bytes.Buffer
			Run(t.Context(), Env{Args: []string{"provision", "verify", "--verbose", "--output", format, "--ssh-config", f.config, f.file}, Stdout: &out, Stderr: &out})
			return out.String()
		}
	}
	for name, c := range map[string]struct {
		print func(t *testing.T, format string) string
		shown string // of what was said
		ours  string // the hint that is there; "": none
	}{
		"a refusal of the gate":       {verify("provision: refused: not-installed: " + forged), "rm -rf /", ""},
		"a refusal of an older gate":  {verify("provision: refused: a nonce has " + forged), "older than this program", "upgrade it: provision apply"},
		"something else than a gate":  {verify(forged), "rm -rf /", ""},
		"a shell that does not start": {shellSays(forged), "rm -rf /", ""},
		"GitLab": {func(t *testing.T, format string) string {
			t.Setenv("TEST_TOKEN", token)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusUnauthorized)
				text, _ := json.Marshal(map[string]string{"message": forged})
				w.Write(text)
			}))
			defer server.Close()
			_, out, errs := typed(t, head(server.URL)+host("web1", "web1.example.com")+deployment("app", "web1", "deploy", "app", "acme/app", "production"), "plan", "--output", format)
			return out + errs
		}, "rm -rf /", "make a new one with the scope api (read_api is enough to look) at "},
	} {
		for _, format := range []string{"text", "json"} {
			t.Run(name+" as "+format, func(t *testing.T) {
				text := c.print(t, format)
				if !strings.Contains(text, c.shown) {
					t.Errorf("%q is not there:\n%s", c.shown, text)
				}
				var hints []string
				for l := range strings.Lines(text) {
					var o output.Line
					if format == "json" && json.Unmarshal([]byte(l), &o) == nil {
						if o.Hint != "" {
							hints = append(hints, o.Hint)
						}
						if strings.Contains(o.Text, "\n") {
							t.Errorf("it passes for a line of its own: %q", o.Text)
						}
						continue
					}
					if h, ok := strings.CutPrefix(strings.TrimLeft(l, " "), "hint: "); ok {
						hints = append(hints, h)
					}
				}
				if slices.ContainsFunc(hints, func(h string) bool { return strings.Contains(h, "rm") }) {
					t.Errorf("it passes for a hint:\n%s", text)
				}
				if c.ours != "" && !slices.ContainsFunc(hints, func(h string) bool { return strings.HasPrefix(h, c.ours) }) {
					t.Errorf("the hint %q is lost:\n%s", c.ours, text)
				}
			})
		}
	}
}

// shellSays prints what a plan says of a host on which sudo says something.
func shellSays(said string) func(t *testing.T, format string) string {
	return func(t *testing.T, format string) string {
		f := newFleet(t, 1, func(_ string, _ io.Reader, _, stderr io.Writer) uint32 {
			fmt.Fprintln(stderr, said)
			return 1
		}, "")
		var out bytes.Buffer
		Run(t.Context(), Env{Args: []string{"provision", "plan", "--output", format, "--ssh-config", f.config, f.file}, Stdout: &out, Stderr: &out})
		return out.String()
	}
}

// A hint that has a command of ours has one that can be typed: it is there, so are its
// flags, and it names the inventory.
func TestHintsAreCommands(t *testing.T) {
	files, err := filepath.Glob("../steps/testdata/*/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`(?m)^hint: .*?provision ((?:plan|apply|verify|update|rotate-key|remove|clean)\b.*)$`)
	app := newApp(Env{})
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, hint := range form.FindAllStringSubmatch(string(text), -1) {
			found++
			words := strings.Fields(hint[1])
			if !slices.Contains(words, "fleet/inventory.toml") {
				t.Errorf("%s: %q names no inventory", file, hint[1])
			}
			for _, word := range words {
				if strings.HasPrefix(word, "--") && flagNamed(app.Command(words[0]), word) == nil {
					t.Errorf("%s: there is no %s %s", file, words[0], word)
				}
			}
		}
	}
	if found < 5 {
		t.Errorf("found %d commands", found)
	}
}
