package steps

import (
	"path"
	"strings"

	"provision/inventory"
	"provision/provision"
)

// recall looks what a host knows itself of a deployment, and changes nothing.
type recall struct{ deployment string }

func recallOf(t target) recall { return recall{t.deployment.Name} }

func (recall) wanted() bool { return false }

// Recall returns a step that looks what a host knows itself of a deployment
// that it carries, and changes nothing: see [Recalled].
func Recall(name string) provision.Step { return recall{name} }

func (s recall) Name() string { return "recall " + s.deployment }

func (s recall) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Args: []string{s.deployment}, Text: lookAtCarried + `
file=/etc/provision/deployments/$1
[ -f "$file" ] || return 0
user=$(sed -n 's/^user=//p' "$file")
clone=$(sed -n 's/^directory=//p' "$file")
fact user "$user"
fact directory "$clone"
home=$(getent passwd "$user" | cut -d : -f 6) && command -v git >/dev/null || return 0
fact origin "$(git config --file "$home/$clone/.git/config" --get remote.origin.url 2>/dev/null | sed 's|^\([a-z+]*://\)\{0,1\}[^/@]*@|\1|')"
`}}
}

func (recall) Plan(provision.Facts) ([]provision.Change, error) { return nil, nil }

// Recalled makes a deployment of what a host knows of it, for [Remove]: the
// user, the directory, and by its clone the project. Where in GitLab its
// variables are, nobody knows any more: they are looked for in the project and
// in its group. Nor does anybody know its registries: they may be all. It returns nil where the host does not carry it.
func Recalled(inv *inventory.Inventory, host *inventory.Host, name string, f provision.Facts) *inventory.Deployment {
	d := &inventory.Deployment{Name: name, Host: host, User: f.Get("user"), Directory: f.Get("directory"), TokenGroup: inv.Registry.Group, Registries: inv.Registries}
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
