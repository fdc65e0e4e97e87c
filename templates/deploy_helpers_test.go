package templates

import (
	"regexp"
	"slices"
	"strings"
)

var (
	timeForm = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z`)
	tookForm = regexp.MustCompile(`(in|after) [0-9]+ s\b`)
)

func sorted(text string) string {
	lines := strings.SplitAfter(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}
