package inventory

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// pattern is a regular expression that is compiled when it is first needed: all
// of them take longer than the rest of the start of the program.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// The rules for single values. None repeats a value in which a secret may hide.

// Names of hosts and deployments stand in comments of keys, file names and
// the argument of a forced command.
var nameForm = pattern(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// What useradd(8) accepts everywhere, and at most 32 characters.
var unixUserForm = pattern(`^[a-z_][a-z0-9_-]{0,31}$`)

// The login of an admin may come from a directory, with a realm or a domain.
// It stands in arguments of ssh(1).
var loginForm = pattern(`^[A-Za-z0-9_][A-Za-z0-9_.@+\\-]{0,127}\$?$`)

// The name of a Compose project:
// https://docs.docker.com/compose/how-tos/project-name/
var directoryForm = pattern(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// The name of a service in a compose.yaml. It stands among the arguments of
// docker compose.
var serviceForm = pattern(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// What docker compose reads itself, and what the gate sets for it.
var takenVariable = pattern(`^((COMPOSE|DOCKER)_|(PATH|HOME|USER|LOGNAME|SHELL|LC_ALL)$)`)

// The name of an environment in GitLab:
// https://docs.gitlab.com/api/environments/
var environmentForm = pattern(`^[A-Za-z0-9_/${}. -]+$`)

const maxEnvironment = 255

// One part of the path of a group or project in GitLab:
// https://docs.gitlab.com/user/reserved_names/
const pathPart = `[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}`

var (
	pathPartForm = pattern(`^` + pathPart + `$`)
	badPath      = pattern(`(\.|\.git|\.atom)(/|$)`)
)

// The key of a variable in GitLab is [a-zA-Z0-9_]{1,255}. A shell cannot read
// one that begins with a digit, and the program's own names need some room.
var prefixForm = pattern(`^[A-Za-z_][A-Za-z0-9_]{0,199}$`)

const hostName = `[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?`

var (
	envForm      = pattern(`^[A-Za-z_][A-Za-z0-9_]{0,255}$`)
	hostForm     = pattern(`^` + hostName + `$`)
	badBranch    = pattern(`[ ~^:?*\[\\]|\.\.|@\{|//|^[-/.]|/\.|[/.]$|\.lock(/|$)|^@$`)
	pathPrefixOK = pattern(`^(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$`)
)

func goodName(s string) (what, hint string) {
	if !nameForm().MatchString(s) {
		return "a name like this does not work", "write up to 63 of a-z, 0-9, dot, underscore and hyphen, a letter or digit first"
	}
	return "", ""
}

func unixUser(s string) (what, hint string) {
	switch {
	case s == "root":
		return "is root, who could do anything", `write a user of the deployment's own, like "deploy-user"`
	case !unixUserForm().MatchString(s):
		return quote(s) + " is no name that useradd(8) accepts", "write up to 32 of a-z, 0-9, underscore and hyphen, a letter or underscore first"
	}
	return "", ""
}

func login(s string) (what, hint string) {
	if !loginForm().MatchString(s) {
		return quote(s) + " is not the name of a login", "write letters, digits and . _ - @ +, a letter, digit or underscore first"
	}
	return "", ""
}

func composeName(s string) (what, hint string) {
	switch {
	case strings.Contains(s, "/"):
		return quote(s) + " is a path", "write one name: the directory lies in the home of the user and names the Compose project"
	case !directoryForm().MatchString(s):
		return quote(s) + " cannot name a Compose project, as the directory does", "write up to 63 of a-z, 0-9, underscore and hyphen, a letter or digit first"
	}
	return "", ""
}

func environment(s string) (what, hint string) {
	switch {
	case len(s) > maxEnvironment:
		return "is longer than 255 characters", "GitLab takes no more"
	case !environmentForm().MatchString(s) || s[0] == '/' || s[len(s)-1] == '/':
		return quote(s) + " is no environment of GitLab", "write letters, digits, spaces and - _ / $ { } . without a slash first or last"
	}
	return "", ""
}

func branch(s string) (what, hint string) {
	if len(s) > 255 || badBranch().MatchString(s) {
		return quote(s) + " is no name of a branch", "see git-check-ref-format(1)"
	}
	return "", ""
}

func waiting(s string) (what, hint string) {
	const example = `write it like "120s" or "5m"`
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return quote(s) + " is no duration", example
	case d < time.Second || d > time.Hour:
		return quote(s) + " is no time to wait for health", example + ", from 1s to 1h"
	case d%time.Second != 0:
		return quote(s) + " is not made of whole seconds", example
	}
	return "", ""
}

func versionVariable(s string) (what, hint string) {
	const example = `version = "TAG" for image: registry.example.com/app:${TAG}`
	switch {
	case !envForm().MatchString(s):
		return quote(s) + " is no name of an environment variable", "write the name of the variable that compose.yaml has for the version: " + example
	case takenVariable().MatchString(s):
		return quote(s) + " has a meaning of its own for docker compose", "choose another name, here and in compose.yaml: " + example
	}
	return "", ""
}

func composeService(s string) (what, hint string) {
	if !serviceForm().MatchString(s) {
		return quote(s) + " is no name of a Compose service", "write one as it stands under services in compose.yaml: letters, digits and . _ -, a letter or digit first"
	}
	return "", ""
}

func variablePrefix(s string) (what, hint string) {
	if !prefixForm().MatchString(s) {
		return quote(s) + " cannot begin the name of a variable", "write up to 200 letters, digits and underscores, not a digit first"
	}
	return "", ""
}

func groupPath(s string) (what, hint string) {
	switch {
	case strings.Contains(s, "://"):
		return "is a URL", "write the path alone, without the server" + pathOf(s)
	case len(s) > 1024:
		return "is longer than 1024 characters", ""
	}
	for part := range strings.SplitSeq(s, "/") {
		if !pathPartForm().MatchString(part) || badPath().MatchString(part) {
			return quote(s) + " is no path in GitLab", `write it as in the address bar, without a slash first or last and without ".git"`
		}
	}
	return "", ""
}

// pathOf returns what is likely the path of a group or project in a URL, to end
// a hint with. What else stands in the URL may be a secret.
func pathOf(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	path, _, _ := strings.Cut(u.Path, "/-/")
	path = strings.TrimSuffix(strings.TrimPrefix(strings.Trim(path, "/"), "groups/"), ".git")
	if what, _ := groupPath(path); what != "" {
		return ""
	}
	return ": " + quote(path)
}

func projectPath(s string) (what, hint string) {
	what, hint = groupPath(s)
	if what == "" && !strings.Contains(s, "/") {
		return quote(s) + " has no namespace", `write the full path, like "transmogrify/frobnicator"`
	}
	return what, hint
}

func publicKey(s string) (what, hint string) {
	_, what, hint = hostKey(s)
	return what, hint
}

func envName(s string) (what, hint string) {
	if !envForm().MatchString(s) {
		// Not repeated: the secret itself may stand here.
		return "is no name of an environment variable", "write letters, digits and underscores, not a digit first"
	}
	return "", ""
}

const certAuthority = "@cert-authority"

// hostKey reads a public key of a host as sshd(8) has it in known_hosts
// without the names, and returns it without its comment; "" with what is wrong.
func hostKey(s string) (key, what, hint string) {
	hint = `write "ssh-ed25519 AAAA…", as in /etc/ssh/ssh_host_ed25519_key.pub on the host`
	if strings.Contains(s, "PRIVATE KEY") {
		return "", "is a private key, which belongs in no inventory", hint
	}
	fields := strings.Fields(s)
	marker := ""
	if fields[0] == certAuthority {
		marker, fields = certAuthority+" ", fields[1:]
	}
	if len(fields) > 2 && parseKey(fields[0], fields[1]) == nil && parseKey(fields[1], fields[2]) != nil {
		return "", "begins with a host name", "cut what stands before the type of the key"
	}
	if len(fields) < 2 {
		return "", "is no public key", hint
	}
	public := parseKey(fields[0], fields[1])
	if public == nil {
		return "", "is no public key", hint
	}
	if _, ok := public.(*ssh.Certificate); ok {
		return "", "is a certificate, which changes when it is renewed", `write "@cert-authority ssh-ed25519 AAAA…" with the key of the authority`
	}
	return marker + fields[0] + " " + fields[1], "", ""
}

func parseKey(kind, blob string) ssh.PublicKey {
	raw, err := base64.StdEncoding.DecodeString(blob)
	if err != nil {
		return nil
	}
	key, err := ssh.ParsePublicKey(raw)
	if err != nil || key.Type() != kind {
		return nil
	}
	return key
}
