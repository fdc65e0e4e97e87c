package cmd

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"provision/e2e/pages"
)

var update = flag.Bool("update", false, "write the page of the commands anew")

const commandsHead = `# Commands

What ` + "`provision COMMAND --help`" + ` prints. Flags stand before or after the arguments. What the
commands are for, with examples of what they print, is in the [guide](guide.md)
and in [operations](operations.md).
`

// docs/commands.md has the help of every command.
func TestCommandsPage(t *testing.T) {
	var b strings.Builder
	b.WriteString(commandsHead)
	for _, c := range newApp(Env{}).Commands {
		if c.Hidden {
			continue
		}
		var out strings.Builder
		if code := Run(t.Context(), Env{Args: []string{"provision", c.Name, "--help"}, Stdout: &out, Stderr: &out}); code != 0 {
			t.Fatalf("%s --help: exit code %d: %s", c.Name, code, &out)
		}
		help := pages.Transcript([]pages.Command{{Text: "provision " + c.Name + " --help", Output: pages.Shorten(strings.Trim(out.String(), "\n"))}})
		fmt.Fprintf(&b, "\n## %s\n\n```console\n%s```\n", c.Name, help)
	}
	file := "../docs/commands.md"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != b.String() {
		t.Errorf("%s is not what the commands say; go test ./cmd -run TestCommandsPage -update writes it", file)
	}
}

var (
	called   = regexp.MustCompile(`(?m)(?:^|[^\w/.-]|bin/)provision((?: [^ \n|;>&]+)+)`)
	flagWord = regexp.MustCompile(`(?:^|[\s(])--([a-z][a-z-]*)`)
	span     = regexp.MustCompile("`([^`]+)`")
)

// Every command and every flag is spoken of in the pages, apart from their
// list, and the pages speak of none that there is not.
func TestDocumented(t *testing.T) {
	list, err := pages.All("..")
	if err != nil {
		t.Fatal(err)
	}
	commands := map[string]*cli.Command{}
	flags := map[string]bool{}
	for _, c := range newApp(Env{}).Commands {
		commands[c.Name] = c
		for _, f := range c.Flags {
			for _, name := range f.Names() {
				flags[name] = true
			}
		}
	}
	for _, name := range []string{"help", "h"} {
		flags[name] = true
	}
	has := func(c *cli.Command, name string) bool {
		return name == "help" || slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	}

	spoken := map[string]bool{}
	lines := 0
	for _, p := range list {
		var code []string // what is typed
		prose := p.Prose()
		for _, m := range span.FindAllStringSubmatch(prose, -1) {
			text := strings.ReplaceAll(m[1], "\n", " ")
			code = append(code, text)
			if c, _, _ := strings.Cut(text, " "); strings.HasPrefix(text, "--") || commands[c] != nil {
				for _, f := range flagWord.FindAllStringSubmatch(text, -1) {
					if !flags[f[1]] {
						t.Errorf("%s: no command has the flag --%s: `%s`", p.Path, f[1], text)
					}
					spoken["--"+f[1]] = true
				}
				if commands[c] != nil {
					spoken[c] = true
				}
			}
		}
		for _, part := range p.Parts {
			switch part.Language() {
			case "console":
				transcript, err := pages.Commands(part.Text)
				if err != nil {
					t.Fatalf("%s:%d: %v", p.Path, part.Line, err)
				}
				for _, c := range transcript {
					code = append(code, c.Text)
				}
			case "sh", "yaml", "text":
				code = append(code, part.Text)
			default:
				code = append(code, part.Scene)
			}
		}
		for _, text := range code {
			for _, m := range called.FindAllStringSubmatch(text, -1) {
				words := strings.Fields(m[1])
				c := commands[words[0]]
				if c == nil {
					if regexp.MustCompile(`^[a-z][a-z-]*$`).MatchString(words[0]) {
						t.Errorf("%s: there is no command %q: %s", p.Path, words[0], text)
					}
					continue
				}
				lines++
				of := filepath.Base(p.Path) != "commands.md"
				spoken[c.Name] = spoken[c.Name] || of
				for _, f := range flagWord.FindAllStringSubmatch(m[1], -1) {
					if !has(c, f[1]) {
						t.Errorf("%s: %s has no flag --%s: %s", p.Path, c.Name, f[1], text)
					}
					spoken["--"+f[1]] = spoken["--"+f[1]] || of
				}
			}
		}
	}
	if lines < 40 {
		t.Errorf("only %d command lines were found", lines)
	}
	for name, c := range commands {
		if c.Hidden || name == "help" {
			continue
		}
		if !spoken[name] {
			t.Errorf("no page speaks of the command %s", name)
		}
		for _, f := range c.Flags {
			if n := f.Names()[0]; n != "help" && !spoken["--"+n] {
				t.Errorf("no page speaks of --%s of %s", n, name)
			}
		}
	}
}

// The lists of commands in the pages are those of the program.
func TestListsOfCommands(t *testing.T) {
	var printing, three []string
	for _, c := range newApp(Env{}).Commands {
		if hasFlag(c, "output") {
			printing = append(printing, c.Name)
		}
		if strings.HasPrefix(exits[c.Name], "3 ") {
			three = append(three, c.Name)
		}
	}
	for _, tt := range []struct {
		page string
		list *regexp.Regexp
		want []string
	}{
		{"output.md", regexp.MustCompile(`(?s)## --output json\n\n(.*?) print an object`), printing},
		{"output.md", regexp.MustCompile(`\| 3 \| (.*?) \|`), three},
		{"guide.md", regexp.MustCompile(`(?s)3 changes are needed \((.*?)\)`), three},
	} {
		text, err := os.ReadFile("../docs/" + tt.page)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if m := tt.list.FindSubmatch(text); m != nil {
			for _, word := range span.FindAllStringSubmatch(string(m[1]), -1) {
				name, _, _ := strings.Cut(word[1], " ")
				got = append(got, name)
			}
		}
		slices.Sort(got)
		slices.Sort(tt.want)
		if !slices.Equal(got, tt.want) {
			t.Errorf("docs/%s lists %q in %v, and the program has %q", tt.page, got, tt.list, tt.want)
		}
	}
}
