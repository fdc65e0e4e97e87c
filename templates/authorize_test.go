package templates

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const (
	ours   = `restrict,command="/usr/local/lib/provision/gate web SHA256:x" ssh-ed25519 AAAAours provision:web`
	older  = `restrict,command="/usr/local/lib/provision/gate web SHA256:y" ssh-ed25519 AAAAolder provision:web`
	sister = `restrict,command="/usr/local/lib/provision/gate shop SHA256:z" ssh-ed25519 AAAAsister provision:shop`
	block  = "# provision begin\n" + ours + "\n# provision end\n"
)

func TestAuthorize(t *testing.T) {
	tests := []struct{ name, before, after string }{
		{"an empty file", "", block},
		{"foreign lines", "ssh-rsa AAAAa a@b\n\n  # a comment\n\tssh-rsa AAAAb\n", block + "ssh-rsa AAAAa a@b\n\n  # a comment\n\tssh-rsa AAAAb\n"},
		{"no newline at the end", "ssh-rsa AAAAa a@b", block + "ssh-rsa AAAAa a@b"},
		{"empty lines at the end", "ssh-rsa AAAAa\n\n\n", block + "ssh-rsa AAAAa\n\n\n"},
		{"one empty line", "\n", block + "\n"},
		{"CR LF", "ssh-rsa AAAAa a@b\r\n# c\r\n", block + "ssh-rsa AAAAa a@b\r\n# c\r\n"},
		{"odd bytes", "ssh-rsa AAAAa \xff\xfe\x80\x01\x7f\x1b[2J ü %s \\n \\\\ \"'$(id)\n", block + "ssh-rsa AAAAa \xff\xfe\x80\x01\x7f\x1b[2J ü %s \\n \\\\ \"'$(id)\n"},
		{"a line set up by hand is taken over", "a\nrestrict,command=\"cd x; docker compose up -d\" ssh-ed25519 AAAAours ci\nb\n", block + "a\nb\n"},
		{"also one without a comment", "ssh-ed25519 AAAAours\n", block},
		{"also one that ends in CR LF", "a\r\nssh-ed25519 AAAAours\r\nb", block + "a\r\nb"},
		{"also the last one, without a newline", "a\nssh-ed25519 AAAAours", block + "a"},
		{"a comment with the key stays", "# ssh-ed25519 AAAAours old\n", block + "# ssh-ed25519 AAAAours old\n"},
		{"another key of the same name goes", "a\n" + older + "\n# " + older + "\nb\n", block + "a\n# " + older + "\nb\n"},
		{"in place already", block + "a\n", block + "a\n"},
		{"another key in the block", "# provision begin\n" + older + "\n" + sister + "\n# provision end\na\n",
			"# provision begin\n" + ours + "\n" + sister + "\n# provision end\na\n"},
		{"the block moves to the top", "a\n# provision begin\n" + sister + "\n# provision end\nb\n",
			"# provision begin\n" + ours + "\n" + sister + "\n# provision end\na\nb\n"},
		{"a block without an end loses nothing", "a\n# provision begin\n" + sister + "\nb\n",
			"# provision begin\n" + ours + "\n" + sister + "\nb\n# provision end\na\n"},
		{"a line with the key, beside the block", block + "ssh-ed25519 AAAAours mine\n" + "a\n", block + "a\n"},
		{"a name within another", "ssh-rsa AAAAa my-provision:web\nssh-rsa AAAAoursToo provision:web2\n",
			block + "ssh-rsa AAAAa my-provision:web\nssh-rsa AAAAoursToo provision:web2\n"},
		{"long lines", strings.Repeat("x", 20_000) + "\n" + strings.Repeat("ssh-rsa AAAAa a@b\n", 300),
			block + strings.Repeat("x", 20_000) + "\n" + strings.Repeat("ssh-rsa AAAAa a@b\n", 300)},
	}
	eachShell(t, func(t *testing.T, b *box) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				b.clear(t)
				b.write(t, ".ssh/authorized_keys", tt.before, 0o644)
				for range 2 { // the second time changes nothing
					if out, status := b.run(t, Authorize, ours, "web", "only"); status != 0 || out != "" {
						t.Fatalf("status %d, said %s", status, out)
					}
					if got := b.read(t, ".ssh/authorized_keys"); got != tt.after {
						t.Fatalf("got  %.300q\nwant %.300q", got, tt.after)
					}
				}
				names, kept, mode := "authorized_keys authorized_keys.before-provision", tt.before, os.FileMode(0o644)
				if strings.Contains(tt.before, "# provision begin\n") {
					_, kept, _ = strings.Cut(tt.before, "# provision end\n")
					mode = 0o600
					if !strings.Contains(kept, "AAAAours") {
						names = "authorized_keys"
					}
				}
				if got := b.names(t, ".ssh"); got != names {
					t.Fatalf(".ssh has %s", got)
				}
				if b.mode(t, ".ssh/authorized_keys") != 0o600 {
					t.Errorf("mode %o", b.mode(t, ".ssh/authorized_keys"))
				}
				if names == "authorized_keys" {
					return
				}
				if got := b.read(t, ".ssh/authorized_keys.before-provision"); got != kept {
					t.Errorf("the backup is %.300q", got)
				}
				if got := b.mode(t, ".ssh/authorized_keys.before-provision"); got != mode {
					t.Errorf("the mode of the backup is %o", got)
				}
			})
		}

		t.Run("keep", func(t *testing.T) {
			b.clear(t)
			b.write(t, ".ssh/authorized_keys", block+"a\n", 0o600)
			newer := strings.ReplaceAll(older, "older", "newer")
			for _, step := range []struct{ others, want string }{
				{"keep", "# provision begin\n" + newer + "\n" + ours + "\n# provision end\na\n"},
				{"only", "# provision begin\n" + newer + "\n# provision end\na\n"},
			} {
				if out, status := b.run(t, Authorize, newer, "web", step.others); status != 0 {
					t.Fatal(out)
				}
				if got := b.read(t, ".ssh/authorized_keys"); got != step.want {
					t.Errorf("%s: got  %q\nwant %q", step.others, got, step.want)
				}
			}
		})

		t.Run("nothing there", func(t *testing.T) {
			b.clear(t)
			if out, status := b.run(t, Authorize, ours, "web", "only"); status != 0 {
				t.Fatal(out)
			}
			if got := b.read(t, ".ssh/authorized_keys"); got != block {
				t.Errorf("got %q", got)
			}
			if got := b.names(t, ".ssh"); got != "authorized_keys" {
				t.Errorf(".ssh has %s", got)
			}
			if b.mode(t, ".ssh") != 0o700 || b.mode(t, ".ssh/authorized_keys") != 0o600 {
				t.Errorf("modes %o and %o", b.mode(t, ".ssh"), b.mode(t, ".ssh/authorized_keys"))
			}
		})
	})
}

