package steps

import (
	"path"

	"provision/provision"
)

// registryCA trusts the CA of the registry no longer, where nobody needs it.
func (l leaving) registryCA() provision.Step {
	s := registryCA{registry: l.inv.Registry.Host}
	script := provision.Script{Args: []string{s.file()}, Text: lookAtCarried + lookAtEmpty + digestOf("").Text}
	return undo{s.Name(), provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if len(l.needed(f)) > 0 {
			return nil, nil
		}
		if f.Get("file") == "" {
			if f.Get("empty") == "" || !f.Has("carried", l.Name) {
				return nil, nil // nobody knows whose folder that is
			}
			return []provision.Change{asRoot("remove the empty folder "+path.Dir(s.file()), removeFile, s.file(), "/etc/docker/certs.d")}, nil
		}
		return []provision.Change{asRoot("let docker trust the CA of "+s.registry+" no longer", removeFile, s.file(), "/etc/docker/certs.d")}, nil
	}}
}

const lookAtCarried = `
for file in /etc/provision/deployments/*; do
	! [ -f "$file" ] || fact carried "${file##*/}"
done
`

// removeFile removes $1, and the folders above it up to $2 that are empty then.
const removeFile = `
rm -f "$1"
dir=${1%/*}
while { [ ! -d "$dir" ] || rmdir "$dir" 2>/dev/null; } && [ "$dir" != "$2" ]; do
	dir=${dir%/*}
done
`

// lookAtEmpty tells whether the folder of the file $1, or where it is gone the
// one above, is empty: what an interrupted removal leaves.
const lookAtEmpty = `
dir=${1%/*}
[ -d "$dir" ] || dir=${dir%/*}
! [ -d "$dir" ] || [ -n "$(find "$dir" ! -path "$dir" -prune)" ] || fact empty "$dir"
`

// deploys removes what deploys have noted: see templates/deploy.sh.
func (l leaving) deploys() provision.Step {
	script := provision.Script{User: l.User, Args: []string{l.Name}, Text: `
! [ -e ".provision/$1" ] || fact there yes
`}
	return undo{"deploys " + l.Name, provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if f.Get("there") == "" {
			return nil, nil
		}
		return []provision.Change{l.asUser("remove ~"+l.User+"/.provision/"+l.Name, `
rm -rf ".provision/$1"
rmdir .provision 2>/dev/null || :
`, l.Name)}, nil
	}}
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

// gate removes the gate itself, where no deployment is left, and the folders
// that are ours alone.
func (l leaving) gate() provision.Step {
	script := provision.Script{Text: lookAtCarried + `
for file in ` + gateFile + ` ` + deployFile + `; do
	! [ -e "$file" ] || fact there "$file"
done
for dir in /etc/provision /usr/local/lib/provision; do
	! [ -d "$dir" ] || [ -n "$(find "$dir" ! -type d)" ] || fact bare "$dir"
done
`}
	return undo{"gate", provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if len(l.needed(f)) > 0 {
			return nil, nil
		}
		var changes []provision.Change
		for _, file := range f["there"] {
			changes = append(changes, asRoot("remove "+file, removeFile, file, "/usr/local/lib/provision"))
		}
		if bare := f["bare"]; len(bare) > 0 {
			changes = append(changes, asRoot("remove what is left of "+list(bare), `find "$@" -depth -type d -exec rmdir {} \;`, bare...))
		}
		return changes, nil
	}}
}
