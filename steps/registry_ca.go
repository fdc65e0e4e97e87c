package steps

import (
	"crypto/sha256"
	"encoding/hex"

	"provision/provision"
)

// registryCA wants Docker to trust the private CA of the registry. Docker
// reads every .crt file of that folder, so one of our own name leaves others
// alone (docs.docker.com, "Verify repository client with certificates").
type registryCA struct {
	registry string
	pem      string
}

func registryCASteps(w wish) []provision.Step {
	if len(w.inv.Registry.CA) == 0 {
		return nil
	}
	return []provision.Step{registryCA{w.inv.Registry.Host, string(w.inv.Registry.CA)}}
}

func (registryCA) Name() string { return "registry-ca" }

func (s registryCA) file() string { return "/etc/docker/certs.d/" + s.registry + "/provision.crt" }

func (s registryCA) Probe() provision.Probe {
	return provision.Probe{Script: digestOf(s.file())}
}

func (s registryCA) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("file") == fileFact(s.pem, "644") {
		return nil, nil
	}
	return []provision.Change{{
		Summary: "let docker trust the CA of " + s.registry,
		Do:      install(s.file(), s.pem, "644"),
	}}, nil
}

// digestOf looks at a file of root: owner, mode and digest.
func digestOf(file string) provision.Script {
	return provision.Script{Args: []string{file}, Text: `
! [ -f "$1" ] || fact file "$(stat -c '%U %a' "$1") $(sha256sum <"$1" | cut -c 1-64)"
`}
}

// fileFact is what [digestOf] reports of a file with that text and mode.
func fileFact(text, mode string) string {
	sum := sha256.Sum256([]byte(text))
	return "root " + mode + " " + hex.EncodeToString(sum[:])
}

// install writes a file of root, and the folders above it.
func install(file, text, mode string) provision.Script {
	return provision.Script{Args: []string{file, text, mode}, Text: `
mkdir -p "${1%/*}"
printf '%s' "$2" | put "$1" "$3" root:root
`}
}
