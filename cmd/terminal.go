package cmd

import (
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

// terminalOf returns the terminal that out is, if it can do more than print;
// what is no terminal, or a dumb one, gives nil.
func terminalOf(out io.Writer) *os.File {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("TERM") == "" || os.Getenv("TERM") == "dumb" || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	return file
}

// The colours.
const (
	red   = "31"
	green = "32"
	dim   = "2"
)

// paint colours text that is written to out, where that shows colours and
// NO_COLOR does not forbid it.
func paint(out io.Writer, colour, text string) string {
	if colour == "" || text == "" || os.Getenv("NO_COLOR") != "" || terminalOf(out) == nil {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[m"
}

// unpainted is text without the colours that paint gave it.
func unpainted(text string) string {
	return strings.NewReplacer("\x1b["+red+"m", "", "\x1b["+green+"m", "", "\x1b[m", "").Replace(text)
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

// cut returns what of a visible text fits into so many columns, with "…" where
// something is missing.
func cut(text string, most int) string {
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
