package forge

import (
	"slices"
	"strings"
	"testing"
)

func TestBehind(t *testing.T) {
	for _, tt := range []struct {
		name, newest, commit string
		n                    int
		ok                   bool
	}{
		{"nothing is known", "", "a", 0, false},
		{"it is the newest", "c b, b a, a", "c", 0, true},
		{"two behind", "c b, b a, a", "a", 2, true},
		{"older than what is known", "c b, b a", "a", 0, false},
		{"a branch was merged, whose commits are older", "m c x, c b, x y, b a, y a, a", "b", 4, true},
		{"at the branch that was merged", "m c x, c b, x y, b a, y a, a", "x", 3, true},
		{"a circle, which GitLab does not have", "b a, a b", "a", 0, true},
	} {
		var newest []Commit
		for line := range strings.SplitSeq(tt.newest, ", ") {
			if words := strings.Fields(line); len(words) > 0 {
				newest = append(newest, Commit{words[0], slices.Clone(words[1:])})
			}
		}
		if n, ok := Behind(newest, tt.commit); n != tt.n || ok != tt.ok {
			t.Errorf("%s: %d, %t; want %d, %t", tt.name, n, ok, tt.n, tt.ok)
		}
	}
}
