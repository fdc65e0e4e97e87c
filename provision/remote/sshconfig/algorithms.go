package sshconfig

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
)

// Algorithms are those that ssh_config(5) allows, the best first. Nil: it says
// nothing of them.
type Algorithms struct {
	KeyExchanges []string // KexAlgorithms
	Ciphers      []string
	MACs         []string
	HostKeys     []string // HostKeyAlgorithms
	CASignatures []string // CASignatureAlgorithms: of host certificates
	PublicKeys   []string // PubkeyAcceptedAlgorithms: to log in with
	RSASize      int      // RequiredRSASize, in bits; 0: it says nothing
}

// algorithmKeywords are the keywords of ssh_config(5), in lower case, that say
// what may be negotiated; the old names of some of them, too.
var algorithmKeywords = []string{
	"kexalgorithms", "ciphers", "macs", "hostkeyalgorithms", "casignaturealgorithms",
	"pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes", "requiredrsasize", "rsaminsize",
}

// parse reads one line of ssh -G. ssh has applied the prefixes +, - and ^.
func (a *Algorithms) parse(key, value string) {
	names := strings.Split(value, ",")
	switch key {
	case "kexalgorithms":
		a.KeyExchanges = names
	case "ciphers":
		a.Ciphers = names
	case "macs":
		a.MACs = names
	case "hostkeyalgorithms":
		a.HostKeys = names
	case "casignaturealgorithms":
		a.CASignatures = names
	case "pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes":
		a.PublicKeys = names
	case "requiredrsasize", "rsaminsize":
		a.RSASize, _ = strconv.Atoi(value)
	}
}

// withoutDefaults leaves out of what ssh -G prints the algorithms that are the
// defaults of this ssh. It prints them as if they had been chosen, but an old
// ssh does not know the best ones, and nobody meant to forbid these.
func (c *Config) withoutDefaults(ctx context.Context, ssh string, printed []byte) ([]byte, error) {
	c.read.Do(c.readHostLines)
	var defaults []byte
	if c.chooses {
		var err error
		defaults, err = c.defaults.Get(ctx, ssh, func(ctx context.Context) ([]byte, error) {
			return runSSH(ctx, ssh, "-G", "-F", "/dev/null", "--", "localhost")
		})
		if err != nil {
			return nil, err
		}
	}
	usual := slices.Collect(strings.Lines(string(defaults)))
	var b bytes.Buffer
	for line := range bytes.Lines(printed) {
		key, _, _ := strings.Cut(string(line), " ")
		if slices.Contains(algorithmKeywords, key) && (!c.chooses || slices.Contains(usual, string(line))) {
			continue
		}
		b.Write(line)
	}
	return b.Bytes(), nil
}
