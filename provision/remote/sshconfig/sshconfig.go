// Package sshconfig tells what ssh_config(5) and the known_hosts files of this
// machine say of a host. It connects to none.
package sshconfig

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"provision/provision/once"
)

// A Config is what the files say, each read when it is first needed, and not
// again. The zero Config is ready for use, and all methods may be called from
// many goroutines.
type Config struct {
	// File is read in place of ssh_config(5)'s files, as with ssh -F. It must
	// not change after the first call.
	File string

	read    sync.Once
	alike   bool
	chooses bool // the files may choose algorithms
	lines   hostLines
	answers once.Map[string, []byte]

	defaults once.Map[string, []byte] // what ssh -G prints without any file

	mu    sync.Mutex
	known map[string]*knownFiles
}

// A Given is what holds in place of what the files say, as with the options of
// ssh(1). The zero values leave it to the files, and else to the name of the
// user who runs the program, port 22 and the usual key files.
type Given struct {
	User     string
	Port     int
	Identity string // a key file to try first
}

// A Host is one SSH server with everything that the files say of it. Paths
// are absolute, and TOKENS are filled in, but for ProxyCommand.
type Host struct {
	Alias string // what was asked for
	Name  string // HostName, in lower case: a name or an IP address without brackets
	Port  int
	User  string

	Identity       string   // that was given, "" if none was
	Identities     []string // in the order to try; Identity is the first
	Certificates   []string
	IdentitiesOnly bool
	Agent          string // IdentityAgent: a path, "none", "SSH_AUTH_SOCK", "$NAME", or "" for the default

	KnownHosts  []string // files, which need not exist
	KeyAlias    string   // HostKeyAlias
	RevokedKeys []string // RevokedHostKeys: files, which must exist
	Algorithms  Algorithms

	ConnectTimeout time.Duration // zero: unset
	ProxyJump      string        // as [Config.Route] follows it
	ProxyCommand   string        // for a shell, see [Host.Expand]
}

// Address is what to dial: "name:port".
func (h Host) Address() string {
	return net.JoinHostPort(h.Name, strconv.Itoa(h.Port))
}

// String returns "user@name:port".
func (h Host) String() string { return h.User + "@" + h.Address() }

// A CircleError tells that a jump host is reached through itself.
type CircleError struct {
	Jump Host
	To   string // the alias that was asked for
}

func (e *CircleError) Error() string {
	return fmt.Sprintf("jump host %s stands twice on the way to %s", e.Jump, e.To)
}

// Hint says what to change in ssh_config(5).
func (e *CircleError) Hint() string {
	return "end the circle in ssh_config(5) with ProxyJump none for " + e.Jump.Alias
}

// Route lists the servers on the way to a host: jump hosts first, the host
// itself last. The error may be a [*CircleError].
//
// As in ssh(1), the hosts of a ProxyJump list are reached one through
// another, and only the first of them goes by its own ProxyJump.
func (c *Config) Route(ctx context.Context, alias string, given Given) ([]Host, error) {
	h, err := c.Resolve(ctx, alias, given)
	if err != nil {
		return nil, err
	}
	route := []Host{h}
	for route[0].ProxyJump != "" {
		var jumps []Host
		for spec := range strings.SplitSeq(route[0].ProxyJump, ",") {
			name, given, err := parseJump(spec)
			if err != nil {
				return nil, err
			}
			jump, err := c.Resolve(ctx, name, given)
			if err != nil {
				return nil, fmt.Errorf("jump host %s: %w", name, err)
			}
			jumps = append(jumps, jump)
		}
		for i, jump := range jumps {
			same := func(h Host) bool { return h.String() == jump.String() }
			if slices.ContainsFunc(route, same) || slices.ContainsFunc(jumps[:i], same) {
				return nil, &CircleError{jump, alias}
			}
		}
		route = append(jumps, route...)
	}
	return route, nil
}

// parseJump reads one item of ProxyJump: [user@]host[:port] or an ssh URI.
func parseJump(spec string) (host string, given Given, err error) {
	if before, rest, ok := strings.Cut(spec, "["); ok { // ssh -G prints IPv4 addresses like IPv6 ones
		if inside, after, _ := strings.Cut(rest, "]"); !strings.Contains(inside, ":") {
			spec = before + inside + after
		}
	}
	if !strings.HasPrefix(spec, "ssh://") {
		spec = "ssh://" + spec
	}
	u, err := url.Parse(spec)
	if err != nil || u.Hostname() == "" {
		return "", Given{}, fmt.Errorf("ProxyJump %q is not [user@]host[:port]", strings.TrimPrefix(spec, "ssh://"))
	}
	port, _ := strconv.Atoi(u.Port())
	return u.Hostname(), Given{User: u.User.Username(), Port: port}, nil
}

// Resolve asks ssh(1) itself what ssh_config(5) says of a host: its files have
// Match blocks, tokens and canonical names that no other parser gets right.
// Without an ssh on this machine there is no such file either, and the
// defaults of ssh(1) hold. The alias may be an address.
func (c *Config) Resolve(ctx context.Context, alias string, given Given) (Host, error) {
	for _, word := range []string{alias, given.User, given.Identity} {
		if strings.HasPrefix(word, "-") {
			return Host{}, fmt.Errorf("%q begins with a dash", word)
		}
	}
	if alias == "" || strings.ContainsAny(alias, " \t\r\n") {
		return Host{}, fmt.Errorf("%q is not an address", alias)
	}
	h := Host{Alias: alias}
	if given.Identity != "" {
		h.Identity = Host{}.Expand(given.Identity)
	}
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		if c.File != "" {
			return h, fmt.Errorf("reading %s takes ssh(1), which is not installed", c.File)
		}
		return h, h.defaults(given)
	}

	printed, err := c.settings(ctx, ssh, alias, given)
	if err == nil {
		err = h.parse(printed)
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("ssh -G %s: %w", alias, err)
	}
	return h, err
}

