package steps

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"provision/e2e/needs"
)

// The table says something of every option of the sshd of this machine, and of none twice.
func TestSshdOptions(t *testing.T) {
	needs.Root(t)
	key := filepath.Join(t.TempDir(), "host")
	if out, err := exec.Command(needs.Program(t, "ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", `mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec "$@"`, "sh",
		needs.Program(t, "/usr/sbin/sshd"), "-T", "-f", "/dev/null", "-h", key).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	options := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(options) < 80 {
		t.Errorf("sshd has only %d options", len(options))
	}
	for _, line := range options {
		option, _, _ := strings.Cut(line, " ")
		if !sshdKnown(option) {
			t.Errorf("nothing is said of %q", line)
		}
	}
	names := strings.Fields(harmlessOptions())
	for _, r := range append(sshdRules, gssapiRule) {
		names = append(names, strings.ToLower(r.option))
	}
	had := map[string]bool{}
	for _, name := range append(names, sshdLets...) {
		if had[name] {
			t.Errorf("%s is judged twice", name)
		}
		had[name] = true
	}
}

// What the distributions let in says nothing of programs; what may be anything is odd.
func TestHarmlessVariable(t *testing.T) {
	for pattern, want := range map[string]bool{
		"LANG": true, "LC_*": true, "LC_ALL": true, "XMODIFIERS": true, "none": true, "GIT_PROTOCOL": true,
		"*": false, "L*": false, "LC*": false, "LANG*": false, "?ANG": false, "LD_PRELOAD": false, "BASH_FUNC_*": false, "BASH_*": false,
		"ENV": false, "HOME": false, "PS4": false, "SHELLOPTS": false, "GCONV_PATH": false, "PATH": false, "!LD_*": false, "LANG LC_*": false,
	} {
		if got := harmlessVariable(pattern); got != want {
			t.Errorf("%s: %v", pattern, got)
		}
	}
}
