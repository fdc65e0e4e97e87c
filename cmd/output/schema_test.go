package output

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"provision/provision"
)

// The schema has the fields of a line and no others, of the same types. Whether
// the values are as it says, the end-to-end tests see.
func TestSchemaOfOutput(t *testing.T) {
	text, err := os.ReadFile("../../docs/schema/output.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties map[string]struct {
			Type, Description string
			Const             any
			OneOf             []struct{ Const string }
			Enum              []provision.Verb
			Properties        map[string]any
			Items             struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	types := map[string]string{}
	var fields func(of reflect.Type)
	fields = func(of reflect.Type) {
		for i := range of.NumField() {
			f := of.Field(i)
			if f.Anonymous {
				embedded := f.Type
				if embedded.Kind() == reflect.Pointer {
					embedded = embedded.Elem()
				}
				fields(embedded)
				continue
			}
			if !f.IsExported() {
				continue
			}
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" {
				continue
			}
			kind := f.Type.Kind()
			if kind == reflect.Pointer {
				kind = f.Type.Elem().Kind()
			}
			types[name] = map[reflect.Kind]string{
				reflect.String: "string", reflect.Int: "integer", reflect.Float64: "number", reflect.Slice: "array", reflect.Struct: "object",
			}[kind]
		}
	}
	fields(reflect.TypeFor[Line]())
	for name := range merged(types, schema.Properties) {
		p, there := schema.Properties[name]
		switch {
		case !there || types[name] == "" || p.Description == "":
			t.Errorf("%s: in the schema: %t, in the program: %q, described as %q", name, there, types[name], p.Description)
		case name == "version":
			if p.Const != float64(Version) {
				t.Errorf("the schema is of version %v, the program of %d", p.Const, Version)
			}
		case name != "event" && name != "verb" && p.Type != types[name]:
			t.Errorf("%s: the schema says %s, the program %s", name, p.Type, types[name])
		}
	}

	if verbs := schema.Properties["verb"].Enum; !slices.Equal(verbs, provision.Verbs()) {
		t.Errorf("the schema has the verbs %q, the program %q", verbs, provision.Verbs())
	}

	for field, of := range map[string]any{"services": Service{}, "deploying": Deploy{}, "last": Deploy{}} {
		parts := merged(schema.Properties[field].Properties, schema.Properties[field].Items.Properties)
		if len(parts) == 0 {
			t.Errorf("the schema says nothing of %s", field)
		}
		for name := range parts {
			if !slices.ContainsFunc(reflect.VisibleFields(reflect.TypeOf(of)), func(f reflect.StructField) bool {
				tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				return tag == name
			}) {
				t.Errorf("the program lacks %s of %s", name, field)
			}
		}
	}

	var events []string
	for _, e := range schema.Properties["event"].OneOf {
		events = append(events, e.Const)
	}
	for event := range signs {
		if !slices.Contains(events, event) {
			t.Errorf("the schema lacks the event %q", event)
		}
	}
}

func merged[A, B any](a map[string]A, b map[string]B) map[string]bool {
	all := map[string]bool{}
	for key := range a {
		all[key] = true
	}
	for key := range b {
		all[key] = true
	}
	return all
}
