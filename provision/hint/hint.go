// Package hint keeps what the reader of an error can do about it apart from
// the text of the error. So whatever a host or GitLab says can stand in a text
// and never passes for a hint.
package hint

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// An Error is an error with something that its reader can do about it. The
// text of the error does not hold the hint.
type Error interface {
	error
	Hint() string // "" if there is nothing to do
}

type hinted struct {
	error
	hint string
}

func (h *hinted) Hint() string  { return h.hint }
func (h *hinted) Unwrap() error { return h.error }

// Add adds a hint to an error. Those that it has already stay.
func Add(err error, format string, args ...any) error {
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// Of returns the hints of an error and of all errors that are wrapped or joined
// in it: the first one added is first, and each is there once.
func Of(err error) []string {
	if err == nil {
		return nil
	}
	var hints []string
	add := func(texts ...string) {
		for _, text := range texts {
			if text != "" && !slices.Contains(hints, text) {
				hints = append(hints, text)
			}
		}
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			add(Of(e)...)
		}
	} else {
		add(Of(errors.Unwrap(err))...)
	}
	if own, ok := err.(Error); ok {
		add(own.Hint())
	}
	return hints
}

// Quote returns a word as it can be pasted into a shell in a command of a hint.
func Quote(word string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("%+,-./:=@_", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
