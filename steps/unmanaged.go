package steps

import (
	"regexp"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/hint"
	"provision/provision/visible"
	"provision/templates"
)

// unmanaged looks which deployments are installed on the host. One that is not
// in the inventory is drift: it is told of with what it still opens, and left alone.
type unmanaged struct {
	host      string
	on        []*inventory.Deployment // all that the inventory has on this host
	asUser    bool                    // CI looks
	inventory string                  // the path
}

// plainWord is what a host may say in a command that is there to be pasted.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9._/][A-Za-z0-9._/-]*$`)

func unmanagedOf(t target) unmanaged {
	return unmanaged{t.host.Name, t.inv.On(t.host), t.probing || t.given.AsUser, t.inv.Path}
}

func (unmanaged) Name() string { return "unmanaged" }

// What an unmanaged deployment opens is for root to see, and not for CI.
func (s unmanaged) Probe() provision.Probe {
	script := provision.Script{Args: []string{""}, Text: templates.Settings + lookAtSettings}
	if !s.asUser {
		script.Text += lookAtOpen
		for _, d := range s.on {
			script.Args = append(script.Args, d.User+"/"+d.Directory)
		}
	}
	return provision.Probe{Script: script}
}

// lookAtOpen reports what each deployment still opens that is not in one of the
// places USER/DIRECTORY in its arguments.
const lookAtOpen = `
[ -n "$root" ] || return 0
for file in "$settings"/*; do
	name=${file##*/}
	read_settings "$file" 2>/dev/null || continue
	shared=''
	for place; do
		[ "$place" != "$user/$directory" ] || continue 2
		[ "${place%%/*}" != "$user" ] || shared=yes
	done
	home=$(getent passwd "$user" | cut -d : -f 6)
	[ -n "$home" ] || continue
	if [ -z "$shared" ]; then
		! id -nG "$user" | tr ' ' '\n' | grep -qx docker || fact "opens $name" "$user is in the docker group"
		[ ! -e "$home/.ssh/id_ed25519" ] || fact "opens $name" "the key pair of $user"
	fi
	keys=0
	labels="$name $formerly"
	case $formerly in *" $name "*) labels=$formerly ;; esac # it had this name once before
	for label in $labels; do
		if [ "$label" != "$name" ] && grep -qsx "user=$user" "$settings/$label"; then continue; fi # the line is of that one
		keys=$((keys + $(gates "$home" "$label")))
	done
	case $keys in
	0) ;;
	1) fact "opens $name" "1 CI key in ~$user/.ssh/authorized_keys" ;;
	*) fact "opens $name" "$keys CI keys in ~$user/.ssh/authorized_keys" ;;
	esac
	[ "$(systemctl is-active docker.service 2>/dev/null)" = active ] || continue
	label=com.docker.compose.project.working_dir
	n=$(within 15 docker ps --quiet --filter "label=$label=$home/$directory" | wc -l)
	case $((n)) in
	0) ;;
	1) fact "opens $name" '1 running container' ;;
	*) fact "opens $name" "$((n)) running containers" ;;
	esac
done
`

func (s unmanaged) Plan(f provision.Facts) ([]provision.Change, error) {
	var changes []provision.Change
	for _, c := range carriedBy(f) {
		if c.among(s.on) != nil || slices.ContainsFunc(s.on, func(d *inventory.Deployment) bool { return d.Name == c.name }) {
			continue // see names and deploy-settings
		}
		opens := ""
		if what := f["opens "+c.name]; len(what) > 0 {
			opens = ": " + visible.String(strings.Join(what, ", "))
		}
		change := provision.Drift("%s is installed on this host but not in the inventory%s", c.name, opens)
		if plainWord.MatchString(c.name) {
			change = change.WithHint("put it back, or: provision remove --deployment %s --limit %s %s", c.name, s.host, hint.Quote(s.inventory))
		}
		changes = append(changes, change)
	}
	return changes, nil
}
