package steps

import (
	"slices"

	"provision/provision"
)

// unmanaged looks which deployments are installed on the host. One that is not
// in the inventory is told of, and left alone.
type unmanaged struct {
	host  string
	named []string
}

func unmanagedOf(t target) unmanaged {
	s := unmanaged{host: t.host.Name}
	for _, d := range t.inv.On(t.host) {
		s.named = append(s.named, d.Name)
	}
	return s
}

func (unmanaged) Name() string { return "unmanaged" }

func (unmanaged) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Text: `
for file in /etc/provision/deployments/*; do
	! [ -f "$file" ] || fact deployment "${file##*/}"
done
`}}
}

func (s unmanaged) Plan(f provision.Facts) ([]provision.Change, error) {
	var notes []provision.Change
	for _, name := range f["deployment"] {
		if !slices.Contains(s.named, name) {
			notes = append(notes, provision.Note("%s is installed on this host but not in the inventory\nhint: put it back, or: provision remove --deployment %[1]s --limit %[2]s INVENTORY", name, s.host))
		}
	}
	return notes, nil
}
