package inventory

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// A reader collects the problems of a file.
type reader struct {
	file     string
	dir      string
	text     text
	problems Problems
	seen     map[Problem]bool
	files    map[string]file // overrides and certificates that were read
	filled   map[*node]bool  // parameters that some override has a place for
	guesses  int             // how many words to suggest, at most
}

// Comparing every wrong word with every right one would take long in a large
// file that is wrong all over, and nobody reads that many suggestions.
const maxGuesses = 200

// maxFile bounds an inventory. 5,000 hosts take about 1 MiB.
const maxFile = 4 << 20

// problem reports what is wrong at n. Said twice, as of a default that many
// hosts share, it counts once.
func (r *reader) problem(n *node, what, hint string) {
	line, column := r.text.position(n.offset)
	r.add(Problem{File: r.file, Line: line, Column: column, Key: n.key, What: what, Hint: hint})
}

func (r *reader) add(p Problem) {
	same := p
	same.Hint = "" // there may be no more guesses the second time
	if !r.seen[same] {
		r.seen[same] = true
		r.problems = append(r.problems, p)
	}
}

// guess returns the name that word is most likely meant to be, and a hint with
// it; or "".
func (r *reader) guess(word string, names []string) (meant, hint string) {
	if r.guesses--; r.guesses < 0 {
		return "", ""
	}
	if meant = Nearest(word, names); meant != "" {
		hint = "did you mean " + meant + "?"
	}
	return meant, hint
}

// parse turns the text of the file into nodes; nil with problems if it is not
// TOML.
func (r *reader) parse(data []byte) *node {
	src := strings.TrimPrefix(string(data), "\ufeff")
	r.text = newText(src)
	root := &node{}
	if bad := invalid(src); bad >= 0 {
		r.problem(&node{offset: bad}, "is not UTF-8", "save the file as UTF-8")
		return nil
	}
	places, end, deep := scan(src)
	if deep {
		r.problem(&node{offset: end}, fmt.Sprintf("nests more than %d deep", maxDepth), "nothing in an inventory does")
		return nil
	}
	var values map[string]any
	if _, err := toml.Decode(src, &values); err != nil {
		r.syntax(err, places)
		return nil
	}
	root = newNode("", "", values, places)
	if root.table == nil {
		root.table = map[string]*node{}
	}
	return root
}

func invalid(s string) int {
	for i, c := range s {
		if c == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return i
			}
		}
	}
	return -1
}

// quotation matches what a message of the library may quote from the file:
// something between quotation marks, or a long number.
var quotation = pattern(`(?s)'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[-+]?[0-9][^ ]{3,}`)

// syntax reports a syntax error. What the library quotes may be a secret that
// stands there without its quotation marks, so that only its own words are
// repeated, single characters, and the names of keys.
func (r *reader) syntax(err error, places *place) {
	p := Problem{File: r.file, Line: 1, Column: 1, What: "is not TOML"}
	var parse toml.ParseError
	if errors.As(err, &parse) {
		// The library's column is wrong for what begins a line.
		line, column := r.text.position(max(min(parse.Position.Start, len(r.text.src)), 0))
		if p.Line = max(parse.Position.Line, 1); p.Line == line {
			p.Column = column
		}
		const straight = `text stands between straight quotation marks: "…"`
		message := strings.TrimSuffix(parse.Message, ".")
		rest, twice := strings.CutPrefix(message, "Key '")
		switch {
		case twice:
			key := rest[:strings.LastIndex(rest, "' ")]
			p.Key, p.What = shorten(key), "has already been defined"
			if first := places.find(key); first != nil {
				line, _ := r.text.position(first.offset)
				p.What += fmt.Sprintf(" in line %d", line)
			}
		case strings.Contains(message, "expected value"):
			p.What, p.Hint = "is not TOML: there is no value that can be read", straight
		case message == "strings cannot contain newlines", strings.HasPrefix(message, "unexpected EOF; expected") && strings.Contains(message, `"`):
			p.What, p.Hint = "is not TOML: the closing quotation mark is missing", straight
		default:
			message = strings.Replace(message, "Invalid ", "invalid ", 1)
			p.What += ": " + quotation().ReplaceAllStringFunc(message, func(q string) string {
				if utf8.RuneCountInString(q) <= len(`'\n'`) && q == printable(q) {
					return q
				}
				return "…"
			})
		}
	}
	r.add(p)
}

// path returns where a path of the file leads to: relative ones start beside
// the inventory, and "~/" is the home of whoever runs the program.
func (r *reader) path(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(r.dir, path)
}
