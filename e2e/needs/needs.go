// Package needs is for tests that need more of a machine than Go: a program,
// root or the lab. Where that is missing, the test is skipped and says so, or
// fails if [all] says that nothing may be missing.
package needs

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

const (
	// With all=1 a test fails where it would be skipped. make test sets it, and
	// installs what is in [Packages].
	all = "PROVISION_TEST_ALL"

	// With noLab=1 no test uses the lab, and tests that need root or the lab are
	// skipped whatever all says.
	noLab = "PROVISION_NO_LAB"
)

// Packages maps the programs that tests need to the Debian packages that have
// them.
var Packages = map[string]string{
	"bash":            "bash",
	"busybox":         "busybox-static",
	"chromium":        "chromium",
	"dash":            "dash",
	"doas":            "opendoas",
	"docker-registry": "docker-registry",
	"fish":            "fish",
	"gawk":            "gawk",
	"git":             "git",
	"groff":           "groff-base",
	"mawk":            "mawk",
	"mksh":            "mksh",
	"shellcheck":      "shellcheck",
	"ssh":             "openssh-client",
	"ssh-keygen":      "openssh-client",
	"/usr/sbin/sshd":  "openssh-server",
	"sudo":            "sudo",
	"tcsh":            "tcsh",
	"xmllint":         "libxml2-utils",
	"zsh":             "zsh",
}

// Program returns the path of a program of [Packages].
func Program(t testing.TB, name string) string {
	t.Helper()
	pkg, known := Packages[name]
	if !known {
		t.Fatalf("package needs does not know which package has %s", name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, os.Getenv(all) == "1", name+" is not installed: apt-get install "+pkg)
	}
	return path
}

// Root is for a test that only root can run.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, required(), "it needs root")
	}
}

// CheckLab returns why there is no lab: because it is not wanted, or the error
// of check. It is for TestMain.
func CheckLab(check func() error) error {
	if os.Getenv(noLab) == "1" {
		return errors.New(noLab + " is 1")
	}
	return check()
}

// Lab is for a test that needs the lab. There is none if why, which is what
// [CheckLab] returned, is not nil.
func Lab(t testing.TB, why error) {
	t.Helper()
	if why != nil {
		missing(t, required(), "there is no lab: "+why.Error())
	}
}

// required tells whether root and the lab may not be missing.
func required() bool { return os.Getenv(all) == "1" && os.Getenv(noLab) != "1" }

func missing(t testing.TB, required bool, what string) {
	t.Helper()
	if required {
		t.Fatal("NOT TESTED, and " + all + " is 1: " + what)
	}
	t.Skip("NOT TESTED: " + what)
}
