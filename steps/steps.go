// Package steps has every step that a host goes through, one file each.
//
// A step is a wish and nothing more: see [provision.Step]. What a step plans
// follows from the facts alone, so this package imports nothing that could
// touch a file, a clock or a network.
package steps

import (
	"context"
	"slices"

	"provision/inventory"
	"provision/provision"
	"provision/provision/secret"
)

// Given is what the steps need and the inventory only refers to.
type Given struct {
	// RegistryPassword is the password of a named registry credential; else
	// the zero Value.
	RegistryPassword secret.Value

	// Salt makes digests of one run worthless elsewhere. Without one, no
	// digest of a secret leaves the host.
	Salt string

	// AsUser says that the host is looked at with the rights of the deploy
	// user.
	AsUser bool

	// Renew is how many days a token must have left not to be replaced; zero
	// means WarnDays.
	Renew int

	// Retire has the credentials that are no longer to be used, by the name
	// of the step that looks after them.
	Retire map[string]string

	// Volumes says that [Remove] removes the volumes of the containers too.
	Volumes bool

	// Login logs in as CI would, with the private half of a key, and fails
	// where a deploy would. Needed where Retire has a key of CI.
	Login func(ctx context.Context, d *inventory.Deployment, key secret.Value) error
}

// For returns the steps of a host, in the order in which they are made. The
// deployments are all on that host. Without any, nothing is wanted of it, and
// what it carries is looked at.
func For(inv *inventory.Inventory, host *inventory.Host, deployments []*inventory.Deployment, given Given) []provision.Step {
	w := wish{inv, host, deployments, given}
	if len(deployments) == 0 {
		return carriedSteps(w)
	}
	return w.with(lookSteps(w))
}

// with returns all steps, among them those that look. The containers come
// last: an image may be missing until CI has pushed one.
func (w wish) with(looks []provision.Step) []provision.Step {
	return slices.Concat(w.steps(), looks, containersSteps(w))
}

func (w wish) steps() []provision.Step {
	var steps []provision.Step
	for _, of := range []func(wish) []provision.Step{
		osSteps,
		engineSteps,
		serviceSteps,
		dockerGroupSteps,
		registryCASteps,
		gateSteps,
		carriedSteps,
		userSteps,
		settingsSteps,
		repoKeySteps,
		deployKeySteps,
		repoKeySwapSteps,
		registryLoginSteps,
		gitHostSteps,
		checkoutSteps,
		overrideSteps,
		ciVariablesSteps,
		ciKeySteps,
		ciMovedSteps,
		otherKeysSteps,
	} {
		steps = append(steps, of(w)...)
	}
	return steps
}

// A wish is what the inventory wants of one host.
type wish struct {
	inv         *inventory.Inventory
	host        *inventory.Host
	deployments []*inventory.Deployment
	given       Given
}

// each makes a step of every deployment. Steps that come out the same, as
// those of a user who has two deployments, are made once.
func each[S provision.Step](w wish, of func(*inventory.Deployment) S) []provision.Step {
	var steps []provision.Step
	had := map[string]bool{}
	for _, d := range w.deployments {
		s := of(d)
		if !had[s.Name()] {
			had[s.Name()] = true
			steps = append(steps, s)
		}
	}
	return steps
}
