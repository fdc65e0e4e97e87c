package steps

import (
	"regexp"
	"slices"

	"provision/provision"
	"provision/provision/hint"
)

// carried looks which deployments the host carries. One that the inventory
// does not name is spoken of, and left alone.
type carried struct {
	host      string
	named     []string
	inventory string // the path
}

// plainWord is what a host may say in a command that is there to be pasted.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9._/][A-Za-z0-9._/-]*$`)

func carriedOf(w wish) carried {
	s := carried{host: w.host.Name, inventory: w.inv.Path}
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
			note := provision.Note("the host carries the deployment %s, which the inventory does not name", name)
			if plainWord.MatchString(name) {
				note = note.WithHint("put it back, or: provision remove --deployment %s --limit %s %s", name, s.host, hint.Quote(s.inventory))
			}
			notes = append(notes, note)
		}
	}
	return notes, nil
}
