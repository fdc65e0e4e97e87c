package cmd

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"provision/e2e/gitlabtest"
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

// sshServer shows some keys, and lets nobody in.
func sshServer(t *testing.T, keys ...crypto.Signer) (address string, public []ssh.PublicKey) {
	t.Helper()
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
			go func() {
				defer conn.Close()
				ssh.NewServerConn(conn, config)
			}()
		}
	}()
	return l.Addr().String(), public
}

func TestInit(t *testing.T) {
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	host, hostKeys := sshServer(t, edKey, ecKey, rsaKey)

	web, git := listening(t), listening(t)
	g := gitlabtest.New(gitlabtest.Config{URL: "http://" + web.Addr().String(), SSHHost: git.Addr().String(), Registry: "registry.example.com:5050"})
	admin := g.Seed("transmogrify/frobnicator")
	go g.Serve(web, nil)
	go g.ServeSSH(git)
	t.Cleanup(func() { g.Close() })
	gitKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(g.HostKey()))
	if err != nil {
		t.Fatal(err)
	}
	secretToken, err := admin.Reveal()
	if err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	knownHosts, sshConfig := filepath.Join(dir, "known_hosts"), filepath.Join(dir, "config")
	if err := os.WriteFile(sshConfig, []byte("UserKnownHostsFile "+knownHosts+"\nGlobalKnownHostsFile none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	known := func(keys ...ssh.PublicKey) {
		t.Helper()
		name, port, _ := net.SplitHostPort(host)
		var lines strings.Builder
		for _, k := range keys {
			fmt.Fprintf(&lines, "[%s]:%s %s", name, port, ssh.MarshalAuthorizedKey(k))
		}
		if err := os.WriteFile(knownHosts, []byte(lines.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	initialise := func(flags ...string) (code int, said, file string) {
		t.Helper()
		n++
		file = filepath.Join(dir, fmt.Sprintf("inventory%d.toml", n))
		var out bytes.Buffer
		args := append([]string{"provision", "init", "--gitlab", g.URL(), "--project", "transmogrify/frobnicator", "--host", "admin@" + host, "-F", sshConfig, file}, flags...)
		code = Run(t.Context(), Env{Args: args, Stdout: &out, Stderr: &out})
		if strings.Contains(out.String(), secretToken) {
			t.Errorf("the token is printed: %s", &out)
		}
		return code, out.String(), file
	}
	const byFingerprint = "--accept-host-key"
	right := []string{byFingerprint, ssh.FingerprintSHA256(hostKeys[0]), byFingerprint, ssh.FingerprintSHA256(hostKeys[2]), byFingerprint, ssh.FingerprintSHA256(gitKey)}
	unwritten := func(file string) {
		t.Helper()
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%s is written all the same", file)
		}
	}
	line := func(k ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))) }

	t.Setenv("GITLAB_TOKEN", secretToken)
	t.Run("with all that is needed", func(t *testing.T) {
		code, said, file := initialise(right...)
		if code != 0 || !strings.Contains(said, "project transmogrify/frobnicator is there, in group transmogrify") ||
			!strings.HasSuffix(said, fmt.Sprintf("next: provision check %s, then provision plan %[1]s\n", file)) {
			t.Fatalf("exit code %d\n%s", code, said)
		}
		for _, k := range append(hostKeys, gitKey) {
			if !strings.Contains(said, ssh.FingerprintSHA256(k)+" "+k.Type()) {
				t.Errorf("the fingerprint of the %s key is not shown:\n%s", k.Type(), said)
			}
		}
		inv, err := inventory.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Join(inv.Hosts[0].HostKeys, "\n"), line(hostKeys[0])+"\n"+line(hostKeys[2]); got != want {
			t.Errorf("host keys are\n%s, not\n%s", got, want)
		}
		d := inv.Deployments[0]
		if got := fmt.Sprint(inv.GitLab.HostKeys[0], inv.GitLab.SSH, inv.Registry.Host, d.Name, d.User, d.Directory, d.Variables, d.Host.User); got !=
			fmt.Sprint(line(gitKey), inventory.SSHServer{User: "git", Host: "127.0.0.1", Port: git.Addr().(*net.TCPAddr).Port},
				"registry.example.com:5050", "frobnicator-production", "deploy-frobnicator", "frobnicator", inventory.Variables{Projects: []string{"transmogrify/frobnicator"}}, "admin") {
			t.Errorf("the inventory is about %s", got)
		}
		text, err := os.ReadFile(file)
		if err != nil || bytes.Contains(text, []byte(secretToken)) {
			t.Errorf("the token stands in the file, or %v", err)
		}
		var out bytes.Buffer
		if code := Run(t.Context(), Env{Args: []string{"provision", "check", file}, Stdout: &out, Stderr: &out}); code != 0 || out.String() != file+" is fine: 1 host, 1 deployment\n" {
			t.Errorf("check: exit code %d, %s", code, &out)
		}
		// A second time it is there.
		out.Reset()
		if code := Run(t.Context(), Env{Args: []string{"provision", "init", file}, Stdout: &out, Stderr: &out}); code != 2 || !strings.Contains(out.String(), "is there already") {
			t.Errorf("over a file: exit code %d, %s", code, &out)
		}
		if again, _ := os.ReadFile(file); !bytes.Equal(again, text) {
			t.Error("the file is overwritten")
		}
	})
	t.Run("nobody vouches for the keys", func(t *testing.T) {
		code, said, file := initialise()
		if code != 2 || !strings.Contains(said, "--accept-host-key") {
			t.Errorf("exit code %d\n%s", code, said)
		}
		unwritten(file)
	})
	t.Run("a fingerprint of another key", func(t *testing.T) {
		code, said, file := initialise(byFingerprint, ssh.FingerprintSHA256(gitKey), byFingerprint, "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
		if code != 2 || !strings.Contains(said, "the host: nobody has said") {
			t.Errorf("exit code %d\n%s", code, said)
		}
		unwritten(file)
	})
	t.Run("a known host", func(t *testing.T) {
		known(hostKeys[1])
		defer os.Remove(knownHosts)
		code, said, file := initialise(byFingerprint, ssh.FingerprintSHA256(gitKey))
		if code != 0 || !strings.Contains(said, ssh.FingerprintSHA256(hostKeys[1])+" ecdsa-sha2-nistp256, in known_hosts") {
			t.Fatalf("exit code %d\n%s", code, said)
		}
		if inv, err := inventory.Load(file); err != nil || len(inv.Hosts[0].HostKeys) != 1 || inv.Hosts[0].HostKeys[0] != line(hostKeys[1]) {
			t.Errorf("%v, or another key is trusted", err)
		}
	})
	t.Run("a changed host", func(t *testing.T) {
		known(gitKey)
		defer os.Remove(knownHosts)
		code, said, file := initialise(byFingerprint, ssh.FingerprintSHA256(gitKey))
		if code != 1 || !strings.Contains(said, "none of the keys of 127.0.0.1 is the one in your known_hosts") {
			t.Errorf("exit code %d\n%s", code, said)
		}
		unwritten(file)
	})
	t.Run("no such project", func(t *testing.T) {
		code, said, file := initialise(append(right, "--project", "transmogrify/frobnicate")...)
		if code != 1 || !strings.Contains(said, "look up project transmogrify/frobnicate") {
			t.Errorf("exit code %d\n%s", code, said)
		}
		unwritten(file)
	})
	t.Run("an answer that cannot be", func(t *testing.T) {
		code, said, file := initialise(append(right, "--user", "root")...)
		if code != 2 || !strings.Contains(said, "user: is root") {
			t.Errorf("exit code %d\n%s", code, said)
		}
		unwritten(file)
	})
	t.Run("without a token", func(t *testing.T) {
		os.Unsetenv("GITLAB_TOKEN") // set again by the cleanup of Setenv
		code, said, file := initialise(append(right, "--registry", "registry.example.com", "--git-ssh", "ssh://git@"+git.Addr().String())...)
		if code != 0 || !strings.Contains(said, "not checked: the project transmogrify/frobnicator and your rights there: environment variable GITLAB_TOKEN is not set") {
			t.Errorf("exit code %d\n%s", code, said)
		}
		if _, err := inventory.Load(file); err != nil {
			t.Error(err)
		}
	})
}
