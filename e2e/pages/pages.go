// Package pages reads the pages of the documentation, and holds the transcripts
// in them to what really happens.
//
// A block ```console is a transcript: lines "$ COMMAND", with "> " before the
// lines that a command goes on with, and what each prints. A line "…" stands for
// any number of lines. A comment <!-- lab: … --> of one line is what happens
// behind the scene.
package pages

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A Page is one page as it is on the disk.
type Page struct {
	Path  string
	Parts []Part

	lines []string
}

// A Part is a fenced block, or something that happens behind the scene.
type Part struct {
	Info  string // what stands behind ``` of a block
	Text  string // of a block: the lines in it, each with its end
	Scene string // what happens behind the scene; then it is no block
	Line  int    // of the text, from 1
}

// Language is the first word of what stands behind ```.
func (p Part) Language() string {
	language, _, _ := strings.Cut(p.Info, " ")
	return language
}

// Value returns VALUE of KEY=VALUE behind ```, or "".
func (p Part) Value(key string) string {
	for _, word := range strings.Fields(p.Info) {
		if value, ok := strings.CutPrefix(word, key+"="); ok {
			return value
		}
	}
	return ""
}

var scene = regexp.MustCompile(`^<!-- lab: (.*) -->$`)

// Read reads a page.
func Read(path string) (*Page, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := &Page{Path: path, lines: slices.Collect(strings.Lines(string(text)))}
	block := -1
	for i, line := range p.lines {
		line = strings.TrimSuffix(line, "\n")
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && block < 0:
			block = len(p.Parts)
			p.Parts = append(p.Parts, Part{Info: info, Line: i + 2})
		case fence && info != "":
			return nil, fmt.Errorf("%s:%d: a block begins in a block", path, i+1)
		case fence:
			block = -1
		case block >= 0:
			p.Parts[block].Text += line + "\n"
		default:
			if m := scene.FindStringSubmatch(line); m != nil {
				p.Parts = append(p.Parts, Part{Scene: m[1], Line: i + 1})
			}
		}
	}
	if block >= 0 {
		return nil, fmt.Errorf("%s: a block has no end", path)
	}
	return p, nil
}

// All reads the pages in the root of the project and in its docs.
func All(root string) ([]*Page, error) {
	var all []*Page
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			p, err := Read(name)
			if err != nil {
				return nil, err
			}
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("there are no pages in " + root)
	}
	return all, nil
}

// Prose returns the page without its blocks.
func (p *Page) Prose() string {
	var b strings.Builder
	inside := false
	for _, line := range p.lines {
		if strings.HasPrefix(line, "```") {
			inside = !inside
		} else if !inside {
			b.WriteString(line)
		}
	}
	return b.String()
}

// Replace puts other texts into blocks, by their lines, and writes the page.
func (p *Page) Replace(texts map[int]string) error {
	var b strings.Builder
	for i := 0; i < len(p.lines); i++ {
		text, ok := texts[i+1]
		if !ok {
			b.WriteString(p.lines[i])
			continue
		}
		b.WriteString(text)
		for !strings.HasPrefix(p.lines[i], "```") {
			i++
		}
		b.WriteString(p.lines[i])
	}
	return os.WriteFile(p.Path, []byte(b.String()), 0o644)
}

// A Command is one of a transcript, and what it prints.
type Command struct{ Text, Output string }

// Commands reads a transcript.
func Commands(text string) ([]Command, error) {
	var all []Command
	for line := range strings.Lines(text) {
		command, isCommand := strings.CutPrefix(line, "$ ")
		more, isMore := strings.CutPrefix(line, "> ")
		switch {
		case isCommand:
			all = append(all, Command{Text: strings.TrimSuffix(command, "\n")})
		case len(all) == 0:
			return nil, fmt.Errorf("a transcript begins with %q", line)
		case isMore && all[len(all)-1].Output == "":
			all[len(all)-1].Text += "\n" + strings.TrimSuffix(more, "\n")
		default:
			all[len(all)-1].Output += line
		}
	}
	for i := range all { // an empty line before the next command is for the eye
		if i < len(all)-1 {
			all[i].Output = strings.TrimSuffix(all[i].Output, "\n\n")
			if all[i].Output != "" && !strings.HasSuffix(all[i].Output, "\n") {
				all[i].Output += "\n"
			}
		}
	}
	return all, nil
}

