package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"provision/e2e/needs"
)

// A signature of a release verifies as SECURITY.md says, with the right key and
// what was signed, and with nothing else.
func TestSign(t *testing.T) {
	needs.Program(t, "ssh-keygen")
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sums := filepath.Join(dir, "SHA256SUMS")
	write("SHA256SUMS", strings.Repeat("0", 64)+"  provision_1.0.0_linux_amd64.tar.gz\n")
	sign := func(key string) error {
		c := exec.CommandContext(t.Context(), "./sign.sh", sums)
		c.Env = append(os.Environ(), "PROVISION_SIGNING_KEY="+key)
		out, err := c.CombinedOutput()
		if err != nil && len(out) == 0 {
			t.Error("it fails, and does not say why")
		}
		return err
	}
	for _, none := range []string{"", filepath.Join(dir, "nothing"), dir} {
		if err := sign(none); err == nil {
			t.Errorf("it signs with the key %q", none)
		}
	}

	key := newKey(t, dir, "key")
	commands := verifying(t)
	verify := func() (string, error) {
		c := exec.CommandContext(t.Context(), "/bin/sh", "-ec", commands)
		c.Dir = dir
		out, err := c.CombinedOutput()
		return string(out), err
	}
	allow := func(key string) {
		public, err := os.ReadFile(key + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		write("allowed_signers", `maintainers@provision.invalid namespaces="provision-release" `+string(public))
	}
	for range 2 { // the second one takes the place of the first
		if err := sign(key); err != nil {
			t.Fatal(err)
		}
		allow(key)
		if out, err := verify(); err != nil || !strings.Contains(out, "Good") {
			t.Fatalf("a good signature: %v\n%s", err, out)
		}
	}
	allow(newKey(t, dir, "other"))
	if out, err := verify(); err == nil {
		t.Errorf("the signature of another key verifies:\n%s", out)
	}
	allow(key)
	write("SHA256SUMS", strings.Repeat("1", 64)+"  provision_1.0.0_linux_amd64.tar.gz\n")
	if out, err := verify(); err == nil {
		t.Errorf("what was not signed verifies:\n%s", out)
	}
	if err := os.Remove(sums + ".sig"); err != nil {
		t.Fatal(err)
	}
	if out, err := verify(); err == nil {
		t.Errorf("no signature verifies:\n%s", out)
	}
}

func newKey(t *testing.T, dir, name string) string {
	t.Helper()
	key := filepath.Join(dir, name)
	output(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key)
	return key
}

// verifying returns the command that SECURITY.md has for a signature.
func verifying(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^ssh-keygen -Y verify .*\n(?:  .*\n)*`).Find(text)
	if command == nil {
		t.Fatal("SECURITY.md does not say how a signature is verified")
	}
	return string(command)
}

// The release signs its checksums, with the script that is tested here.
func TestReleaseIsSigned(t *testing.T) {
	text, err := os.ReadFile("../.goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^signs:\n(?:  .*\n)*    artifacts: checksum\n(?:  .*\n)*    cmd: packaging/sign\.sh\n`).Match(text) {
		t.Error(".goreleaser.yaml does not sign the checksums with packaging/sign.sh")
	}
}
