package remote

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
	"time"

	"provision/provision/hint"
	"provision/provision/secret"
	"provision/provision/visible"
)

// An endpoint is one SSH server with everything that ssh_config(5) and the
// Target say of it.
type endpoint struct {
	alias string // what was asked for
	host  string
	port  int
	user  string

	key            secret.Value // of the Target: offered alone
	identity       string       // of the Target: must exist
	identities     []string
	certificates   []string
	identitiesOnly bool
	agent          string // IdentityAgent: a path, "none", "SSH_AUTH_SOCK", or "" for the default

	pinned     []string // of the Target
	knownHosts []string // files
	keyAlias   string   // HostKeyAlias

	connect      time.Duration // ConnectTimeout, zero if unset
	proxyJump    string
	proxyCommand string
}

// address is what to dial.
func (e endpoint) address() string {
	return net.JoinHostPort(e.host, strconv.Itoa(e.port))
}

func (e endpoint) String() string { return e.user + "@" + e.address() }

// route lists the servers on the way to t: jump hosts first, t itself last.
//
// As in ssh(1), the hosts of a ProxyJump list are reached one through
// another, and only the first of them goes by its own ProxyJump.
func (d *Dialer) route(ctx context.Context, t Target) ([]endpoint, error) {
	e, err := d.resolve(ctx, t.Address, t.User, t.Port, t.Identity)
	if err != nil {
		return nil, err
	}
	e.key, e.pinned = t.Key, t.HostKeys
	route := []endpoint{e}
	for route[0].proxyJump != "" {
		var jumps []endpoint
		for spec := range strings.SplitSeq(route[0].proxyJump, ",") {
			host, user, port, err := parseJump(spec)
			if err != nil {
				return nil, err
			}
			jump, err := d.resolve(ctx, host, user, port, "")
			if err != nil {
				return nil, fmt.Errorf("jump host %s: %w", host, err)
			}
			jumps = append(jumps, jump)
		}
		for i, jump := range jumps {
			same := func(e endpoint) bool { return e.String() == jump.String() }
			if slices.ContainsFunc(route, same) || slices.ContainsFunc(jumps[:i], same) {
				return nil, hint.Add(fmt.Errorf("jump host %s stands twice on the way to %s", jump, t.Address),
					"end the circle in ssh_config(5) with ProxyJump none for %s", jump.alias)
			}
		}
		route = append(jumps, route...)
	}
	return route, nil
}

// parseJump reads one item of ProxyJump: [user@]host[:port] or an ssh URI.
func parseJump(spec string) (host, user string, port int, err error) {
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
		return "", "", 0, fmt.Errorf("ProxyJump %q is not [user@]host[:port]", strings.TrimPrefix(spec, "ssh://"))
	}
	port, _ = strconv.Atoi(u.Port())
	return u.Hostname(), u.User.Username(), port, nil
}

// resolve asks ssh(1) itself what ssh_config(5) says of a host: its files have
// Match blocks, tokens and canonical names that no other parser gets right.
// Without an ssh on this machine there is no such file either, and the
// defaults of ssh(1) hold.
func (d *Dialer) resolve(ctx context.Context, address, login string, port int, identity string) (endpoint, error) {
	for _, word := range []string{address, login, identity} {
		if strings.HasPrefix(word, "-") {
			return endpoint{}, fmt.Errorf("%q begins with a dash", word)
		}
	}
	if address == "" || strings.ContainsAny(address, " \t\r\n") {
		return endpoint{}, fmt.Errorf("%q is not an address", address)
	}
	if identity != "" {
		identity = expand(identity, endpoint{})
	}
	e := endpoint{alias: address, identity: identity}
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		if d.SSHConfig != "" {
			return e, fmt.Errorf("reading %s takes ssh(1), which is not installed", d.SSHConfig)
		}
		return e, e.defaults(login, port)
	}

	printed, err := d.settings(ctx, ssh, address, login, port)
	if err == nil {
		err = e.parse(printed)
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("ssh -G %s: %w", address, err)
	}
	return e, err
}

