package sshconfig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// A RevocationsError tells that a file of RevokedHostKeys cannot be asked. As
// with ssh(1), no host is trusted then.
type RevocationsError struct {
	File string
	Err  error
}

func (e *RevocationsError) Error() string {
	return fmt.Sprintf("RevokedHostKeys %s cannot be read: %v", e.File, e.Err)
}

// Hint says what to do about the file.
func (e *RevocationsError) Hint() string {
	return "make the file readable, or take RevokedHostKeys out of ssh_config(5): ssh(1), too, trusts no host without it"
}

func (e *RevocationsError) Unwrap() error { return e.Err }

// Revoked returns the file that revokes a host key: one of RevokedHostKeys, or
// a known_hosts file that marks it @revoked, for whichever host. A certificate
// is revoked also by the key that it certifies, and by that of its authority.
// The file is "" if none does.
func (c *Config) Revoked(ctx context.Context, h Host, key ssh.PublicKey) (file string, err error) {
	read, err := c.knownHosts(h.KnownHosts)
	if err != nil {
		return "", err
	}
	keys := []ssh.PublicKey{key}
	if certificate, ok := key.(*ssh.Certificate); ok {
		keys = append(keys, certificate.Key, certificate.SignatureKey)
	}
	for _, key := range keys {
		if file := read.revoked[string(key.Marshal())]; file != "" {
			return file, nil
		}
	}
	for _, file := range h.RevokedKeys {
		revokes, err := c.revokes(ctx, file, key, keys)
		if err != nil {
			return "", &RevocationsError{file, err}
		}
		if revokes {
			return file, nil
		}
	}
	return "", nil
}

// krlMagic begins a key revocation list, as ssh-keygen -k writes one.
const krlMagic = "SSHKRL\n\x00"

// revokes tells whether a file of RevokedHostKeys names a key, or one of those
// that it consists of. The file has a public key on each line, or is a key
// revocation list.
func (c *Config) revokes(ctx context.Context, file string, key ssh.PublicKey, parts []ssh.PublicKey) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, withoutPath(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return false, errors.Join(err, errors.New("it is no regular file"))
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return false, withoutPath(err)
	}
	if bytes.HasPrefix(text, []byte(krlMagic)) {
		return askKRL(ctx, file, key)
	}
	for line := range bytes.Lines(text) {
		// As with ssh(1), a line that is no key revokes nothing.
		revoked, _, _, _, err := ssh.ParseAuthorizedKey(line)
		if err == nil && slices.ContainsFunc(parts, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), plain(revoked).Marshal()) }) {
			return true, nil
		}
	}
	return false, nil
}

// withoutPath returns the reason of an error of os, whose path is told apart.
func withoutPath(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func plain(key ssh.PublicKey) ssh.PublicKey {
	if certificate, ok := key.(*ssh.Certificate); ok {
		return certificate.Key
	}
	return key
}

// askKRL asks ssh-keygen(1) whether a key revocation list names a key. Whoever
// has made such a list has it; the key has its standard input for a file.
func askKRL(ctx context.Context, file string, key ssh.PublicKey) (bool, error) {
	cmd := exec.CommandContext(ctx, "ssh-keygen", "-Q", "-f", file, "/dev/stdin")
	cmd.Stdin = bytes.NewReader(ssh.MarshalAuthorizedKey(key))
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err == nil:
		return false, nil
	case errors.As(err, &exit) && exit.ExitCode() == 1 && strings.HasSuffix(strings.TrimSpace(out.String()), ": REVOKED"):
		return true, nil
	}
	return false, fmt.Errorf("ssh-keygen -Q: %w: %s", err, printable(stderr.String()))
}
