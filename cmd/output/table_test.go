package output

import "testing"

// A table that a terminal has no room for is a list of what its cells say.
func TestTableInANarrowTerminal(t *testing.T) {
	rows := [][]string{{"HOST", "NAME", "UP", "SINCE", "BEHIND"}, {"web1", "app", "1/1", "2026-01-02", "-"}, {"web2", "äpp", "\x1b[31munreachable\x1b[m", "-", "3"}}
	whole := table(rows)
	if want := "HOST  NAME  UP           SINCE       BEHIND\nweb1  app   1/1          2026-01-02  -\nweb2  äpp   \x1b[31munreachable\x1b[m  -           3\n"; whole != want {
		t.Errorf("got\n%swant\n%s", whole, want)
	}
	if !fits(whole, 43) || fits(whole, 42) {
		t.Error("the width of a table is not that of its widest line")
	}
	if got, want := list(rows), "web1: app\n  UP: 1/1\n  SINCE: 2026-01-02\nweb2: äpp\n  UP: \x1b[31munreachable\x1b[m\n  BEHIND: 3\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
