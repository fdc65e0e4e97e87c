package cmd

import (
	"bytes"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"provision/e2e/needs"
)

func say(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	var out bytes.Buffer
	code = Run(t.Context(), Env{Args: append([]string{"provision"}, args...), Stdout: &out, Stderr: &out})
	return code, out.String()
}

// Every help has an example whose flags and arguments there are, and the exit
// codes.
func TestHelp(t *testing.T) {
	app := newApp(Env{})
	app.Setup()
	for _, c := range app.VisibleCommands() {
		code, said := say(t, c.Name, "--help")
		if c.Name != "help" && (code != exitOK || !strings.Contains(said, "\nEXIT CODES:\n   0  ok\n   1 ") || !strings.Contains(said, "\nEXAMPLE:\n   provision "+c.Name)) {
			t.Errorf("provision %s --help: exit code %d\n%s", c.Name, code, said)
		}
		if _, flags, _ := strings.Cut(said, "\nFLAGS:\n"); strings.Contains(flags, "--help") {
			t.Errorf("provision %s --help lists --help:\n%s", c.Name, said)
		}
		for _, f := range c.VisibleFlags() {
			for _, word := range flagWords(f) {
				if c.Name != "help" && word != "--help" && word != "-h" && !regexp.MustCompile(`(?m)^   .*`+word+`\b.*  \S`).MatchString(said) {
					t.Errorf("provision %s --help does not tell of %s:\n%s", c.Name, word, said)
				}
			}
			if takesValue(f) && placeholder(f) == "" {
				t.Errorf("%s: what does --%s want?", c.Name, f.Names()[0])
			}
			if p := placeholder(f); p != "" && regexp.MustCompile(`(^|\W)`+regexp.QuoteMeta(p)+`\b`).MatchString(meaning(f)) && p != "N" {
				t.Errorf("%s: --%s says twice what it wants: %s", c.Name, f.Names()[0], meaning(f))
			}
		}
		if len(examples[c.Name]) == 0 {
			t.Errorf("%s has no example", c.Name)
		}
		for _, e := range examples[c.Name] {
			line, _, _ := strings.Cut(strings.NewReplacer(" >", " |").Replace(e), " |")
			words := strings.Fields(line)
			l := readLine(c, words[2:])
			if words[0] != "provision" || words[1] != c.Name || l.pending != nil || len(l.arguments) > len(argumentsOf(c)) {
				t.Errorf("nobody can type %q", e)
			}
			for _, w := range words[2:] {
				if name, _, _ := strings.Cut(w, "="); strings.HasPrefix(w, "--") && flagNamed(c, name) == nil {
					t.Errorf("%q: there is no flag %s", e, w)
				}
			}
		}
	}
}

// What somebody types first, who has read nothing.
func TestFirstWords(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitOK, "\nCOMMANDS:\n"},
		{[]string{"-h"}, exitOK, "\nCOMMANDS:\n"},
		{[]string{"--help"}, exitOK, "\nCOMMANDS:\n"},
		{[]string{"help"}, exitOK, "\nCOMMANDS:\n"},
		{[]string{"--version"}, exitOK, "provision "},
		{[]string{"version"}, exitOK, "provision "},
		{[]string{"help", "plan"}, exitOK, "\nFLAGS:\n"},
		{[]string{"render", "ci", "--help"}, exitOK, "\nFLAGS:\n"},
		{[]string{"plan", "inventory.toml", "-h"}, exitOK, "\nFLAGS:\n"},
		{[]string{"--verbose", "plan"}, exitUsage, "there is no flag --verbose before a command: flags stand behind it\n  hint: provision help lists the commands\n"},
	} {
		if code, said := say(t, c.args...); code != c.code || !strings.Contains(said, c.want) {
			t.Errorf("provision %v: exit code %d\n%s", c.args, code, said)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"aply"}, `there is no command "aply"; did you mean apply?`},
		{[]string{"help", "rotate"}, `there is no command "rotate"`},
		{[]string{"plan", "--limitt", "web1", "x.toml"}, "there is no flag --limitt; did you mean --limit?"},
		{[]string{"completion", "fihs"}, `there is no script for "fihs"; did you mean fish?`},
		{[]string{"completion", "tcsh"}, "there is no script for \"tcsh\"\n  hint: write one of bash, zsh, fish\n"},
		{[]string{"xyzzyxyzzy"}, "there is no command \"xyzzyxyzzy\"\n"},
	} {
		if code, said := say(t, c.args...); code != exitUsage || !strings.HasPrefix(said, "provision: "+c.want) {
			t.Errorf("%v: exit code %d\n%s", c.args, code, said)
		}
	}
}

// Each problem of an inventory begins with its place, for editors to follow.
func TestProblemLines(t *testing.T) {
	for _, command := range []string{"check", "plan", "map"} {
		code, out, errs := typed(t, "[gitlab]\nurl = 1\n[registry]\nhots = 1\n", command)
		lines := strings.SplitAfter(errs, "\n")
		if code != exitUsage || out != "" || len(lines) < 4 || lines[len(lines)-1] != "" {
			t.Fatalf("%s: exit code %d\n%s%s", command, code, out, errs)
		}
		for _, line := range lines[:len(lines)-1] {
			if !regexp.MustCompile(`^/[^ :]+/inventory\.toml:[0-9]+:[0-9]+: [a-z._]+: `).MatchString(line) {
				t.Errorf("%s: a line without its place: %s", command, line)
			}
		}
	}
}

// The manual page names every command and flag, and groff has nothing to say
// about it.
func TestMan(t *testing.T) {
	code, page := say(t, "man")
	if code != exitOK {
		t.Fatal(page)
	}
	app := newApp(Env{})
	app.Setup()
	for _, c := range app.VisibleCommands() {
		if !strings.Contains(page, "\n.SS "+roff(c.UsageText)+"\n") {
			t.Errorf("the page lacks %s", c.Name)
		}
		for _, f := range c.VisibleFlags() {
			if name := f.Names()[0]; name != "help" && !strings.Contains(page, `\fB`+roff("--"+name)+`\fR`) {
				t.Errorf("the page lacks --%s of %s", name, c.Name)
			}
		}
	}
	command := exec.CommandContext(t.Context(), needs.Program(t, "groff"), "-man", "-ww", "-z")
	command.Stdin = strings.NewReader(page)
	if out, err := command.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%s", err, out)
	}
}
