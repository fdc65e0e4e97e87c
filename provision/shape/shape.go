// Package shape says what a fact may look like that a host tells CI: a state, a
// number, a digest, an id, a name. None of them is a text that somebody has written
// into a file.
package shape

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// A Shape is a regular expression that regexp and sed -E read alike. It matches the
// whole of a value.
type Shape string

// Shapes of values.
const (
	Number      Shape = `[0-9]{1,18}`
	Digest      Shape = `[0-9a-f]{64}`
	Commit      Shape = `([0-9a-f]{40}|[0-9a-f]{64})`
	Image       Shape = `sha256:[0-9a-f]{64}`
	Fingerprint Shape = `SHA256:[A-Za-z0-9+/]{43}`
	Mode        Shape = `[0-7]{3,4}`

	// PublicKey is "TYPE BASE64", as in a file of OpenSSH.
	PublicKey Shape = `(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]{1,40} AAAA[A-Za-z0-9+/]+={0,2}`

	// Name is what a user, a service, a variable, a branch or a deployment is called.
	Name Shape = `[A-Za-z0-9_.][A-Za-z0-9_.+/-]{0,120}`
)

// Words is one of some texts that are known here.
func Words(words ...string) Shape {
	var all []string
	for _, w := range words {
		all = append(all, literal(w))
	}
	return Shape("(" + strings.Join(all, "|") + ")")
}

// Either is one of some shapes.
func Either(shapes ...Shape) Shape { return Shape("(" + join(shapes, "|") + ")") }

// Row is some shapes, with a blank between each two.
func Row(shapes ...Shape) Shape { return Shape(join(shapes, " ")) }

// Optional is a shape, or nothing.
func Optional(s Shape) Shape { return "(" + s + ")?" }

// List is any number of a shape, with a blank between each two.
func List(s Shape) Shape { return "(" + s + "( " + s + ")*)?" }

// After is a shape behind a text that is known here.
func After(text string, s Shape) Shape { return Shape(literal(text)) + s }

func join(shapes []Shape, with string) string {
	var all []string
	for _, s := range shapes {
		all = append(all, string(s))
	}
	return strings.Join(all, with)
}

// literal quotes a text. What ends a command of sed is any one character.
func literal(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '%' || r == '\n':
			b.WriteByte('.')
		case strings.ContainsRune(`\.+*?()|[{^$`, r):
			b.WriteByte('\\')
			fallthrough
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Facts are the shapes of facts by their keys. A key that ends in " *" stands for
// all that have a [Name] there.
type Facts map[string]Shape

// With returns these facts and others.
func (f Facts) With(others ...Facts) Facts {
	all := maps.Clone(f)
	for _, other := range others {
		maps.Copy(all, other)
	}
	return all
}

// Pattern matches "KEY=VALUE" of all facts.
func (f Facts) Pattern() string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(f)) {
		all = append(all, keyPattern(key)+"="+string(f[key]))
	}
	return "(" + strings.Join(all, "|") + ")"
}

// Keys matches "KEY" of all facts.
func (f Facts) Keys() string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(f)) {
		all = append(all, keyPattern(key))
	}
	return "(" + strings.Join(all, "|") + ")"
}

func keyPattern(key string) string {
	if kind, ok := strings.CutSuffix(key, " *"); ok {
		return literal(kind) + " " + string(Name)
	}
	return literal(key)
}

// Matcher returns a function that tells whether "KEY=VALUE" has its shape.
func (f Facts) Matcher() func(fact string) bool {
	return regexp.MustCompile(`^` + f.Pattern() + `$`).MatchString
}
