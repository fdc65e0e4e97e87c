package cmd

import (
	"os"
	"testing"
)

// programVariable makes this test binary the program itself.
const programVariable = "PROVISION_CMD_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		os.Exit(Main())
	}
	os.Exit(m.Run())
}
