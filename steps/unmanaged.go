package steps

import (
	"slices"

	"provision/provision"
)

// carried looks which deployments the host carries. One that the inventory
// does not name is spoken of, and left alone.
type carried struct {
	host  string
	named []string
}

func carriedOf(w wish) carried {
	s := carried{host: w.host.Name}
	for _, d := range w.inv.On(w.host) {
		s.named = append(s.named, d.Name)
	}
	return s
}

func (carried) Name() string { return "carried" }

func (carried) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Text: `
for file in /etc/provision/deployments/*; do
	! [ -f "$file" ] || fact deployment "${file##*/}"
done
`}}
}

func (s carried) Plan(f provision.Facts) ([]provision.Change, error) {
	var notes []provision.Change
	for _, name := range f["deployment"] {
		if !slices.Contains(s.named, name) {
			notes = append(notes, provision.Note("the host carries the deployment %s, which the inventory does not name\nhint: put it back, or: provision remove --deployment %[1]s --limit %[2]s INVENTORY", name, s.host))
		}
	}
	return notes, nil
}
