package output

import (
	"fmt"
	"io"
	"strings"
	"time"

	"provision/provision/visible"
)

// HintLines are the lines of hints, as they stand behind what they are about.
func HintLines(hints []string) (lines string) {
	for _, h := range hints {
		lines += "\n  hint: " + strings.ReplaceAll(visible.Lines(h), "\n", "\n  ")
	}
	return lines
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