// askSSH runs ssh -G.
func (d *Dialer) askSSH(ctx context.Context, ssh, address, login string, port int) ([]byte, error) {
	args := []string{"-G"}
	if d.SSHConfig != "" {
		args = append(args, "-F", d.SSHConfig)
	}
	if login != "" {
		args = append(args, "-l", login)
	}
	if port != 0 {
		args = append(args, "-p", strconv.Itoa(port))
	}
	cmd := exec.CommandContext(ctx, ssh, append(args, "--", address)...)
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	printed, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, visible.Line(stderr.String()))
	}
	return printed, nil
}

// parse reads what ssh -G prints: a keyword and its value on each line.
func (e *endpoint) parse(printed []byte) error {
	lines := bufio.NewScanner(bytes.NewReader(printed))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if value == "" || value == "none" && key != "identityagent" {
			continue
		}
		switch key {
		case "hostname":
			e.host = strings.ToLower(value)
		case "port":
			port, err := strconv.Atoi(value)
			if err != nil {
				return err
			}
			e.port = port
		case "user":
			e.user = value
		case "identityfile":
			e.identities = append(e.identities, value)
		case "certificatefile":
			e.certificates = append(e.certificates, value)
		case "identitiesonly":
			e.identitiesOnly = value == "yes"
		case "identityagent":
			e.agent = value
		case "hostkeyalias":
			e.keyAlias = value
		case "userknownhostsfile", "globalknownhostsfile":
			e.knownHosts = append(e.knownHosts, splitPaths(value)...)
		case "connecttimeout":
			if seconds, err := strconv.Atoi(value); err == nil {
				e.connect = time.Duration(seconds) * time.Second
			}
		case "proxyjump":
			e.proxyJump = value
		case "proxycommand":
			e.proxyCommand = value
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if e.host == "" || e.port == 0 || e.user == "" {
		return errors.New("it printed no hostname, port or user")
	}
	e.expandAll()
	return nil
}

// defaults fills in what ssh(1) does without any configuration.
func (e *endpoint) defaults(login string, port int) error {
	e.host, e.port, e.user = strings.ToLower(e.alias), port, login
	if e.port == 0 {
		e.port = 22
	}
	if e.user == "" {
		me, err := user.Current()
		if err != nil {
			return fmt.Errorf("whose name to log in with: %w", err)
		}
		e.user = me.Username
	}
	for _, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		e.identities = append(e.identities, "~/.ssh/id_"+kind)
	}
	e.knownHosts = []string{"~/.ssh/known_hosts", "~/.ssh/known_hosts2",
		"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}
	e.expandAll()
	return nil
}

func (e *endpoint) expandAll() {
	if e.identity != "" {
		e.identities = slices.Insert(e.identities, 0, e.identity)
	}
	for _, list := range [][]string{e.identities, e.certificates, e.knownHosts} {
		for i, path := range list {
			list[i] = expand(path, *e)
		}
	}
	e.agent = expand(e.agent, *e)
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

// expand puts in the home directory and the TOKENS of ssh_config(5), which
// ssh -G leaves in some of its values.
func expand(text string, e endpoint) string {
	home, _ := os.UserHomeDir()
	if rest, ok := strings.CutPrefix(text, "~/"); ok {
		text = filepath.Join(home, rest)
	}
	if !strings.Contains(text, "%") || e.host == "" {
		return text
	}
	me, _ := user.Current()
	local := ""
	if me != nil {
		local = me.Username
	}
	alias := e.keyAlias
	if alias == "" {
		alias = e.alias
	}
	return strings.NewReplacer("%%", "%", "%d", home, "%h", e.host, "%i", strconv.Itoa(os.Getuid()), "%k", alias,
		"%n", e.alias, "%p", strconv.Itoa(e.port), "%r", e.user, "%u", local).Replace(text)
}
