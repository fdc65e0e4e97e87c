package steps

import (
	"fmt"

	"provision/provision"
	"provision/provision/hint"
)

// containers stops and removes what Compose has started. It goes by the
// labels of Compose, as the checkout may be half gone.
func (l leaving) containers() provision.Step {
	script := provision.Script{Args: []string{l.User, l.Directory, l.Name}, Text: `
command -v docker >/dev/null || return 0
# Behind a socket docker starts when it is asked, and a look starts nothing.
case $(systemctl is-active docker.service 2>/dev/null) in
inactive | failed)
	fact down yes
	return 0
	;;
esac
home=$(getent passwd "$1" | cut -d : -f 6)
folder=${home:-/home/$1}/$2
label=com.docker.compose.project
mine=$(within 30 docker ps --all --filter "label=$label.working_dir=$folder" --format "{{.Label \"$label\"}}")
for project in $(printf '%s\n' "$mine" "$2" | sort -u); do
	all=$(within 30 docker ps --all --filter "label=$label=$project" --format "{{.Label \"$label.working_dir\"}}")
	if other=$(printf '%s\n' "$all" | grep -vxF -e "$folder" -e ''); then
		! printf '%s\n' "$mine" | grep -qxF "$project" || fact other "$(printf '%s\n' "$other" | head -n 1)"
		continue
	fi
	fact project "$project"
	docker ps --all --filter "label=$label=$project" --format '{{.Names}}' | facts container
	docker network ls --filter "label=$label=$project" --format '{{.Name}}' | facts network
	docker volume ls --filter "label=$label=$project" --format '{{.Name}}' | facts volume
done
docker image ls --filter 'reference=provision/kept' --format '{{.Tag}}' | awk -v mine="$3_" 'index($0, mine) == 1 && substr($0, length(mine) + 1) ~ /^[0-9a-f]+$/ && length($0) == length(mine) + 64' | facts kept
`}
	return undo{"containers " + l.Name, provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if f.Get("down") != "" {
			return nil, hint.Add(fmt.Errorf("docker does not run, so nobody can tell what %s has there", l.Name), "systemctl start docker")
		}
		if other := f.Get("other"); other != "" {
			return nil, hint.Add(fmt.Errorf("the containers of %s belong to one Compose project with those of %s", l.Name, other), "remove them by hand")
		}
		var changes []provision.Change
		down := func(summary string, flags string) {
			changes = append(changes, asRoot(summary, `
home=$(getent passwd "$1" | cut -d : -f 6)
folder=${home:-/home/$1}/$2
lock=$home/.provision/$4/lock
if runuser -u "$1" -- test -f "$lock"; then
	runuser -u "$1" -- flock -w 1800 "$lock" true || fail 'a deploy does not end'
fi
flags=$3
shift 4
for project; do
	docker compose --project-name "$project" down ${flags:+"$flags"}
	[ -z "$flags" ] || docker volume ls --quiet --filter "label=com.docker.compose.project=$project" | xargs -r docker volume rm
done
`, append([]string{l.User, l.Directory, flags, l.Name}, f["project"]...)...))
		}
		volumes := list(f["volume"])
		switch there := len(f["container"])+len(f["network"]) > 0; {
		case l.given.Volumes && volumes != "":
			down("remove the containers and networks of "+l.Name+", and the data in "+volumes, "--volumes")
		case l.given.Volumes && there:
			down("remove the containers and networks of "+l.Name, "--volumes")
		case there:
			down("remove the containers and networks of "+l.Name, "")
		}
		if kept := f["kept"]; len(kept) > 0 {
			changes = append(changes, asRoot(fmt.Sprintf("remove %s of %s", count(len(kept), "kept image"), l.Name), `
for tag; do
	docker image rm "provision/kept:$tag" || :
done
`, kept...))
		}
		if volumes != "" && !l.given.Volumes {
			changes = append(changes, provision.Note("%s with data of %s: --volumes removes it", stay(f["volume"]), l.Name))
		}
		return changes, nil
	}}
}

func stay(volumes []string) string {
	if len(volumes) == 1 {
		return "the volume " + volumes[0] + " stays"
	}
	return "the volumes " + list(volumes) + " stay"
}
