package docs_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A schema is what the reference tells of provision.schema.json.
type schema struct {
	Type                 any
	Description          string
	Default              any
	Enum                 []string
	Properties           map[string]schema
	Required             []string
	AdditionalProperties json.RawMessage
	OneOf                []schema
	Items                *schema
	Minimum, Maximum     int
}

const inventoryHead = `# The inventory

Every key that may stand in an inventory. A TOML file says which hosts there are, and what is
deployed on them; [inventory/example.toml](../inventory/example.toml) shows all of it, with
comments, and is the best one to begin from. Paths in it start beside the file.

All mistakes are told at once, each with its place and what to write instead.
` + "`provision check`" + ` reads it without the network. For editors there is a JSON Schema:
` + "`provision schema`" + ` prints it, and a first line ` + "`#:schema ./provision.schema.json`" + ` names it.

A command that is given no inventory takes the one of ` + "`" + `$PROVISION_INVENTORY` + "`" + `, else
` + "`" + `inventory.toml` + "`" + ` in the folder where it runs or in the nearest one above, and says which. As an
inventory can name commands to run, one that was found so counts only if nobody but you
and root could have put it there.

Keys in **bold** have to be there.
`

// docs/inventory.md is what the schema says.
func TestInventoryPage(t *testing.T) {
	text, err := os.ReadFile("../inventory/provision.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var whole schema
	if err := json.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../inventory/example.toml")
	if err != nil {
		t.Fatal(err)
	}
	r := reference{example: string(example)}
	r.b.WriteString(inventoryHead)

	below := func(s schema, path ...string) schema {
		for _, name := range path {
			if name == "*" {
				var each schema
				if err := json.Unmarshal(s.AdditionalProperties, &each); err != nil {
					t.Fatal(err)
				}
				s = each
				continue
			}
			next, ok := s.Properties[name]
			if !ok {
				t.Fatalf("the schema has no %v", path)
			}
			s = next
		}
		return s
	}
	r.table("[gitlab]", "[gitlab]", below(whole, "gitlab"))
	r.table("[registry]", "[registry]", below(whole, "registry"))
	for _, s := range below(whole, "registry", "credential").OneOf {
		if s.Properties != nil {
			r.table("A credential of your own", "credential = {", s)
		}
	}
	r.table("[registries.NAME]", "[registries.", below(whole, "registries", "*"))
	r.table("[hosts.NAME]", "[hosts.", below(whole, "hosts", "*"))
	r.table("[deployments.NAME]", "[deployments.", below(whole, "deployments", "*"))
	r.table("Variables of a deployment", "# variables", below(whole, "deployments", "*", "variables"))
	r.table("Where a secret is", "token = ", below(whole, "gitlab", "token"))
	r.b.WriteString("\nOne of the three; a secret never stands in the inventory itself.\n")
	r.b.WriteString("\n## Defaults\n")
	for _, of := range []string{"host", "deployment"} {
		s := below(whole, "defaults", of)
		fmt.Fprintf(&r.b, "\n`[defaults.%s]`: %s\n", of, s.Description)
	}
	var never []string
	for name := range below(whole, "hosts", "*").Properties {
		if _, ok := below(whole, "defaults", "host").Properties[name]; !ok {
			never = append(never, "`"+name+"`")
		}
	}
	slices.Sort(never)
	fmt.Fprintf(&r.b, "\nOf a host, %s can have no default.\n", strings.Join(never, " and "))

	got := r.b.String()
	if *update {
		if err := os.WriteFile("inventory.md", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile("inventory.md")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Error("inventory.md is not what the schema says; go test ./docs -run TestInventoryPage -update writes it")
	}
}

type reference struct {
	b       strings.Builder
	example string
}

// table writes the keys of a table, in the order in which the example has them
// from a place on.
func (r *reference) table(title, from string, s schema) {
	fmt.Fprintf(&r.b, "\n## %s\n", title)
	r.b.WriteString("\n| key | value | what it means |\n|---|---|---|\n")
	var names []string
	for name := range s.Properties {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if x, y := r.place(from, a), r.place(from, b); x != y {
			return x - y
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		p := s.Properties[name]
		key := "`" + name + "`"
		if slices.Contains(s.Required, name) {
			key = "**" + key + "**"
		}
		fmt.Fprintf(&r.b, "| %s | %s | %s |\n", key, p.value(), strings.ReplaceAll(p.Description, "|", `\|`))
	}
}

// place is where the example has a key, from some text on; what stands there
// only before it comes last.
func (r *reference) place(from, key string) int {
	_, rest, found := strings.Cut(r.example, from)
	if !found {
		panic("the example has no " + from)
	}
	at := regexp.MustCompile(`(?m)(^|^# |[{,] )` + key + ` *=`).FindStringIndex(rest)
	if at == nil {
		return len(r.example)
	}
	return at[0]
}

// value says what may stand behind the key.
func (s schema) value() string {
	quote := func(words []string) string {
		var quoted []string
		for _, w := range words {
			text := fmt.Sprintf("`%q`", w)
			if w == s.Default {
				text += " (default)"
			}
			quoted = append(quoted, text)
		}
		return strings.Join(quoted, ", ")
	}
	switch {
	case s.OneOf != nil && s.Properties == nil:
		var ways []string
		for _, one := range s.OneOf {
			one.Default = s.Default
			ways = append(ways, one.value())
		}
		return strings.Join(ways, ", or ")
	case s.Enum != nil:
		return quote(s.Enum)
	case s.Properties != nil:
		names := []string{}
		for name := range s.Properties {
			names = append(names, "`"+name+"`")
		}
		slices.Sort(names)
		return "a table of " + strings.Join(names, ", ")
	}
	switch s.Type {
	case "array":
		return "a list of strings"
	case "boolean":
		return "`true` or `false`"
	case "integer":
		return fmt.Sprintf("an integer from %d to %d", s.Minimum, s.Maximum)
	case "object":
		var each schema
		if err := json.Unmarshal(s.AdditionalProperties, &each); err != nil {
			panic(err) // it is read from our own schema
		}
		switch {
		case each.OneOf != nil:
			return "a table of strings, integers, booleans, and tables of where a secret is"
		case each.Properties != nil:
			return "a table of tables of where a secret is"
		}
		return "a table of strings, integers, booleans"
	}
	return "a string"
}
