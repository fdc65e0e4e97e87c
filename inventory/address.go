package inventory

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// The rules for where servers are.

// address splits HOST, HOST:PORT, [IPV6] or [IPV6]:PORT. The port is 0 if
// there is none.
func address(s string) (host string, port int, ok bool) {
	host = s
	rest := ""
	if strings.HasPrefix(s, "[") {
		host, rest, ok = strings.Cut(s[1:], "]")
		ip, err := netip.ParseAddr(host)
		if !ok || err != nil || !ip.Is6() || ip.Zone() != "" && !hostForm().MatchString(ip.Zone()) {
			return "", 0, false
		}
	} else {
		if at := strings.IndexByte(s, ':'); at >= 0 {
			host, rest = s[:at], s[at:]
		}
		if !hostForm().MatchString(host) {
			return "", 0, false
		}
	}
	if rest == "" {
		return host, 0, true
	}
	digits, ok := strings.CutPrefix(rest, ":")
	n, err := strconv.ParseUint(digits, 10, 16)
	if !ok || err != nil || n == 0 {
		return "", 0, false
	}
	return host, int(n), true
}

// A hostPlace is where a host is.
type hostPlace struct {
	local bool // this machine; host and port mean nothing
	host  string
	port  int // 0: none was written
}

// placeOf reads an address that keeps to [hostAddress].
func placeOf(s string) hostPlace {
	if s == "local" {
		return hostPlace{local: true}
	}
	host, port, _ := address(s)
	return hostPlace{host: host, port: port}
}

func hostAddress(s string) (what, hint string) {
	if _, _, ok := address(s); ok {
		return "", ""
	}
	if strings.Contains(s, "@") {
		return "holds a login", `write the host alone, and user = "…" beside it`
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return quote(s) + " could end in a port", "write an IPv6 address in brackets: [2001:db8::1]"
	}
	return quote(s) + " is no address", `write "host", "host:port", "[IPv6 address]" or "[IPv6 address]:port"`
}

// runnersAddress is the rule for what CI's runners call a host.
func runnersAddress(s string) (what, hint string) {
	if s == "local" {
		return "is this machine, which CI's runners are not", "write what they call it"
	}
	return hostAddress(s)
}

func registryHost(s string) (what, hint string) {
	hint = `write the host alone, with the port if there is one: "registry.example.com:5050"`
	if strings.ContainsAny(s, "/@") {
		return "is more than a host", hint
	}
	if _, _, ok := address(s); !ok || s != strings.ToLower(s) {
		return "is no host of a registry", hint + ", in lower case"
	}
	return "", ""
}

// serverURL reads the URL of a GitLab; nil with what is wrong.
func serverURL(s string) (u *url.URL, what, hint string) {
	hint = `write it like "https://git.example.com"`
	u, err := url.Parse(s)
	if err == nil && u.User != nil || strings.Contains(s, "@") {
		return nil, "holds a login, which may be a secret", hint + ", and the token as a reference in gitlab.token"
	}
	if err != nil || u.Opaque != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(s, "#") {
		return nil, "is no URL of a GitLab", hint
	}
	if _, _, ok := address(u.Host); !ok {
		return nil, "has no host that could be called", hint
	}
	u.Path = strings.TrimRight(u.Path, "/")
	switch {
	case !pathPrefixOK().MatchString(u.Path) || u.RawPath != "":
		return nil, "has a path that GitLab cannot live below", hint + `, or "https://example.com/gitlab"`
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return u, "", ""
	case u.Scheme == "http":
		return nil, "sends the token in the clear", "write https://; http:// is for this machine alone"
	}
	return nil, "is neither https:// nor http://", hint
}

// A serverAddress is where a GitLab is.
type serverAddress struct {
	url  string // without a slash at its end
	host string
}

// knownURL reads a URL that keeps to [gitlabURL].
func knownURL(s string) serverAddress {
	u, _, _ := serverURL(s)
	return serverAddress{u.String(), u.Hostname()}
}

func gitlabURL(s string) (what, hint string) {
	_, what, hint = serverURL(s)
	return what, hint
}

func gitOverSSH(s string) (what, hint string) {
	_, what, hint = sshServer(s)
	return what, hint
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// sshServer reads the address of git over SSH; an empty one with what is wrong.
func sshServer(s string) (server SSHServer, what, hint string) {
	hint = `write it like "ssh://git@git.example.com:2222"`
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "ssh" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return SSHServer{}, "is no address of git over SSH", hint
	}
	server = SSHServer{User: "git", Port: 22}
	if u.User != nil {
		if _, ok := u.User.Password(); ok {
			return SSHServer{}, "holds a password", hint + ": git logs in with keys"
		}
		if server.User = u.User.Username(); !loginForm().MatchString(server.User) {
			return SSHServer{}, "has no login that could work", hint
		}
	}
	host, port, ok := address(u.Host)
	if !ok {
		return SSHServer{}, "has no host that could be called", hint
	}
	if server.Host = host; port != 0 {
		server.Port = port
	}
	return server, "", ""
}
