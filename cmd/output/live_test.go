package output

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provision/e2e/screen"
)

func terminal(t *testing.T, columns, lines int) *screen.Terminal {
	t.Helper()
	term, err := screen.Open(columns, lines)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TERM", "xterm")
	t.Setenv("CI", "")
	t.Setenv("NO_COLOR", "")
	return term
}

// drawn draws a frame and returns what is to be seen then.
func drawn(t *testing.T, l *Live, term *screen.Terminal) string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(l.terminal, "")
	term.Sync()
	return term.String()
}

// Whatever the size of a terminal is and becomes, lines that stay are whole and
// in order, and nothing is left of those that do not.
func TestLive(t *testing.T) {
	for _, size := range []struct{ columns, lines, then int }{
		{80, 24, 80}, {40, 24, 40}, {80, 24, 40}, {80, 24, 17}, {40, 24, 100}, {80, 4, 30}, {80, 1, 80}, {3, 2, 3}, {20, 24, 1},
	} {
		t.Run(fmt.Sprintf("%dx%d to %d", size.columns, size.lines, size.then), func(t *testing.T) {
			term := terminal(t, size.columns, size.lines)
			l := NewLive(term.File)
			l.Start(20)
			var stays []string
			say := func(text string) {
				stays = append(stays, text)
				l.Print(term.File, text+"\n")
			}
			for n := range 6 {
				l.Begin(fmt.Sprintf("web%d", n))
				l.Doing(fmt.Sprintf("web%d", n), strings.Repeat("日本語 and more; ", 9))
			}
			seen := drawn(t, l, term)
			lines := strings.Split(seen, "\n")
			if want := min(7, max(1, size.lines-1)); len(lines) != want {
				t.Errorf("%d lines, want %d:\n%s", len(lines), want, seen)
			}
			for _, line := range lines {
				wide := 0
				for _, r := range line {
					wide += columns(r)
				}
				if wide >= size.columns {
					t.Errorf("%d columns: %s", wide, line)
				}
			}
			say("short")
			say(strings.Repeat("long, ", 40) + "end")
			say(strings.Repeat("x", size.columns)) // which ends in the last column
			drawn(t, l, term)
			if err := term.Resize(size.then, size.lines); err != nil {
				t.Fatal(err)
			}
			say("resized")
			l.Finish("web0", nil)
			l.Finish("web1", errors.New("failed"))
			if seen := drawn(t, l, term); size.columns > 30 && size.then > 30 && !strings.Contains(seen, "2 of 20 hosts done, 1 FAILED") {
				t.Errorf("the hosts that are done are not counted:\n%s", seen)
			}
			resume := l.Pause()
			l.Print(term.File, "password:\n")
			stays = append(stays, "password:")
			resume()
			drawn(t, l, term)
			l.Stop()
			term.Close()

			if diff := cmp.Diff(stays, term.Lines()); diff != "" {
				t.Errorf("what is left: -want +got\n%s", diff)
			}
			if unknown := term.Unknown(); unknown != nil {
				t.Errorf("not every terminal understands %q", unknown)
			}
		})
	}
}

// Where there is no terminal for it, nothing but lines is written, and NO_COLOR
// takes away the colours alone.
func TestPlain(t *testing.T) {
	for _, c := range []struct{ name, variable, value, text string }{
		{"colours", "TERM", "xterm", "web1: \x1b[32mdone\x1b[m: it"},
		{"NO_COLOR", "NO_COLOR", "1", "web1: done: it"},
		{"dumb", "TERM", "dumb", "web1: done: it"},
		{"no TERM", "TERM", "", "web1: done: it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			term := terminal(t, 80, 24)
			defer term.Close()
			t.Setenv(c.variable, c.value)
			if got := "web1: " + Paint(term.File, Green, "done") + ": it"; got != c.text {
				t.Errorf("%q, want %q", got, c.text)
			}
			if shows, want := NewLive(term.File).terminal != nil, c.variable != "TERM" || c.value == "xterm"; shows != want {
				t.Errorf("live lines: %t", shows)
			}
			t.Setenv("CI", "true")
			if NewLive(term.File).terminal != nil {
				t.Error("live lines in a log of CI")
			}
		})
	}
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if got := Paint(file, Red, "x"); got != "x" || NewLive(file).terminal != nil {
		t.Errorf("a file is taken for a terminal: %q", got)
	}
}

// What GitLab is waited for stands among the hosts until it is over; where there is no
// terminal it is a line.
func TestLiveTellsOfWaiting(t *testing.T) {
	const text = "waiting for GitLab's rate limit, 40 s"
	term := terminal(t, 80, 24)
	l := NewLive(term.File)
	l.Start(2)
	defer l.Stop()
	l.Begin("web1")
	l.Waiting(term.File, text)
	if seen := drawn(t, l, term); seen != text+"\nweb1: connect\n0 of 2 hosts done, 0 s" {
		t.Errorf("the display is\n%s", seen)
	}
	l.Waiting(term.File, "")
	if seen := drawn(t, l, term); seen != "web1: connect\n0 of 2 hosts done, 0 s" {
		t.Errorf("then the display is\n%s", seen)
	}

	var out strings.Builder
	none := &Live{}
	none.Waiting(&out, text)
	none.Waiting(&out, "")
	if out.String() != text+"\n" {
		t.Errorf("printed %q", &out)
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"abc", 1, "…"}, {"abc", 0, ""}, {"", 5, ""}, {"abc", -4, ""},
		{"日本語", 6, "日本語"}, {"日本語", 5, "日本…"}, {"日本語", 4, "日…"}, {"日本語", 2, "…"},
		{"e\u0301e\u0301", 2, "e\u0301e\u0301"}, {"e\u0301e\u0301e", 2, "e\u0301…"}, {"a\tb", 3, "a b"},
	} {
		if got := Cut(c.text, c.most); got != c.want {
			t.Errorf("Cut(%q, %d) is %q, want %q", c.text, c.most, got, c.want)
		}
	}
}
