package remote

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// A kexInit is the first message of a key exchange.
type kexInit struct {
	Cookie         [16]byte `sshtype:"20"`
	KeyExchanges   []string
	HostKeys       []string
	CiphersTo      []string
	CiphersFrom    []string
	MACsTo         []string
	MACsFrom       []string
	CompressTo     []string
	CompressFrom   []string
	LanguagesTo    []string
	LanguagesFrom  []string
	FirstKexFollow bool
	Reserved       uint32
}

// A disconnect ends a connection.
type disconnect struct {
	Reason   uint32 `sshtype:"1"`
	Text     string
	Language string
}

// offered returns what a host is offered under lines of ssh_config(5).
func offered(t *testing.T, config string, known ...string) (kexInit, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	read := make(chan []byte, 1)
	go func() {
		defer close(read)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "SSH-2.0-test\r\n")
		r := bufio.NewReader(conn)
		if _, err := r.ReadString('\n'); err != nil {
			return
		}
		var head [5]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		payload := make([]byte, int(binary.BigEndian.Uint32(head[:4]))-1)
		if _, err := io.ReadFull(r, payload); err == nil {
			read <- payload[:len(payload)-int(head[4])]
		}
		// To hang up without a word would be taken for a server that is busy.
		bye := append(ssh.Marshal(disconnect{Reason: 11}), make([]byte, 6)...)
		packet := binary.BigEndian.AppendUint32(nil, uint32(len(bye)+1))
		conn.Write(append(append(packet, 6), bye...))
	}()
	d := newDialer(t, "UserKnownHostsFile none\nGlobalKnownHostsFile none\nIdentityFile none\n"+config)
	_, err = d.Dial(t.Context(), Target{Name: "web1", Address: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, HostKeys: known})
	if err == nil {
		t.Fatal("it logged in to nobody")
	}
	l.Close()
	payload := <-read
	var message kexInit
	if payload == nil {
		return message, err
	}
	if err := ssh.Unmarshal(payload, &message); err != nil {
		t.Fatal(err)
	}
	// The last ones of the key exchanges are no algorithms, and one has an older name.
	message.KeyExchanges = slices.DeleteFunc(message.KeyExchanges, func(name string) bool {
		return name == "ext-info-c" || strings.HasPrefix(name, "kex-strict-") || strings.HasSuffix(name, "@libssh.org")
	})
	return message, nil
}

