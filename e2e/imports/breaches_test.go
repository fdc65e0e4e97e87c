package imports_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every attack of SECURITY.md is one that a test tries: each row of its table says
// who attacks what and how that ends, and names tests that are there. A row may
// say that nothing is in the way of an attack, and tests that, too.
func TestBreaches(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range breaches(string(text), tests(t)) {
		t.Error(problem)
	}
}

var testNames = regexp.MustCompile("^`(?:Test|Fuzz)\\w+`(?:, `(?:Test|Fuzz)\\w+`)*$")

// breaches returns what is wrong with the table of attacks: its last column has
// tests, and nothing else.
func breaches(text string, known []string) (problems []string) {
	_, chapter, found := strings.Cut(text, "\n## Attack by attack\n")
	if !found {
		return []string{"SECURITY.md has no chapter \"Attack by attack\""}
	}
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	rows, who, seen := map[string]bool{}, "", false
	for line := range strings.Lines(chapter) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| who ") {
			continue
		}
		seen = true
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 4 {
			problems = append(problems, "four cells make a row: "+line)
			continue
		}
		if cells[0] != "" {
			who = cells[0]
		}
		row := who + " after " + cells[1]
		if who == "" || cells[1] == "" || cells[2] == "" {
			problems = append(problems, "it is not said who is after what, and what they get: "+line)
		}
		if rows[row] {
			problems = append(problems, row+" stands there twice")
		}
		rows[row] = true
		if !testNames.MatchString(cells[3]) {
			problems = append(problems, row+": the last cell is not a list of tests in backquotes: "+cells[3])
			continue
		}
		for name := range strings.SplitSeq(cells[3], ", ") {
			if name = strings.Trim(name, "`"); !slices.Contains(known, name) {
				problems = append(problems, row+": there is no "+name)
			}
		}
	}
	if !seen {
		problems = append(problems, "SECURITY.md tries no attack")
	}
	return problems
}

// A row without a test, with one that is gone, or that is another one again is
// found.
func TestBreachesAreFound(t *testing.T) {
	const head = "\n## Attack by attack\n\n| who | after | gets | tried by |\n|---|---|---|---|\n"
	known := []string{"TestA", "FuzzB"}
	if problems := breaches(head+"| CI | a file | nothing | `TestA` |\n| | a shell | none | `TestA`, `FuzzB` |\n\n## Next\n| a | b |\n", known); problems != nil {
		t.Errorf("a good table: %q", problems)
	}
	for name, text := range map[string]string{
		"no chapter": "", "no row": head, "no test": head + "| CI | a file | nothing | |\n",
		"no such test": head + "| CI | a file | nothing | `TestC` |\n", "prose": head + "| CI | a file | nothing | `TestA`, mostly |\n",
		"no result": head + "| CI | a file | | `TestA` |\n", "nobody": head + "| | a file | nothing | `TestA` |\n",
		"a cell more": head + "| CI | a file | nothing | more | `TestA` |\n",
		"twice":       head + "| CI | a file | nothing | `TestA` |\n| | a file | all | `TestA` |\n",
	} {
		if problems := breaches(text, known); len(problems) != 1 {
			t.Errorf("%s: %q", name, problems)
		}
	}
}
