package templates

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"

	"provision/e2e/needs"
)

// checks that do not fit, and why.
var disabled = map[string]string{
	"SC2154": "mark and _secret are set by the program around a script",
	"SC2317": "no script uses all functions of the prelude",
	"SC2034": "no script uses all that the program sets",
}

func TestLint(t *testing.T) {
	files, err := filepath.Glob("*.sh")
	if err != nil || len(files) < 6 {
		t.Fatalf("found %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			script := string(text)
			switch file {
			case "health.sh", "wants.sh", "project.sh", "record.sh", "status.sh", "deploy.sh": // parts of one, that use each other
				if !strings.Contains(Deploy, strings.TrimSuffix(script[strings.Index(script, "set -eu\n")+1:], "\n")) {
					t.Error("it is no part of the deploy")
				}
				script = Deploy
			case "prelude.sh", "json.sh", "clone.sh":
				script = program(script+"\n:", "")
			case "settings.sh":
				script = program(script+"\n:", "")
			case "rename.sh":
				script = program(Settings+script, "", "1", "2", "3", "4", "5", "6")
			case "relabel.sh": // a program of its own
			case "gate.sh":
				script = Gate
			case "move_copy.sh":
				script = program(script, "", "1", "2", "3")
			case "move.sh":
				script = program(Move, "", "1", "2", "3", "4")
			case "containers.sh":
				script = program(Settings+Health+Wants+Clone+script, "", "1", "2")
			case "env.sh", "envs.sh", "file.sh", "files.sh", "unfile.sh":
				script = program(Clone+script, "", "1", "2", "3")
			case "override.sh":
				script = program(Wants+script, "", "1", "2", "3")
			case "update_look.sh":
				script = program(Settings+git+Wants+script, "", "1", "2", "3", "4", "5", "6")
			case "checkout.sh":
				script = program(git+script, "", "1", "2", "3", "4", "5")
			case "submodules.sh", "update.sh":
				script = program(Settings+git+noDeploy+script, "", "1", "2", "3", "4", "5", "6", "7")
			case "login.sh", "logins.sh", "logout.sh":
				script = program(json+script, "", "1", "2")
			default:
				script = program(script, "", "1", "2")
			}
			lint(t, script)
		})
	}
}

func lint(t *testing.T, script string) {
	t.Helper()
	if _, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(script), ""); err != nil {
		t.Errorf("no POSIX shell: %v", err)
	}
	needs.Program(t, "shellcheck")
	args := []string{"--shell=sh", "--format=gcc"}
	for check := range disabled {
		args = append(args, "--exclude="+check)
	}
	cmd := exec.Command("shellcheck", append(args, "-")...)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