// A host is offered what ssh_config(5) allows, in its order, and never SHA-1.
func TestAlgorithms(t *testing.T) {
	usual, err := offered(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if all := fmt.Sprint(usual); strings.Contains(all, "sha1") || strings.Contains(all, "ssh-rsa") || strings.Contains(all, "cbc") {
		t.Errorf("SHA-1 or worse is offered: %s", all)
	}
	if !slices.Contains(usual.KeyExchanges, ssh.KeyExchangeMLKEM768X25519) {
		t.Errorf("the best key exchange is not offered, whatever this ssh knows: %q", usual.KeyExchanges)
	}
	without := func(names []string, part string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.Contains(name, part) })
	}
	same := func(got, want []string) bool {
		got, want = slices.Clone(got), slices.Clone(want)
		slices.Sort(got)
		slices.Sort(want)
		return slices.Equal(got, want)
	}
	for _, test := range []struct {
		config string
		fits   func(kexInit) bool
	}{
		{"KexAlgorithms ecdh-sha2-nistp521,ecdh-sha2-nistp256", func(m kexInit) bool {
			return slices.Equal(m.KeyExchanges, []string{"ecdh-sha2-nistp521", "ecdh-sha2-nistp256"}) && slices.Equal(m.MACsTo, usual.MACsTo)
		}},
		{"KexAlgorithms curve25519-sha256@libssh.org", func(m kexInit) bool { return slices.Equal(m.KeyExchanges, []string{"curve25519-sha256"}) }},
		{"KexAlgorithms -ecdh-*", func(m kexInit) bool {
			return !strings.Contains(fmt.Sprint(m.KeyExchanges), "ecdh") && slices.Contains(m.KeyExchanges, "curve25519-sha256")
		}},
		{"KexAlgorithms ^diffie-hellman-group16-sha512", func(m kexInit) bool { return m.KeyExchanges[0] == "diffie-hellman-group16-sha512" }},
		{"KexAlgorithms +diffie-hellman-group14-sha1", func(m kexInit) bool { return !strings.Contains(fmt.Sprint(m), "sha1") }},
		{"Ciphers aes256-ctr,3des-cbc", func(m kexInit) bool {
			return slices.Equal(m.CiphersTo, []string{"aes256-ctr"}) && slices.Equal(m.CiphersFrom, m.CiphersTo) && slices.Equal(m.KeyExchanges, usual.KeyExchanges)
		}},
		{"Ciphers -chacha20-*", func(m kexInit) bool { return same(m.CiphersTo, without(usual.CiphersTo, "chacha20")) }},
		{"MACs hmac-sha2-512,hmac-sha1", func(m kexInit) bool {
			return slices.Equal(m.MACsTo, []string{"hmac-sha2-512"}) && slices.Equal(m.MACsFrom, m.MACsTo)
		}},
		{"MACs -*-etm@openssh.com", func(m kexInit) bool { return same(m.MACsTo, without(usual.MACsTo, "etm")) }},
		{"HostKeyAlgorithms rsa-sha2-512", func(m kexInit) bool { return slices.Equal(m.HostKeys, []string{"rsa-sha2-512"}) }},
		{"Match host 127.0.0.1\nMACs hmac-sha2-256", func(m kexInit) bool { return slices.Equal(m.MACsTo, []string{"hmac-sha2-256"}) }},
		{"Host elsewhere\nMACs hmac-sha2-256", func(m kexInit) bool { return fmt.Sprint(m.MACsTo) == fmt.Sprint(usual.MACsTo) }},
	} {
		got, err := offered(t, test.config)
		if err != nil || !test.fits(got) {
			t.Errorf("%s: %v, %v", test.config, got, err)
		}
	}
	pinned := keyLine(newSigner(t, "ecdsa").PublicKey())
	for config, want := range map[string]string{
		"MACs hmac-sha1":                           "MACs of ssh_config(5) allows nothing that can be used: hmac-sha1",
		"Ciphers aes128-cbc":                       "Ciphers of ssh_config(5)",
		"KexAlgorithms diffie-hellman-group1-sha1": "KexAlgorithms of ssh_config(5)",
		"HostKeyAlgorithms ssh-ed25519":            "HostKeyAlgorithms of ssh_config(5) allows none of these",
	} {
		message, err := offered(t, config, pinned)
		if err == nil || message.KeyExchanges != nil || !strings.Contains(err.Error(), want) || !strings.Contains(told(err), "\nhint: ") {
			t.Errorf("%s: %v, %v; want %q, and nothing offered", config, message, err, want)
		}
	}
}

// newRSA makes an RSA key of a size, and its PEM.
func newRSA(t *testing.T, bits int) (ssh.Signer, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, string(pem.EncodeToMemory(block))
}

// A key that is shorter than ssh_config(5) wants proves nothing, and is not
// offered either.
func TestRequiredRSASize(t *testing.T) {
	key, private := newRSA(t, 2048)
	line := keyLine(key.PublicKey())
	l := newLiar(t, key)
	for _, pinned := range [][]string{nil, {line}} {
		err := l.meetUnder(t, "RequiredRSASize 3072", "HOST "+line, pinned...)
		var refusal *HostKeyError
		if !errors.As(err, &refusal) || refusal.Refused == "" || !strings.Contains(err.Error(), "2048 bits") || !strings.Contains(told(err), "\nhint: ") {
			t.Errorf("pinned %q: %v", pinned, err)
		}
		if err := l.meetUnder(t, "RequiredRSASize 2048", "HOST "+line, pinned...); !believed(err) {
			t.Errorf("pinned %q, long enough: %v", pinned, err)
		}
	}
	identity := writeFile(t, "id_rsa", private)
	for size, tried := range map[int]bool{2048: true, 3072: false} {
		host := newSigner(t, "ed25519")
		err := newLiar(t, host).meetUnder(t, fmt.Sprintf("RequiredRSASize %d\nIdentityFile %s", size, identity), "HOST "+keyLine(host.PublicKey()))
		var refusal *AuthError
		if !errors.As(err, &refusal) || (len(refusal.Tried) == 1) != tried || (len(refusal.Unused) == 0) != tried {
			t.Errorf("%d bits wanted: %v", size, err)
		}
	}
}

// sha1Signed signs with SHA-1, as authorities of old did.
type sha1Signed struct{ ssh.Signer }

func (s sha1Signed) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return s.Signer.(ssh.AlgorithmSigner).SignWithAlgorithm(random, data, ssh.KeyAlgoRSA)
}

