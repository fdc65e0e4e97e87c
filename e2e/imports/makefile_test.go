package imports_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"provision/e2e/lab"
)

// What make installs for the lab is what the lab says that it needs.
func TestMakefileInstallsTheLab(t *testing.T) {
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if names, ok := strings.CutPrefix(line, "LAB_PACKAGES  = "); ok {
			if got := strings.Fields(names); !slices.Equal(got, lab.Packages) {
				t.Errorf("the Makefile installs %q, the lab needs %q", got, lab.Packages)
			}
			return
		}
	}
	t.Error("the Makefile has no LAB_PACKAGES")
}