// Transcript writes what [Commands] reads.
func Transcript(all []Command) string {
	var b strings.Builder
	for i, c := range all {
		if i > 0 && all[i-1].Output != "" {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "$ %s\n%s", strings.ReplaceAll(c.Text, "\n", "\n> "), c.Output)
	}
	return b.String()
}

// Shorten leaves out of what a command printed what tells a reader nothing.
func Shorten(output string) string {
	for _, r := range tooLong {
		output = r.from.ReplaceAllString(output, r.to)
	}
	var b strings.Builder
	for line := range strings.Lines(output) {
		b.WriteString(strings.TrimRight(line, " \t\r\n") + "\n")
	}
	return b.String()
}

type replacement struct {
	from *regexp.Regexp
	to   string
}

var tooLong = []replacement{
	{regexp.MustCompile(`AAAA[0-9A-Za-z+/]{30,}=*`), "AAAA…"},
	{regexp.MustCompile(`SHA256:[0-9A-Za-z+/]{43}`), "SHA256:…"},
	{regexp.MustCompile(`\b[0-9a-f]{40,64}\b`), "…"},
}

// everyTime is what differs from one run to the next.
var everyTime = []replacement{
	{regexp.MustCompile(`\b[0-9]+(\.[0-9]+)? ?s\b`), "0 s"},
	{regexp.MustCompile(`\b[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9:.]+(Z|[+-][0-9:]+)?)?`), "DATE"},
	{regexp.MustCompile(`SHA256:[0-9A-Za-z+/]{8}…`), "SHA256:…"},
	{regexp.MustCompile(`\b[A-Z][a-z]{2} [0-9 ][0-9] [0-9:]{8}\b`), "DATE"}, // of a journal
	{regexp.MustCompile(`\b[0-9]{8}T[0-9]{6}Z\b`), "DATE"},
	{regexp.MustCompile(`\b(process|port|\(id|token) [0-9]+`), "$1 0"},
	{regexp.MustCompile(`\[[0-9]+\]:`), "[0]:"},
	{regexp.MustCompile(`(?m)with provision .*\)$`), "with provision VERSION)"},
	{regexp.MustCompile(`\b10\.213\.[0-9]+\.[0-9]+\b`), "ADDRESS"},
	{regexp.MustCompile(`"(seconds|id|pid)":[0-9.]+`), `"$1":0`},
	{regexp.MustCompile(`\b36[456] days\b`), "365 days"},
}

func normal(output string) string {
	output = Shorten(output)
	for _, r := range everyTime {
		output = r.from.ReplaceAllString(output, r.to)
	}
	return output
}

// byHost sorts the lines that begin with the name of a host, each host's own
// staying in their order: hosts are worked on side by side.
func byHost(output string) string {
	lines := slices.Collect(strings.Lines(output))
	var at []int
	var of []string
	for i, line := range lines {
		if ofHost.MatchString(line) {
			at, of = append(at, i), append(of, line)
		}
	}
	slices.SortStableFunc(of, func(a, b string) int { return strings.Compare(ofHost.FindString(a), ofHost.FindString(b)) })
	for i, line := range of {
		lines[at[i]] = line
	}
	return strings.Join(lines, "")
}

var ofHost = regexp.MustCompile(`^web[0-9]+: `)

// Same reports whether a page shows what was printed.
func Same(shown, printed string) bool {
	if !strings.Contains(shown, "…\n") {
		shown, printed = byHost(shown), byHost(printed)
	}
	var pattern strings.Builder
	pattern.WriteString(`\A`)
	for line := range strings.Lines(normal(shown)) {
		if line == "…\n" {
			pattern.WriteString(`(?:.*\n)*?`)
		} else {
			pattern.WriteString(regexp.QuoteMeta(line))
		}
	}
	pattern.WriteString(`\z`)
	return regexp.MustCompile(pattern.String()).MatchString(normal(printed))
}
