package steps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"

	"provision/e2e/needs"
	"provision/provision"
	"provision/provision/secret"
)

// checks of shellcheck that do not fit, and why.
var disabled = map[string]string{
	"SC2034": "a program sets what some of its scripts do not use",
	"SC1091": "what the host has in /etc/os-release is not here to be read",
	"SC2317": "no script uses all functions of the prelude",
	"SC2016": "the program inside a program is a quoted text, and so it shall be",
}

// TestLint checks every script that a plan of testdata or a probe has, in the
// very program that would be sent, as root.
func TestLint(t *testing.T) {
	scripts := everyScript(t)
	if len(scripts) < 25 {
		t.Errorf("only %d scripts", len(scripts))
	}
	args := []string{"--shell=sh", "--format=gcc"}
	for check := range disabled {
		args = append(args, "--exclude="+check)
	}
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			program := programOf(t, s.script)
			if _, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(program), ""); err != nil {
				t.Errorf("no POSIX shell: %v", err)
			}
			cmd := exec.Command(needs.Program(t, "shellcheck"), append(args, "-")...)
			cmd.Stdin = strings.NewReader(program)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s\n%s", err, out, s.script.Text)
			}
		})
	}
}

type namedScript struct {
	name   string
	script provision.Script
}

// everyScript returns the scripts of all probes and of all plans in testdata,
// each text once.
func everyScript(t *testing.T) []namedScript {
	t.Helper()
	var scripts []namedScript
	add := func(name string, s provision.Script) {
		if s.Text != "" && !slices.ContainsFunc(scripts, func(o namedScript) bool { return o.script.Text == s.Text }) {
			scripts = append(scripts, namedScript{name, s})
		}
	}
	for inventory := range inventories {
		for _, s := range stepsOf(t, inventory, "") {
			add("look "+s.Name(), s.Probe().Script)
		}
	}
	files, err := filepath.Glob("testdata/plan/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		c := readCase(t, file)
		add("look "+c.step.Name(), c.step.Probe().Script)
		changes, _ := c.step.Plan(c.facts)
		for _, change := range changes {
			if s, ok := change.Do.(provision.Script); ok {
				add(change.String(), s)
			}
		}
	}
	if files, err = filepath.Glob("testdata/remove/*.txtar"); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		c, _ := readRemoval(t, file)
		add("look for removal "+c.step.Name(), c.step.Probe().Script)
		changes, _ := c.step.Plan(c.facts)
		for _, change := range changes {
			if s, ok := change.Do.(provision.Script); ok {
				add(change.String(), s)
			}
		}
	}
	add("deploy", Deploy(handed, "", ""))
	add("logs", Logs(handed, LogsQuery{}))
	inv, given := inventoryOf(t, "")
	for _, k := range kinds() { // and of those that are only undone, or only look
		s := k.steps(targets(inv, inv.Hosts[0], inv.Deployments, given)[0])[0]
		add("look "+s.Name(), s.Probe().Script)
	}
	add("look confirmed", clones{confirmed: &provision.Change{}}.Probe().Script)
	return scripts
}

// programOf returns the program that the engine would send for a script, if it
// ran as root and had no secret.
func programOf(t *testing.T, s provision.Script) string {
	t.Helper()
	s.User, s.Secret = "", secret.Value{}
	if len(s.Args) == 0 && strings.Contains(s.Text, "$1") {
		t.Error("the script has no arguments, but uses them")
	}
	var program strings.Builder
	_, err := provision.Look(t.Context(), provision.Target{Name: "h", Host: capture{&program}}, []provision.Step{probing{s}})
	if !errors.Is(err, errCaptured) {
		t.Fatal(err)
	}
	return program.String()
}

// probing is a step that looks with a script.
type probing struct{ script provision.Script }

func (probing) Name() string                                     { return "probing" }
func (p probing) Probe() provision.Probe                         { return provision.Probe{Script: p.script} }
func (probing) Plan(provision.Facts) ([]provision.Change, error) { return nil, nil }

var errCaptured = fmt.Errorf("captured")

// capture is a host that keeps the program and does not run it.
type capture struct{ program *strings.Builder }

func (c capture) Run(_ context.Context, program io.Reader, _ io.Writer) error {
	if _, err := io.Copy(c.program, program); err != nil {
		return err
	}
	return errCaptured
}
