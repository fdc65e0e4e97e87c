package cmd

import (
	"os"
	"testing"

	"provision/e2e/screen"
)

// programVariable makes this test binary the program itself.
const programVariable = "PROVISION_CMD_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		os.Exit(Main())
	}
	os.Exit(m.Run())
}

// terminal is one that can show all that the program has for terminals.
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
