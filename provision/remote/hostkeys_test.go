package remote

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// newSigner makes a key of a type.
func newSigner(t *testing.T, kind string) ssh.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func signCertificate(t *testing.T, authority ssh.Signer, key ssh.PublicKey, kind uint32, names ...string) *ssh.Certificate {
	t.Helper()
	certificate := &ssh.Certificate{Key: key, CertType: kind, KeyId: "test", ValidPrincipals: names, ValidBefore: ssh.CertTimeInfinity}
	if err := certificate.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	return certificate
}

// A liar is an SSH server that shows whichever host key it is told to, and
// lets nobody in.
type liar struct {
	port    int
	visits  chan struct{} // one value for each connection
	hostKey ssh.Signer
}

func newLiar(t *testing.T, hostKey ssh.Signer) *liar {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	liar := &liar{port: l.Addr().(*net.TCPAddr).Port, visits: make(chan struct{}, 100), hostKey: hostKey}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			liar.visits <- struct{}{}
			config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
				return nil, errors.New("no")
			}}
			config.AddHostKey(liar.hostKey)
			go func() {
				_, _, _, _ = ssh.NewServerConn(conn, config)
				conn.Close()
			}()
		}
	}()
	return liar
}

// meet dials a server with a known_hosts file, in which HOST stands for its
// name. Whoever is believed gets as far as authentication, which fails.
func (l *liar) meet(t *testing.T, knownHosts string, pinned ...string) error {
	t.Helper()
	return l.meetUnder(t, "", knownHosts, pinned...)
}

// meetUnder is meet with more lines of ssh_config(5).
func (l *liar) meetUnder(t *testing.T, config, knownHosts string, pinned ...string) error {
	t.Helper()
	host := fmt.Sprintf("[127.0.0.1]:%d", l.port)
	file := writeFile(t, "known_hosts", strings.ReplaceAll(knownHosts, "HOST", host))
	d := newDialer(t, "UserKnownHostsFile "+file+"\nGlobalKnownHostsFile none\nIdentityFile none\n"+config)
	_, err := d.Dial(t.Context(), Target{Name: "liar", Address: "127.0.0.1", Port: l.port, HostKeys: pinned})
	if err == nil {
		t.Fatal("the liar let us in")
	}
	if n := len(l.visits); n != 1 {
		t.Errorf("%d connections were made, want one", n)
	}
	<-l.visits
	return err
}

func believed(err error) bool { return errors.As(err, new(*AuthError)) }

func TestKnownHosts(t *testing.T) {
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		key, other, foreign := newSigner(t, kind), newSigner(t, kind), newSigner(t, "ecdsa")
		l := newLiar(t, key)
		hashed := xknownhosts.HashHostname(fmt.Sprintf("[127.0.0.1]:%d", l.port))
		right, wrong := keyLine(key.PublicKey()), keyLine(other.PublicKey())
		for name, file := range map[string]string{
			"plain":               "HOST " + right,
			"hashed":              hashed + " " + right,
			"several keys":        "HOST " + wrong + "\nHOST " + right,
			"several types":       "HOST " + right + "\nHOST " + keyLine(foreign.PublicKey()),
			"several names":       "elsewhere,HOST " + right,
			"the name alone":      "127.0.0.1 " + right,
			"a pattern":           "127.0.0.* " + right,
			"comments":            "# comment\n\nHOST " + right + " comment",
			"unreadable lines":    "HOST 1024 35 1409 ssh1\nHOST ssh-dss AAAA\n@unknown HOST " + right + "\n|1|x HOST\nHOST " + right,
			"another host's line": "elsewhere " + wrong + "\nHOST " + right,
		} {
			if err := l.meet(t, file); !believed(err) {
				t.Errorf("%s, %s: %v", kind, name, err)
			}
		}
		for name, file := range map[string]string{
			"nothing":               "",
			"another host":          "elsewhere " + right,
			"another port":          fmt.Sprintf("[127.0.0.1]:%d %s", l.port-1, right),
			"the name, another key": "127.0.0.1 " + wrong,
			"but not this one":      "!127.0.0.1,127.0.0.* " + right,
		} {
			err := l.meet(t, file)
			var refusal *HostKeyError
			if !errors.As(err, &refusal) || refusal.Changed() || refusal.Fingerprint != ssh.FingerprintSHA256(key.PublicKey()) ||
				!strings.Contains(told(err), fmt.Sprintf("\n[127.0.0.1]:%d %s", l.port, right)) {
				t.Errorf("%s, %s: %v", kind, name, err)
			}
		}
		for name, file := range map[string]string{
			"another key": "HOST " + wrong,
			"hashed":      hashed + " " + wrong,
			"revoked":     "HOST " + right + "\n@revoked * " + right,
		} {
			err := l.meet(t, file)
			var refusal *HostKeyError
			if !errors.As(err, &refusal) || !refusal.Changed() || refusal.Offered != right || (refusal.Revoked != "") != (name == "revoked") {
				t.Errorf("%s, %s: %v", kind, name, err)
			}
		}
	}
}

