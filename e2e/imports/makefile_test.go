package imports_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"provision/e2e/lab"
	"provision/e2e/needs"
)

// packages returns the Debian packages in a variable of the Makefile.
func packages(t *testing.T, variable string) []string {
	t.Helper()
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, names, ok := strings.Cut(line, "="); ok && strings.TrimSpace(name) == variable {
			return strings.Fields(names)
		}
	}
	t.Fatalf("the Makefile has no %s", variable)
	return nil
}

// What make installs for the lab is what the lab says that it needs.
func TestMakefileInstallsTheLab(t *testing.T) {
	if got := packages(t, "LAB_PACKAGES"); !slices.Equal(got, lab.Packages) {
		t.Errorf("the Makefile installs %q, the lab needs %q", got, lab.Packages)
	}
}

// What make test installs is what tests need, and what the race detector does.
func TestMakefileInstallsForTests(t *testing.T) {
	installed := packages(t, "TEST_PACKAGES")
	var needed []string
	for program, pkg := range needs.Packages {
		needed = append(needed, pkg)
		if !slices.Contains(installed, pkg) && !slices.Contains(lab.Packages, pkg) {
			t.Errorf("tests need %s, and the Makefile does not install %s", program, pkg)
		}
	}
	for _, pkg := range installed {
		if race := []string{"gcc", "libc6-dev"}; !slices.Contains(needed, pkg) && !slices.Contains(race, pkg) {
			t.Errorf("the Makefile installs %s, and no test needs it", pkg)
		}
	}
}
