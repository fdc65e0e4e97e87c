package remote

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"provision/e2e/needs"
	"provision/provision/remote/sshconfig"
)

// newKRL writes a key revocation list of public keys.
func newKRL(t *testing.T, lines ...string) string {
	t.Helper()
	needs.Program(t, "ssh-keygen")
	file := filepath.Join(t.TempDir(), "krl")
	out, err := exec.Command("ssh-keygen", "-q", "-k", "-f", file, writeFile(t, "revoked.pub", strings.Join(lines, "\n")+"\n")).CombinedOutput()
	if err != nil {
		t.Fatalf("ssh-keygen -k: %v\n%s", err, out)
	}
	return file
}

// What a file revokes is refused, be it known by known_hosts or pinned in the
// inventory, and by key or by certificate; what no file names is not.
func TestRevokedHostKeys(t *testing.T) {
	for _, kind := range []string{"ed25519", "rsa"} {
		key, authority, other := newSigner(t, kind), newSigner(t, "ecdsa"), newSigner(t, kind)
		certified, err := ssh.NewCertSigner(signCertificate(t, authority, key.PublicKey(), ssh.HostCert, "127.0.0.1"), key)
		if err != nil {
			t.Fatal(err)
		}
		line, authorityLine, otherLine := keyLine(key.PublicKey()), keyLine(authority.PublicKey()), keyLine(other.PublicKey())
		for what, host := range map[string]struct {
			shows   ssh.Signer
			known   string // but for the name
			revoked []string
		}{
			"key":         {key, line, []string{line}},
			"certificate": {certified, "@cert-authority " + authorityLine, []string{line, authorityLine}},
		} {
			l := newLiar(t, host.shows)
			knownHosts := "HOST " + host.known
			if rest, ok := strings.CutPrefix(host.known, "@cert-authority "); ok {
				knownHosts = "@cert-authority 127.0.0.* " + rest
			}
			// meet tries both ways in which a key is known.
			meet := func(config, marks string) []error {
				return []error{l.meetUnder(t, config, knownHosts+"\n"+marks), l.meetUnder(t, config, marks, host.known)}
			}
			for _, revoked := range host.revoked {
				for name, errs := range map[string][]error{
					"keys":        meet("RevokedHostKeys "+writeFile(t, "revoked", "# gone\nssh-dss AAAA\n"+otherLine+"\n"+revoked+" comment\n"), ""),
					"KRL":         meet("RevokedHostKeys "+newKRL(t, otherLine, revoked), ""),
					"known_hosts": meet("", "@revoked * "+revoked),
				} {
					for i, err := range errs {
						var refusal *HostKeyError
						if !errors.As(err, &refusal) || refusal.Revoked == "" || !refusal.Changed() || refusal.Offered != line ||
							!strings.Contains(told(err), "REVOKED") {
							t.Errorf("%s %s revoked by %s, %s: %v", kind, what, name, []string{"known", "pinned"}[i], err)
						}
					}
				}
			}
			for name, errs := range map[string][]error{
				"keys":        meet("RevokedHostKeys "+writeFile(t, "revoked", otherLine), ""),
				"KRL":         meet("RevokedHostKeys "+newKRL(t, otherLine), ""),
				"known_hosts": meet("", "@revoked * "+otherLine),
				"none":        meet("RevokedHostKeys none", ""),
			} {
				for _, err := range errs {
					if !believed(err) {
						t.Errorf("%s %s, another one revoked by %s: %v", kind, what, name, err)
					}
				}
			}
		}
	}
}

// As with ssh(1), nobody is trusted while the revoked keys are not known.
func TestRevokedHostKeysUnreadable(t *testing.T) {
	key := newSigner(t, "ed25519")
	l := newLiar(t, key)
	for name, file := range map[string]string{
		"no file":   "/nowhere/revoked",
		"a folder":  t.TempDir(),
		"a cut KRL": writeFile(t, "krl", "SSHKRL\n\x00\x00"),
	} {
		err := l.meetUnder(t, "RevokedHostKeys "+file, "", keyLine(key.PublicKey()))
		var unreadable *sshconfig.RevocationsError
		if !errors.As(err, &unreadable) || unreadable.File != file || !strings.Contains(told(err), "hint: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
