package steps

import (
	"fmt"

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
timeout 30 docker ps --all --filter "label=com.docker.compose.project.working_dir=$PWD/$1" --format '{{.State}}' | facts state
`}}
}

func (s containers) Plan(f provision.Facts) ([]provision.Change, error) {
	switch n := len(f["state"]); {
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
	case !f.Has("state", "running"):
		return []provision.Change{provision.Note("no container of %s runs; somebody stopped them", s.deployment)}, nil
	}
	return nil, nil
}
