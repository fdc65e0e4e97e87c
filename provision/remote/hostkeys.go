package remote

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"provision/provision/hint"
	"provision/provision/remote/sshconfig"
)

// A HostKeyError tells that a host did not prove who it is. Nothing was sent
// to it, and trying again does not help.
type HostKeyError struct {
	Host        string   // as known_hosts files write it: "name" or "[name]:port"
	Offered     string   // the key that the host showed, "type blob"; empty if it has none of a known type
	Fingerprint string   // of Offered, as ssh-keygen -l prints it
	Known       []string // the keys that were acceptable, each with where it stands; empty: the host is unknown
	Revoked     string   // the file that revokes Offered; "": none does
	Refused     string   // why Offered counts for nothing, although it is known
	Reason      string   // why a certificate was refused, or what the host has instead of the known types
}

// Changed reports whether the host shows another key than the known ones.
func (e *HostKeyError) Changed() bool { return len(e.Known) > 0 || e.Revoked != "" }

// Line is the line of a known_hosts file that would make the host known.
func (e *HostKeyError) Line() string { return e.Host + " " + e.Offered }

func (e *HostKeyError) Error() string {
	var text strings.Builder
	kind, _, _ := strings.Cut(e.Offered, " ")
	shown := kind + " " + e.Fingerprint
	switch {
	case e.Revoked != "":
		fmt.Fprintf(&text, "the host key of %s is REVOKED: %s\nrevoked by: %s", e.Host, shown, e.Revoked)
		return text.String()
	case e.Refused != "":
		fmt.Fprintf(&text, "the host key of %s is refused: %s: %s", e.Host, shown, e.Refused)
		return text.String()
	case !e.Changed():
		fmt.Fprintf(&text, "the host key of %s is not known: %s", e.Host, shown)
	case e.Offered == "":
		fmt.Fprintf(&text, "%s has none of its known host keys: %s", e.Host, e.Reason)
	case e.Reason != "":
		fmt.Fprintf(&text, "the host certificate of %s is refused: %s", e.Host, e.Reason)
	default:
		fmt.Fprintf(&text, "the host key of %s has CHANGED: it is now %s", e.Host, shown)
	}
	for _, known := range e.Known {
		fmt.Fprintf(&text, "\nknown: %s", known)
	}
	return text.String()
}

// Hint implements [hint.Error].
func (e *HostKeyError) Hint() string {
	switch {
	case e.Revoked != "":
		return "whoever revoked this key trusts the host no longer, or somebody listens in: ask its owner for its new key"
	case e.Refused != "":
		return "give the host a key that ssh_config(5) allows (ssh-keygen -A makes one of each type), or change what it allows for this host"
	case !e.Changed():
		return "compare the fingerprint with what the host itself or its owner says " +
			"(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then add this line to known_hosts, " +
			"or its last two words to host_keys of the inventory:\n" + e.Line()
	}
	return "somebody may be listening in, or the host was installed anew. " +
		"Ask its owner for the fingerprint before you replace the known key"
}

// hostKeys are the keys by which one host may be known.
type hostKeys struct {
	sshconfig.Known
	of      endpoint
	revoked func(ssh.PublicKey) (file string, err error)
}

// hostKeysOf returns what is known of an endpoint: its pinned keys alone, or
// else what the known_hosts files say. What is revoked in a file is revoked,
// pinned or not.
func (d *Dialer) hostKeysOf(ctx context.Context, e endpoint) (*hostKeys, error) {
	k := &hostKeys{of: e, revoked: func(key ssh.PublicKey) (string, error) { return d.config().Revoked(ctx, e.Host, key) }}
	var err error
	if len(e.pinned) == 0 {
		k.Known, err = d.config().Known(e.Host)
		return k, err
	}
	k.Host, k.Files = e.KnownAs(), map[string]string{pinnedFile: pinnedFile}
	k.Keys, k.Callback, err = pinned(e.pinned)
	return k, err
}

// pinnedFile is what errors call the inventory as a source of keys.
const pinnedFile = "host_keys"

