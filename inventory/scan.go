package inventory

import (
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// The TOML library says where a syntax error is, but not where a key stands
// that is well-formed and wrong. So a small scanner of our own finds the
// places. It trusts the library to have refused, or to refuse, what is not
// TOML, and just stops there.

// A place is where a key, or an element of an array, begins.
type place struct {
	offset int
	keys   map[string]*place // of a table
	items  []*place          // of an array
}

// maxDepth bounds how deep tables and arrays nest. The library would follow
// any depth until its stack ends.
const maxDepth = 16

type scanner struct {
	src   string
	i     int
	depth int
	deep  bool // something nests too deep at i
}

// scan returns the places of all keys in src, as far as src is TOML. Where it
// nests too deep deep is true, and end the offset of that; else end is how far
// it came.
func scan(src string) (root *place, end int, deep bool) {
	s := &scanner{src: src}
	root = &place{}
	s.file(root)
	return root, s.i, s.deep
}

func (s *scanner) file(root *place) {
	table := root
	for s.blankLines(); s.i < len(s.src); s.blankLines() {
		ok := false
		if s.src[s.i] == '[' {
			table, ok = s.header(root)
		} else {
			ok = s.pair(table)
		}
		if !ok {
			return
		}
	}
}

// header reads [a.b] or [[a.b]], and returns the table that it opens.
func (s *scanner) header(root *place) (*place, bool) {
	start := s.i
	array := strings.HasPrefix(s.src[s.i:], "[[")
	s.i++
	if array {
		s.i++
	}
	table, ok := s.key(root)
	if !ok || !s.accept(']') || array && !s.accept(']') {
		return nil, false
	}
	if array {
		table.items = append(table.items, &place{offset: start})
		table = table.last()
	}
	return table, true
}

// pair reads key = value.
func (s *scanner) pair(table *place) bool {
	p, ok := s.key(table)
	if !ok || !s.accept('=') {
		return false
	}
	s.blank()
	return s.value(p)
}

// key reads a dotted key, and returns where it leads to from table.
func (s *scanner) key(table *place) (*place, bool) {
	for parts := 0; ; parts++ {
		if s.depth+parts > maxDepth {
			s.deep = true
			return nil, false
		}
		s.blank()
		start := s.i
		part, ok := s.keyPart()
		if !ok {
			return nil, false
		}
		table = table.last().child(part, start)
		s.blank()
		if s.i >= len(s.src) || s.src[s.i] != '.' {
			return table, true
		}
		s.i++
	}
}

func (s *scanner) keyPart() (string, bool) {
	if s.i >= len(s.src) {
		return "", false
	}
	start := s.i
	switch s.src[s.i] {
	case '\'':
		if !s.quoted() {
			return "", false
		}
		return s.src[start+1 : s.i-1], true
	case '"':
		if !s.quoted() {
			return "", false
		}
		raw := s.src[start:s.i]
		if !strings.Contains(raw, `\`) {
			return raw[1 : len(raw)-1], true
		}
		var one map[string]bool
		if _, err := toml.Decode(raw+"=true", &one); err == nil {
			for part := range one {
				return part, true
			}
		}
		return "", false
	}
	s.bare(" \t.=]}#,\r\n\"'")
	return s.src[start:s.i], s.i > start
}

func (s *scanner) value(p *place) bool {
	if s.i >= len(s.src) {
		return false
	}
	switch c := s.src[s.i]; c {
	case '"', '\'':
		return s.quoted()
	case '[', '{':
		if s.depth++; s.depth > maxDepth {
			s.deep = true
			return false
		}
		s.i++
		ok := false
		if c == '[' {
			ok = s.list(']', func() bool {
				item := &place{offset: s.i}
				p.items = append(p.items, item)
				return s.value(item)
			})
		} else {
			ok = s.list('}', func() bool { return s.pair(p) })
		}
		s.depth--
		return ok
	}
	start := s.i
	s.bare(",]}#\r\n")
	return s.i > start
}

// list reads the inside of an array or of an inline table, one by one, and the
// end of it.
func (s *scanner) list(end byte, one func() bool) bool {
	for {
		s.blankLines()
		if s.accept(end) {
			return true
		}
		if !one() {
			return false
		}
		s.blankLines()
		if s.accept(end) {
			return true
		}
		if !s.accept(',') {
			return false
		}
	}
}

// quoted skips any of the four kinds of strings.
func (s *scanner) quoted() bool {
	quote := s.src[s.i]
	fence := strings.Repeat(string(quote), 3)
	if !strings.HasPrefix(s.src[s.i:], fence) {
		fence = string(quote)
	}
	for s.i += len(fence); s.i < len(s.src); s.i++ {
		if quote == '"' && s.src[s.i] == '\\' {
			s.i++
			continue
		}
		if len(fence) == 1 && s.src[s.i] == '\n' {
			return false
		}
		if strings.HasPrefix(s.src[s.i:], fence) {
			s.i += len(fence)
			// Up to two quotes may stand before the three that end it.
			for n := 0; len(fence) == 3 && n < 2 && s.i < len(s.src) && s.src[s.i] == quote; n++ {
				s.i++
			}
			return true
		}
	}
	return false
}

func (s *scanner) bare(until string) {
	if n := strings.IndexAny(s.src[s.i:], until); n >= 0 {
		s.i += n
	} else {
		s.i = len(s.src)
	}
}

// blank skips white space within a line.
func (s *scanner) blank() {
	for s.i < len(s.src) && (s.src[s.i] == ' ' || s.src[s.i] == '\t') {
		s.i++
	}
}

// blankLines skips white space, ends of lines and comments.
func (s *scanner) blankLines() {
	for ; s.i < len(s.src); s.i++ {
		switch s.src[s.i] {
		case ' ', '\t', '\n', '\r':
		case '#':
			s.bare("\n")
			s.i--
		default:
			return
		}
	}
}

func (s *scanner) accept(c byte) bool {
	if s.i < len(s.src) && s.src[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (p *place) child(key string, offset int) *place {
	if p.keys == nil {
		p.keys = map[string]*place{}
	}
	if p.keys[key] == nil {
		p.keys[key] = &place{offset: offset}
	}
	return p.keys[key]
}

// find returns the place of a key that is written as TOML does, or nil.
func (p *place) find(key string) *place {
	for name, child := range p.keys {
		name = join("", name)
		if name == key {
			return child
		}
		if rest, ok := strings.CutPrefix(key, name+"."); ok {
			return child.find(rest)
		}
	}
	return nil
}

// last returns the table that a key of an array of tables leads into.
func (p *place) last() *place {
	if n := len(p.items); n > 0 {
		return p.items[n-1]
	}
	return p
}

// A text tells lines and columns from offsets.
type text struct {
	src    string
	lines  []int // the offset of each
	blocks []int // how many characters begin before each block of src
}

// A line may be as long as the file and be wrong all over: counting its
// characters from its beginning each time would take minutes.
const blockSize = 1 << 10

func newText(src string) text {
	t := text{src: src, lines: []int{0}}
	characters := 0
	for i := range len(src) {
		if i%blockSize == 0 {
			t.blocks = append(t.blocks, characters)
		}
		if utf8.RuneStart(src[i]) {
			characters++
		}
		if src[i] == '\n' {
			t.lines = append(t.lines, i+1)
		}
	}
	if len(src)%blockSize == 0 {
		t.blocks = append(t.blocks, characters) // for the end of src
	}
	return t
}

// position returns line and column, from 1; a column is a character.
func (t text) position(offset int) (line, column int) {
	line = sort.SearchInts(t.lines, offset+1)
	return line, t.characters(offset) - t.characters(t.lines[line-1]) + 1
}

// characters counts those that begin before offset.
func (t text) characters(offset int) int {
	block := offset / blockSize
	n := t.blocks[block]
	for i := block * blockSize; i < offset; i++ {
		if utf8.RuneStart(t.src[i]) {
			n++
		}
	}
	return n
}
