package remote

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"provision/provision/hint"
	"provision/provision/visible"
)

// maxOffers is how many keys a server is shown: after so many sshd(8) hangs
// up (MaxAuthTries).
const maxOffers = 6

// An AuthError tells that a host knows none of the keys, or wants more than
// a key.
type AuthError struct {
	User    string
	Tried   []string // the keys that were offered: file or agent, and fingerprint
	Unused  []string // the keys that were not, each with the reason
	Methods []string // what the server would accept, e.g. "publickey", "password"
	Given   bool     // only the Key of the [Target] was to be tried
	Err     error    // what else went wrong, may be nil
}

func (e *AuthError) Unwrap() error { return e.Err }

func (e *AuthError) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "the host does not let %s in", e.User)
	if e.Err != nil {
		fmt.Fprintf(&text, ": %v", e.Err)
	}
	if e.noKeys() {
		fmt.Fprintf(&text, ": it asks for %s", visible.Line(strings.Join(e.Methods, " and ")))
	}
	for _, key := range e.Tried {
		fmt.Fprintf(&text, "\ntried: %s", key)
	}
	for _, key := range e.Unused {
		fmt.Fprintf(&text, "\nnot tried: %s", key)
	}
	return text.String()
}

// noKeys tells that the server accepts something, but no key.
func (e *AuthError) noKeys() bool {
	return !e.Given && len(e.Methods) > 0 && !slices.Contains(e.Methods, "publickey")
}

// Hint implements [hint.Error].
func (e *AuthError) Hint() string {
	switch {
	case e.Given: // who gave it knows what to do
		return ""
	case e.noKeys():
		return "only keys are supported: sshd has to accept one (PubkeyAuthentication of sshd_config(5))"
	case len(e.Tried) == 0:
		return "there is no key to try; load one with ssh-add, or name a key file as identity"
	}
	return fmt.Sprintf("add the public half of one of these keys to authorized_keys of %s, or name another user or identity", e.User)
}

// An offer is the public key authentication of one connection.
type offer struct {
	to      endpoint
	signers []ssh.Signer
	tried   []string
	unused  []string
}

// add appends a key, unless it is there already.
func (o *offer) add(signer ssh.Signer, name string) {
	blob := string(signer.PublicKey().Marshal())
	if slices.ContainsFunc(o.signers, func(s ssh.Signer) bool { return string(s.PublicKey().Marshal()) == blob }) {
		return
	}
	name += " " + fingerprint(signer.PublicKey())
	if len(o.signers) == maxOffers {
		o.unused = append(o.unused, name+fmt.Sprintf(": servers hang up after %d keys; name one as identity", maxOffers))
		return
	}
	signer, reason := o.to.mayLogIn(signer)
	if reason != "" {
		o.unused = append(o.unused, name+": "+reason)
		return
	}
	o.signers = append(o.signers, signer)
	o.tried = append(o.tried, name)
}

// offer collects the keys for an endpoint in the order in which they are
// tried: key files as ssh_config(5) lists them, each through the agent if it
// holds the key, then what else the agent holds. All go into one
// authentication method, because a server is asked for each method once.
//
// While a person is waited for, pause has been called.
func (d *Dialer) offer(ctx context.Context, e endpoint, pause func() (resume func())) (*offer, error) {
	if !e.key.IsZero() {
		return onlyKey(e)
	}
	if e.Identity != "" {
		if _, err := os.Stat(e.Identity); errors.Is(err, os.ErrNotExist) {
			if _, err := os.Stat(e.Identity + ".pub"); err != nil {
				return nil, fmt.Errorf("identity %s does not exist", e.Identity)
			}
		}
	}
	o := &offer{to: e}
	held := o.fromAgent(ctx, e, pause)
	for _, path := range e.Identities {
		pub, signer, reason := d.keyFile(ctx, path, pause)
		if pub == nil {
			if _, err := os.Stat(path); err == nil {
				o.unused = append(o.unused, path+": "+reason)
			}
			continue // the usual files need not exist
		}
		name, blob := path, string(pub.Marshal())
		var byAgent []ssh.Signer
		for _, s := range held {
			if string(plain(s.PublicKey()).Marshal()) == blob {
				byAgent = append(byAgent, s)
			}
		}
		if len(byAgent) > 0 {
			name += " (agent)"
			signer = byAgent[0]
			for _, s := range byAgent[1:] {
				o.add(s, name)
			}
		}
		if signer == nil {
			o.unused = append(o.unused, path+": "+reason)
			continue
		}
		for _, file := range append([]string{path + "-cert.pub"}, e.Certificates...) {
			if certified := certify(file, signer); certified != nil {
				o.add(certified, file)
			}
		}
		o.add(signer, name)
	}
	if !e.IdentitiesOnly {
		for _, s := range held {
			o.add(s, "agent")
		}
	}
	return o, nil
}

