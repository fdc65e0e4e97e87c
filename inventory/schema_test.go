package inventory

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaFile = "provision.schema.json"

func TestSchemaIsCommitted(t *testing.T) {
	if *update {
		if err := os.WriteFile(schemaFile, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(committed), string(Schema())); diff != "" {
		t.Errorf("go test -update writes %s (-committed +generated):\n%s", schemaFile, diff)
	}
}

func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(schemaFile, parsed); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON returns what an editor holds against the schema.
func asJSON(t testing.TB, text string) any {
	t.Helper()
	var values map[string]any
	if _, err := toml.Decode(text, &values); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

func TestSchemaTakesTheExample(t *testing.T) {
	text, err := os.ReadFile("example.toml")
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled(t).Validate(asJSON(t, string(text))); err != nil {
		t.Error(err)
	}
	if first, _, _ := strings.Cut(string(text), "\n"); first != "#:schema ./"+schemaFile {
		t.Errorf("the example begins with %q, and editors do not find the schema", first)
	}
}

// Each key of the example is described, wherever it stands.
func TestSchemaDescribesTheExample(t *testing.T) {
	text, err := os.ReadFile("example.toml")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	var walk func(path string, value any, s map[string]any)
	walk = func(path string, value any, s map[string]any) {
		table, ok := value.(map[string]any)
		if !ok {
			return
		}
		for _, of := range append([]any{s}, list(s["oneOf"])...) {
			if of := of.(map[string]any); of["type"] == "object" {
				s = of
			}
		}
		properties, _ := s["properties"].(map[string]any)
		additional, _ := s["additionalProperties"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(table)) {
			where := join(path, name)
			property, ok := properties[name].(map[string]any)
			switch {
			case ok && property["description"] == nil:
				t.Errorf("%s is not described", where)
			case ok:
				count++
			case additional == nil:
				t.Errorf("%s is not in the schema", where)
			default:
				property = additional
			}
			walk(where, table[name], property)
		}
	}
	var s map[string]any
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	walk("", asJSON(t, string(text)), s)
	if count < 30 {
		t.Errorf("only %d keys were looked at", count)
	}
}

func list(value any) []any {
	all, _ := value.([]any)
	return all
}

func TestSchemaRefuses(t *testing.T) {
	s := compiled(t)
	if err := s.Validate(asJSON(t, base)); err != nil {
		t.Fatalf("the base is refused itself: %v", err)
	}
	for _, c := range []struct{ old, replacement string }{
		{"[registry]", "[registrry]"},
		{`address = "web1.example.com"`, `adress = "web1.example.com"`},
		{`address = "web1.example.com"`, ``},
		{`address = "web1.example.com"`, `address = "admin@web1.example.com"`},
		{`address = "web1.example.com"`, `address = 1`},
		{`[hosts.web1]`, `[hosts.Web1]`},
		{`[hosts.web1]`, "[defaults.host]\naddress = \"a\"\n[hosts.web1]"},
		{`url = "https://git.example.com"`, `url = "git.example.com"`},
		{`url = "https://git.example.com"`, "url = \"https://git.example.com\"\ntoken = \"glpat-secret\""},
		{`url = "https://git.example.com"`, "url = \"https://git.example.com\"\ntoken = { env = \"A\", file = \"b\" }"},
		{`url = "https://git.example.com"`, "url = \"https://git.example.com\"\ntoken = {}"},
		{`host_keys = ["` + gitKey + `"]`, `host_keys = []`},
		{`host_keys = ["` + gitKey + `"]`, `host_keys = "` + gitKey + `"`},
		{`host_keys = ["` + gitKey + `"]`, `host_keys = ["-----BEGIN OPENSSH PRIVATE KEY----- AAAA"]`},
		{`host = "registry.example.com"`, `host = "https://registry.example.com"`},
		{`host = "registry.example.com"`, "host = \"registry.example.com\"\ncredential = \"group-token\""},
		{`host = "registry.example.com"`, "host = \"registry.example.com\"\ncredential = { username = \"me\" }"},
		{`host = "web1"`, "host = \"web1\"\nhosts = [\"web2\"]"},
		{`project = "acme/shop"`, `project = "shop"`},
		{`project = "acme/shop"`, `project = "acme/shop.git"`},
		{`user = "deploy-shop"`, `user = "root"`},
		{`directory = "shop"`, `directory = "a/b"`},
		{`environment = "production"`, `environment = "/production"`},
		{`environment = "production"`, `branch = "a..b"`},
		{`environment = "production"`, `wait = "120"`},
		{`environment = "production"`, `rollback = "yes"`},
		{`environment = "production"`, `keep_images = 0`},
		{`environment = "production"`, `keep_images = 101`},
		{`environment = "production"`, `keep_images = "2"`},
		{`environment = "production"`, `logs = -1`},
		{`environment = "production"`, `logs = 1.5`},
		{`environment = "production"`, `version = "1.4.2"`},
		{`environment = "production"`, `version = "COMPOSE_FILE"`},
		{`environment = "production"`, `version = "HOME"`},
		{`environment = "production"`, `before = "-f"`},
		{`environment = "production"`, `parameters = { a = 1.5 }`},
		{`environment = "production"`, `compose = []`},
		{`environment = "production"`, `compose = ["../a.yaml"]`},
		{`environment = "production"`, `profiles = ["a,b"]`},
		{`environment = "production"`, `env = { HOME = "/x" }`},
		{`environment = "production"`, `env = { A = 1.5 }`},
		{`environment = "production"`, `env = { A = { env = "B", file = "c" } }`},
		{`environment = "production"`, `files = { a = "secret" }`},
		{`environment = "production"`, `files = { ".env" = { file = "a" } }`},
		{`environment = "production"`, `files = { "a/../b" = { file = "a" } }`},
		{`variables = { group = "acme" }`, `variables = { group = "acme", projects = ["acme/shop"] }`},
		{`variables = { group = "acme" }`, `variables = { prefix = "A_" }`},
		{`variables = { group = "acme" }`, `variables = { group = "acme", prefix = "1" }`},
	} {
		text := with(t, c.old, c.replacement)
		if s.Validate(asJSON(t, text)) == nil {
			t.Errorf("the schema takes %s", c.replacement)
		}
		if _, err := Parse("inventory.toml", []byte(text), "."); err == nil {
			t.Errorf("Load takes %s", c.replacement)
		}
	}
}

// What Load takes, the schema takes: an editor must not underline what works.
func FuzzSchemaTakesWhatLoadTakes(f *testing.F) {
	f.Add(base)
	example, err := os.ReadFile("example.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	for _, edit := range []string{
		`url = "HTTPS://git.example.com:8443/gitlab/"`, `url = "http://127.0.0.1:8080"`,
		"url = \"https://a.b\"\ntoken = { command = [\"a\", \"a\"] }", "url = \"https://a.b\"\nssh = \"SSH://me@[::1]:22/\"",
	} {
		f.Add(with(f, `url = "https://git.example.com"`, edit))
	}
	for _, edit := range []string{
		`address = "[fe80::1%eth0]:022"`, `address = "a_b.c"`, `address = "local"`, "address = \"a\"\nuser = 'DOM\\me$'",
		"address = \"a\"\nhost_keys = [\"@cert-authority  " + gitKey + " a comment\"]",
	} {
		f.Add(with(f, `address = "web2.example.com"`, edit))
	}
	for _, edit := range []string{`wait = "+1m30.0s"`, `wait = ".5h"`, `branch = "feature/a-b_c.d"`, `keep_images = 1`, `logs = +1_000`, `version = "COMPOSE"`, `before = "a.B-c_1"`, `environment = "review/$CI_X {}"`, `parameters = {}`, `env = { A = "", B = 1, C = true, COMPOSE_X = { command = ["a"] } }`,
		`files = { "a/.b/c-d+e@f" = { env = "A" } }`, `compose = ["x", "deploy/compose.yaml"]`, `profiles = ["a.B-c_1"]`} {
		f.Add(with(f, `environment = "production"`, edit))
	}
	s, dir := compiled(f), filesBeside(f)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "/dev/") || strings.Contains(text, "/proc/") {
			t.Skip("a device is no file to fuzz with")
		}
		if _, err := Parse("inventory.toml", []byte(text), dir); err != nil {
			return
		}
		if err := s.Validate(asJSON(t, strings.TrimPrefix(text, "\ufeff"))); err != nil {
			t.Errorf("the schema refuses what works: %v", err)
		}
	})
}
