package imports_test

import (
	"regexp"
	"testing"

	"provision/provision"
	"provision/templates"
)

// The gate answers the version of the protocol that the engine asks for, and
// says so at its head. They are of two packages that must not share it.
func TestGateProtocol(t *testing.T) {
	for _, form := range []string{
		`\n# +verify NONCE (\d+) `, `; (\d+) is the\n# +version of this protocol\n`, `\n\t\*' (\d+)'\) nonce=`, `\) nonce=\$\{nonce% (\d+)\} ;;\n`,
	} {
		found := regexp.MustCompile(form).FindAllStringSubmatch(templates.Gate, -1)
		if len(found) != 1 || found[0][1] != provision.GateProtocol {
			t.Errorf("the gate has %q of %s, the engine asks for %s", found, form, provision.GateProtocol)
		}
	}
}
