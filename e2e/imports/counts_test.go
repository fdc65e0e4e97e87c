package imports_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// What docs/faults.md counts is what the tests have: of a variable or a test, how
// long its table is; of a constant, its value.
func TestFaultCounts(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/faults.md"))
	if err != nil {
		t.Fatal(err)
	}
	chapter := string(text)
	number := regexp.MustCompile(`[0-9][0-9,]*`)
	counted := regexp.MustCompile("\\[`(\\w+)`\\]\\((\\S+_test\\.go)\\)")
	rows := 0
	for line := range strings.Lines(chapter) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 || !strings.Contains(cells[2], "_test.go") {
			continue
		}
		rows++
		numbers, names := number.FindAllString(cells[1], -1), counted.FindAllStringSubmatch(cells[2], -1)
		if len(numbers) != len(names) {
			t.Errorf("%d numbers of %d things: %s", len(numbers), len(names), line)
			continue
		}
		for i, name := range names {
			want, err := count(filepath.Join(root, "docs", name[2]), name[1])
			if err != nil {
				t.Error(err)
			} else if got := strings.ReplaceAll(numbers[i], ",", ""); got != strconv.Itoa(want) {
				t.Errorf("docs/faults.md says %s of %s in %s, which are %d", got, name[1], name[2], want)
			}
		}
	}
	if rows == 0 {
		t.Error("docs/faults.md counts nothing")
	}
	if targets, time := fuzzing(t); !strings.Contains(chapter, fmt.Sprintf("%d fuzz targets, %s each", targets, time)) {
		t.Errorf("docs/faults.md does not say that there are %d fuzz targets, %s each", targets, time)
	}
}

// count returns how many there are of what has a name in a file of tests. A
// function may have several tables: the longest one counts.
func count(file, name string) (int, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return 0, err
	}
	found := 0
	for _, decl := range parsed.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Name.Name == name {
				found = longest(decl)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok || v.Names[0].Name != name || len(v.Values) != 1 {
					continue
				}
				if constant, ok := v.Values[0].(*ast.BasicLit); ok {
					return strconv.Atoi(constant.Value)
				}
				found = longest(v.Values[0])
			}
		}
	}
	if found == 0 {
		return 0, fmt.Errorf("%s has nothing to count that is named %s", file, name)
	}
	return found, nil
}

// longest returns the length of the longest list or map that is not part of
// another one.
func longest(n ast.Node) (length int) {
	ast.Inspect(n, func(n ast.Node) bool {
		table, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		switch table.Type.(type) {
		case *ast.ArrayType, *ast.MapType:
			length = max(length, len(table.Elts))
		}
		return false
	})
	return length
}

// fuzzing returns how many fuzz targets there are, and how long make runs each.
func fuzzing(t *testing.T) (targets int, time string) {
	t.Helper()
	for _, name := range tests(t) {
		if strings.HasPrefix(name, "Fuzz") {
			targets++
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "FUZZTIME = "); ok {
			time = strings.Replace(strings.TrimSpace(value), "s", " s", 1)
		}
	}
	return targets, time
}

// The tests that SECURITY.md names are there.
func TestSecurityNamesTests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := tests(t)
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z]+)`").FindAllStringSubmatch(string(text), -1)
	if len(named) == 0 {
		t.Error("SECURITY.md names no test")
	}
	for _, name := range named {
		if !slices.Contains(all, name[1]) {
			t.Errorf("SECURITY.md names %s, and there is no such test", name[1])
		}
	}
}

// tests returns the names of all tests and fuzz targets.
func tests(t *testing.T) (names []string) {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range declared.FindAllStringSubmatch(string(text), -1) {
			names = append(names, name[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
