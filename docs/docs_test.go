// Package docs_test holds the pages to what they say, without a lab. What is
// typed in them is typed by the tests of e2e.
package docs_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"

	"provision/cmd"
	"provision/e2e/pages"
	"provision/inventory"
)

const root = ".."

var update = flag.Bool("update", false, "write anew what is generated in the pages")

func all(t *testing.T) []*pages.Page {
	t.Helper()
	list, err := pages.All(root)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Every kind of block has a test, but for sh: what cannot be run here. There
// are few of these.
func TestBlocks(t *testing.T) {
	notRun := 0
	for _, p := range all(t) {
		for _, part := range p.Parts {
			switch part.Language() {
			case "console", "toml", "yaml", "mermaid":
			case "go", "diff":
				if filepath.Base(p.Path) != "contributing.md" {
					t.Errorf("%s:%d: Go is only tried in contributing.md", p.Path, part.Line)
				}
			case "text":
				if part.Value("file") == "" && part.Value("error") == "" {
					t.Errorf("%s:%d: nothing holds this text", p.Path, part.Line)
				}
			case "sh", "dockerfile":
				notRun++
			default:
				if part.Scene == "" {
					t.Errorf("%s:%d: no test knows a block of the kind %q", p.Path, part.Line, part.Info)
				}
			}
		}
	}
	if notRun > 4 {
		t.Errorf("%d blocks are never run", notRun)
	}
}

var (
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	inCode  = regexp.MustCompile("`[^`]*`")
	noSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the names of the headings of a page, as GitLab and GitHub
// make them.
func anchors(p *pages.Page) []string {
	var names []string
	for _, m := range heading.FindAllStringSubmatch(p.Prose(), -1) {
		name := noSlug.ReplaceAllString(strings.ToLower(m[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

// Every link inside of the project leads somewhere.
func TestLinks(t *testing.T) {
	links := 0
	linked := map[string]bool{}
	for _, p := range all(t) {
		for _, m := range link.FindAllStringSubmatch(inCode.ReplaceAllString(p.Prose(), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			path, anchor, _ := strings.Cut(m[1], "#")
			target := p.Path
			if path != "" {
				target = filepath.Join(filepath.Dir(p.Path), path)
			}
			linked[target] = true
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s leads nowhere", p.Path, m[1])
				continue
			}
			if anchor == "" {
				continue
			}
			other, err := pages.Read(target)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(anchors(other), anchor) {
				t.Errorf("%s: %s has no heading #%s", p.Path, target, anchor)
			}
		}
	}
	if links < 10 {
		t.Errorf("only %d links were found", links)
	}
	for _, p := range all(t) {
		if filepath.Dir(p.Path) == root+"/docs" && !linked[p.Path] {
			t.Errorf("no page leads to %s", p.Path)
		}
	}
}

// Every piece of an inventory is one that the program reads: put over the
// example it makes an inventory.
func TestInventories(t *testing.T) {
	pieces := 0
	for _, p := range all(t) {
		for _, part := range p.Parts {
			if part.Language() != "toml" {
				continue
			}
			pieces++
			if err := load(t, part.Text); err != nil {
				t.Errorf("%s:%d: %v\n%s", p.Path, part.Line, err, part.Text)
			}
		}
	}
	if pieces < 5 {
		t.Errorf("only %d pieces were found", pieces)
	}
	if err := load(t, "[hosts.web1]\nadress = 'x'\n"); err == nil {
		t.Error("a piece that is wrong is let through")
	}
}

func load(t *testing.T, piece string) error {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, inventory.Example); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "example.toml")
	var whole, over map[string]any
	if _, err := toml.DecodeFile(file, &whole); err != nil {
		t.Fatal(err)
	}
	key := whole["gitlab"].(map[string]any)["host_keys"].([]any)[0].(string)
	if _, err := toml.Decode(strings.ReplaceAll(piece, "ssh-ed25519 AAAA…", key), &over); err != nil {
		return err
	}
	put(whole, over)
	var b strings.Builder
	if err := toml.NewEncoder(&b).Encode(whole); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), certificate(t), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := inventory.Load(file)
	return err
}

// put lays the keys of some tables over those of others; values are whole.
func put(whole, over map[string]any) {
	for section, value := range over {
		tables, _ := value.(map[string]any)
		if whole[section] == nil {
			whole[section] = map[string]any{}
		}
		if section == "gitlab" || section == "registry" {
			maps.Copy(whole[section].(map[string]any), tables)
			continue
		}
		for name, table := range tables {
			there, _ := whole[section].(map[string]any)[name].(map[string]any)
			if there == nil {
				there = map[string]any{}
				whole[section].(map[string]any)[name] = there
			}
			keys := table.(map[string]any)
			maps.Copy(there, keys)
			for one, other := range map[string]string{"host": "hosts", "hosts": "host"} {
				if keys[one] != nil { // which excludes the other
					delete(there, other)
				}
			}
		}
	}
}

// certificate returns one that nobody uses.
func certificate(t *testing.T) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// The map that is shown is the one of the example.
func TestMap(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, inventory.Example); err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	if code := cmd.Run(t.Context(), cmd.Env{Args: []string{"provision", "map", filepath.Join(dir, "example.toml")}, Stdout: &out, Stderr: &errs}); code != 0 {
		t.Fatal(errs.String())
	}
	maps := 0
	for _, p := range all(t) {
		for _, part := range p.Parts {
			if part.Info != "mermaid map" {
				continue
			}
			maps++
			switch {
			case part.Text == out.String():
			case *update:
				if err := p.Replace(map[int]string{part.Line: out.String()}); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("%s:%d: that is not what map prints; -update writes it", p.Path, part.Line)
			}
		}
	}
	if maps != 1 {
		t.Errorf("%d maps are shown", maps)
	}
}

// troubleshooting.md has every error that a test has seen, as it is printed.
func TestErrorsPage(t *testing.T) {
	p, err := pages.Read("troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../cmd/testdata/errors/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d errors, %v", len(files), err)
	}
	shown := map[string]pages.Part{}
	for _, part := range p.Parts {
		if name := part.Value("error"); name != "" {
			if _, twice := shown[name]; twice {
				t.Errorf("%s is shown twice", name)
			}
			shown[name] = part
		}
	}
	changed := map[int]string{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		title, printed, _ := strings.Cut(strings.TrimPrefix(string(text), "# "), "\n")
		part, ok := shown[name]
		delete(shown, name)
		switch {
		case !ok:
			t.Errorf("troubleshooting.md lacks a block ```text error=%s", name)
		case !strings.Contains(p.Prose(), "\n### "+title+"\n"):
			t.Errorf("troubleshooting.md has no heading %q", title)
		case part.Text != printed && *update:
			changed[part.Line] = printed
		case part.Text != printed:
			t.Errorf("%s is shown as\n%s\nand printed as\n%s", name, part.Text, printed)
		}
	}
	for name := range shown {
		t.Errorf("troubleshooting.md shows %s, which no test has seen", name)
	}
	if len(changed) > 0 {
		if err := p.Replace(changed); err != nil {
			t.Fatal(err)
		}
	}
}

// What the pages show of files for GitLab is what render writes, or goes with
// that.
func TestYAML(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, inventory.Example); err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	if code := cmd.Run(t.Context(), cmd.Env{Args: []string{"provision", "render", "ci", filepath.Join(dir, "example.toml")}, Stdout: &out, Stderr: &errs}); code != 0 {
		t.Fatal(errs.String())
	}
	var jobs map[string]any
	if err := yaml.Unmarshal([]byte(out.String()), &jobs); err != nil {
		t.Fatal(err)
	}
	for _, p := range all(t) {
		for _, part := range p.Parts {
			if part.Language() != "yaml" {
				continue
			}
			var shown map[string]any
			if err := yaml.Unmarshal([]byte(part.Text), &shown); err != nil {
				t.Errorf("%s:%d: %v", p.Path, part.Line, err)
			}
			if strings.Contains(part.Text, ".provision") && !strings.Contains(out.String(), part.Text) {
				t.Errorf("%s:%d: that is not what render ci prints", p.Path, part.Line)
			}
			for name := range shown {
				if strings.HasPrefix(name, "deploy ") && jobs[name] == nil {
					t.Errorf("%s:%d: render ci has no job %q", p.Path, part.Line, name)
				}
			}
		}
	}
}

// What contributing.md says about a step is done, in a copy of the project:
// it builds, and its tests pass.
func TestContributing(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds a copy of the project")
	}
	p, err := pages.Read("contributing.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copyProject(t, dir)
	files, changes := 0, 0
	for _, part := range p.Parts {
		if name := part.Value("file"); name != "" {
			files++
			name = filepath.Join(dir, name)
			if err := os.WriteFile(name, []byte(part.Text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if part.Language() == "diff" {
			changes++
			change(t, filepath.Join(dir, "steps/steps.go"), part.Text)
		}
	}
	if files != 6 || changes != 1 {
		t.Fatalf("the page has %d files and %d changes", files, changes)
	}
	for _, args := range [][]string{
		{"vet", "./steps"},
		{"build", "-o", os.DevNull, "./cmd/provision"},
		{"test", "-v", "-run", "TestPlans/signpost|TestRemovals/signpost|TestSignpost|TestKinds|TestRemoveOrder|TestLint|TestLooksOfABareHost|TestApplyInASandbox", "./steps"},
		{"test", "./e2e/imports"},
	} {
		command := exec.CommandContext(t.Context(), "go", args...)
		command.Dir = dir
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		if args[0] == "test" && args[1] == "-v" {
			for _, want := range []string{"--- PASS: TestPlans/signpost_missing", "--- PASS: TestPlans/signpost_there", "--- PASS: TestRemovals/signpost_there", "--- PASS: TestKinds", "--- PASS: TestLint/look_signpost"} {
				if !strings.Contains(string(out), want) {
					t.Errorf("it says no %q:\n%s", want, out)
				}
			}
		}
	}
	if out, err := exec.CommandContext(t.Context(), "gofmt", "-l", filepath.Join(dir, "steps")).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("gofmt: %v %s", err, out)
	}
}

func copyProject(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "bin", "dist"}, name):
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(dir, name), 0o755)
		case !d.Type().IsRegular() || name == ".git":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// change makes a change in a file that is shown as a diff without numbers, if
// it is not made yet: the project may have the step by now.
func change(t *testing.T, file, diff string) {
	t.Helper()
	var before, after strings.Builder
	for line := range strings.Lines(diff) {
		if line[0] != '+' {
			before.WriteString(line[1:])
		}
		if line[0] != '-' {
			after.WriteString(line[1:])
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), after.String()) {
		return
	}
	if strings.Count(string(text), before.String()) != 1 {
		t.Fatalf("%s does not have what is to be changed:\n%s", file, diff)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), before.String(), after.String(), 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}
