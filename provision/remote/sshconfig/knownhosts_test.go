package sshconfig

import (
	"crypto/ed25519"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// newKey returns a new public key, "type base64".
func newKey(t *testing.T) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// The keys of a host are those of all its lines, but for the revoked.
func TestKnownHostKeys(t *testing.T) {
	key, other, bad, authority := newKey(t), newKey(t), newKey(t), newKey(t)
	first := writeFile(t, "known_hosts", strings.Join([]string{
		"git.example.com " + key, "git.example.com " + bad, "@revoked * " + bad,
		"git.example.com " + key, "elsewhere " + authority,
		"[git.example.com]:2222 " + bad,
	}, "\n"))
	second := writeFile(t, "known_hosts2", xknownhosts.HashHostname("git.example.com")+" "+other+
		"\n@cert-authority *.example.com "+authority+"\n")
	c := newConfig(t, "UserKnownHostsFile "+first+" "+second+" /nowhere\nGlobalKnownHostsFile none\n")
	got, err := c.KnownHostKeys(t.Context(), "git.example.com", 0)
	slices.Sort(got)
	want := []string{key, other, "@cert-authority " + authority}
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("KnownHostKeys = %q, %v; want %q", got, err, want)
	}
	if got, err := c.KnownHostKeys(t.Context(), "nobody.invalid", 22); err != nil || len(got) > 0 {
		t.Errorf("KnownHostKeys of an unknown host = %q, %v", got, err)
	}
	if _, err := c.KnownHostKeys(t.Context(), "-oProxyCommand=false", 22); err == nil {
		t.Error("an option is taken for a host")
	}
}

// The copies of known_hosts do not stay.
func TestNothingStays(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	if _, _, err := readKnownHosts(map[string][]byte{"a": []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
