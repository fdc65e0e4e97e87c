package steps

import "provision/provision"

// dockerGroup wants the group whose members may use Docker's socket.
type dockerGroup struct{}

func dockerGroupOf(target) dockerGroup { return dockerGroup{} }

func (dockerGroup) Name() string { return "docker-group" }

func (dockerGroup) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Text: `! getent group docker >/dev/null || fact group docker`}}
}

func (dockerGroup) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("group") != "" {
		return nil, nil
	}
	// The packages of Docker make the group themselves, and may be installed
	// just before this runs.
	return []provision.Change{{
		Verb:   provision.Create,
		Object: "system group docker",
		Do:     provision.Script{Text: `getent group docker >/dev/null || groupadd --system docker`},
	}}, nil
}
