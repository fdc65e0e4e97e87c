package sample

import (
	"slices"
	"testing"
)

// named is a test of another name.
type named struct {
	testing.TB
	name string
}

func (n named) Name() string { return n.name }

// The same test draws the same, whatever was drawn before; over all tests, each case is
// drawn.
func TestSome(t *testing.T) {
	t.Setenv(every, "")
	all := []int{0, 1, 2, 3, 4, 5, 6, 7}
	drawn := map[int]bool{}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v"} {
		first := Some(named{t, name}, all, 3)
		Some(t, all, 3)
		if again := Some(named{t, name}, all, 3); !slices.Equal(again, first) {
			t.Errorf("%s draws %v, and then %v", name, first, again)
		}
		if len(first) != 3 || !slices.IsSorted(first) {
			t.Errorf("%s draws %v", name, first)
		}
		for _, n := range first {
			drawn[n] = true
		}
	}
	if len(drawn) != len(all) {
		t.Errorf("only %v are ever drawn", drawn)
	}
	if got := Some(t, all, 9); !slices.Equal(got, all) {
		t.Errorf("9 of 8 are %v", got)
	}
	t.Setenv(every, "1")
	if got := Some(t, all, 3); !slices.Equal(got, all) {
		t.Errorf("every one is %v", got)
	}
}