func TestAuthorizeRefuses(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, b *box, keys string)
		says    string
	}{
		{"a link", func(t *testing.T, b *box, keys string) {
			b.write(t, "elsewhere", "a\n", 0o600)
			if err := os.Symlink("../elsewhere", keys); err != nil {
				t.Fatal(err)
			}
		}, ".ssh/authorized_keys is a link; replace it by a file\n"},
		{"a link to nothing", func(t *testing.T, b *box, keys string) {
			if err := os.Symlink("nowhere", keys); err != nil {
				t.Fatal(err)
			}
		}, ".ssh/authorized_keys is a link; replace it by a file\n"},
		{"a FIFO", func(t *testing.T, b *box, keys string) {
			if err := syscall.Mkfifo(keys, 0o600); err != nil {
				t.Fatal(err)
			}
		}, ".ssh/authorized_keys is not a file\n"},
		{"a folder", func(t *testing.T, b *box, keys string) {
			if err := os.Mkdir(keys, 0o700); err != nil {
				t.Fatal(err)
			}
		}, ".ssh/authorized_keys is not a file\n"},
		{"NUL bytes", func(t *testing.T, b *box, keys string) {
			b.write(t, ".ssh/authorized_keys", "a\x00b\nc\n", 0o600)
		}, ".ssh/authorized_keys has NUL bytes; take them out\n"},
		{"a lock that is not given back", func(t *testing.T, b *box, keys string) {
			b.write(t, ".ssh/authorized_keys", "a\n", 0o600)
			b.stub(t, "flock", "exit 1")
			t.Cleanup(func() { os.Remove(filepath.Join(b.bin, "flock")) })
		}, ".ssh/authorized_keys is locked by another process; run again\n"},
		{"a change meanwhile", func(t *testing.T, b *box, keys string) {
			b.write(t, ".ssh/authorized_keys", "a\n", 0o600)
			b.stub(t, "chmod", "echo late >>"+quote(keys)+`; REAL chmod "$@"`)
			t.Cleanup(func() { os.Remove(filepath.Join(b.bin, "chmod")) })
		}, "somebody else changed .ssh/authorized_keys meanwhile; run again\n"},
		{"a file that comes meanwhile", func(t *testing.T, b *box, keys string) {
			b.stub(t, "chmod", "echo late >>"+quote(keys)+`; REAL chmod "$@"`)
			t.Cleanup(func() { os.Remove(filepath.Join(b.bin, "chmod")) })
		}, "somebody else changed .ssh/authorized_keys meanwhile; run again\n"},
	}
	eachShell(t, func(t *testing.T, b *box) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				b.clear(t)
				if err := os.Mkdir(filepath.Join(b.home, ".ssh"), 0o700); err != nil {
					t.Fatal(err)
				}
				keys := filepath.Join(b.home, ".ssh/authorized_keys")
				tt.prepare(t, b, keys)
				before, _ := os.Lstat(keys)
				out, status := b.run(t, Authorize, ours, "web", "only")
				if status != 1 || out != tt.says {
					t.Errorf("status %d, said %q, want %q", status, out, tt.says)
				}
				if got := b.names(t, ".ssh"); got != "authorized_keys" {
					t.Errorf(".ssh has %s", got)
				}
				after, err := os.Lstat(keys)
				if err != nil || before != nil && after.Mode() != before.Mode() {
					t.Errorf("it was %v and is %v, %v", before, after, err)
				}
				if strings.Contains(tt.says, "meanwhile") {
					if got := b.read(t, ".ssh/authorized_keys"); got != "a\nlate\n" && got != "late\n" {
						t.Errorf("the late line is lost: %q", got)
					}
				}
			})
		}
	})
}

