// Package golden keeps what the program prints in files that documents quote.
package golden

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update-errors", false, "write what is printed into the golden files of errors")

// changing are what differs from run to run, and what stands for it.
var changing = []struct {
	found *regexp.Regexp
	shown string
}{
	{regexp.MustCompile(`SHA256:[A-Za-z0-9+/]{43}`), "SHA256:…"},
	{regexp.MustCompile(`AAAA[A-Za-z0-9+/=]{20,}`), "AAAA…"},
	{regexp.MustCompile(`\bw\d+\.example\.com`), "example.com"},
	{regexp.MustCompile(`http://127\.0\.0\.1:\d+`), "https://git.example.com"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`(port|-p) \d{5}\b`), "$1 PORT"},
	{regexp.MustCompile(`\b10\.\d+\.\d+\.\d+\b`), "192.0.2.1"},
	{regexp.MustCompile(`/(?:run/world-|tmp/)[A-Za-z0-9_/.-]*/`), ""},
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\d\b`), "2027-01-01"},
	{regexp.MustCompile(`, \d+\.\d s\n`), ", 0.3 s\n"},
	{regexp.MustCompile(`\bonly \d+ MiB`), "only 64 MiB"},
}

// Check compares what a command printed, and its exit code, with the file
// errors/NAME.txt below dir. The file begins with its title and the command.
func Check(t *testing.T, dir, name, title, command, printed string, code int) {
	t.Helper()
	for _, c := range changing {
		printed = c.found.ReplaceAllString(printed, c.shown)
	}
	got := fmt.Sprintf("# %s\n$ provision %s inventory.toml\n%s# exit code %d\n", title, command, printed, code)
	file := filepath.Join(dir, "errors", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s: -want +got; -update-errors takes what is printed\n%s", file, diff)
	}
}
