package inventory

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A table is one table of the file that is being read.
type table struct {
	*reader
	*node
	section *section
	partial bool // nothing is missing: it has defaults, or is no table at all
}

// open begins to read a table, and reports keys that it does not know. What is
// no table is read like an empty one, after one problem.
func (r *reader) open(n *node, s *section) *table {
	t := &table{reader: r, node: n, section: s}
	if n.table == nil {
		r.problem(n, "must be a table, not "+n.kind(), "")
		t.node = &node{key: n.key, name: n.name, offset: n.offset}
		t.partial = true
		return t
	}
	names := s.names()
	for _, child := range n.children() {
		if !slices.Contains(names, child.name) {
			t.unknown(child, names)
		}
	}
	return t
}

// unknown reports a key that is none of the names.
func (t *table) unknown(n *node, names []string) {
	if slices.Contains(t.section.perHost, n.name) {
		t.problem(n, "belongs to one host", "write it in [hosts.NAME]")
		return
	}
	meant, hint := t.guess(n.name, names)
	switch {
	case meant != "":
		t.rename(n, meant)
	case n.table != nil && t.section.named:
		hint = `a name with a dot in it needs quotation marks, like [hosts."web1.example"]`
		t.partial = true // what has to be here stands there
	default:
		hint = "known are " + strings.Join(names, ", ")
	}
	t.problem(n, "is unknown", hint)
}

// rename goes on as if a key were written right, so that nothing else is wrong
// only because it is not.
func (t *table) rename(n *node, meant string) {
	delete(t.table, n.name)
	switch there := t.table[meant]; {
	case there == nil:
		t.table[meant] = n
	case there.table != nil && n.table != nil:
		t.table[meant] = there.over(n)
	}
}

// missing reports that a key has to be there.
func (t *table) missing(key, hint string) {
	if !t.partial {
		t.problem(&node{key: join(t.key, key), offset: t.offset}, "is missing", hint)
	}
}

// A rule says what is wrong with a string and what to write instead, or "".
type rule func(string) (what, hint string)

// list reads an array of strings, no two the same but for upper and lower
// case, each held to the rules.
func (r *reader) list(n *node, rules ...rule) []string {
	var all []string
	seen := map[string]bool{}
	for _, item := range r.items(n) {
		s := r.one(item, rules...)
		switch {
		case s == "":
		case seen[strings.ToLower(s)]:
			r.problem(item, "stands here twice", "")
		default:
			all = append(all, s)
			seen[strings.ToLower(s)] = true
		}
	}
	return all
}

// items returns the elements of an array that has some.
func (r *reader) items(n *node) []*node {
	switch {
	case n.value != nil || n.table != nil:
		r.problem(n, "must be an array of strings, not "+n.kind(), `write it in brackets: ["…"]`)
	case len(n.array) == 0:
		r.problem(n, "is empty", "leave the key out, or write at least one")
	}
	return n.array
}

// maxString bounds every string of the file, in bytes.
const maxString = 4096

// one reads a string, held to the rules; "" if it is wrong.
func (r *reader) one(n *node, rules ...rule) string {
	s, ok := n.value.(string)
	switch {
	case !ok:
		r.problem(n, "must be a string, not "+n.kind(), n.asString(rules))
		return ""
	case s == "":
		r.problem(n, "is empty", "leave the key out, or write a value")
		return ""
	case len(s) > maxString:
		r.problem(n, "is longer than "+strconv.Itoa(maxString)+" bytes", "")
		return ""
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		r.problem(n, "holds a control character", "write it without line breaks, tabs and the like")
		return ""
	case strings.TrimSpace(s) != s:
		r.problem(n, "begins or ends with white space", "cut it")
		return ""
	}
	for _, rule := range rules {
		if what, hint := rule(s); what != "" {
			r.problem(n, what, hint)
			return ""
		}
	}
	return s
}

// asString says how to write a value as the string that it must be.
func (n *node) asString(rules []rule) string {
	switch {
	case n.table != nil:
		return ""
	case n.array != nil:
		return "write it without brackets"
	}
	for _, rule := range rules {
		if _, hint := rule(fmt.Sprint(n.value)); hint != "" {
			return hint
		}
	}
	return "write it in quotation marks"
}