// While the file is read and written, nobody else has the lock.
func TestAuthorizeLocks(t *testing.T) {
	eachShell(t, func(t *testing.T, b *box) {
		b.stub(t, "chmod", `flock -n .ssh true && echo free >lock || echo taken >lock; REAL chmod "$@"`)
		if out, status := b.run(t, Authorize, ours, "web", "only"); status != 0 {
			t.Fatal(out)
		}
		if got := b.read(t, "lock"); got != "taken\n" {
			t.Errorf("the lock is %s", got)
		}
	})
}

// Old keys of a deployment may come in beside the current one: their lines are made what they
// are to be, and any other of the deployment goes.
func TestAuthorizeOldKeys(t *testing.T) {
	const (
		old   = `restrict,command="/usr/local/lib/provision/gate web SHA256:y" ssh-ed25519 AAAAolder old provision:web`
		third = `restrict,command="/usr/local/lib/provision/gate web SHA256:t" ssh-ed25519 AAAAthird provision:web`
		both  = "# provision begin\n" + ours + "\n" + old + "\n"
		end   = "# provision end\na\n"
	)
	eachShell(t, func(t *testing.T, b *box) {
		for _, tt := range []struct{ before, others, lines, after string }{
			{"# provision begin\n" + older + "\n" + sister + "\n" + end, "only", ours + "\n" + old, both + sister + "\n" + end},
			{both + third + "\n" + sister + "\n" + end, "only", ours + "\n" + old, both + sister + "\n" + end},
			{both + third + "\n" + end, "keep", ours + "\n" + old, both + third + "\n" + end},
			{both + end, "only", ours, "# provision begin\n" + ours + "\n" + end},
			{both + end, "none", "", "a\n"},
		} {
			b.clear(t)
			b.write(t, ".ssh/authorized_keys", tt.before, 0o600)
			for range 2 {
				if out, status := b.run(t, Authorize, tt.lines, "web", tt.others); status != 0 || out != "" {
					t.Fatalf("status %d, said %s", status, out)
				}
				if got := b.read(t, ".ssh/authorized_keys"); got != tt.after {
					t.Fatalf("got  %q\nwant %q", got, tt.after)
				}
			}
		}
	})
}
