package steps

import "provision/provision"

// service wants Docker to run, now and after the next boot.
type service struct{}

func serviceOf(target) service { return service{} }

func (service) Name() string { return "service" }

func (service) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Text: `
systemctl show --property ActiveState --property UnitFileState docker.service | facts unit
`}}
}

func (service) Plan(f provision.Facts) ([]provision.Change, error) {
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
