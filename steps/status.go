package steps

import (
	"provision/inventory"
	"provision/provision"
	"provision/templates"
)

// status looks what runs of a deployment, and changes nothing.
type status struct{ deployment, user, directory string }

func statusOf(t target) status {
	return status{t.deployment.Name, t.deployment.User, t.deployment.Directory}
}

func (status) wanted() bool { return false }

// Status returns a step that looks what runs of a deployment, how its last deploy
// ended, and where its clone is, and changes nothing.
//
// The fact is "status": a line of JSON, the one that the gate prints for CI. A host
// with an older gate has another answer, or none; one to which the deployment was
// never applied has no fact.
func Status(d *inventory.Deployment) provision.Step { return statusOf(target{deployment: d}) }

func (s status) Name() string { return "status " + s.deployment }

func (s status) Scope() provision.Scope {
	return provision.Scope{User: s.user, Deployment: s.deployment}
}

func (s status) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{User: s.user, Args: []string{s.deployment, s.directory}, Text: templates.Settings + `
carried "$1" "$USER" "$2"
[ -n "$known" ] && [ -d "$2" ] || return 0
fact status "$(within 60 /bin/sh ` + deployFile + ` status "$known" 2>/dev/null | tail -n 1)"
`}}
}

func (status) Plan(provision.Facts) ([]provision.Change, error) { return nil, nil }
