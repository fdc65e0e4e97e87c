package inventory

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path/filepath"
)

// Load reads and checks the inventory at path. The error is [Problems].
func Load(path string) (*Inventory, error) {
	data, _, err := readFile(path, maxFile)
	if err != nil {
		return nil, Problems{{File: path, What: err.Error()}}
	}
	return Parse(path, data, filepath.Dir(path))
}

// Parse checks the text of an inventory. The name is for errors and
// [Inventory.Path]; relative paths in data start at dir. Of other files it
// reads those for ca_file and override. The error is [Problems].
func Parse(name string, data []byte, dir string) (*Inventory, error) {
	r := &reader{
		file: name, dir: dir, guesses: maxGuesses,
		seen: map[Problem]bool{}, files: map[string]file{}, filled: map[*node]bool{},
	}
	var inv *Inventory
	if len(data) > maxFile {
		r.add(Problem{File: name, What: fmt.Sprintf("is larger than %d KiB", maxFile>>10)})
	} else if root := r.parse(data); root != nil {
		inv = r.inventory(root)
		inv.Path = name
	}
	if len(r.problems) > 0 {
		r.problems.sort(name)
		return nil, r.problems
	}
	return inv, nil
}

func (r *reader) inventory(root *node) *Inventory {
	t := r.open(root, "inventory")
	inv := &Inventory{
		GitLab:   gitlab(t.sub("gitlab")),
		Registry: registry(t.sub("registry")),
	}
	defaults := t.sub("defaults")
	inv.Hosts = r.hosts(t, defaults)
	inv.Deployments = r.deployments(t, defaults, inv)
	return inv
}

func gitlab(t *table) GitLab {
	g := GitLab{SSH: SSHServer{User: "git", Port: 22}, Token: Secret{Env: "GITLAB_TOKEN"}}
	if u, _, _ := serverURL(t.need("url", `write url = "https://git.example.com"`)); u != nil {
		g.URL, g.SSH.Host = u.String(), u.Hostname()
	}
	if n := t.get("token"); n != nil {
		g.Token = t.secret(n, `{ env = "GITLAB_TOKEN" }, { file = "…" } or { command = ["…"] }`)
	}
	g.CA = t.certificates("ca_file")
	if t.get("ssh") != nil {
		g.SSH, _, _ = sshServer(t.string("ssh"))
	}
	if t.get("host_keys") == nil {
		t.missing("host_keys", `write host_keys = ["ssh-ed25519 AAAA…"], the keys of git over SSH from a source you trust`)
	}
	g.HostKeys = t.hostKeys("host_keys")
	return g
}

func registry(t *table) Registry {
	reg := Registry{
		Host:       t.need("host", `write host = "registry.example.com"`),
		CA:         t.certificates("ca_file"),
		Credential: Credential{Kind: GroupAccessToken},
		Group:      t.string("group"),
	}
	const hint = `write "group-access-token", "deploy-token" or { username = "…", password = { env = "…" } }`
	switch n := t.get("credential"); {
	case n == nil:
	case n.table != nil:
		c := t.open(n, "credential")
		reg.Credential.Kind = Named
		reg.Credential.Username = c.need("username", `write username = "…"`)
		if n := c.get("password"); n != nil {
			reg.Credential.Password = c.secret(n, anySecret)
		} else {
			c.missing("password", "write password = "+anySecret)
		}
	case n.value == string(GroupAccessToken) || n.value == string(DeployToken):
		reg.Credential.Kind = CredentialKind(n.value.(string))
	default:
		// Not repeated: the credential itself may stand here.
		t.problem(n, "is none of the known credentials", hint)
	}
	return reg
}

const anySecret = `{ env = "…" }, { file = "…" } or { command = ["…"] }`

// secret reads a reference; instead says how to write one.
func (r *reader) secret(n *node, instead string) Secret {
	if n.table == nil {
		r.problem(n, "a secret never stands in the inventory", "write "+instead)
		return Secret{}
	}
	t := r.open(n, "secret")
	s := Secret{Env: t.string("env"), File: r.path(t.string("file")), dir: r.dir}
	if n := t.get("command"); n != nil {
		for _, item := range r.items(n) {
			s.Command = append(s.Command, r.one(item))
		}
	}
	if len(n.table) != 1 {
		r.problem(n, "a secret comes from exactly one place", "write "+instead)
	}
	return s
}

// hostKeys reads public keys, and returns them without their comments.
func (t *table) hostKeys(key string) []string {
	read := t.strings(key)
	for i, s := range read {
		read[i], _, _ = hostKey(s)
	}
	return read
}

// A file is one that the inventory names, with what is wrong with it.
type file struct {
	data []byte
	err  error
}

// maxNamed bounds the files that the inventory names.
const maxNamed = 256 << 10

// named reads a file that the inventory names, once.
func (r *reader) named(path string) file {
	f, ok := r.files[path]
	if !ok {
		f.data, _, f.err = readFile(path, maxNamed)
		r.files[path] = f
	}
	return f
}

// certificates reads a file of PEM certificates; nil if none is named or it
// is wrong.
func (t *table) certificates(key string) []byte {
	name := t.string(key)
	if name == "" {
		return nil
	}
	f := t.named(t.path(name))
	if what, hint := f.certificates(name); what != "" {
		t.problem(t.get(key), what, hint)
		return nil
	}
	return f.data
}

// certificates says what is wrong with a file of certificates.
func (f file) certificates(name string) (what, hint string) {
	what = "file " + quote(name)
	if f.err != nil {
		return what + ": " + f.err.Error(), ""
	}
	count := 0
	for block, rest := pem.Decode(f.data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			// It goes to every host: a private key must not.
			return what + " holds something else than certificates", "write a file of certificates alone"
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return what + " holds a certificate that cannot be read", ""
		}
		count++
	}
	if count == 0 {
		return what + " holds no certificate", "write a file with -----BEGIN CERTIFICATE----- in it"
	}
	return "", ""
}

// Certificates reads a file that ca_file may name, and says what is wrong with it
// and what to write instead; what is "" if nothing is.
func Certificates(path string) (pem []byte, what, hint string) {
	var f file
	f.data, _, f.err = readFile(path, maxNamed)
	if what, hint = f.certificates(path); what != "" {
		return nil, what, hint
	}
	return f.data, "", ""
}
