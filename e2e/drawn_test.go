package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"provision/e2e/sample"
)

// always are the tests that every run has: what the others go from.
var always = []string{"TestApply", "TestDeploy", "TestRemove", "TestRotate", "TestVerify"}

// drawn is how many of the other ones there is time for: each boots hosts of its own.
const drawn = 18

// drawTests leaves out tests that are not drawn, and says so, where nobody has named any.
func drawTests() error {
	if sample.Every() || given("test.run") || given("test.skip") {
		return nil
	}
	list := exec.Command(os.Args[0], "-test.list", "^Test")
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("%v: %w", list.Args, err)
	}
	var others []string
	for _, name := range strings.Fields(string(out)) {
		if !slices.Contains(always, name) {
			others = append(others, name)
		}
	}
	if n := len(strings.Fields(string(out))) - len(others); n != len(always) {
		return fmt.Errorf("of %q, %d are tests", always, n)
	}
	some, seed, err := sample.Names(others, drawn)
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(others, func(name string) bool { return slices.Contains(some, name) })
	fmt.Printf("drawn are %d of %d tests, and those that every run has; %s draws them again, and %s takes all\n", len(some), len(some)+len(left), seed, sample.All)
	return flag.Set("test.skip", "^("+strings.Join(left, "|")+")$")
}

func given(name string) (is bool) {
	flag.Visit(func(f *flag.Flag) { is = is || f.Name == name })
	return is
}
