package steps

import (
	"slices"

	"provision/inventory"
	"provision/provision"
)

// A stage is when something is undone. In each stage, what was made last goes
// first.
type stage int

// The stages of a removal, in their order.
const (
	accessOfCI stage = iota // the CI key is revoked before anything else
	running                 // what runs
	inGitLab                // what GitLab shows, while the host can still tell which is its own
	homeFiles               // what the user has
	account                 // the user, and whom it trusts
	rootFiles               // what root has
	memory                  // what the host has to know to go on after an interruption
	stages
)

// Remove returns the steps that undo a deployment, in the order in which it
// is undone: the CI key is revoked first, and what the host has to know to go on
// after an interruption is removed last.
//
// The deployment may be one that the inventory does not name: see [Recall].
// What others need stays: the other deployments that the host carries.
func Remove(inv *inventory.Inventory, host *inventory.Host, deployment *inventory.Deployment, given Given) []provision.Step {
	var steps []provision.Step
	for _, u := range undoings(targets(inv, host, []*inventory.Deployment{deployment}, given)) {
		steps = append(steps, u)
	}
	return steps
}

// Forget returns the steps that take away what a host has in GitLab, where the
// host itself is gone or cannot be trusted: it is asked nothing. The
// deployments are all on that host, and the inventory names them.
func Forget(inv *inventory.Inventory, host *inventory.Host, deployments []*inventory.Deployment, given Given) []provision.Step {
	given.gone = true
	var steps []provision.Step
	for _, u := range undoings(targets(inv, host, deployments, given)) {
		if u.probe.Ask != nil {
			u.probe.Script = provision.Script{}
			steps = addStep(steps, u)
		}
	}
	return steps
}

// undoings returns the undoing of each kind for each target, in order.
func undoings(targets []target) []undo {
	var all []undo
	for in := range stages {
		for _, k := range slices.Backward(kinds()) {
			if k.undo == nil || k.stage != in {
				continue
			}
			for _, t := range targets {
				all = append(all, k.undo(t)...)
			}
		}
	}
	return all
}

// undo is a step that wants something not to be there.
type undo struct {
	name  string
	probe provision.Probe
	plan  func(provision.Facts) ([]provision.Change, error)
}

func (s undo) Name() string                                       { return s.name }
func (s undo) Probe() provision.Probe                             { return s.probe }
func (s undo) Plan(f provision.Facts) ([]provision.Change, error) { return s.plan(f) }

// lookAtOthers reports the deployments of a user that the host carries, and
// where their clones come from.
const lookAtOthers = `
for file in /etc/provision/deployments/*; do
	{ [ -f "$file" ] && grep -qx "user=$(id -un)" "$file"; } || continue
	fact carried "${file##*/}"
	clone=$(sed -n 's/^directory=//p' "$file")
	fact "origin ${file##*/}" "$(git config --file "$clone/.git/config" --get remote.origin.url 2>/dev/null | sed 's|^\([a-z+]*://\)\{0,1\}[^/@]*@|\1|')"
done
`

// lookAtCarried reports the deployments that the host carries.
const lookAtCarried = `
for file in /etc/provision/deployments/*; do
	! [ -f "$file" ] || fact carried "${file##*/}"
done
`

// others returns the names of the other deployments that the host carries.
func (t target) others(f provision.Facts) []string {
	return slices.DeleteFunc(slices.Clone(f["carried"]), func(other string) bool { return other == t.deployment.Name })
}

// othersNeed tells whether another deployment that the host carries may pull from
// a registry. Of those that the inventory does not name, nobody knows.
func (t target) othersNeed(f provision.Facts, r inventory.Registry) bool {
	return slices.ContainsFunc(t.others(f), func(name string) bool {
		for _, d := range t.inv.On(t.host) {
			if d.Name == name {
				return pullsFrom(d, r)
			}
		}
		return true
	})
}

// asUser and asRoot have a change made by a script.
func asUser(user string, c provision.Change, text string, args ...string) provision.Change {
	c.Do = provision.Script{User: user, Text: text, Args: args}
	return c
}

func asRoot(c provision.Change, text string, args ...string) provision.Change {
	return asUser("", c, text, args...)
}