// onlyKey offers one key.
func onlyKey(e endpoint) (*offer, error) {
	text, err := e.key.Reveal()
	if err != nil {
		return nil, fmt.Errorf("the private key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey([]byte(text))
	switch {
	case errors.As(err, new(*ssh.PassphraseMissingError)):
		return nil, errors.New("the private key has a passphrase; give one without")
	case err != nil: // which may quote what was given
		return nil, hint.Add(errors.New("the private key is not one in PEM"),
			"give all of the file, from -----BEGIN to the end of the last line")
	}
	o := &offer{to: e}
	o.add(signer, "the CI key")
	return o, nil
}

// fromAgent returns what the agent holds. Without an agent that is nothing.
// The connection to the agent, over which its keys sign, ends with ctx.
func (o *offer) fromAgent(ctx context.Context, e endpoint, pause func() func()) []ssh.Signer {
	socket := e.Agent
	switch {
	case socket == "none":
		return nil
	case socket == "" || socket == "SSH_AUTH_SOCK":
		socket = os.Getenv("SSH_AUTH_SOCK")
	case strings.HasPrefix(socket, "$"):
		socket = os.Getenv(strings.Trim(socket, "${}"))
	}
	if socket == "" {
		return nil
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		o.unused = append(o.unused, fmt.Sprintf("agent: %v", err))
		return nil
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		o.unused = append(o.unused, fmt.Sprintf("agent: %v", err))
	}
	for i, s := range signers {
		if s, ok := s.(ssh.AlgorithmSigner); ok {
			signers[i] = &patient{pub: s.PublicKey(), pause: pause, open: func() (ssh.AlgorithmSigner, error) { return s, nil }}
		}
	}
	return signers
}

// keyFile reads one identity file. It returns the public key if it is to be
// had, and the signer if the private one is, or else the reason.
func (d *Dialer) keyFile(ctx context.Context, path string, pause func() func()) (ssh.PublicKey, ssh.Signer, string) {
	pub := readPublicKey(path + ".pub")
	private, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return pub, nil, "there is only its public half, and no agent holds the key"
	} else if err != nil {
		return pub, nil, err.Error()
	}
	signer, err := ssh.ParsePrivateKey(private)
	var encrypted *ssh.PassphraseMissingError
	switch {
	case err == nil:
		return signer.PublicKey(), signer, ""
	case !errors.As(err, &encrypted):
		if own := readPublicKey(path); own != nil {
			return own, nil, "it is a public key, and no agent holds the private one"
		}
		return pub, nil, err.Error()
	}
	if encrypted.PublicKey != nil {
		pub = encrypted.PublicKey
	}
	if d.Passphrase == nil {
		return pub, nil, "it is encrypted, and there is nobody to ask for the passphrase; load it with ssh-add"
	}
	open := func() (ssh.AlgorithmSigner, error) { return d.unlock(ctx, path, private) }
	if pub == nil { // old formats tell the public key only to those who know the passphrase
		defer pause()()
		signer, err := open()
		if err != nil {
			return nil, nil, err.Error()
		}
		return signer.PublicKey(), signer, ""
	}
	return pub, &patient{pub: pub, pause: pause, open: open}, ""
}

func readPublicKey(path string) ssh.PublicKey {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return pub
}

// certify returns a signer with the certificate in file, or nil if there is
// none for this key.
func certify(file string, signer ssh.Signer) ssh.Signer {
	certificate, ok := readPublicKey(file).(*ssh.Certificate)
	if !ok {
		return nil
	}
	certified, err := ssh.NewCertSigner(certificate, signer)
	if err != nil {
		return nil
	}
	return certified
}

// A patient signer may have to wait for a person: for a passphrase, or for a
// touch of the security key behind an agent. A host is asked about its public
// key before.
type patient struct {
	pub   ssh.PublicKey
	pause func() (resume func())
	open  func() (ssh.AlgorithmSigner, error)
}

func (p *patient) PublicKey() ssh.PublicKey { return p.pub }

func (p *patient) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return p.SignWithAlgorithm(rand, data, p.pub.Type())
}

func (p *patient) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	defer p.pause()()
	signer, err := p.open()
	if err != nil {
		return nil, err
	}
	return signer.SignWithAlgorithm(rand, data, algorithm)
}

// An unlockedKey is what became of an encrypted key file: wrong passphrases are
// remembered, so that a person is asked once for each file.
type unlockedKey struct {
	signer ssh.AlgorithmSigner
	err    error
}

func (d *Dialer) unlock(ctx context.Context, path string, private []byte) (ssh.AlgorithmSigner, error) {
	key, err := d.unlocked.Get(ctx, path, func(ctx context.Context) (unlockedKey, error) {
		signer, err := decrypt(ctx, path, private, d.Passphrase)
		return unlockedKey{signer, err}, ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	return key.signer, key.err
}

func decrypt(ctx context.Context, path string, private []byte, ask passphrase) (ssh.AlgorithmSigner, error) {
	value, err := ask(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("passphrase of %s: %w", path, err)
	}
	text, err := value.Reveal()
	if err != nil {
		return nil, fmt.Errorf("passphrase of %s: %w", path, err)
	}
	signer, err := ssh.ParsePrivateKeyWithPassphrase(private, []byte(text))
	if errors.Is(err, x509.IncorrectPasswordError) {
		return nil, fmt.Errorf("the passphrase of %s is wrong", path)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	able, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return nil, fmt.Errorf("%s: keys of type %s cannot sign", path, signer.PublicKey().Type())
	}
	return able, nil
}