// A certificate counts for nothing if its signature does not.
func TestCASignatures(t *testing.T) {
	authority, _ := newRSA(t, 2048)
	key := newSigner(t, "ed25519")
	for _, test := range []struct {
		config string
		signer ssh.Signer
		want   string // in the refusal; "": there is none
	}{
		{"", authority, ""},
		{"CASignatureAlgorithms rsa-sha2-256", authority, ""},
		{"CASignatureAlgorithms ssh-ed25519", authority, "CASignatureAlgorithms"},
		{"", sha1Signed{authority}, "SHA-1"},
		{"CASignatureAlgorithms +ssh-rsa", sha1Signed{authority}, "SHA-1"},
	} {
		certified, err := ssh.NewCertSigner(signCertificate(t, test.signer, key.PublicKey(), ssh.HostCert, "127.0.0.1"), key)
		if err != nil {
			t.Fatal(err)
		}
		l := newLiar(t, certified)
		line := keyLine(authority.PublicKey())
		for _, err := range []error{
			l.meetUnder(t, test.config, "@cert-authority 127.0.0.* "+line), l.meetUnder(t, test.config, "", "@cert-authority "+line),
		} {
			var refusal *HostKeyError
			if fine := test.want == ""; believed(err) != fine || !fine && (!errors.As(err, &refusal) || !strings.Contains(refusal.Refused, test.want)) {
				t.Errorf("%q: %v; want %q", test.config, err, test.want)
			}
		}
	}
}

// signatures serves one client that is let in by a key, and returns the
// algorithm of each signature that it gives.
func signatures(t *testing.T, config string, accepts []string) (used []string, err error) {
	t.Helper()
	host := newSigner(t, "ed25519")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	seen := make(chan []string, 1)
	go func() {
		var used []string
		defer func() { seen <- used }()
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		server := &ssh.ServerConfig{
			PublicKeyAuthAlgorithms: accepts,
			VerifiedPublicKeyCallback: func(_ ssh.ConnMetadata, _ ssh.PublicKey, p *ssh.Permissions, algorithm string) (*ssh.Permissions, error) {
				used = append(used, algorithm)
				return p, nil
			},
			PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil },
		}
		server.AddHostKey(host)
		if client, _, _, err := ssh.NewServerConn(conn, server); err == nil {
			client.Close()
		}
	}()
	d := newDialer(t, "UserKnownHostsFile none\nGlobalKnownHostsFile none\n"+config)
	c, err := d.Dial(t.Context(), Target{Name: "web1", Address: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, HostKeys: []string{keyLine(host.PublicKey())}})
	if err == nil {
		c.Close()
	}
	l.Close()
	return <-seen, err
}

// Whoever logs in with an RSA key signs with SHA-2, also where a host knows
// nothing better than SHA-1, and ssh_config(5) may forbid more.
func TestLoginSignatures(t *testing.T) {
	_, private := newRSA(t, 2048)
	identity := "IdentityFile " + writeFile(t, "id_rsa", private) + "\n"
	for _, test := range []struct {
		config  string
		accepts []string
		want    string // none: the host does not let us in
	}{
		{"", nil, "rsa-sha2-512"},
		{"PubkeyAcceptedAlgorithms rsa-sha2-256", nil, "rsa-sha2-256"},
		{"PubkeyAcceptedAlgorithms ssh-ed25519", nil, ""},
		{"", []string{"ssh-rsa"}, ""},
		{"PubkeyAcceptedAlgorithms +ssh-rsa", []string{"ssh-rsa"}, ""},
	} {
		used, err := signatures(t, identity+test.config, test.accepts)
		if got := strings.Join(used, " "); got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%q to a host that accepts %q: signed with %q, %v; want %q", test.config, test.accepts, got, err, test.want)
		}
	}
}

// A real sshd(8) takes what ssh_config(5) has chosen.
func TestChosenAlgorithms(t *testing.T) {
	needLab(t)
	d := newDialer(t, "KexAlgorithms ecdh-sha2-nistp384\nCiphers aes192-ctr\nMACs hmac-sha2-512-etm@openssh.com\nHostKeyAlgorithms rsa-sha2-256\n")
	c, err := d.Dial(t.Context(), labTarget("free", Sudo))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	agreed := c.link.client.Conn.(ssh.AlgorithmsConnMetadata).Algorithms()
	if agreed.KeyExchange != "ecdh-sha2-nistp384" || agreed.Read.Cipher != "aes192-ctr" || agreed.Write.MAC != "hmac-sha2-512-etm@openssh.com" ||
		agreed.HostKey != "rsa-sha2-256" {
		t.Errorf("agreed on %+v", agreed)
	}
	revoked := writeFile(t, "revoked", strings.Join(lab.hostKeys, "\n"))
	_, err = newDialer(t, "RevokedHostKeys "+revoked).Dial(t.Context(), labTarget("free", Sudo))
	var refusal *HostKeyError
	if !errors.As(err, &refusal) || refusal.Revoked != revoked {
		t.Errorf("a revoked key: %v", err)
	}
}
