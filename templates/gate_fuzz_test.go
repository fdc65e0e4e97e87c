package templates

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// FuzzGate gives the gate whatever a client may ask for, under each shell. Four
// words do something, each of them one thing; all else is refused in one
// printable line, logged in one printable line, and runs nothing.
func FuzzGate(f *testing.F) {
	for _, word := range []string{
		"", "deploy", "status", "verify 0123456789abcdef0123456789abcdef", "deploy\n", "deploy;id", "$(touch escaped)", "`touch escaped`",
		"status && touch escaped", "verify $(touch escaped)", "*", "-n", "\\", "'", "\"", "\x1b]0;x\a", "\xff", strings.Repeat("deploy ", 5000),
	} {
		f.Add(word)
	}
	const nonce = "0123456789abcdef0123456789abcdef"
	f.Fuzz(func(t *testing.T, word string) {
		if strings.Contains(word, "\x00") || len(word) > 100_000 {
			t.Skip("no environment can hold that")
		}
		for name, shell := range shells {
			if _, err := exec.LookPath(shell[0]); err != nil {
				t.Fatalf("%s is not installed (apt-get install dash bash busybox-static)", name)
			}
			g := newGate(t, newBox(t, shell))
			g.file(t, filepath.Join(g.settings, "look-web"), "echo looked\n")
			out, status, called, log := g.ask(t, "web", "SSH_ORIGINAL_COMMAND="+word)
			hex := strings.Trim(strings.TrimPrefix(word, "verify "), "0123456789abcdef") == ""
			switch {
			case word == "" || word == "deploy":
				if status != 0 || out != "" || called != deployed || log != deployLog {
					t.Errorf("%s: %q: status %d, said %q, docker was called with %q, log %q", name, word, status, out, called, log)
				}
			case word == "status":
				if status != 0 || strings.Count(called, "\n") != 1 || !strings.HasPrefix(called, "compose ps ") || log != "" {
					t.Errorf("%s: %q: status %d, docker was called with %q, log %q", name, word, status, called, log)
				}
			case strings.HasPrefix(word, "verify ") && len(word) == len("verify "+nonce) && hex:
				if status != 0 || !strings.HasSuffix(out, "\nlooked\n") || called != "" || log != "" {
					t.Errorf("%s: %q: status %d, said %q, docker was called with %q, log %q", name, word, status, out, called, log)
				}
			default:
				if status != 126 || called != "" || strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "provision: refused: ") {
					t.Errorf("%s: %q: status %d, said %q, docker was called with %q", name, word, status, out, called)
				}
				plain := strings.TrimSuffix(log, "\n")
				if len(log) > 500 || plain == log || strings.ContainsFunc(plain, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("%s: %q: log %q", name, word, log)
				}
			}
			entries, err := os.ReadDir(g.home)
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range entries {
				if !slices.Contains([]string{"called", "log", "web dir"}, entry.Name()) {
					t.Errorf("%s: %q made the file %q", name, word, entry.Name())
				}
			}
		}
	})
}

// Nothing that a client may have put into the environment reaches what the
// gate runs, where an sshd_config accepts it.
func TestGateCleansTheEnvironment(t *testing.T) {
	const nonce = "0123456789abcdef0123456789abcdef"
	hostile := []string{
		"PATH=/tmp", "HOME=/tmp", "IFS=eo/", "CDPATH=/", "ENV=/dev/full", "LC_ALL=tr_TR.UTF-8", "LANG=xx", "POSIXLY_CORRECT=1", "USER=root", "LOGNAME=root", "SHELL=/bin/false",
		"DOCKER_HOST=tcp://192.0.2.1:1", "DOCKER_CONTEXT=theirs", "DOCKER_CONFIG=/tmp", "COMPOSE_FILE=/tmp/theirs.yaml", "COMPOSE_PROJECT_NAME=theirs", "COMPOSE_PROFILES=theirs", "BUILDX_CONFIG=/tmp",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=core.fsmonitor", "GIT_CONFIG_VALUE_0=touch escaped", "GIT_DIR=/tmp", "GIT_SSH_COMMAND=touch escaped", "SSH_AUTH_SOCK=/tmp/agent",
		"name=theirs", "key=theirs", "settings=/tmp", "user=root", "directory=/", "wait=$(touch escaped)", "rollback=$(touch escaped)", "asked=deploy", "who=root", "look=/tmp", "nonce=x", "mark=x", "before=x",
	}
	want := []string{"HOME", "LC_ALL", "LOGNAME", "PATH", "SHELL", "USER"}
	eachGate(t, func(t *testing.T, g *gateBox) {
		g.file(t, filepath.Join(g.settings, "web"), "user=deploy\ndirectory=web dir\nrollback=yes\n")
		// What the shell of the stub itself sets is left out.
		seen := "{ env | cut -d = -f 1 | grep -vxE '_|PWD|OLDPWD|SHLVL' | sort; echo; } >>" + quote(filepath.Join(g.home, "seen")) + "\n"
		g.stub(t, "docker", seen+`
case "$*" in
*--quiet) echo one ;;
inspect*) echo "sha256:$4 example/$4" ;;
*up*) [ -e "$HOME/failed" ] || { touch "$HOME/failed"; exit 1; } ;;
esac`)
		g.file(t, filepath.Join(g.settings, "look-web"), seen)
		for word, runs := range map[string]int{"deploy": 7, "status": 1, "verify " + nonce: 1} {
			os.Remove(filepath.Join(g.home, "seen"))
			os.Remove(filepath.Join(g.home, "failed"))
			g.ask(t, "web", append(slices.Clone(hostile), "SSH_ORIGINAL_COMMAND="+word)...)
			programs := strings.Split(strings.TrimSuffix(g.read(t, "seen"), "\n\n"), "\n\n")
			if len(programs) != runs {
				t.Errorf("%s ran %d programs, want %d", word, len(programs), runs)
			}
			for _, names := range programs {
				if got := strings.Fields(names); !slices.Equal(got, want) {
					t.Errorf("%s: a program has %v in its environment, want %v", word, got, want)
				}
			}
		}
		if files, _ := filepath.Glob(filepath.Join(g.home, "*escaped*")); files != nil {
			t.Error("a value of the environment was run")
		}
	})
}
