package cmd

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"provision/e2e/gitlabtest"
	"provision/e2e/needs"
	"provision/inventory"
)

// listening returns a listener of this machine.
func listening(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// sshServer shows some keys, lets nobody in, and counts who comes.
func sshServer(t *testing.T, keys ...crypto.Signer) (address string, public []ssh.PublicKey, came *atomic.Int64) {
	t.Helper()
	came = &atomic.Int64{}
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
		t.Error("somebody tries to log in")
		return nil, fmt.Errorf("no")
	}}
	for _, k := range keys {
		signer, err := ssh.NewSignerFromSigner(k)
		if err != nil {
			t.Fatal(err)
		}
		config.AddHostKey(signer)
		public = append(public, signer.PublicKey())
	}
	l := listening(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			came.Add(1)
			go func() {
				defer conn.Close()
				ssh.NewServerConn(conn, config)
			}()
		}
	}()
	return l.Addr().String(), public, came
}

// A beginning is what somebody has who has no inventory yet.
type beginning struct {
	gitlab   *gitlabtest.GitLab
	project  string
	token    string
	git      string // its address
	gitKey   ssh.PublicKey
	host     string // its address
	hostKeys []ssh.PublicKey
	came     *atomic.Int64 // connections to it

	dir        string
	knownHosts string // a file
	sshConfig  string // a file
	files      int
}

// begin makes a beginning, with a GitLab that is reached as config says and has
// this registry.
func beginInit(t *testing.T, config *tls.Config, registry string) *beginning {
	t.Helper()
	needs.Program(t, "ssh")
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b := &beginning{project: "transmogrify/frobnicator", dir: t.TempDir()}
	b.host, b.hostKeys, b.came = sshServer(t, edKey, ecKey, rsaKey)

	web, git := listening(t), listening(t)
	b.git = git.Addr().String()
	scheme := "http://"
	if config != nil {
		scheme = "https://"
	}
	b.gitlab = gitlabtest.New(gitlabtest.Config{URL: scheme + web.Addr().String(), SSHHost: b.git, Registry: registry})
	admin := b.gitlab.Seed(b.project)
	go b.gitlab.Serve(web, config)
	go b.gitlab.ServeSSH(git)
	t.Cleanup(func() { b.gitlab.Close() })
	if b.gitKey, _, _, _, err = ssh.ParseAuthorizedKey([]byte(b.gitlab.HostKey())); err != nil {
		t.Fatal(err)
	}
	if b.token, err = admin.Reveal(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GITLAB_TOKEN", b.token)

	b.knownHosts, b.sshConfig = filepath.Join(b.dir, "known_hosts"), filepath.Join(b.dir, "config")
	b.write(t, "config", "UserKnownHostsFile "+b.knownHosts+"\nGlobalKnownHostsFile none\n")
	return b
}

// write writes a file, and returns its path.
func (b *beginning) write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(b.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// known makes keys those of the host that somebody knows.
func (b *beginning) known(t *testing.T, keys ...ssh.PublicKey) {
	t.Helper()
	name, port, _ := net.SplitHostPort(b.host)
	var lines strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&lines, "[%s]:%s %s", name, port, ssh.MarshalAuthorizedKey(k))
	}
	b.write(t, "known_hosts", lines.String())
}

// file returns the name of one that is not there.
func (b *beginning) file() string {
	b.files++
	return filepath.Join(b.dir, fmt.Sprintf("inventory%d.toml", b.files))
}

func unwritten(t *testing.T, file string) {
	t.Helper()
	if _, err := os.Stat(file); err == nil {
		t.Errorf("%s is written all the same", file)
	}
}

