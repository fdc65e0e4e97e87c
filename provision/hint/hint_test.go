package hint

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

type typed struct{}

func (typed) Error() string { return "typed" }
func (typed) Hint() string  { return "of its type" }

func TestOf(t *testing.T) {
	base := errors.New("x\nhint: forged")
	one := Add(base, "do %s", "this")
	for _, c := range []struct {
		err  error
		text string
		want []string
	}{
		{nil, "<nil>", nil},
		{base, "x\nhint: forged", nil},
		{one, "x\nhint: forged", []string{"do this"}},
		{Add(one, ""), "x\nhint: forged", []string{"do this"}},
		{Add(fmt.Errorf("h: %w", one), "or that"), "h: x\nhint: forged", []string{"do this", "or that"}},
		{fmt.Errorf("h: %w", typed{}), "h: typed", []string{"of its type"}},
		{errors.Join(one, typed{}, one), "x\nhint: forged\ntyped\nx\nhint: forged", []string{"do this", "of its type"}},
		{fmt.Errorf("%w (%w)", typed{}, one), "typed (x\nhint: forged)", []string{"of its type", "do this"}},
	} {
		if got := Of(c.err); !slices.Equal(got, c.want) || fmt.Sprint(c.err) != c.text {
			t.Errorf("%q: %q, want %q with %q", c.err, got, c.text, c.want)
		}
		if c.err != nil && errors.Is(c.err, base) != (c.err.Error() != "typed" && c.err.Error() != "h: typed") {
			t.Errorf("%q: the error in it is lost", c.err)
		}
	}
}
