package inventory

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// A table reads the keys of one table of the file.
type table struct {
	*reader
	*node
	of      string // which of keys
	partial bool   // defaults, where no key has to be
}

// open begins to read a table, one of keys, and reports what it does not know.
// What is no table is read like an empty one, after one problem.
func (r *reader) open(n *node, of string) *table {
	t := &table{reader: r, node: n, of: of}
	if n.table == nil {
		r.problem(n, "must be a table, not "+n.kind(), "")
		t.node = &node{key: n.key, name: n.name, offset: n.offset}
		t.partial = true
		return t
	}
	for _, child := range n.children() {
		if _, known := formOf(of, child.name); !known {
			t.unknown(child)
		}
	}
	return t
}

// unknown reports a key that is not among keys[t.of].
func (t *table) unknown(n *node) {
	if _, known := formOf("host", n.name); known && t.of == "host defaults" {
		t.problem(n, "belongs to one host", "write it in [hosts.NAME]")
		return
	}
	meant, hint := t.guess(n.name, names(t.of))
	switch {
	case meant != "":
		t.rename(n, meant)
	case n.table != nil && (t.of == "host" || t.of == "deployment"):
		hint = `a name with a dot in it needs quotation marks, like [hosts."web1.example"]`
		t.partial = true // what has to be here stands there
	default:
		hint = "known are " + strings.Join(names(t.of), ", ")
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

// get returns the node of a key, or nil.
func (t *table) get(key string) *node {
	if _, known := formOf(t.of, key); !known {
		panic("inventory: " + t.of + " does not know the key " + key)
	}
	return t.table[key]
}

// sub opens a table in a table, an empty one if there is none.
func (t *table) sub(key string) *table {
	n := t.get(key)
	if n == nil {
		n = &node{key: join(t.key, key), name: key, offset: t.offset, table: map[string]*node{}}
	}
	f, _ := formOf(t.of, key)
	return t.open(n, f.of)
}

// missing reports that a key has to be there.
func (t *table) missing(key, hint string) {
	if !t.partial {
		t.problem(&node{key: join(t.key, key), offset: t.offset}, "is missing", hint)
	}
}

// A rule says what is wrong with a string and what to write instead, or "".
type rule func(string) (what, hint string)

// string reads a string; "" if it is missing or wrong. It is held to the form
// of the key, and then to the rules.
func (t *table) string(key string, rules ...rule) string {
	if n := t.get(key); n != nil {
		return t.one(n, append(t.rules(key, aString), rules...)...)
	}
	return ""
}

// rules returns what a value is held to that is read as one of a kind.
func (t *table) rules(key string, as kind) []rule {
	f, _ := formOf(t.of, key)
	if f.kind != as {
		panic("inventory: " + t.of + " reads the key " + key + " as what it is not")
	}
	if f.rule == nil {
		return nil
	}
	return []rule{f.rule}
}

// need is string for a key that has to be there; hint says what to write.
func (t *table) need(key, hint string) string {
	if t.get(key) == nil {
		t.missing(key, hint)
	}
	return t.string(key)
}

// bool reads a boolean; false if it is missing or wrong.
func (t *table) bool(key string) bool {
	n := t.get(key)
	if n == nil {
		return false
	}
	t.rules(key, aBool)
	b, ok := n.value.(bool)
	if !ok {
		t.problem(n, "must be a boolean, not "+n.kind(), "write true or false, without quotation marks")
	}
	return b
}

// int reads an integer; what holds without the key if it is missing or wrong.
func (t *table) int(key string) int {
	t.rules(key, anInt)
	f, _ := formOf(t.of, key)
	absent := f.absent.(int)
	n := t.get(key)
	if n == nil {
		return absent
	}
	hint := fmt.Sprintf("write a whole number from %d to %d", f.least, f.most)
	if _, ok := n.value.(string); ok {
		hint += ", without quotation marks"
	}
	i, ok := n.value.(int64)
	switch {
	case !ok:
		t.problem(n, "must be an integer, not "+n.kind(), hint)
	case i < int64(f.least):
		t.problem(n, fmt.Sprintf("%d is too small", i), hint)
	case i > int64(f.most):
		t.problem(n, fmt.Sprintf("%d is too large", i), hint)
	default:
		return int(i)
	}
	return absent
}

// strings reads an array of strings, no two the same but for upper and lower
// case, held to the form of the key and to the rules.
func (t *table) strings(key string, rules ...rule) []string {
	n := t.get(key)
	if n == nil {
		return nil
	}
	rules = append(t.rules(key, aList), rules...)
	var all []string
	seen := map[string]bool{}
	for _, item := range t.items(n) {
		s := t.one(item, rules...)
		switch {
		case s == "":
		case seen[strings.ToLower(s)]:
			t.problem(item, "stands here twice", "")
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
