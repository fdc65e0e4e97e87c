// Package packaging has tests of what stands beside it alone.
package packaging

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"provision/e2e/needs"
)

// The notices have the licence of every module that is linked into the
// programs, and none of them is empty.
func TestNotices(t *testing.T) {
	notices := output(t, "./notices.sh")
	head := regexp.MustCompile(`(?m)^==== (\S+) (\S+): \S+ ====$`)
	texts := head.Split(notices, -1)[1:]
	noticed := map[string]bool{}
	for i, found := range head.FindAllStringSubmatch(notices, -1) {
		noticed[found[1]+" "+found[2]] = true
		if text := strings.TrimSpace(texts[i]); len(text) < 200 || !regexp.MustCompile(`(?i)licen[cs]e|copyright|permission`).MatchString(text) {
			t.Errorf("%q is followed by no licence: %q", found[0], text)
		}
	}
	if !noticed["Go "+strings.TrimSpace(output(t, "go", "env", "GOVERSION"))] {
		t.Error("the notices lack Go itself")
	}
	for _, program := range []string{"provision", "provision-rehearse"} {
		modules := strings.TrimSpace(output(t, "go", "list", "-deps", "-tags", "urfave_cli_no_docs",
			"-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "../cmd/"+program))
		if modules == "" {
			t.Errorf("%s has no modules", program)
		}
		for module := range strings.SplitSeq(modules, "\n") {
			if !noticed[module] {
				t.Errorf("the notices lack %s, which is linked into %s", module, program)
			}
		}
	}
}

func TestShellcheck(t *testing.T) {
	needs.Program(t, "shellcheck")
	scripts, err := filepath.Glob("*.sh")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("there is nothing to lint: %v", err)
	}
	if out, err := exec.CommandContext(t.Context(), "shellcheck", scripts...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// output runs a command and returns what it prints.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	c := exec.CommandContext(t.Context(), name, args...)
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}
