package steps

import (
	"provision/inventory"
	"provision/provision"
)

// Forget returns the steps that take away what a host has in GitLab, where the
// host itself is gone or cannot be trusted: it is asked nothing. The
// deployments are all on that host, and the inventory names them.
func Forget(inv *inventory.Inventory, host *inventory.Host, deployments []*inventory.Deployment, given Given) []provision.Step {
	var steps []provision.Step
	for _, part := range []func(leaving) provision.Step{leaving.variables, leaving.login, leaving.deployKey} {
		steps = append(steps, each(wish{inv, host, deployments, given}, func(d *inventory.Deployment) provision.Step {
			s := part(leavingOf(inv, host, d, given)).(undo)
			s.probe.Script = provision.Script{}
			return s
		})...)
	}
	return steps
}
