package steps

import (
	"fmt"
	"slices"

	"provision/inventory"
	"provision/provision"
)

// containers wants a deployment to run. Only the first start is made here:
// after it, starting and stopping is for CI and for the people on the host.
type containers struct {
	deployment, user, directory string
}

func containersSteps(w wish) []provision.Step {
	return each(w, func(d *inventory.Deployment) containers { return containers{d.Name, d.User, d.Directory} })
}

func (s containers) Name() string { return "containers " + s.deployment }

// Compose labels its containers with the folder that they were started from.
func (s containers) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{User: s.user, Args: []string{s.directory}, Text: `
command -v docker >/dev/null && [ -d "$1" ] || return 0
# Behind a socket docker starts when it is asked, and a look starts nothing.
case $(systemctl is-active docker.service 2>/dev/null) in
inactive | failed)
	fact unasked 'it does not run'
	return 0
	;;
esac
if [ -e .docker/config.json ] && ! [ -f .docker/config.json ]; then # docker would wait for it
	fact unasked 'the .docker/config.json of its user is not a file'
	return 0
fi
status=0
all=$(within 15 docker ps --all --filter "label=com.docker.compose.project.working_dir=$PWD/$1" --format '{{.State}} {{.Names}} {{.Status}}' 2>/dev/null) || status=$?
case $status in
0)
	[ -n "$all" ] || return 0
	printf '%s\n' "$all" | cut -d ' ' -f 1 | facts state
	printf '%s\n' "$all" | sed -n 's/^[^ ]* \([^ ]*\) .*(unhealthy)$/\1 is not healthy/p; s/^restarting \([^ ]*\) .*/\1 ends again and again/p' | facts ill
	;;
124) fact unasked 'it does not answer' ;;
*)
	said=$(within 15 docker ps 2>&1 >/dev/null | tail -n 1 | sed 's/^\(.\{200\}\)..*/\1…/')
	case $said in
	*'permission denied'*) said='its user may not ask it' ;;
	esac
	fact unasked "$said"
	;;
esac
`}}
}

func (s containers) Plan(f provision.Facts) ([]provision.Change, error) {
	switch n := len(f["state"]); {
	case len(f["unasked"]) > 0:
		return []provision.Change{provision.Later("start the containers of %s if it has none, as soon as docker can be asked: %s", s.deployment, provision.Visible(f.Get("unasked")))}, nil
	case n == 0:
		return []provision.Change{{
			Summary: fmt.Sprintf("start the containers of %s", s.deployment),
			Do: provision.Script{User: s.user, Args: []string{s.directory}, Text: `
cd "$1"
exec 9<.
flock -w 1800 9 || fail 'another deploy does not end'
docker compose up --detach 9<&-
`},
		}}, nil
	case !slices.ContainsFunc(f["state"], func(state string) bool { return state == "running" || state == "restarting" }):
		return []provision.Change{provision.Note("no container of %s runs\nhint: its deploy job starts them", s.deployment)}, nil
	}
	var notes []provision.Change
	for _, ill := range f["ill"] {
		notes = append(notes, provision.Note("the container %s", provision.Visible(ill)))
	}
	return notes, nil
}