// A host that has only keys of other types than the known ones has changed.
func TestNoKnownType(t *testing.T) {
	l := newLiar(t, newSigner(t, "ecdsa"))
	err := l.meet(t, "HOST "+keyLine(newSigner(t, "ed25519").PublicKey()))
	var refusal *HostKeyError
	if !errors.As(err, &refusal) || !refusal.Changed() || !strings.Contains(err.Error(), "ecdsa-sha2-nistp256") {
		t.Errorf("Dial = %v", err)
	}
}

func TestPinned(t *testing.T) {
	key, other := newSigner(t, "ed25519"), newSigner(t, "ed25519")
	l := newLiar(t, key)
	right, wrong := keyLine(key.PublicKey()), keyLine(other.PublicKey())
	if err := l.meet(t, "HOST "+wrong, wrong, right+" comment"); !believed(err) {
		t.Errorf("a pinned key: %v", err)
	}
	// Pinned keys are the only ones, whatever the files know.
	var refusal *HostKeyError
	if err := l.meet(t, "HOST "+right, wrong); !errors.As(err, &refusal) || !refusal.Changed() ||
		!strings.Contains(refusal.Known[0], "host_keys") {
		t.Errorf("another pinned key: %v", err)
	}
	for _, bad := range []string{"", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa " + strings.Fields(right)[1], "@revoked " + right} {
		d := newDialer(t, "")
		_, err := d.Dial(t.Context(), Target{Address: "127.0.0.1", Port: l.port, HostKeys: []string{bad}})
		if err == nil || !strings.Contains(err.Error(), "is not of the form") || len(l.visits) > 0 {
			t.Errorf("host key %q: %v", bad, err)
		}
	}
}

// The certificate of a host may be of another type than its authority's key.
func TestHostCertificates(t *testing.T) {
	authority := newSigner(t, "ed25519")
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		key := newSigner(t, kind)
		host := func(names ...string) *liar {
			certified, err := ssh.NewCertSigner(signCertificate(t, authority, key.PublicKey(), ssh.HostCert, names...), key)
			if err != nil {
				t.Fatal(err)
			}
			return newLiar(t, certified)
		}
		line := "@cert-authority 127.0.0.* " + keyLine(authority.PublicKey())
		if err := host("127.0.0.1").meet(t, line); !believed(err) {
			t.Errorf("%s certificate: %v", kind, err)
		}
		if err := host("127.0.0.1").meet(t, "", "@cert-authority "+keyLine(authority.PublicKey())); !believed(err) {
			t.Errorf("%s certificate, authority pinned: %v", kind, err)
		}
		var refusal *HostKeyError
		if err := host("elsewhere").meet(t, line); !errors.As(err, &refusal) || refusal.Reason == "" {
			t.Errorf("%s certificate of another host: %v", kind, err)
		}
		if err := newLiar(t, key).meet(t, line); !errors.As(err, &refusal) || !refusal.Changed() {
			t.Errorf("%s key without certificate: %v", kind, err)
		}
	}
}

func TestHostKeyAlias(t *testing.T) {
	needLab(t)
	file := writeFile(t, "known_hosts", "an-alias "+lab.hostKeys[0]+"\n")
	d := newDialer(t, "HostKeyAlias an-alias\nUserKnownHostsFile "+file+"\n")
	target := labTarget("free", Sudo)
	target.HostKeys = nil
	c, err := d.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// Of a real host with keys of three types, any one may be the known one.
func TestEachTypeAlone(t *testing.T) {
	needLab(t)
	for _, key := range lab.hostKeys {
		target := labTarget("free", Sudo)
		target.HostKeys = []string{key}
		if got := dialLab(t, target).HostKey(); got != key {
			t.Errorf("HostKey() = %s, want %s", got, key)
		}
	}
}
