package inventory

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

func FuzzParse(f *testing.F) {
	f.Add(base)
	for _, name := range []string{"example.toml", "testdata/problems.txt"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
		for _, block := range strings.Split(string(text), "\n\n") {
			f.Add(strings.ReplaceAll(block, "\n+ ", "\n"))
		}
	}
	dir := filesBeside(f)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "/dev/") || strings.Contains(text, "/proc/") {
			t.Skip("a device is no file to fuzz with")
		}
		inv, err := Parse("inventory.toml", []byte(text), dir)
		if (inv == nil) == (err == nil) {
			t.Fatalf("inventory %v, error %v", inv, err)
		}
		if err == nil {
			return
		}
		problems := err.(Problems)
		lines := strings.Split(text, "\n")
		for _, p := range problems {
			switch {
			case p.Line < 1 || p.Column < 1:
				t.Errorf("no place: %+v", p)
			case p.File == "inventory.toml" && p.Line > len(lines),
				p.File == "inventory.toml" && p.Column > len(lines[p.Line-1])+2:
				t.Errorf("a place outside of the file: %+v", p)
			}
			line := p.Error()
			if len(line) > 2000 || !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("not fit to print: %q", line)
			}
		}
		if !slices.IsSortedFunc(problems, func(a, b Problem) int {
			if a.File != b.File {
				return 0
			}
			return (a.Line-b.Line)*1e6 + a.Column - b.Column
		}) {
			t.Errorf("not in order:\n%v", problems)
		}
	})
}

// A secret in a place that is made for secrets is not repeated, however it is
// written.
func FuzzSecretsStayUnseen(f *testing.F) {
	for _, seed := range [][2]string{{"glpat-", ""}, {"", "\""}, {"12", "34"}, {"0x", ""}, {"\\u00", ""}, {"'", "'"}, {"1979-05-27", ""}, {"true", ""}, {"{ env: ", "}"}, {"\x1b", ""}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		secret := before + canary + after
		if strings.ContainsAny(secret, "=\r\n") {
			t.Skip("that would make a key of it, and keys are named")
		}
		for _, place := range []string{
			"token = %s", "token = \"%s\"", "token = '%s'", "token = [\"%s\"]", "token = { env = \"%s\" }",
			"token = { command = \"%s\" }", "token = { value = \"%s\" }", "ssh = \"ssh://git:%s@git.example.com\"",
			"[registry]\ncredential = \"%s\"", "[registry]\ncredential = { password = \"%s\" }",
			"[registries.hub]\ncredential = \"%s\"", "[registries.hub]\ncredential = { password = \"%s\" }",
			"[defaults.host]\nbecome_password = \"%s\"",
		} {
			_, err := Parse("inventory.toml", []byte("[gitlab]\n"+strings.Replace(place, "%s", secret, 1)), ".")
			if err == nil {
				t.Fatalf("%s is an inventory", place)
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("%s: the secret is repeated:\n%v", place, err)
			}
		}
	})
}

// FuzzScan holds the scanner against the library: what is TOML is read to its
// end, and every key that the library reads has its place.
func FuzzScan(f *testing.F) {
	f.Add(base)
	f.Add("a.'b'.\"c\\u0064\" = { e = [1, [2, {f = '''x''''}]], } # g\n[[h]]\ni=1\n[[h]]\nj=\"\"\"a\\\"\"\"\"\"\"\n[h.k]\nl=1979-05-27 07:32:00")
	f.Add("a = {\n# b\n c = 1, }\n'' = 1\n\"\" . d = 2")
	f.Fuzz(func(t *testing.T, src string) {
		src = strings.TrimPrefix(src, "\ufeff")
		root, end, deep := scan(src)
		if deep || invalid(src) >= 0 {
			return
		}
		var values map[string]any
		md, err := toml.Decode(src, &values)
		if err != nil {
			return
		}
		if end != len(src) {
			t.Fatalf("stopped at %d of %d, before %q", end, len(src), src[end:])
		}
		for _, key := range md.Keys() {
			if !reaches(root, key) {
				t.Errorf("no place for %s", key)
			}
		}
	})
}

// reaches reports whether a key leads somewhere, through any element of arrays.
func reaches(p *place, key toml.Key) bool {
	if len(key) == 0 {
		return true
	}
	if next := p.keys[key[0]]; next != nil && reaches(next, key[1:]) {
		return true
	}
	return slices.ContainsFunc(p.items, func(item *place) bool { return reaches(item, key) })
}

// large writes an inventory of n hosts with a deployment each.
func large(n int) []byte {
	var text strings.Builder
	text.WriteString(base)
	for i := range n {
		fmt.Fprintf(&text, `
[hosts.node%[1]d]
address = "node%[1]d.example.com"
host_keys = ["%[2]s"]
[deployments.app%[1]d]
host = "node%[1]d"
project = "acme/app%[1]d"
user = "deploy"
directory = "app"
environment = "node%[1]d"
variables = { group = "acme" }
override = "override.yaml"
parameters = { port = %[1]d }
`, i, gitKey)
	}
	return []byte(text.String())
}

func BenchmarkParse(b *testing.B) {
	dir := filesBeside(b)
	for _, n := range []int{500, 5000} {
		text := large(n)
		b.Run(fmt.Sprintf("hosts=%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := Parse("inventory.toml", text, dir); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// All hosts wrong at once must not take long either.
func BenchmarkParseWrong(b *testing.B) {
	dir := filesBeside(b)
	text := []byte(strings.ReplaceAll(string(large(5000)), `host = "node`, `host = "noed`))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse("inventory.toml", text, dir); len(err.(Problems)) < 5000 {
			b.Fatal(err)
		}
	}
}
