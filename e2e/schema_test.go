package e2e_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemas = "../docs/schema/"

var outputSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	return c.Compile(schemas + "output.schema.json")
})

// followsSchema fails the test unless a line of JSON output is as the schema
// says. All that the commands print in these tests goes through here.
func followsSchema(t *testing.T, text string) {
	t.Helper()
	schema, err := outputSchema()
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("a line that is no JSON: %v\n%s", err, text)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}
