// Package secret has the one type in which passwords, tokens and private keys
// travel through the program.
package secret

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// A Value is a secret. Whatever prints it (any verb of fmt, JSON, slog)
// prints "(secret)"; only [Value.Reveal] gives it out, and a test lists the
// places that may call it.
//
// The zero Value is no secret at all, see [Value.IsZero]. Copies share what
// they hold, so a Value that is made empty by [Born] and filled later is
// filled for all who were given it.
type Value struct {
	cell *cell
}

// fmt calls no methods on unexported fields, and some verbs follow pointers:
// what stands in a cell is printed when a struct around a Value is. A function
// prints as an address.
type cell struct {
	mu    sync.Mutex
	text  func() string // nil: not there yet
	birth func() (string, error)
}

func (c *cell) set(text string) { c.text = func() string { return text } }

// ErrEmpty tells that a secret is revealed before anything filled it.
var ErrEmpty = errors.New("the secret is not there yet")

// New returns a Value that holds text.
func New(text string) Value {
	v := Value{&cell{}}
	v.cell.set(text)
	return v
}

// Born returns a Value that is to come: birth is called once, when it is
// first revealed. With a nil birth somebody has to [Value.Fill] it before.
func Born(birth func() (string, error)) Value {
	return Value{&cell{birth: birth}}
}

// Fill gives an empty Value its text.
func (v Value) Fill(text string) {
	v.cell.mu.Lock()
	defer v.cell.mu.Unlock()
	v.cell.set(text)
}

// IsZero reports whether v is the zero Value.
func (v Value) IsZero() bool { return v.cell == nil }

// Reveal returns the secret itself. The error is [ErrEmpty], or what its
// birth returned.
func (v Value) Reveal() (string, error) {
	if v.cell == nil {
		return "", ErrEmpty
	}
	v.cell.mu.Lock()
	defer v.cell.mu.Unlock()
	if v.cell.text == nil && v.cell.birth != nil {
		text, err := v.cell.birth()
		if err != nil {
			return "", err
		}
		v.cell.set(text)
	}
	if v.cell.text == nil {
		return "", ErrEmpty
	}
	return v.cell.text(), nil
}

// Digest returns the SHA-256 of salt and secret in hexadecimal, by which two
// secrets can be told apart. The salt has to be random and long.
func (v Value) Digest(salt string) (string, error) {
	text, err := v.Reveal()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(salt + text))
	return hex.EncodeToString(sum[:]), nil
}

const mask = "(secret)"

// Format implements [fmt.Formatter] for every verb.
func (Value) Format(f fmt.State, _ rune) { fmt.Fprint(f, mask) }

// MarshalText implements [encoding.TextMarshaler], and so covers JSON and TOML.
func (Value) MarshalText() ([]byte, error) { return []byte(mask), nil }

// LogValue implements [slog.LogValuer].
func (Value) LogValue() slog.Value { return slog.StringValue(mask) }
