package output

import (
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

// TerminalOf returns the terminal that out is, if it can do more than print;
// what is no terminal, or a dumb one, gives nil.
func TerminalOf(out io.Writer) *os.File {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("TERM") == "" || os.Getenv("TERM") == "dumb" || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	return file
}

// The colours.
const (
	Red   = "31"
	Green = "32"
	Dim   = "2"
)

// Paint colours text that is written to out, where that shows colours and
// NO_COLOR does not forbid it.
func Paint(out io.Writer, colour, text string) string {
	if colour == "" || text == "" || os.Getenv("NO_COLOR") != "" || TerminalOf(out) == nil {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[m"
}

// unpainted is text without the colours that Paint gave it.
func unpainted(text string) string {
	return strings.NewReplacer("\x1b["+Red+"m", "", "\x1b["+Green+"m", "", "\x1b["+Dim+"m", "", "\x1b[m", "").Replace(text)
}

// columns returns how many columns of a terminal a visible rune takes.
func columns(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// Cut returns what of a visible text fits into so many columns, with "…" where
// something is missing.
func Cut(text string, most int) string {
	text = strings.ReplaceAll(text, "\t", " ")
	used, fits := 0, 0 // fits: bytes that leave room for the "…"
	for i, r := range text {
		n := columns(r)
		if used+n > most {
			if most < 1 {
				return ""
			}
			return text[:fits] + "…"
		}
		if used += n; used < most {
			fits = i + len(string(r))
		}
	}
	return text
}
