package steps

import (
	"slices"

	"provision/provision"
)

// registryCA trusts the CA of the registry no longer, where nobody needs it.
func (l leaving) registryCA() provision.Step {
	s := registryCA{registry: l.inv.Registry.Host}
	script := provision.Script{Args: []string{s.file()}, Text: lookAtCarried + digestOf("").Text}
	return undo{s.Name(), provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if f.Get("file") == "" || len(others(f["carried"], l.Name)) > 0 {
			return nil, nil
		}
		return []provision.Change{asRoot("let docker trust the CA of "+s.registry+" no longer", removeFile, s.file(), "/etc/docker/certs.d")}, nil
	}}
}

const lookAtCarried = `
! [ -d /etc/provision/deployments ] || ls /etc/provision/deployments | facts carried
`

// removeFile removes $1, and the folders above it up to $2 that are empty then.
const removeFile = `
rm -f "$1"
dir=${1%/*}
while rmdir "$dir" 2>/dev/null && [ "$dir" != "$2" ]; do
	dir=${dir%/*}
done
`

func others(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(other string) bool { return other == name })
}

// look removes what verify looks with.
func (l leaving) look() provision.Step {
	s := look{deployment: l.Name}
	return undo{s.Name(), s.Probe(), func(f provision.Facts) ([]provision.Change, error) {
		if f.Get("file") == "" {
			return nil, nil
		}
		return []provision.Change{asRoot("remove what verify looks at "+l.Name+" with", removeFile, s.file(), "/usr/local/lib/provision")}, nil
	}}
}

// settings lets the gate forget the deployment. While it knows it, an
// interrupted removal can go on.
func (l leaving) settings() provision.Step {
	s := settings{deployment: l.Name}
	return undo{s.Name(), s.Probe(), func(f provision.Facts) ([]provision.Change, error) {
		if f.Get("file") == "" {
			return nil, nil
		}
		return []provision.Change{asRoot("let the gate forget "+l.Name, removeFile, s.file(), "/etc/provision")}, nil
	}}
}

// gate removes the gate itself, where no deployment is left.
func (l leaving) gate() provision.Step {
	script := provision.Script{Text: lookAtCarried + `
! [ -e ` + gateFile + ` ] || fact there yes
`}
	return undo{"gate", provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if f.Get("there") == "" || len(others(f["carried"], l.Name)) > 0 {
			return nil, nil
		}
		return []provision.Change{asRoot("remove "+gateFile, removeFile, gateFile, "/usr/local/lib/provision")}, nil
	}}
}
