package inventory

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the problems that are found into testdata/problems.txt")

func TestProblems(t *testing.T) {
	const path = "testdata/problems.txt"
	script, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var updated []string
	for i, block := range strings.Split(strings.TrimSpace(string(script)), "\n\n") {
		var kept, want []string
		for line := range strings.Lines(block) {
			line = strings.TrimSuffix(line, "\n")
			if rest, ok := strings.CutPrefix(line, "! "); ok {
				want = append(want, rest)
			} else {
				kept = append(kept, line)
			}
		}
		if i == 0 { // how to read the file
			updated = append(updated, block)
			continue
		}
		t.Run(strings.TrimPrefix(kept[0], "# "), func(t *testing.T) {
			dir := filesBeside(t)
			inv, err := Parse("inventory.toml", []byte(edited(t, kept[1:])), dir)
			if err == nil {
				t.Fatalf("no problem found; got %+v", inv)
			}
			got := strings.Split(strings.ReplaceAll(err.Error(), dir+"/", ""), "\n")
			if diff := cmp.Diff(want, got); diff != "" && !*update {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("a secret is repeated:\n%v", err)
			}
			for _, line := range got {
				kept = append(kept, "! "+line)
			}
		})
		updated = append(updated, strings.Join(kept, "\n"))
	}
	if *update {
		if err := os.WriteFile(path, []byte(strings.Join(updated, "\n\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// edited makes an inventory of base as the lines of a block say.
func edited(t testing.TB, edits []string) string {
	t.Helper()
	lines := strings.SplitAfter(base, "\n")
	at := len(lines)
	for _, edit := range edits {
		text := edit[2:] + "\n"
		switch edit[:2] {
		case "- ":
			found := slices.Index(lines, text)
			if found < 0 {
				t.Fatalf("%q is no line of base", edit)
			}
			lines = slices.Delete(lines, found, found+1)
			at = found
		case "+ ":
			lines = slices.Insert(lines, at, text)
			at++
		default:
			t.Fatalf("%q begins neither with - nor with +", edit)
		}
	}
	return strings.Join(lines, "")
}

func TestLoadWithoutFile(t *testing.T) {
	_, err := Load("testdata/missing.toml")
	if want := "testdata/missing.toml: there is no such file"; err == nil || err.Error() != want {
		t.Errorf("error is %v, not %s", err, want)
	}
	if _, err := Load("testdata"); err == nil || err.Error() != "testdata: is not a regular file" {
		t.Errorf("error is %v", err)
	}
}

func TestTooLarge(t *testing.T) {
	_, err := Parse("inventory.toml", make([]byte, maxFile+1), ".")
	if want := "inventory.toml: is larger than 4096 KiB"; err == nil || err.Error() != want {
		t.Errorf("error is %v, not %s", err, want)
	}
}

func TestManyProblems(t *testing.T) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "[hosts.web%d]\nadress = \"web%d\"\n", i, i)
	}
	_, err := Parse("inventory.toml", []byte(text.String()), ".")
	lines := strings.Split(err.Error(), "\n")
	// Each host has two, but for the first 200, where address is suggested; and
	// url, host_keys and registry.host are missing.
	if want := "and 1753 more"; len(lines) != 51 || lines[50] != want {
		t.Errorf("%d lines, the last %q and not %q", len(lines), lines[len(lines)-1], want)
	}
}

// What stands once in the defaults is one problem, however many inherit it, and
// also when there are no suggestions left.
func TestSharedProblem(t *testing.T) {
	var text strings.Builder
	text.WriteString(base + "[defaults.deployment]\nvariables = { group = \"acme\", prefx = \"A_\" }\n")
	for i := range 2 * maxGuesses {
		fmt.Fprintf(&text, "[deployments.app%d]\nhost = \"web2\"\nproject = \"acme/app\"\nuser = \"deploy\"\ndirectory = \"app%d\"\nenvironment = \"app%d\"\n", i, i, i)
	}
	_, err := Parse("inventory.toml", []byte(text.String()), ".")
	want := "inventory.toml:18:31: defaults.deployment.variables.prefx: is unknown; did you mean prefix?"
	if err == nil || err.Error() != want {
		t.Errorf("error is\n%v, not\n%s", err, want)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"host", "hosts", "environment", "bash", "zsh"}
	for word, want := range map[string]string{
		"hots": "host", "HOSTS": "hosts", "host_": "host", "zs": "zsh", "enviromnet": "environment",
		"port": "", "tcsh": "", "z": "", "env": "", "": "",
	} {
		if got := Nearest(word, names); got != want {
			t.Errorf("%q is taken for %q, not for %q", word, got, want)
		}
	}
}
