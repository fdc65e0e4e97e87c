package steps

import (
	"regexp"
	"slices"

	"provision/provision"
	"provision/provision/hint"
)

// unmanaged looks which deployments are installed on the host. One that is not
// in the inventory is told of, and left alone.
type unmanaged struct {
	host      string
	named     []string
	inventory string // the path
}

// plainWord is what a host may say in a command that is there to be pasted.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9._/][A-Za-z0-9._/-]*$`)

func unmanagedOf(t target) unmanaged {
	s := unmanaged{host: t.host.Name, inventory: t.inv.Path}
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
			note := provision.Note("%s is installed on this host but not in the inventory", name)
			if plainWord.MatchString(name) {
				note = note.WithHint("put it back, or: provision remove --deployment %s --limit %s %s", name, s.host, hint.Quote(s.inventory))
			}
			notes = append(notes, note)
		}
	}
	return notes, nil
}
