package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"provision/provision/remote/sshconfig"
	"provision/provision/secret"
)

// A keyAgent is an ssh-agent that counts its connections.
type keyAgent struct {
	agent.Agent
	socket string
	dialed atomic.Int64
	open   sync.WaitGroup
}

func newAgent(t *testing.T) *keyAgent {
	t.Helper()
	a := &keyAgent{Agent: agent.NewKeyring(), socket: filepath.Join(t.TempDir(), "agent")}
	l, err := net.Listen("unix", a.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			a.dialed.Add(1)
			a.open.Go(func() {
				_ = agent.ServeAgent(a, conn)
				conn.Close()
			})
		}
	}()
	return a
}

// hold adds new keys, or the one of the lab.
func (a *keyAgent) hold(t *testing.T, files ...string) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ssh.ParseRawPrivateKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Add(agent.AddedKey{PrivateKey: key, Comment: file}); err != nil {
			t.Fatal(err)
		}
	}
}

func newKeyFile(t *testing.T) string {
	t.Helper()
	public, private := newKey()
	file := writeFile(t, "id", private)
	if err := os.WriteFile(file+".pub", []byte(public), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// labAuth is a target whose keys are those of the configuration.
func labAuth() Target {
	t := labTarget("free", Sudo)
	t.Identity = ""
	return t
}

func TestAgent(t *testing.T) {
	needLab(t)
	a := newAgent(t)
	for range 3 {
		a.hold(t, newKeyFile(t))
	}
	a.hold(t, lab.key)
	d := newDialer(t, "IdentityAgent "+a.socket+"\nIdentityFile none\n")
	c, err := d.Dial(t.Context(), labAuth())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// The one connection is closed as soon as it is of no use.
	a.open.Wait()
	if n := a.dialed.Load(); n != 1 {
		t.Errorf("the agent was dialled %d times, want once", n)
	}
}

// Of more keys than a server looks at, the named one comes first.
func TestNamedKeyComesFirst(t *testing.T) {
	needLab(t)
	a := newAgent(t)
	for range 10 {
		a.hold(t, newKeyFile(t))
	}
	a.hold(t, lab.key)
	public, err := os.ReadFile(filepath.Join(lab.dir, "authorized_keys"))
	if err != nil {
		t.Fatal(err)
	}
	onlyPublic := writeFile(t, "id.pub", string(public))
	for name, identity := range map[string]string{"by its public half": onlyPublic, "by its name": strings.TrimSuffix(onlyPublic, ".pub"), "by its file": lab.key} {
		d := newDialer(t, "IdentityAgent "+a.socket+"\n")
		target := labAuth()
		target.Identity = identity
		c, err := d.Dial(t.Context(), target)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c.Close()
	}

	// Without a name, it is not reached, and the error says so.
	d := newDialer(t, "IdentityAgent "+a.socket+"\nIdentityFile none\n")
	_, err = d.Dial(t.Context(), labAuth())
	var refusal *AuthError
	if !errors.As(err, &refusal) || len(refusal.Tried) != maxOffers || len(refusal.Unused) != 11-maxOffers {
		t.Fatalf("Dial = %v", err)
	}
	if !strings.Contains(refusal.Unused[4], fingerprintOf(t, lab.key)) {
		t.Errorf("the last key is %s", refusal.Unused[4])
	}
}

func fingerprintOf(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return fingerprint(signer.PublicKey())
}

func TestIdentitiesOnly(t *testing.T) {
	needLab(t)
	a := newAgent(t)
	a.hold(t, lab.key)
	stranger := newKeyFile(t)
	for _, only := range []string{"yes", "no"} {
		d := newDialer(t, "IdentityAgent "+a.socket+"\nIdentityFile "+stranger+"\nIdentitiesOnly "+only+"\n")
		c, err := d.Dial(t.Context(), labAuth())
		if err == nil {
			c.Close()
		}
		var refusal *AuthError
		if only == "no" && err != nil {
			t.Errorf("Dial = %v", err)
		}
		if only == "yes" && (!errors.As(err, &refusal) || len(refusal.Tried) != 1 ||
			refusal.Tried[0] != stranger+" "+fingerprintOf(t, stranger)) {
			t.Errorf("Dial with IdentitiesOnly = %v", err)
		}
	}
}

// encrypt returns a copy of a key file that has a passphrase, with one round
// of the hash in place of many.
func encrypt(t *testing.T, file, passphrase string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := writeFile(t, "encrypted", string(text))
	if out, err := exec.Command("ssh-keygen", "-q", "-p", "-a", "1", "-N", passphrase, "-f", encrypted).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return encrypted
}

// The passphrase is asked for once, by many hosts at the same time, and only
// for a key that a host would take.
func TestPassphrase(t *testing.T) {
	needLab(t)
	good, useless := encrypt(t, lab.key, "open sesame"), encrypt(t, newKeyFile(t), "never asked")
	d := newDialer(t, "IdentityFile "+useless+"\nIdentityFile "+good+"\n")
	var asked []string
	d.Passphrase = func(_ context.Context, file string) (secret.Value, error) {
		asked = append(asked, file)
		return secret.New("open sesame"), nil
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			c, err := d.Dial(t.Context(), labAuth())
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
		})
	}
	all.Wait()
	if len(asked) != 1 || asked[0] != good {
		t.Errorf("asked for %q, want once for %s", asked, good)
	}
}