func TestInit(t *testing.T) {
	b := beginInit(t, nil, "registry.example.com:5050")
	initialise := func(flags ...string) (code int, said, file string) {
		t.Helper()
		file = b.file()
		var out bytes.Buffer
		args := append([]string{"provision", "init", "--gitlab", b.gitlab.URL(), "--project", b.project, "--host", "admin@" + b.host, "-F", b.sshConfig, file}, flags...)
		code = Run(t.Context(), Env{Args: args, Stdout: &out, Stderr: &out})
		if strings.Contains(out.String(), b.token) {
			t.Errorf("the token is printed: %s", &out)
		}
		return code, out.String(), file
	}
	const byFingerprint = "--accept-host-key"
	right := []string{byFingerprint, ssh.FingerprintSHA256(b.hostKeys[2]), byFingerprint, ssh.FingerprintSHA256(b.gitKey)}
	line := func(k ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))) }

	t.Run("with all that is needed", func(t *testing.T) {
		code, said, file := initialise(right...)
		if code != 0 || !strings.Contains(said, "found project transmogrify/frobnicator in group transmogrify") ||
			!strings.HasSuffix(said, fmt.Sprintf("next: provision check %s, then provision plan %[1]s\n", file)) {
			t.Fatalf("exit code %d\n%s", code, said)
		}
		for _, k := range append(b.hostKeys, b.gitKey) { // of the host, until one is right
			if !strings.Contains(said, ssh.FingerprintSHA256(k)+" "+k.Type()) {
				t.Errorf("the fingerprint of the %s key is not shown:\n%s", k.Type(), said)
			}
		}
		inv, err := inventory.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Join(inv.Hosts[0].HostKeys, "\n"), line(b.hostKeys[2]); got != want {
			t.Errorf("host keys are\n%s, not\n%s", got, want)
		}
		d := inv.Deployments[0]
		if got := fmt.Sprint(inv.GitLab.HostKeys[0], inv.GitLab.SSH, inv.Registry.Host, d.Name, d.User, d.Directory, d.Variables, d.Host.User); got !=
			fmt.Sprint(line(b.gitKey), inventory.SSHServer{User: "git", Host: "127.0.0.1", Port: int(netip.MustParseAddrPort(b.git).Port())},
				"registry.example.com:5050", "frobnicator-production", "deploy-frobnicator", "frobnicator", inventory.Variables{Projects: []string{"transmogrify/frobnicator"}}, "admin") {
			t.Errorf("the inventory is about %s", got)
		}
		text, err := os.ReadFile(file)
		if err != nil || bytes.Contains(text, []byte(b.token)) {
			t.Errorf("the token stands in the file, or %v", err)
		}
		var out bytes.Buffer
		if code := Run(t.Context(), Env{Args: []string{"provision", "check", file}, Stdout: &out, Stderr: &out}); code != 0 || !strings.HasPrefix(out.String(), file+" is ok: 1 host, 1 deployment\nplan ") {
			t.Errorf("check: exit code %d, %s", code, &out)
		}
		// A second time it is there.
		out.Reset()
		if code := Run(t.Context(), Env{Args: []string{"provision", "init", file}, Stdout: &out, Stderr: &out}); code != 2 || !strings.Contains(out.String(), "already exists and was not overwritten") {
			t.Errorf("over a file: exit code %d, %s", code, &out)
		}
		if again, _ := os.ReadFile(file); !bytes.Equal(again, text) {
			t.Error("the file is overwritten")
		}
	})
	t.Run("nobody confirms the keys", func(t *testing.T) {
		before := b.came.Load()
		code, said, file := initialise()
		if code != 2 || !strings.Contains(said, "the git server: the host key of 127.0.0.1 is not confirmed\n  hint: ") || !strings.Contains(said, "--accept-host-key") {
			t.Errorf("exit code %d\n%s", code, said)
		}
		// sshd(8) keeps those out who come often and do not log in.
		if n := b.came.Load() - before; n != 1 {
			t.Errorf("the host is connected to %d times for one key", n)
		}
		unwritten(t, file)
	})
	t.Run("a fingerprint of another key", func(t *testing.T) {
		code, said, file := initialise(byFingerprint, ssh.FingerprintSHA256(b.gitKey), byFingerprint, "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
		if code != 2 || !strings.Contains(said, "the host: 127.0.0.1 shows no key that --accept-host-key names\n  hint: somebody may be listening in") {
			t.Errorf("exit code %d\n%s", code, said)
		}
		unwritten(t, file)
	})
	t.Run("a known host", func(t *testing.T) {
		b.known(t, b.hostKeys[1])
		defer os.Remove(b.knownHosts)
		code, said, file := initialise(byFingerprint, ssh.FingerprintSHA256(b.gitKey))
		if code != 0 || !strings.Contains(said, ssh.FingerprintSHA256(b.hostKeys[1])+" ecdsa-sha2-nistp256, in known_hosts") {
			t.Fatalf("exit code %d\n%s", code, said)
		}
		if inv, err := inventory.Load(file); err != nil || len(inv.Hosts[0].HostKeys) != 1 || inv.Hosts[0].HostKeys[0] != line(b.hostKeys[1]) {
			t.Errorf("%v, or another key is trusted", err)
		}
	})
	t.Run("a changed host", func(t *testing.T) {
		b.known(t, b.gitKey)
		defer os.Remove(b.knownHosts)
		code, said, file := initialise(byFingerprint, ssh.FingerprintSHA256(b.gitKey))
		if code != 1 || !strings.Contains(said, "none of the keys of 127.0.0.1 is the one in your known_hosts") {
			t.Errorf("exit code %d\n%s", code, said)
		}
		unwritten(t, file)
	})
	t.Run("no such project", func(t *testing.T) {
		code, said, file := initialise(append(right, "--project", "transmogrify/frobnicate")...)
		if code != 1 || !strings.Contains(said, "project transmogrify/frobnicate") {
			t.Errorf("exit code %d\n%s", code, said)
		}
		unwritten(t, file)
	})
	t.Run("an answer that cannot be", func(t *testing.T) {
		code, said, file := initialise(append(right, "--user", "root")...)
		if code != 2 || !strings.Contains(said, "--user: that is root") {
			t.Errorf("exit code %d\n%s", code, said)
		}
		unwritten(t, file)
	})
	t.Run("without a registry", func(t *testing.T) {
		b := beginInit(t, nil, "")
		var out bytes.Buffer
		code := Run(t.Context(), Env{Args: []string{"provision", "init", "--gitlab", b.gitlab.URL(), "--project", b.project, "--host", b.host, "-F", b.sshConfig, b.file()}, Stdout: &out, Stderr: &out})
		if code != 2 || !strings.Contains(out.String(), "--registry is missing, and project transmogrify/frobnicator has none in GitLab\n  hint: --registry registry.127.0.0.1, if") {
			t.Errorf("exit code %d\n%s", code, &out)
		}
	})
	t.Run("without a token", func(t *testing.T) {
		os.Unsetenv("GITLAB_TOKEN") // set again by the cleanup of Setenv
		code, said, file := initialise(append(right, "--registry", "registry.example.com", "--git-ssh", "ssh://git@"+b.git)...)
		if code != 0 || !strings.Contains(said, "not checked: the project transmogrify/frobnicator and your rights there: GITLAB_TOKEN is not set") {
			t.Errorf("exit code %d\n%s", code, said)
		}
		if _, err := inventory.Load(file); err != nil {
			t.Error(err)
		}
	})
}
