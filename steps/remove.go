package steps

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
)

// Remove returns the steps that undo a deployment, in the order in which it
// is undone: first CI is let in no longer, and the host forgets last what it
// has to know to go on after an interruption.
//
// The deployment may be one that the inventory does not name: see [Recall].
// What others need stays: the other deployments that the host carries.
func Remove(inv *inventory.Inventory, host *inventory.Host, deployment *inventory.Deployment, given Given) []provision.Step {
	l := leavingOf(inv, host, deployment, given)
	return []provision.Step{
		l.key(),
		l.variables(),
		l.containers(),
		l.deploys(),
		l.login(),
		l.deployKey(),
		l.checkout(),
		l.repoKey(),
		l.gitHost(),
		l.account(),
		l.look(),
		l.registryCA(),
		l.settings(),
		l.gate(),
	}
}

// leaving is a deployment that is to be undone.
type leaving struct {
	wish
	*inventory.Deployment
}

func leavingOf(inv *inventory.Inventory, host *inventory.Host, d *inventory.Deployment, given Given) leaving {
	return leaving{wish{inv, host, []*inventory.Deployment{d}, given}, d}
}

// undo is one part of that: a step whose wish is that something is not there.
type undo struct {
	name  string
	probe provision.Probe
	plan  func(provision.Facts) ([]provision.Change, error)
}

func (s undo) Name() string                                       { return s.name }
func (s undo) Probe() provision.Probe                             { return s.probe }
func (s undo) Plan(f provision.Facts) ([]provision.Change, error) { return s.plan(f) }

// asUser, asRoot and call make changes.
func (l leaving) asUser(summary, text string, args ...string) provision.Change {
	return provision.Change{Summary: summary, Do: provision.Script{User: l.User, Text: text, Args: args}}
}

func asRoot(summary, text string, args ...string) provision.Change {
	return provision.Change{Summary: summary, Do: provision.Script{Text: text, Args: args}}
}

func call(do provision.Call, format string, args ...any) provision.Change {
	return provision.Change{Summary: fmt.Sprintf(format, args...), Do: do}
}

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

// needed returns the names of the other deployments of the same user.
func (l leaving) needed(f provision.Facts) []string {
	return slices.DeleteFunc(slices.Clone(f["carried"]), func(other string) bool { return other == l.Name })
}

// Recall returns a step that looks what a host knows itself of a deployment
// that it carries, and changes nothing: see [Recalled].
func Recall(name string) provision.Step {
	return undo{"recall " + name, provision.Probe{Script: provision.Script{Args: []string{name}, Text: lookAtCarried + `
file=/etc/provision/deployments/$1
[ -f "$file" ] || return 0
user=$(sed -n 's/^user=//p' "$file")
clone=$(sed -n 's/^directory=//p' "$file")
fact user "$user"
fact directory "$clone"
home=$(getent passwd "$user" | cut -d : -f 6) && command -v git >/dev/null || return 0
fact origin "$(git config --file "$home/$clone/.git/config" --get remote.origin.url 2>/dev/null | sed 's|^\([a-z+]*://\)\{0,1\}[^/@]*@|\1|')"
`}}, func(provision.Facts) ([]provision.Change, error) { return nil, nil }}
}

// Recalled makes a deployment of what a host knows of it, for [Remove]: the
// user, the directory, and by its clone the project. Where in GitLab its
// variables are, nobody knows any more: they are looked for in the project and
// in its group. It returns nil where the host does not carry it.
func Recalled(inv *inventory.Inventory, host *inventory.Host, name string, f provision.Facts) *inventory.Deployment {
	d := &inventory.Deployment{Name: name, Host: host, User: f.Get("user"), Directory: f.Get("directory"), TokenGroup: inv.Registry.Group}
	if d.User == "" || d.Directory == "" {
		return nil
	}
	server, project := origin(f.Get("origin"))
	if project == "" || server != strings.ToLower(inv.GitLab.SSH.Host) {
		return d
	}
	d.Project = project
	d.Variables.Projects = []string{project}
	if group := path.Dir(project); group != "." {
		d.Variables.Group = group
		if d.TokenGroup == "" {
			d.TokenGroup = group
		}
	}
	return d
}