func TestWrongPassphrase(t *testing.T) {
	needLab(t)
	file := encrypt(t, lab.key, "right")
	d := newDialer(t, "IdentityFile "+file+"\n")
	_, err := d.Dial(t.Context(), labAuth())
	if err == nil || !strings.Contains(err.Error(), "nobody to ask") {
		t.Errorf("without anybody to ask: %v", err)
	}
	asked := 0
	d = newDialer(t, "IdentityFile "+file+"\n")
	d.Passphrase = func(context.Context, string) (secret.Value, error) {
		asked++
		return secret.New("hunter2"), nil
	}
	for range 2 {
		_, err = d.Dial(t.Context(), labAuth())
		if err == nil || !strings.Contains(err.Error(), "the passphrase of "+file+" is wrong") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("with a wrong passphrase: %v", err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
}

// While a person is asked, the handshake's clock stands still.
func TestPassphraseTakesItsTime(t *testing.T) {
	needLab(t)
	d := newDialer(t, "")
	stops, resumes := 0, 0
	d.Passphrase = func(context.Context, string) (secret.Value, error) {
		if stops != 1 || resumes != 0 {
			t.Errorf("asked with %d stops and %d resumes", stops, resumes)
		}
		return secret.New("slow"), nil
	}
	o, err := d.offer(t.Context(), endpoint{Host: sshconfig.Host{Identities: []string{encrypt(t, lab.key, "slow")}}}, func() func() {
		stops++
		return func() { resumes++ }
	})
	if err != nil || len(o.signers) != 1 || stops != 0 {
		t.Fatalf("offer = %d keys, %v, %d stops", len(o.signers), err, stops)
	}
	if _, err := o.signers[0].Sign(rand.Reader, []byte("data")); err != nil || stops != 1 || resumes != 1 {
		t.Errorf("Sign = %v, %d stops, %d resumes", err, stops, resumes)
	}
}

func TestMissingIdentity(t *testing.T) {
	d := newDialer(t, "")
	l := newLiar(t, newSigner(t, "ed25519"))
	target := Target{Name: "web1", Address: "127.0.0.1", Port: l.port, Identity: "/nowhere/id", HostKeys: []string{keyLine(l.hostKey.PublicKey())}}
	if _, err := d.Dial(t.Context(), target); err == nil || err.Error() != "web1: identity /nowhere/id does not exist" {
		t.Errorf("Dial = %v", err)
	}
}

// A certificate, beside the key or named, lets in where the key alone does not.
func TestUserCertificate(t *testing.T) {
	needLab(t)
	key := newKeyFile(t)
	dial := func(config string) error {
		c, err := newDialer(t, "IdentityFile "+key+"\n"+config).Dial(t.Context(), labAuth())
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := dial(""); !errors.As(err, new(*AuthError)) {
		t.Errorf("without a certificate: %v", err)
	}
	text := string(ssh.MarshalAuthorizedKey(signCertificate(t, lab.authority, readPublicKey(key+".pub"), ssh.UserCert, "free")))
	if err := dial("CertificateFile " + writeFile(t, "my-cert.pub", text)); err != nil {
		t.Errorf("with a named certificate: %v", err)
	}
	foreign := signCertificate(t, lab.authority, newSigner(t, "ed25519").PublicKey(), ssh.UserCert, "free")
	if err := dial("CertificateFile " + writeFile(t, "my-cert.pub", string(ssh.MarshalAuthorizedKey(foreign)))); !errors.As(err, new(*AuthError)) {
		t.Errorf("with the certificate of another key: %v", err)
	}
	if err := os.WriteFile(key+"-cert.pub", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dial(""); err != nil {
		t.Errorf("with a certificate beside the key: %v", err)
	}
}

func TestAuthErrorNamesOtherMethods(t *testing.T) {
	err := &AuthError{User: "admin", Methods: []string{"password"}}
	if !strings.Contains(err.Error(), "it asks for password; only keys are supported") {
		t.Error(err)
	}
}
