// Package e2e_test runs the commands of the program as they are typed, on
// booted hosts, against a stand-in for GitLab and a real registry.
package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
	"testing"

	"provision/cmd"
	"provision/e2e/lab"
	"provision/e2e/needs"
)

// programVariable makes this test binary the program itself.
const programVariable = "PROVISION_E2E_PROGRAM"

// theLab is shared by all tests. Each makes its own world in there. It is nil
// where there is none, and noLab says why.
var (
	theLab *lab.Lab
	noLab  error
)

// TestMain runs twice: outside of the lab, where it enters it, and inside.
func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		mutate(os.Getenv(mutationVariable))
		code := cmd.Main()
		tellMemory(os.Getenv(memoryVariable))
		os.Exit(code)
	}
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		os.Exit(m.Run())
	}
	if noLab = needs.CheckLab(lab.Check); noLab != nil {
		os.Exit(m.Run())
	}
	if err := keepCaches(); err != nil {
		log.Fatal(err)
	}
	l, code, err := lab.Enter(context.Background(), os.Stderr)
	if err != nil {
		log.Fatal(err)
	}
	if l == nil {
		os.Exit(code)
	}
	theLab = l
	if err := drawTests(); err != nil {
		log.Fatal(err)
	}
	code = m.Run()
	if err := l.Close(); err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

// memoryVariable names a file for how much memory the program has used. Its
// parent cannot know: what it would be told has its own memory in it.
const memoryVariable = "PROVISION_E2E_MEMORY"

func tellMemory(file string) {
	if file == "" {
		return
	}
	status, err := os.ReadFile("/proc/self/status")
	if err == nil {
		_, rest, _ := strings.Cut(string(status), "\nVmHWM:")
		line, _, _ := strings.Cut(rest, "\n")
		err = os.WriteFile(file, []byte(line), 0o600)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// keepCaches has go find its modules in the lab, where there is another home and
// no network.
func keepCaches() error {
	for _, name := range []string{"GOMODCACHE", "GOCACHE"} {
		if os.Getenv(name) != "" {
			continue
		}
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			return fmt.Errorf("go env %s: %w", name, err)
		}
		os.Setenv(name, strings.TrimSpace(string(out)))
	}
	return nil
}
