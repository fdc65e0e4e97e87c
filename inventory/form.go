package inventory

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A shape is what can be told of a value before it is read: [Schema] tells it
// to editors.
type shape struct {
	kind    kind
	section *section              // of a table, or of each of named ones
	words   []string              // one of these; the first is the default
	rule    rule                  // of a string, or of each of a list
	pattern func() *regexp.Regexp // fits whatever rule lets pass, and often more; an editor can know no more
	never   func() *regexp.Regexp // fits nothing that rule lets pass
	none    bool                  // of a list: it may be empty
	least   int                   // of an integer: the smallest, and the largest
	most    int
	absent  any // what is read where the key is absent; nil: nothing
}

// A kind of value.
type kind int

const (
	aString      kind = iota
	aList             // of strings, none of them twice
	anArgv            // of strings
	aBool             // true or false
	anInt             // from least to most
	aTable            // one of section
	someTables        // each with a name of its own
	someValues        // a table of strings, integers and booleans
	someSettings      // a table of strings, integers, booleans and tables of section
	someSecrets       // a table of tables of section
	aCredential       // one of the words, or a table
)

// A form is a shape with what reads it. What is read of a wrong value is the
// zero value, after a problem.
type form[F any] struct {
	shape
	read func(*table, *node) F
}

// asIs leaves a value to be read later, together with others.
func asIs(s shape) form[*node] {
	return form[*node]{s, func(_ *table, n *node) *node { return n }}
}

// stringOf is a string, held to the rule of its shape.
func stringOf(s shape) form[string] {
	return form[string]{s, func(t *table, n *node) string { return t.one(n, s.rules()...) }}
}

// parsed is a string that stands for something else.
func parsed[F any](s shape, parse func(string) F) form[F] {
	return form[F]{s, func(t *table, n *node) F {
		var value F
		if s := stringOf(s).read(t, n); s != "" {
			value = parse(s)
		}
		return value
	}}
}

// filePath is the path of a file, see [reader.path].
var filePath = form[string]{read: func(t *table, n *node) string { return t.path(t.one(n)) }}

// stringsOf is an array of different strings, each held to the rule of the shape.
func stringsOf(s shape) form[[]string] {
	s.kind = aList
	return form[[]string]{s, func(t *table, n *node) []string { return t.list(n, s.rules()...) }}
}

// argv is a program and its arguments.
var argv = form[[]string]{shape{kind: anArgv}, func(t *table, n *node) []string {
	var words []string
	for _, item := range t.items(n) {
		words = append(words, t.one(item))
	}
	return words
}}

var boolean = form[bool]{shape{kind: aBool}, func(t *table, n *node) bool {
	b, ok := n.value.(bool)
	if !ok {
		t.problem(n, "must be a boolean, not "+n.kind(), "write true or false, without quotation marks")
	}
	return b
}}

// integer is a whole number from least to most.
func integer(least, most int, absent int64) form[int] {
	return form[int]{shape{kind: anInt, least: least, most: most, absent: absent}, func(t *table, n *node) int {
		hint := fmt.Sprintf("write a whole number from %d to %d", least, most)
		if _, ok := n.value.(string); ok {
			hint += ", without quotation marks"
		}
		i, ok := n.value.(int64)
		switch {
		case !ok:
			t.problem(n, "must be an integer, not "+n.kind(), hint)
		case i < int64(least):
			t.problem(n, fmt.Sprintf("%d is too small", i), hint)
		case i > int64(most):
			t.problem(n, fmt.Sprintf("%d is too large", i), hint)
		default:
			return int(i)
		}
		return 0
	}}
}

// word is one of some; the first is the default.
func word[W ~string](all ...W) form[W] {
	s := shape{absent: string(all[0])}
	for _, w := range all {
		s.words = append(s.words, string(w))
	}
	return form[W]{s, func(t *table, n *node) W {
		return W(t.one(n, func(value string) (what, hint string) {
			if slices.Contains(s.words, value) {
				return "", ""
			}
			last := len(s.words) - 1
			return quote(value) + " is unknown", "write " + strings.Join(s.words[:last], ", ") + " or " + s.words[last]
		}))
	}}
}

// tableOf is a table that is read on top of what holds without its keys.
func tableOf[T any](s *sectionOf[T], otherwise T) form[T] {
	return form[T]{shape{kind: aTable, section: &s.section}, func(t *table, n *node) T {
		value := otherwise
		s.fill(t.open(n, &s.section), &value)
		return value
	}}
}

func (s shape) rules() []rule {
	if s.rule == nil {
		return nil
	}
	return []rule{s.rule}
}
