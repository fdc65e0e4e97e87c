package remote

import (
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"provision/provision/hint"
)

// What is offered to a host is what ssh_config(5) allows of what is known here.
// SHA-1 is never part of it: neither in the key exchange, nor as MAC, nor in a
// signature.

// transportConfig returns what may be negotiated with an endpoint.
func (e endpoint) transportConfig() (ssh.Config, error) {
	known := ssh.SupportedAlgorithms() // which leaves out what is broken, but for one
	macs := slices.DeleteFunc(known.MACs, func(name string) bool { return name == ssh.HMACSHA1 })
	var config ssh.Config
	var err error
	for _, list := range []struct {
		keyword        string
		known, allowed []string
		to             *[]string
	}{
		{"KexAlgorithms", known.KeyExchanges, e.Algorithms.KeyExchanges, &config.KeyExchanges},
		{"Ciphers", known.Ciphers, e.Algorithms.Ciphers, &config.Ciphers},
		{"MACs", macs, e.Algorithms.MACs, &config.MACs},
	} {
		if *list.to, err = allowed(list.keyword, list.known, list.allowed); err != nil {
			return ssh.Config{}, err
		}
	}
	return config, nil
}

// allowed returns those of the known algorithms that ssh_config(5) allows with a
// keyword, in its order: all of them where it says nothing.
func allowed(keyword string, known, by []string) ([]string, error) {
	if by == nil {
		return known, nil
	}
	var both []string
	for _, name := range by {
		name = strings.TrimSuffix(name, "@libssh.org") // of curve25519-sha256, before it had a name of its own
		if slices.Contains(known, name) && !slices.Contains(both, name) {
			both = append(both, name)
		}
	}
	if len(both) == 0 {
		return nil, hint.Add(fmt.Errorf("%s of ssh_config(5) allows nothing that can be used: %s", keyword, strings.Join(by, ",")),
			"allow one of these as well: %s", strings.Join(known, ","))
	}
	return both, nil
}

// refuses returns the reason why a host key counts for nothing, whoever knows
// it; "" if there is none.
func (e endpoint) refuses(key ssh.PublicKey) string {
	if certificate, ok := key.(*ssh.Certificate); ok {
		format, by := certificate.Signature.Format, e.Algorithms.CASignatures
		switch {
		case slices.Contains(ssh.InsecureAlgorithms().PublicKeyAuths, format):
			return "its certificate is signed with SHA-1, by " + format
		case by != nil && !slices.Contains(by, format):
			return fmt.Sprintf("its certificate is signed with %s, which CASignatureAlgorithms of ssh_config(5) does not allow", format)
		}
	}
	return e.tooShort(key)
}

// tooShort returns the reason why an RSA key may not be used; "" if it may.
func (e endpoint) tooShort(key ssh.PublicKey) string {
	if bits := rsaBits(key); bits > 0 && bits < e.Algorithms.RSASize {
		return fmt.Sprintf("it has %d bits, and RequiredRSASize of ssh_config(5) is %d", bits, e.Algorithms.RSASize)
	}
	return ""
}

// rsaBits returns the size of an RSA key, and 0 for keys of other types.
func rsaBits(key ssh.PublicKey) int {
	if holder, ok := plain(key).(ssh.CryptoPublicKey); ok {
		if key, ok := holder.CryptoPublicKey().(*rsa.PublicKey); ok {
			return key.N.BitLen()
		}
	}
	return 0
}

// mayLogIn returns the signer with the algorithms that may be used to log in, or
// the reason why the key may not be offered.
func (e endpoint) mayLogIn(signer ssh.Signer) (ssh.Signer, string) {
	kind := signer.PublicKey().Type()
	_, certified := signer.PublicKey().(*ssh.Certificate)
	by := e.Algorithms.PublicKeys
	const forbidden = "PubkeyAcceptedAlgorithms of ssh_config(5) does not allow it"
	if rsaBits(signer.PublicKey()) == 0 {
		if by != nil && !slices.Contains(by, kind) {
			return nil, forbidden
		}
		return signer, ""
	}
	if reason := e.tooShort(signer.PublicKey()); reason != "" {
		return nil, reason
	}
	var names []string
	for _, name := range []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256} {
		spoken := name
		if certified {
			spoken += "-cert-v01@openssh.com"
		}
		if by == nil || slices.Contains(by, spoken) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, forbidden
	}
	able, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return nil, "it can sign with SHA-1 only"
	}
	narrow, err := ssh.NewSignerWithAlgorithms(able, names)
	if err != nil {
		return nil, err.Error()
	}
	return narrow, ""
}
