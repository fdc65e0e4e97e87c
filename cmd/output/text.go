package output

import (
	"fmt"
	"io"
	"strings"
	"time"

	"provision/provision"
)

// VisibleLines makes every line of a text visible.
func VisibleLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = provision.Visible(l)
	}
	return strings.Join(lines, "\n")
}

// CutHint takes the hint off a text that may have one.
func CutHint(text string) (rest, hint string) {
	rest, hint, _ = strings.Cut(text, hintMark)
	return rest, hint
}

// CutHints takes all hints off a text.
func CutHints(text string) (rest string, hints []string) {
	parts := strings.Split(text, hintMark)
	return parts[0], parts[1:]
}

const hintMark = "\nhint: "

// IndentHints sets the hints in the text of an error apart.
func IndentHints(text string) string {
	return strings.ReplaceAll(text, hintMark, "\n  hint: ")
}

// ErrorLines writes an error as it is printed to out.
func ErrorLines(out io.Writer, text string) string {
	return Paint(out, Red, "provision:") + " " + text + "\n"
}

// Split returns the errors that were joined in err, if any were.
func Split(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, Split(e)...)
	}
	return all
}

// Seconds writes how long something took.
func Seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// Count writes how many there are of what has a regular plural.
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
