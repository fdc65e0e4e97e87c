package cmd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provision/e2e/needs"
	"provision/inventory"
)

// beside returns a directory with the example inventory and other files, and
// with a program called provision in bin.
func beside(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, inventory.Example); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "example.toml"), filepath.Join(dir, "inventory.toml")); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"bin", "ci keys"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "ci keys"), inventory.Example); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(dir, "bin", "provision"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// shellIn returns a shell whose user is in dir and has provision.
func shellIn(t *testing.T, dir, shell string, args ...string) *exec.Cmd {
	t.Helper()
	path := needs.Program(t, shell)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a shell may wait for more to be typed
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, path, args...)
	c.Dir = dir
	c.Env = []string{programVariable + "=yes", "PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"), "HOME=" + dir, "TERM=dumb", "LC_ALL=C.UTF-8", "GORACE=" + os.Getenv("GORACE")}
	return c
}

func printedBy(t *testing.T, c *exec.Cmd) string {
	t.Helper()
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", c.Args, err, out)
	}
	return string(out)
}

// The completer of each shell is asked as the shell asks it when somebody
// presses Tab, and answers with what it would put in, without what it means.
var completers = map[string]func(t *testing.T, dir, line string) string{
	"bash": func(t *testing.T, dir, line string) string {
		return printedBy(t, shellIn(t, dir, "bash", append([]string{"--norc", "-c", `
			source <(provision completion bash)
			shopt -s extglob
			COMP_WORDS=("$@")
			COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
			complete -p provision >/dev/null || exit
			_provision provision "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
			[ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\n' "${COMPREPLY[@]}"`, "bash"}, bashWords(line)...)...))
	},
	"fish": func(t *testing.T, dir, line string) string {
		out := printedBy(t, shellIn(t, dir, "fish", "--no-config", "-c", `
			provision completion fish | source
			complete -C $argv[1]`, line))
		var words []string
		for l := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSuffix(l, "\n"), "\t")
			words = append(words, word+"\n")
		}
		return strings.Join(words, "")
	},
	// A real line editor on a terminal of its own: what compadd gets is what
	// is offered.
	"zsh": func(t *testing.T, dir, line string) string {
		setup := `
			scripts=${(%):-%x}; scripts=${scripts:h}
			autoload -Uz compinit && compinit -u -D
			source <(provision completion zsh)
			PS1='>at your service<' PS2= LISTMAX=0
			unsetopt beep
			zstyle ':completion:*' list-grouped no
			compadd() {
				if (( ${@[(I)-[AODE]*]} )); then
					builtin compadd "$@"
					return
				fi
				local -a hits
				builtin compadd -O hits "$@"
				print -rl -- $hits >>$scripts/found
				builtin compadd "$@"
			}
			tab() { zle complete-word; exit }
			zle -N tab
			bindkey '^I' tab`
		scripts := t.TempDir()
		if err := os.WriteFile(filepath.Join(scripts, "setup"), []byte(setup), 0o644); err != nil {
			t.Fatal(err)
		}
		printedBy(t, shellIn(t, dir, "zsh", "-f", "-c", `
			zmodload zsh/zpty
			zpty person zsh -f -i
			zpty -w person " source $1/setup"
			zpty -r person screen '*>at your service<*'
			zpty -w -n person "$2"$'\t'
			while zpty -r person screen; do :; done`, "zsh", scripts, line))
		found, err := os.ReadFile(filepath.Join(scripts, "found"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(found)
	},
}

// bashWords splits a line as bash does: at = too, and with the quotes left in.
func bashWords(line string) []string {
	words := regexp.MustCompile(`(?:\\.|'[^']*'|[^ =\\'])+|=`).FindAllString(line, -1)
	if strings.HasSuffix(line, " ") || strings.HasSuffix(line, "=") {
		words = append(words, "")
	}
	return words
}

func TestCompletion(t *testing.T) {
	for _, shell := range shells {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			dir := beside(t)
			for line, want := range map[string][]string{
				"provision re":                                                 {"rehearse", "remove", "render"},
				"provision apply --l":                                          {"--limit", "--lock-wait"},
				"provision apply --limit ":                                     {"web1", "web2", "frobnicator-staging", "frobnicator-production"},
				"provision plan inventory.toml -l we":                          {"web1", "web2"},
				"provision plan --limit nobody inventory.toml --limit f":       {"frobnicator-staging", "frobnicator-production"},
				"provision plan --limit web1,frobnicator-s":                    {"web1,frobnicator-staging"},
				`provision plan ci\ keys/example.toml --limit we`:              {"web1", "web2"},
				`provision plan 'ci keys/example.toml' --limit we`:             {"web1", "web2"},
				"provision remove --deployment ":                               {"frobnicator-staging", "frobnicator-production"},
				"provision remove --deployment frobnicator-staging --output j": {"json"},
				"provision deploy ":                                            {"frobnicator-staging", "frobnicator-production"},
				"provision logs --follow frobnicator-staging inv":              {"inventory.toml"},
				"provision render ":                                            {"ci", "gate", "override", "authorized-key", "config"},
				"provision render ci --in ":                                    {"transmogrify"},
				"provision render gate --host ":                                {"web1", "web2"},
				"provision rotate-key --only ci":                               {"ci-key"},
				"provision completion ":                                        {"bash", "zsh", "fish"},
				"provision help roll":                                          nil,
				"provision apply inv":                                          {"inventory.toml"},
				"provision verify --junit no":                                  {"notes.txt"},
				"provision verify --nothing":                                   nil,
				"provision apply inventory.toml ":                              nil,
			} {
				got := strings.FieldsFunc(completers[shell](t, dir, line), func(r rune) bool { return r == '\n' })
				for i := range got {
					got[i] = strings.TrimSpace(got[i])
				}
				slices.Sort(got)
				slices.Sort(want)
				if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
					t.Errorf("%q (-want +got):\n%s", line, diff)
				}
			}
		})
	}
}

// After "=" the shells differ: bash completes what is behind it.
func TestCompletionOfAssignment(t *testing.T) {
	for shell, want := range map[string]string{"bash": "web2", "zsh": "--limit=web2", "fish": "--limit=web2"} {
		t.Run(shell, func(t *testing.T) {
			if got := strings.TrimSpace(completers[shell](t, beside(t), "provision plan --limit=web2")); got != want {
				t.Errorf("%q, not %q", got, want)
			}
		})
	}
}
