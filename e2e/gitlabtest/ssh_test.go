package gitlabtest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"provision/e2e/needs"
)

func newKey(t *testing.T) (ssh.Signer, ed25519.PrivateKey, string) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, private, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

func (c *cast) serveSSH() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- c.ServeSSH(l) }()
	c.Cleanup(func() {
		c.Close()
		if err := <-done; err != nil {
			c.Error(err)
		}
	})
	return l.Addr().String()
}

func (c *cast) dial(addr, user string, signer ssh.Signer) (*ssh.Client, error) {
	host, _, _, _, err := ssh.ParseAuthorizedKey([]byte(c.HostKey()))
	if err != nil {
		c.Fatal(err)
	}
	client, err := ssh.Dial("tcp", addr, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(host),
	})
	if err == nil {
		c.Cleanup(func() { client.Close() })
	}
	return client, err
}

func git(t *testing.T, env []string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
	}, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestGit(t *testing.T) {
	needs.Program(t, "git")
	needs.Program(t, "ssh")
	c := newCast(t, CE)
	addr := c.serveSSH()
	_, port, _ := net.SplitHostPort(addr)
	repository := c.Repository("acme/app")
	if out, err := git(t, nil, "init", "-q", "--bare", "-b", "main", repository); err != nil {
		t.Fatal(out)
	}
	tree, err := git(t, nil, "--git-dir", repository, "hash-object", "-w", "-t", "tree", "/dev/null")
	if err != nil {
		t.Fatal(tree)
	}
	commit, err := git(t, nil, "--git-dir", repository, "commit-tree", "-m", "first", strings.TrimSpace(tree))
	if err != nil {
		t.Fatal(commit)
	}
	if out, err := git(t, nil, "--git-dir", repository, "update-ref", "refs/heads/main", strings.TrimSpace(commit)); err != nil {
		t.Fatal(out)
	}

	_, private, line := newKey(t)
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	identity, known := filepath.Join(dir, "id"), filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(identity, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(known, []byte("[127.0.0.1]:"+port+" "+c.HostKey()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"GIT_SSH_COMMAND=ssh -F none -i " + identity + " -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile=" + known}
	url := "ssh://git@127.0.0.1:" + port + "/acme/app.git"

	if out, err := git(t, env, "clone", "-q", url, filepath.Join(dir, "early")); err == nil || !strings.Contains(out, "Permission denied (publickey)") {
		t.Errorf("clone without a deploy key: %v %s", err, out)
	}
	c.AddDeployKey("acme/app", "maint", "host", line+" host")
	clone := filepath.Join(dir, "clone")
	if out, err := git(t, env, "clone", "-q", url, clone); err != nil {
		t.Fatalf("clone: %v %s", err, out)
	}
	if head, err := git(t, nil, "-C", clone, "rev-parse", "HEAD"); err != nil || head != commit {
		t.Errorf("cloned %q %v, want %q", head, err, commit)
	}
	if out, err := git(t, []string{env[0] + " -p " + port}, "ls-remote", "git@127.0.0.1:acme/app.git"); err != nil || !strings.Contains(out, "refs/heads/main") {
		t.Errorf("without a slash: %v %s", err, out)
	}
	if c.DeployKeys("acme/app")[0].Used != noon {
		t.Error("the key is not marked as used")
	}
	if out, err := git(t, nil, "-C", clone, "commit", "-q", "--allow-empty", "-m", "second"); err != nil {
		t.Fatal(out)
	}
	out, err := git(t, env, "-C", clone, "push", "-q", "origin", "main")
	if err == nil || !strings.Contains(out, "This deploy key does not have write access to this project.") {
		t.Errorf("push: %v %s", err, out)
	}
	for _, name := range []string{"acme/web", "nobody/has-this"} {
		out, err := git(t, env, "ls-remote", strings.Replace(url, "acme/app", name, 1))
		if err == nil || !strings.Contains(out, "The project you were looking for could not be found") {
			t.Errorf("%s: %v %s", name, err, out)
		}
	}
	c.Block("maint")
	if out, err := git(t, env, "-C", clone, "fetch", "-q"); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("fetch with a key of a blocked user: %v %s", err, out)
	}
}

func TestSSHRefuses(t *testing.T) {
	c := newCast(t, CE)
	addr := c.serveSSH()
	signer, _, line := newKey(t)
	c.AddDeployKey("acme/app", "maint", "host", line)

	other, _, otherLine := newKey(t)
	c.do(step{"maint", "POST", "/user/keys", `{"title":"mine","key":"` + otherLine + `"}`, 201, ``})
	for name, try := range map[string]struct {
		user   string
		signer ssh.Signer
	}{"a key of a user": {"git", other}, "another user": {"root", signer}} {
		if _, err := c.dial(addr, try.user, try.signer); err == nil {
			t.Errorf("%s is let in", name)
		}
	}
	client, err := c.dial(addr, "git", signer)
	if err != nil {
		t.Fatal(err)
	}
	if conn, err := client.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("it forwards ports")
	}
	for command, want := range map[string]string{
		"":                                   "Welcome to GitLab, Anonymous!",
		"id":                                 "Disallowed command",
		"git-upload-pack '/acme/app.git' x":  "could not be found",
		"git-upload-pack '../../etc'":        "could not be found",
		"git-upload-archive '/acme/app.git'": "Disallowed command",
		"git-receive-pack 'acme/app.git'":    "does not have write access",
	} {
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := session.RequestPty("xterm", 24, 80, nil); err == nil {
			t.Error("it gives a terminal")
		}
		var out, errors bytes.Buffer
		session.Stdout, session.Stderr = &out, &errors
		if command == "" {
			if err = session.Shell(); err == nil {
				err = session.Wait()
			}
		} else {
			err = session.Run(command)
		}
		if said := out.String() + errors.String(); (err == nil) != (command == "") || !strings.Contains(said, want) {
			t.Errorf("%q: %v %s; want %q", command, err, said, want)
		}
	}

	// What was let in once opens nothing after the key is gone.
	c.RemoveDeployKey("acme/app", c.DeployKeys("acme/app")[0].ID)
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := session.CombinedOutput("git-upload-pack 'acme/app.git'"); err == nil {
		t.Errorf("a removed key still reads: %s", out)
	}
	if _, err := c.dial(addr, "git", signer); err == nil {
		t.Error("a removed key is let in")
	}
}

func TestExpiredDeployKey(t *testing.T) {
	c := newCast(t, CE)
	addr := c.serveSSH()
	signer, _, line := newKey(t)
	c.do(step{"maint", "POST", appKeys, `{"title":"a","key":"` + line + `","expires_at":"2026-03-05T00:00:00Z"}`, 201, ``})
	client, err := c.dial(addr, "git", signer)
	if err != nil {
		t.Fatalf("before it expires: %v", err)
	}
	c.SetNow(func() time.Time { return noon.AddDate(0, 0, 1) })
	if _, err := c.dial(addr, "git", signer); err == nil {
		t.Error("an expired key is let in")
	}
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := session.CombinedOutput("git-upload-pack 'acme/app.git'"); err == nil || !strings.Contains(string(out), "could not be found") {
		t.Errorf("a key that expired since it logged in still reads: %v %s", err, out)
	}
}
