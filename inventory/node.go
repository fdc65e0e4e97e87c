package inventory

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A node is one key of the file with its value and its place.
type node struct {
	key    string // the whole of it, as TOML writes it
	name   string // its last part
	offset int
	value  any              // a string, an integer and so on; nil of a table or array
	table  map[string]*node // nil of all but tables
	array  []*node
}

// newNode joins what the library read with where the scanner found it.
func newNode(key, name string, value any, at *place) *node {
	n := &node{key: key, name: name, offset: at.offset}
	switch value := value.(type) {
	case map[string]any:
		n.table = make(map[string]*node, len(value))
		for name, v := range value {
			n.table[name] = newNode(join(key, name), name, v, at.at(name))
		}
	case []any:
		n.array = make([]*node, len(value))
		for i, v := range value {
			n.array[i] = newNode(key, name, v, at.item(i))
		}
	case []map[string]any:
		n.array = make([]*node, len(value))
		for i, v := range value {
			n.array[i] = newNode(key, name, v, at.item(i))
		}
	default:
		n.value = value
	}
	return n
}

// at and item answer with the place itself where they know no better.
func (p *place) at(key string) *place {
	if p.keys[key] != nil {
		return p.keys[key]
	}
	return p
}

func (p *place) item(i int) *place {
	if i < len(p.items) {
		return p.items[i]
	}
	return p
}

// join adds a part to a key, and quotes and shortens it as an error needs it.
func join(key, part string) string {
	bare := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) || r == '-' || r == '_'
	}
	if part == "" || len(part) > maxQuoted || strings.ContainsFunc(part, func(r rune) bool { return !bare(r) }) {
		part = quote(part)
	}
	if key == "" {
		return part
	}
	return key + "." + part
}

// kind says in words what a node holds.
func (n *node) kind() string {
	switch n.value.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date or time"
	}
	if n.table != nil {
		return "a table"
	}
	return "an array"
}

// children returns what stands in a table, in the order of the file.
func (n *node) children() []*node {
	return slices.SortedFunc(maps.Values(n.table), func(a, b *node) int { return a.offset - b.offset })
}

// over returns n with what else stands in defaults. Of the keys in either at
// most one holds, so that n's own puts out the other one's default.
func (n *node) over(defaults *node, either ...string) *node {
	all := &node{key: n.key, name: n.name, offset: n.offset, table: maps.Clone(defaults.table)}
	if all.table == nil {
		all.table = map[string]*node{}
	}
	for _, key := range either {
		if n.table[key] != nil {
			for _, other := range either {
				delete(all.table, other)
			}
		}
	}
	maps.Copy(all.table, n.table)
	return all
}