// pinned reads keys of the inventory. They are those of one host, whatever its
// name.
func pinned(lines []string) ([]knownhosts.PublicKey, ssh.HostKeyCallback, error) {
	var keys []knownhosts.PublicKey
	mismatch := &xknownhosts.KeyError{}
	for i, text := range lines {
		line := "* " + text
		if rest, ok := strings.CutPrefix(text, "@cert-authority"); ok {
			line = "@cert-authority * " + rest
		}
		if !sshconfig.Readable([]byte(line)) {
			return nil, nil, fmt.Errorf("host key %q is not of the form \"ssh-ed25519 AAAA…\"", text)
		}
		marker, _, key, _, _, err := ssh.ParseKnownHosts([]byte(line))
		if err != nil {
			return nil, nil, err
		}
		keys = append(keys, knownhosts.PublicKey{PublicKey: key, Cert: marker != ""})
		mismatch.Want = append(mismatch.Want, xknownhosts.KnownKey{Key: key, Filename: pinnedFile, Line: i + 1})
	}
	among := func(key ssh.PublicKey, authority bool) bool {
		return slices.ContainsFunc(keys, func(k knownhosts.PublicKey) bool {
			return k.Cert == authority && bytes.Equal(k.Marshal(), key.Marshal())
		})
	}
	checker := &ssh.CertChecker{
		IsHostAuthority: func(authority ssh.PublicKey, _ string) bool { return among(authority, true) },
		HostKeyFallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if among(key, false) {
				return nil
			}
			return mismatch
		},
	}
	return keys, checker.CheckHostKey, nil
}

// algorithms returns the host key algorithms to ask for, so that a host with
// several keys shows one that is known. For a host that is not known they are
// those of plain keys: its line is to be shown. Only those count that
// ssh_config(5) allows.
func (k *hostKeys) algorithms() ([]string, error) {
	wanted, by := k.wanted(), k.of.Algorithms.HostKeys
	if len(k.Keys) == 0 {
		return allowed("HostKeyAlgorithms", wanted, by)
	}
	narrowed := slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return by != nil && !slices.Contains(by, name) })
	if len(narrowed) == 0 {
		return nil, hint.Add(fmt.Errorf("the known host keys of %s are %s, and HostKeyAlgorithms of ssh_config(5) allows none of these",
			knownhosts.Normalize(k.Host), strings.Join(wanted, ", ")), "make a key known of a type that it allows: %s", strings.Join(by, ","))
	}
	return narrowed, nil
}

func (k *hostKeys) wanted() []string {
	supported := ssh.SupportedAlgorithms().HostKeys
	certificate := func(algorithm string) bool { return strings.HasSuffix(algorithm, "-cert-v01@openssh.com") }
	if len(k.Keys) == 0 {
		plain := slices.DeleteFunc(supported, certificate)
		return append([]string{ssh.KeyAlgoED25519}, slices.DeleteFunc(plain, func(algorithm string) bool {
			return algorithm == ssh.KeyAlgoED25519
		})...)
	}
	var wanted []string
	for _, key := range k.Keys {
		switch {
		case key.Cert:
			// The type of an authority says nothing of the keys that it signs.
			for _, algorithm := range supported {
				if certificate(algorithm) {
					wanted = append(wanted, algorithm)
				}
			}
		case key.Type() == ssh.KeyAlgoRSA:
			wanted = append(wanted, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			wanted = append(wanted, key.Type())
		}
	}
	return wanted
}

// check is the callback of the handshake.
func (k *hostKeys) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	revoked, err := k.revoked(key)
	if err != nil {
		return err
	}
	err = k.Check(key)
	refused := k.of.refuses(key)
	if revoked == "" && err == nil && refused == "" {
		return nil
	}
	refusal := k.refusal()
	refusal.Offered = keyLine(key)
	refusal.Fingerprint = fingerprint(key)
	var mismatch *xknownhosts.KeyError
	switch {
	case revoked != "":
		refusal.Revoked = revoked
	case err == nil:
		refusal.Refused = refused
	case !errors.As(err, &mismatch):
		refusal.Reason = err.Error()
	case k.Otherwise != "":
		refusal.Known = nil // ssh(1), too, takes the bare name as a help, not as a claim
	}
	return refusal
}

// refusal returns an error that lacks what the host showed.
func (k *hostKeys) refusal() *HostKeyError {
	refusal := &HostKeyError{Host: knownhosts.Normalize(k.Host)}
	var mismatch *xknownhosts.KeyError
	err := k.Check(nobody{})
	if errors.As(err, &mismatch) {
		for _, known := range mismatch.Want {
			refusal.Known = append(refusal.Known, fmt.Sprintf("%s %s (%s:%d)",
				known.Key.Type(), fingerprint(known.Key), k.Files[known.Filename], known.Line))
		}
	}
	return refusal
}

// nobody is a key that no host has.
type nobody struct{}

func (nobody) Type() string                        { return "none" }
func (nobody) Marshal() []byte                     { return nil }
func (nobody) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// keyLine writes a key as known_hosts files do; of a certificate, the key
// that it certifies.
func keyLine(key ssh.PublicKey) string {
	key = plain(key)
	return key.Type() + " " + base64.StdEncoding.EncodeToString(key.Marshal())
}

func fingerprint(key ssh.PublicKey) string { return ssh.FingerprintSHA256(plain(key)) }

func plain(key ssh.PublicKey) ssh.PublicKey {
	if certificate, ok := key.(*ssh.Certificate); ok {
		return certificate.Key
	}
	return key
}
