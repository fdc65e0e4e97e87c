package sshconfig

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// A Known is the keys by which one host may be known.
type Known struct {
	Host     string                 // "name:port", as the ssh packages want it
	Keys     []knownhosts.PublicKey // none: the host is not known
	Callback ssh.HostKeyCallback    // see [Known.Check]
	Files    map[string]string      // what errors call a file that Callback names

	// Otherwise is where ssh(1) looks a host up that listens on another port
	// than 22 and is not known with it: the bare name, with port 22. "": the
	// host is known as Host, or not at all.
	Otherwise string
}

// Check returns nil for a key that the host may show. Its errors are those of
// golang.org/x/crypto/ssh/knownhosts.
func (k Known) Check(key ssh.PublicKey) error {
	host := k.Host
	if k.Otherwise != "" {
		host = k.Otherwise
	}
	// The address is of no interest: a key belongs to a name.
	return k.Callback(host, &net.TCPAddr{IP: net.IPv4zero}, key)
}

// KnownAs is the name by which known_hosts files know a host: "name:port".
func (h Host) KnownAs() string {
	if h.KeyAlias != "" {
		return net.JoinHostPort(strings.ToLower(h.KeyAlias), "22")
	}
	return h.Address()
}

// Known returns what the known_hosts files say of a host.
func (c *Config) Known(h Host) (Known, error) {
	read, err := c.knownHosts(h.KnownHosts)
	if err != nil {
		return Known{}, err
	}
	known := Known{Host: h.KnownAs(), Callback: read.db.HostKeyCallback(), Files: read.files}
	known.Keys = read.db.HostKeys(known.Host)
	if len(known.Keys) == 0 && h.KeyAlias == "" && h.Port != 22 {
		otherwise := net.JoinHostPort(h.Name, "22")
		if known.Keys = read.db.HostKeys(otherwise); len(known.Keys) > 0 {
			known.Otherwise = otherwise
		}
	}
	return known, nil
}

// KnownHostKeys returns the keys that the known_hosts files hold for a host,
// each once, as "type base64" or "@cert-authority type base64"; none that is
// revoked. There are none if the host is not known. A port of zero is the one
// that ssh_config(5) says.
func (c *Config) KnownHostKeys(ctx context.Context, alias string, port int) ([]string, error) {
	h, err := c.Resolve(ctx, alias, Given{Port: port})
	if err != nil {
		return nil, err
	}
	known, err := c.Known(h)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, key := range known.Keys {
		line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey)))
		if revoked, err := c.Revoked(ctx, h, key.PublicKey); err != nil {
			return nil, err
		} else if revoked != "" {
			continue
		}
		if key.Cert {
			line = "@cert-authority " + line
		}
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// A knownFiles is what some known_hosts files said when they were first needed.
type knownFiles struct {
	once    sync.Once
	db      *knownhosts.HostKeyDB
	files   map[string]string // what errors call a file
	revoked map[string]string // the file that marks a key @revoked
	err     error
}

// knownHosts reads known_hosts files, each once in a run.
func (c *Config) knownHosts(files []string) (*knownFiles, error) {
	name := strings.Join(files, "\x00")
	c.mu.Lock()
	if c.known == nil {
		c.known = make(map[string]*knownFiles)
	}
	known := c.known[name]
	if known == nil {
		known = &knownFiles{}
		c.known[name] = known
	}
	c.mu.Unlock()
	known.once.Do(func() {
		sources := make(map[string][]byte)
		known.revoked = make(map[string]string)
		for _, file := range files {
			lines, err := os.ReadFile(file)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				known.err = err
				return
			}
			sources[file] = lines
			for _, key := range revokedIn(lines) {
				known.revoked[string(plain(key).Marshal())] = file
			}
		}
		known.db, known.files, known.err = readKnownHosts(sources)
	})
	return known, known.err
}

// readKnownHosts builds a database from the contents of known_hosts files.
// Lines that it cannot read are left out, as ssh(1) does: one old key of a type
// that nobody speaks any more must not make all hosts unknown. The library
// reads files only, and has no patience with such lines, hence the copies.
func readKnownHosts(sources map[string][]byte) (*knownhosts.HostKeyDB, map[string]string, error) {
	dir, err := os.MkdirTemp("", "provision-known-hosts-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	var copies []string
	files := make(map[string]string)
	for file, content := range sources {
		lines := bytes.Split(content, []byte("\n"))
		for i, line := range lines {
			if !Readable(line) {
				lines[i] = nil
			}
		}
		name := filepath.Join(dir, strconv.Itoa(len(copies)))
		if err := os.WriteFile(name, bytes.Join(lines, []byte("\n")), 0o600); err != nil {
			return nil, nil, err
		}
		copies = append(copies, name)
		files[name] = file
	}
	db, err := knownhosts.NewDB(copies...)
	return db, files, err
}

// revokedIn returns the keys that a known_hosts file marks @revoked.
func revokedIn(text []byte) []ssh.PublicKey {
	var keys []ssh.PublicKey
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("@revoked")) || !Readable(line) {
			continue
		}
		if _, _, key, _, _, err := ssh.ParseKnownHosts(line); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// Readable reports whether ssh(1) would take a line of a known_hosts file for
// what it seems to be; other lines count for nothing.
func Readable(line []byte) bool {
	marker, hosts, key, _, _, err := ssh.ParseKnownHosts(line)
	if err != nil || len(hosts) == 0 || !slices.Contains([]string{"", "cert-authority", "revoked"}, marker) {
		return false
	}
	words := bytes.Fields(line)
	if marker != "" {
		words = words[1:]
	}
	return len(words) > 1 && string(words[1]) == key.Type()
}
