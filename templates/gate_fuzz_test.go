package templates

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"provision/e2e/needs"
)

// refusedForm is what the gate says against something: a code and a sentence.
var refusedForm = regexp.MustCompile(`^provision: refused: [a-z]+(-[a-z]+)*: .+\n$`)

// FuzzGate gives the gate whatever a client may ask for, under each shell. Five
// words do something, each of them one thing; all else is refused in one
// printable line, logged in one printable line, and runs nothing.
func FuzzGate(f *testing.F) {
	for _, word := range []string{
		"", "deploy", "status", "verify 0123456789abcdef0123456789abcdef 2", "verify 0123456789abcdef0123456789abcdef", "deploy 1.2", "deploy sha256:0123456789abcdef", "deploy\n", "deploy;id", "$(touch escaped)", "`touch escaped`",
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
			needs.Program(t, shell[0])
			g := newGate(t, newBox(t, shell))
			g.file(t, filepath.Join(g.settings, "look-web"), "echo looked\n")
			g.file(t, filepath.Join(g.settings, "web"), "user=deploy\ndirectory=web dir\nversion=TAG\n")
			out, status, called, log := g.ask(t, "web", "SSH_ORIGINAL_COMMAND="+word)
			asked, isVerify := strings.CutPrefix(word, "verify ")
			asked, isVerify2 := strings.CutSuffix(asked, " 2")
			runs := ""
			switch {
			case word == "" || word == "deploy":
				runs = deployed
			case strings.HasPrefix(word, "deploy ") && BadVersion(strings.TrimPrefix(word, "deploy ")) == "":
				runs = strings.TrimSuffix(deployed, "|") + strings.TrimPrefix(word, "deploy ") + "|"
			case word == "status":
				runs = "status|web|"
			}
			switch {
			case runs != "":
				if status != 0 || out != "out\nerror\n" || called != runs || log != "" {
					t.Errorf("%s: %q: status %d, said %q, the deploy was called with %q, log %q", name, word, status, out, called, log)
				}
			case isVerify && isVerify2 && len(asked) == len(nonce) && strings.Trim(asked, "0123456789abcdef") == "":
				if status != 0 || !strings.HasSuffix(out, "\nlooked\n") || called != "" || log != "" {
					t.Errorf("%s: %q: status %d, said %q, the deploy was called with %q, log %q", name, word, status, out, called, log)
				}
			default:
				if status != 126 || called != "" || strings.Count(out, "\n") != 1 || !refusedForm.MatchString(out) {
					t.Errorf("%s: %q: status %d, said %q, the deploy was called with %q", name, word, status, out, called)
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
				if !slices.Contains([]string{".provision", ".ssh", "called", "log", "web dir"}, entry.Name()) {
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
		"version=theirs", "variable=THEIRS", "slot=99", "state=/tmp", "deploy=/bin/false", "limit=1", "from=theirs",
	}
	eachGate(t, func(t *testing.T, g *gateBox) {
		g.file(t, filepath.Join(g.settings, "web"), "user=deploy\ndirectory=web dir\nversion=TAG\n")
		want := "HOME=" + g.home + "\nLC_ALL=C\nLOGNAME=deploy\nPATH=" + g.bin + ":" + real + "\nSHELL=/bin/sh\nUSER=deploy\n"
		// What the shell of the stub itself sets is left out.
		seen := "printf '%s|' \"$@\" >\"$HOME/called\"; env | grep -vE '^(_|PWD|OLDPWD|SHLVL)=' | LC_ALL=C sort >" + quote(filepath.Join(g.home, "seen")) + "\n"
		g.deploy(t, seen)
		g.file(t, filepath.Join(g.settings, "look-web"), seen)
		for word, runs := range map[string]string{"deploy": deployed, "deploy 1.2": strings.TrimSuffix(deployed, "|") + "1.2|", "status": "status|web|", "verify " + nonce + " 2": nonce + "|"} {
			os.Remove(filepath.Join(g.home, "seen"))
			_, status, called, _ := g.ask(t, "web", append(slices.Clone(hostile), "SSH_ORIGINAL_COMMAND="+word)...)
			if status != 0 || called != runs {
				t.Errorf("%s: status %d, called with %q, want %q", word, status, called, runs)
			}
			if got := g.read(t, "seen"); got != want {
				t.Errorf("%s: it has in its environment\n%swant\n%s", word, got, want)
			}
		}
		if files, _ := filepath.Glob(filepath.Join(g.home, "*escaped*")); files != nil {
			t.Error("a value of the environment was run")
		}
	})
}