// askSSH runs ssh -G.
func (c *Config) askSSH(ctx context.Context, ssh, alias string, given Given) ([]byte, error) {
	args := []string{"-G"}
	if c.File != "" {
		args = append(args, "-F", c.File)
	}
	if given.User != "" {
		args = append(args, "-l", given.User)
	}
	if given.Port != 0 {
		args = append(args, "-p", strconv.Itoa(given.Port))
	}
	printed, err := runSSH(ctx, ssh, append(args, "--", alias)...)
	if err != nil {
		return nil, err
	}
	return c.withoutDefaults(ctx, ssh, printed)
}

func runSSH(ctx context.Context, ssh string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, ssh, args...)
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	printed, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, printable(stderr.String()))
	}
	return printed, nil
}

// printable leaves out what a terminal might obey.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")))
}

// parse reads what ssh -G prints: a keyword and its value on each line.
func (h *Host) parse(printed []byte) error {
	lines := bufio.NewScanner(bytes.NewReader(printed))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if value == "" || value == "none" && key != "identityagent" {
			continue
		}
		switch key {
		case "hostname":
			h.Name = strings.ToLower(value)
		case "port":
			port, err := strconv.Atoi(value)
			if err != nil {
				return err
			}
			h.Port = port
		case "user":
			h.User = value
		case "identityfile":
			h.Identities = append(h.Identities, value)
		case "certificatefile":
			h.Certificates = append(h.Certificates, value)
		case "identitiesonly":
			h.IdentitiesOnly = value == "yes"
		case "identityagent":
			h.Agent = value
		case "hostkeyalias":
			h.KeyAlias = value
		case "userknownhostsfile", "globalknownhostsfile":
			h.KnownHosts = append(h.KnownHosts, splitPaths(value)...)
		case "revokedhostkeys":
			h.RevokedKeys = append(h.RevokedKeys, splitPaths(value)...)
		case "connecttimeout":
			if seconds, err := strconv.Atoi(value); err == nil {
				h.ConnectTimeout = time.Duration(seconds) * time.Second
			}
		case "proxyjump":
			h.ProxyJump = value
		case "proxycommand":
			h.ProxyCommand = value
		default:
			h.Algorithms.parse(key, value)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if h.Name == "" || h.Port == 0 || h.User == "" {
		return errors.New("it printed no hostname, port or user")
	}
	h.expandAll()
	return nil
}

// defaults fills in what ssh(1) does without any configuration.
func (h *Host) defaults(given Given) error {
	h.Name, h.Port, h.User = strings.ToLower(h.Alias), given.Port, given.User
	if h.Port == 0 {
		h.Port = 22
	}
	if h.User == "" {
		me, err := user.Current()
		if err != nil {
			return fmt.Errorf("whose name to log in with: %w", err)
		}
		h.User = me.Username
	}
	for _, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		h.Identities = append(h.Identities, "~/.ssh/id_"+kind)
	}
	h.KnownHosts = []string{"~/.ssh/known_hosts", "~/.ssh/known_hosts2",
		"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}
	h.expandAll()
	return nil
}

func (h *Host) expandAll() {
	if h.Identity != "" {
		h.Identities = slices.Insert(h.Identities, 0, h.Identity)
	}
	for _, list := range [][]string{h.Identities, h.Certificates, h.KnownHosts, h.RevokedKeys} {
		for i, path := range list {
			list[i] = h.Expand(path)
		}
	}
	h.Agent = h.Expand(h.Agent)
}

// splitPaths splits a list of absolute paths as ssh -G prints it, without
// quotes around a path that holds a space.
func splitPaths(value string) []string {
	var paths []string
	for word := range strings.FieldsSeq(value) {
		if n := len(paths); n > 0 && !strings.HasPrefix(word, "/") && !strings.HasPrefix(word, "~") {
			paths[n-1] += " " + word
			continue
		}
		paths = append(paths, word)
	}
	return paths
}

// Expand puts in the home directory and the TOKENS of ssh_config(5), which
// ssh -G leaves in some of its values.
func (h Host) Expand(text string) string {
	home, _ := os.UserHomeDir()
	if rest, ok := strings.CutPrefix(text, "~/"); ok {
		text = filepath.Join(home, rest)
	}
	if !strings.Contains(text, "%") || h.Name == "" {
		return text
	}
	me, _ := user.Current()
	local := ""
	if me != nil {
		local = me.Username
	}
	alias := h.KeyAlias
	if alias == "" {
		alias = h.Alias
	}
	return strings.NewReplacer("%%", "%", "%d", home, "%h", h.Name, "%i", strconv.Itoa(os.Getuid()), "%k", alias,
		"%n", h.Alias, "%p", strconv.Itoa(h.Port), "%r", h.User, "%u", local).Replace(text)
}
