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
	var d document
	documentSection.fill(r.open(root, &documentSection.section), &d)
	inv := &Inventory{GitLab: d.gitlab, Registry: d.registry, Registries: r.registries(d)}
	inv.Hosts = r.hosts(d)
	inv.Deployments = r.deployments(d, inv)
	return inv
}

const anySecret = `{ env = "…" }, { file = "…" } or { command = ["…"] }`

// secretFrom is a reference to a secret; instead says how to write one.
func secretFrom(instead string) form[Secret] {
	return form[Secret]{shape{kind: aTable, section: &secretSection.section}, func(t *table, n *node) Secret {
		if n.table == nil {
			t.problem(n, "a secret never stands in the inventory", "write "+instead)
			return Secret{}
		}
		s := tableOf(secretSection, Secret{dir: t.dir}).read(t, n)
		if len(n.table) != 1 {
			t.problem(n, "a secret comes from exactly one place", "write "+instead)
		}
		return s
	}}
}

// credential is a word for what is made for the hosts, or a login.
var credential = form[Credential]{
	shape{kind: aCredential, section: &credentialSection.section, words: []string{string(GroupAccessToken), string(DeployToken)}},
	func(t *table, n *node) Credential {
		if n.table != nil {
			return tableOf(credentialSection, Credential{Kind: Named}).read(t, n)
		}
		if n.value != string(GroupAccessToken) && n.value != string(DeployToken) {
			// Not repeated: the credential itself may stand here.
			t.problem(n, "is none of the known credentials", `write "group-access-token", "deploy-token" or { username = "…", password = { env = "…" } }`)
			return Credential{}
		}
		return Credential{Kind: CredentialKind(n.value.(string))}
	},
}

// namedCredential is a login of one's own: what is made for the hosts is made in
// GitLab, and can do nothing but read the images of its registry.
var namedCredential = form[Credential]{shape{kind: aTable, section: &credentialSection.section}, func(t *table, n *node) Credential {
	if n.table == nil {
		// Not repeated: the credential itself may stand here.
		t.problem(n, "must be a table, not "+n.kind(), `write { username = "…", password = { env = "…" } }; provision makes tokens for the registry of [registry] alone`)
		return Credential{}
	}
	return tableOf(credentialSection, Credential{Kind: Named}).read(t, n)
}}

// hostKeys are public keys, of which the comments are cut.
var hostKeys = func() form[[]string] {
	lines := stringsOf(shape{rule: publicKey, pattern: pattern(`^(@cert-authority +)?[^ ]+ +[A-Za-z0-9+/]+=*( .*)?$`), never: pattern(`PRIVATE KEY`)})
	return form[[]string]{lines.shape, func(t *table, n *node) []string {
		keys := lines.read(t, n)
		for i, line := range keys {
			keys[i], _, _ = hostKey(line)
		}
		return keys
	}}
}()

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

// certificates is the path of a file of PEM certificates; nil if that is wrong.
var certificates = form[[]byte]{read: func(t *table, n *node) []byte {
	name := t.one(n)
	if name == "" {
		return nil
	}
	f := t.named(t.path(name))
	if what, hint := f.certificates(name); what != "" {
		t.problem(n, what, hint)
		return nil
	}
	return f.data
}}

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
