package inventory

import (
	"bytes"
	"encoding/json"
	"regexp"
)

// A schema is what is used here of JSON Schema, draft 7: editors of TOML know
// no later one.
type schema struct {
	Schema               string             `json:"$schema,omitempty"`
	Title                string             `json:"title,omitempty"`
	Description          string             `json:"description,omitempty"`
	Type                 any                `json:"type,omitempty"` // one, or several
	Enum                 []string           `json:"enum,omitempty"`
	Default              any                `json:"default,omitempty"`
	Minimum              *int               `json:"minimum,omitempty"`
	Maximum              *int               `json:"maximum,omitempty"`
	MinLength            int                `json:"minLength,omitempty"`
	MaxLength            int                `json:"maxLength,omitempty"`
	Pattern              string             `json:"pattern,omitempty"`
	Items                *schema            `json:"items,omitempty"`
	MinItems             int                `json:"minItems,omitempty"`
	UniqueItems          bool               `json:"uniqueItems,omitempty"`
	Properties           map[string]*schema `json:"properties,omitempty"`
	PropertyNames        *schema            `json:"propertyNames,omitempty"`
	AdditionalProperties any                `json:"additionalProperties,omitempty"` // false, or a schema
	MinProperties        int                `json:"minProperties,omitempty"`
	MaxProperties        int                `json:"maxProperties,omitempty"`
	Required             []string           `json:"required,omitempty"`
	Not                  *schema            `json:"not,omitempty"`
	OneOf                []*schema          `json:"oneOf,omitempty"`
}

// Schema returns the JSON Schema of an inventory, for editors. It lets pass
// whatever [Load] does; but it looks at each value by itself, so it cannot find
// all that [Load] finds.
func Schema() []byte {
	s := documentSection.schema()
	s.Schema = "http://json-schema.org/draft-07/schema#"
	s.Title = "an inventory of provision"
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		panic(err) // strings and numbers only
	}
	return b.Bytes()
}

func (s *section) schema() *schema {
	table := &schema{Type: "object", AdditionalProperties: false, Properties: map[string]*schema{}}
	for _, e := range s.entries {
		p := e.shape.schema()
		p.Description = e.about
		table.Properties[e.name] = p
		if e.required {
			table.Required = append(table.Required, e.name)
		}
	}
	either := s.alternatives()
	switch {
	case s.either == atMostOne:
		table.Not = &schema{Required: either}
	case s.either == exactlyOne && len(either) == len(s.entries):
		table.MinProperties, table.MaxProperties = 1, 1
	case s.either == exactlyOne:
		for _, name := range either {
			table.OneOf = append(table.OneOf, &schema{Required: []string{name}})
		}
	}
	return table
}

func (f shape) schema() *schema {
	word := f.word()
	switch f.kind {
	case aList:
		list := &schema{Type: "array", Items: word, MinItems: 1, UniqueItems: true}
		if f.none {
			list.MinItems = 0
		}
		return list
	case anArgv:
		return &schema{Type: "array", Items: word, MinItems: 1}
	case aBool:
		return &schema{Type: "boolean"}
	case anInt:
		return &schema{Type: "integer", Default: f.absent, Minimum: &f.least, Maximum: &f.most}
	case aTable:
		return f.section.schema()
	case someTables:
		return &schema{Type: "object", PropertyNames: &schema{Pattern: nameForm().String()}, AdditionalProperties: f.section.schema()}
	case someValues:
		return &schema{Type: "object", AdditionalProperties: &schema{Type: []string{"string", "integer", "boolean"}}}
	case someSettings, someSecrets:
		value := f.section.schema()
		if f.kind == someSettings {
			value = &schema{OneOf: []*schema{{Type: []string{"string", "integer", "boolean"}}, value}}
		}
		names := &schema{Pattern: source(f.pattern), Not: &schema{Pattern: source(f.never)}}
		return &schema{Type: "object", PropertyNames: names, AdditionalProperties: value}
	case aCredential:
		return &schema{OneOf: []*schema{word, f.section.schema()}, Default: word.Default}
	}
	return word
}

// word is the schema of a string.
func (f shape) word() *schema {
	if f.words != nil {
		return &schema{Type: "string", Enum: f.words, Default: f.words[0]}
	}
	s := &schema{Type: "string", Default: f.absent, MinLength: 1, MaxLength: maxString, Pattern: source(f.pattern)}
	if f.never != nil {
		s.Not = &schema{Pattern: source(f.never)}
	}
	return s
}

// source returns a pattern as JSON Schema wants it, which RE2 and ECMAScript
// read alike.
func source(pattern func() *regexp.Regexp) string {
	if pattern == nil {
		return ""
	}
	return pattern().String()
}
