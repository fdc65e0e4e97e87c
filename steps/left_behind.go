package steps

import (
	"fmt"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/hint"
	"provision/provision/visible"
	"provision/templates"
)

// leftBehind wants that what a deployment was before it got another user or directory
// does not run in the way of what it is now. CI goes on to deploy the old one until then.
type leftBehind struct {
	deployment *inventory.Deployment
	on         []*inventory.Deployment // all that the inventory has on this host
	host       string
	inventory  string // the path
}

func leftBehindOf(t target) leftBehind {
	return leftBehind{t.deployment, t.inv.On(t.host), t.host.Name, t.inv.Path}
}

func (s leftBehind) Name() string { return "left-behind " + s.deployment.Name }

func (s leftBehind) Scope() provision.Scope {
	return provision.Scope{User: s.deployment.User, Deployment: s.deployment.Name}
}

// What runs of others is not for CI to know. A container is a line: its name, its
// project, and its ports.
func (s leftBehind) Probe() provision.Probe {
	d := s.deployment
	return provision.Probe{Script: provision.Script{Args: carriedArgs(d), Text: templates.Settings + lookAtSettings + `
[ -n "$root" ] || return 0
before=''
for file in "$settings"/*; do
	read_settings "$file" 2>/dev/null || continue
	case "${file##*/}$formerly " in
	"$1 "* | *" $1 "*) [ "$user/$directory" = "$2/$3" ] || before="$before ${file##*/}" ;;
	esac
done
[ -n "$before" ] && [ "$(systemctl is-active docker.service 2>/dev/null)" = active ] || return 0
label=com.docker.compose.project
all=$(within 15 docker ps --all --filter "label=$label" --format "{{.Label \"$label.working_dir\"}}/|{{.Names}}|{{.Label \"$label\"}}|{{.State}}|{{.Ports}}") || return 0
home=$(getent passwd "$2" | cut -d : -f 6)
[ -z "$home" ] || ! printf '%s\n' "$all" | cut -d '|' -f 1 | grep -q "^$home/$3/" || return 0
for name in $before; do
	read_settings "$settings/$name"
	home=$(getent passwd "$user" | cut -d : -f 6)
	[ -n "$home" ] || continue
	printf '%s\n' "$all" | awk -F '|' -v folder="$home/$directory/" 'index($1, folder) == 1 { print $2, $3, $4, $5 }' | facts "container $name"
done
`}}
}

func (s leftBehind) Plan(f provision.Facts) ([]provision.Change, error) {
	all := carriedBy(f)
	for _, c := range all {
		if len(f["container "+c.name]) == 0 || c.among(s.on) != nil {
			continue
		}
		why := s.inTheWay(c, f["container "+c.name])
		if why == "" {
			continue
		}
		name, when := c.name, ""
		if name == s.deployment.Name {
			name, when = leftName(name, isNamed(all)), "once apply has renamed it, "
		}
		return nil, hint.Add(fmt.Errorf("%s is left behind, and %s; CI goes on to deploy it until it is removed", c.place(), visible.String(why)),
			"%sprovision remove --deployment %s --limit %s %s removes it (volumes stay); then apply. It is down meanwhile", when, name, s.host, hint.Quote(s.inventory))
	}
	return nil, nil
}

// inTheWay tells why containers would meet those of the deployment, of which nothing
// runs yet: they are taken to want what these have.
func (s leftBehind) inTheWay(c carried, containers []string) string {
	for _, line := range containers {
		words := strings.SplitN(line, " ", 4)
		if len(words) < 4 {
			continue
		}
		name, project, ports := words[0], words[1], words[3]
		switch {
		case project != c.directory || project == s.deployment.Directory:
			return "runs as the Compose project " + project + ", which this one would be, too"
		case !strings.HasPrefix(name, project+"-") && !strings.HasPrefix(name, project+"_"):
			return "has the container " + name + ", which this one would have, too"
		case slices.ContainsFunc(strings.Split(ports, ", "), func(p string) bool { return strings.Contains(p, "->") }):
			return "publishes ports that this one would, too: " + ports
		}
	}
	return ""
}
