package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Problem is one thing that is wrong with an inventory, or with a file that
// it names.
type Problem struct {
	File         string
	Line, Column int    // from 1, counted in characters; 0 where the whole file is meant
	Key          string // as TOML would write it: hosts.web1.become; "" where no key is meant
	What         string // what is wrong; never a secret
	Hint         string // what to write instead, or ""
}

// Error returns one line without control characters:
//
//	inventory.toml:12:3: hosts.web1.become: "su" is unknown; write sudo, doas or none
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(printable(p.File))
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key)
		b.WriteString(": ")
	}
	b.WriteString(p.What)
	if p.Hint != "" {
		b.WriteString("; ")
		b.WriteString(p.Hint)
	}
	return b.String()
}

// Problems are all that is wrong with an inventory: first what stands in the
// file itself, then what stands in others, each in the order of its place.
// There is at least one.
type Problems []Problem

// A terminal has room for about as many as this.
const maxShown = 50

// Error returns one line for each of the first 50 problems, and the number of
// the others.
func (ps Problems) Error() string {
	var lines []string
	for _, p := range ps[:min(len(ps), maxShown)] {
		lines = append(lines, p.Error())
	}
	if more := len(ps) - maxShown; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

func (ps Problems) sort(inventory string) {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			compareBool(a.File != inventory, b.File != inventory),
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Key, b.Key),
		)
	})
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// maxQuoted is how much of a value an error repeats, in bytes.
const maxQuoted = 64

// quote makes what somebody wrote fit to be shown in an error.
func quote(s string) string {
	short := shorten(s)
	if short == s {
		return strconv.Quote(s)
	}
	return strconv.Quote(strings.TrimSuffix(short, "…")) + "…"
}

func shorten(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	cut := maxQuoted
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// Nearest returns the name that word is most likely meant to be, or "". One letter
// in three may be wrong, and one in a short word.
func Nearest(word string, names []string) string {
	found, best := "", max(min(len(word), maxQuoted)/3, 1)+1
	for _, name := range names {
		if d := distance(word, name, best); d < best {
			found, best = name, d
		}
	}
	return found
}

// distance counts the letters to change, add, drop or swap with their
// neighbour to get from a to b, where upper and lower case are the same. It
// gives up and returns limit where the answer is not below that.
func distance(a, b string, limit int) int {
	if gap := len(a) - len(b); max(gap, -gap) >= limit || max(len(a), len(b)) > maxQuoted {
		return limit
	}
	a, b = strings.ToLower(a), strings.ToLower(b)
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := above[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, above[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return min(row[len(b)], limit)
}
