package steps

import (
	"errors"
	"strings"

	"provision/provision"
	"provision/provision/hint"
)

// service wants Docker to run, now and after the next boot.
type service struct{}

func serviceOf(target) service { return service{} }

func (service) Name() string { return "service" }

func (service) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Text: `
systemctl show --property LoadState --property ActiveState --property UnitFileState docker.service | facts unit
[ ! -e /usr/lib/systemd/system/docker.service ] && [ ! -e /lib/systemd/system/docker.service ] || return 0
docker=$(command -v docker) || return 0
file=$(readlink -f "$docker")
! head -c 2000 "$file" | grep -q podman || file=podman
fact docker "$file"
`}}
}

func (service) Plan(f provision.Facts) ([]provision.Change, error) {
	const get = "install Docker from https://docs.docker.com/engine/install/"
	switch docker := f.Get("docker"); {
	case !f.Has("unit", "LoadState=not-found"):
	case docker == "podman":
		return nil, hint.Add(errors.New("the docker of this host is Podman"), "remove podman-docker, and %s", get)
	case strings.Contains(docker, "/snap"):
		return nil, hint.Add(errors.New("the Docker of this host is a snap, which does not see the homes of system users"), "snap remove docker, once nothing needs it, and %s", get)
	case docker != "":
		return nil, hint.Add(errors.New("this host has a docker, and no docker.service: the Docker of one user alone is not enough"), "%s", get)
	}
	var changes []provision.Change
	if !f.Has("unit", "UnitFileState=enabled") {
		changes = append(changes, provision.Change{
			Verb:   provision.Enable,
			Object: "docker.service",
			Do:     provision.Script{Text: `systemctl enable --quiet docker.service`},
		})
	}
	if !f.Has("unit", "ActiveState=active") {
		changes = append(changes, provision.Change{
			Verb:   provision.Start,
			Object: "docker.service",
			Do:     provision.Script{Text: `systemctl start docker.service || { systemctl status --no-pager --lines 20 docker.service; exit 1; }`},
		})
	}
	return changes, nil
}
