// Package visible makes text safe to print that a host, GitLab or a file has
// a part in.
package visible

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// String returns s with everything written out that could steer a terminal or
// hide text: control characters, so that it is one line, invalid UTF-8, and
// what changes the direction of writing. Tabs stay.
func String(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, hidden) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteString(`\x` + strconv.FormatUint(uint64(s[0])|0x100, 16)[1:])
		case hidden(r):
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteRune(r)
		}
		s = s[size:]
	}
	return b.String()
}

func hidden(r rune) bool {
	return r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp))
}

// Lines is [String] for each line of a text of our own, whose parts somebody
// else may have said.
func Lines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = String(l)
	}
	return strings.Join(lines, "\n")
}

// Line makes one visible line of a text that somebody else wrote, for a reason
// of an error: its lines without the space around them, and a semicolon between
// them.
func Line(s string) string {
	var lines []string
	for l := range strings.Lines(s) {
		if l = strings.TrimSpace(l); l != "" {
			lines = append(lines, String(l))
		}
	}
	return strings.Join(lines, "; ")
}

// Short is [Line] of at most so many runes, and "…" where there is more.
func Short(s string, most int) string {
	s = Line(s)
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}
