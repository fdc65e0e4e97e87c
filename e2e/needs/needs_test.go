package needs

import (
	"errors"
	"testing"
)

// A recorder is a test that keeps how it ended. As with a real one, nothing
// runs after that.
type recorder struct {
	testing.TB
	ended string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatal(...any) { r.end("failed") }
func (r *recorder) Skip(...any)  { r.end("skipped") }

func (r *recorder) end(how string) {
	r.ended = how
	panic(r)
}

// how tells how a test ends.
func how(test func(t testing.TB)) string {
	r := &recorder{ended: "ran"}
	func() {
		defer func() {
			if end := recover(); end != nil && end != any(r) {
				panic(end)
			}
		}()
		test(r)
	}()
	return r.ended
}

func TestMissing(t *testing.T) {
	gone := errors.New("no cgroups")
	for _, c := range []struct{ all, noLab, program, lab string }{
		{"", "", "skipped", "skipped"},
		{"1", "", "failed", "failed"},
		{"", "1", "skipped", "skipped"},
		{"1", "1", "failed", "skipped"},
	} {
		t.Setenv(all, c.all)
		t.Setenv(noLab, c.noLab)
		t.Setenv("PATH", t.TempDir())
		if got := how(func(t testing.TB) { Program(t, "dash") }); got != c.program {
			t.Errorf("%+v: without its program a test %s", c, got)
		}
		why := CheckLab(func() error { return gone })
		if got := how(func(t testing.TB) { Lab(t, why) }); got != c.lab {
			t.Errorf("%+v: without a lab a test %s", c, got)
		}
		if why := CheckLab(func() error { return nil }); (why != nil) != (c.noLab == "1") {
			t.Errorf("%+v: where there can be a lab, there is none: %v", c, why)
		}
	}
	if got := how(func(t testing.TB) { Lab(t, nil) }); got != "ran" {
		t.Errorf("with a lab a test %s", got)
	}
}
