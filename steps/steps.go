// Package steps has every step that a host goes through, one file each: what
// it makes, how that is undone, and how a credential of it is rotated.
//
// A step says what is wanted, and nothing more: see [provision.Step]. What it
// plans follows from the facts alone, so this package imports nothing that could
// touch a file, a clock or a network.
package steps

import (
	"context"

	"provision/inventory"
	"provision/provision"
	"provision/provision/hint"
	"provision/provision/secret"
)

// kinds is every kind of step, in the order in which a host goes through them.
// All that this package returns is read off here.
func kinds() []kind {
	return []kind{
		undone(moveOf, memory),
		stays(osOf, "it makes nothing"),
		stays(engineOf, "other programs may need the packages"),
		stays(serviceOf, "other containers may need Docker"),
		stays(dockerGroupOf, "other users may be in the group"),
		undoneEach(registryCAsOf, rootFiles),
		undone(dockerCAOf, rootFiles),
		stays(staleCAOf, "it removes what is left"),
		stays(deployProgramOf, "it goes with the gate"),
		undone(gateOf, memory),
		stays(unmanagedOf, "it makes nothing"),
		undone(userOf, account),
		undone(deploySettingsOf, memory),
		undone(repoKeyOf, homeFiles),
		undone(deployKeyOf, inGitLab),
		stays(repoKeySwitchOf, "what it leaves goes with the key pair, see repo-key"),
		undoneEach(registryLoginsOf, inGitLab),
		undone(knownHostsOf, account),
		undone(checkoutOf, homeFiles),
		stays(overrideOf, "it goes with the clone, see checkout"),
		undone(appEnvOf, homeFiles),
		undone(appFilesOf, homeFiles),
		stays(clonesOf, "it goes with the clone, too"),
		undone(namesOf, accessOfCI),
		stays(leftBehindOf, "it makes nothing"),
		undone(ciVariablesOf, accessOfCI),
		undone(ciKeyOf, accessOfCI),
		undone(staleVariablesOf, accessOfCI),
		stays(overriddenVariablesOf, "it makes nothing"),
		stays(unrestrictedKeysOf, "it makes nothing"),
		stays(ciLoginOf, "it makes nothing"),
		undone(verifyScriptOf, rootFiles),
		undone(deploysOf, running),
		// An image may be missing until CI has pushed one.
		undone(containersOf, running),
		stays(recallOf, "it makes nothing"),
		stays(holdsOf, "it makes nothing"),
		stays(journalOf, "it makes nothing"),
		stays(statusOf, "it makes nothing"),
	}
}

// Given is what the steps need and the inventory only refers to.
type Given struct {
	// RegistryPasswords has the passwords of named credentials by the names of
	// their registries, "" for the one of GitLab. Without one, nobody logs in there.
	RegistryPasswords map[string]secret.Value

	// Env and Files are the secrets of deployments, by [inventory.Secret.Key]:
	// values of variables, and contents of files. What was not read is not
	// compared, and only its place is looked at.
	Env, Files map[string]secret.Value

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
	// of the step that looks after them: see [Retire].
	Retire map[string][]string

	// Finish says that nobody uses the variables and keys any more that
	// deployments had before they got others: see former.
	Finish bool

	// From is the host that a deployment moves away from: see [MoveIn].
	From *inventory.Host

	// gone says that the host is asked nothing: see [Forget].
	gone bool

	whole *whole // see [Given.Know]

	// Volumes says that [Remove] removes the volumes of the containers too.
	Volumes bool

	// Login logs in as CI would, with the private half of a key, and fails
	// where a deploy would. Needed where Retire has a CI key.
	Login func(ctx context.Context, d *inventory.Deployment, key secret.Value) error
}

// For returns the steps of a host, in the order in which they are made. The
// deployments are all on that host. Without any, nothing is wanted of it, and
// what it carries is looked at.
func For(inv *inventory.Inventory, host *inventory.Host, deployments []*inventory.Deployment, given Given) []provision.Step {
	if len(deployments) == 0 {
		return []provision.Step{unmanagedOf(target{inv: inv, host: host})}
	}
	given = given.knowing(inv)
	var steps []provision.Step
	for _, k := range kinds() {
		for _, t := range targets(inv, host, deployments, given) {
			steps = k.wanted(steps, t)
		}
	}
	return steps
}

// A target is one deployment on a host, and what the inventory wants of it.
type target struct {
	inv        *inventory.Inventory
	host       *inventory.Host
	deployment *inventory.Deployment
	selected   []*inventory.Deployment // those of the host that the run is about, this one among them
	given      Given

	probing bool // the steps are there for their probes only: see verifyScript
}

// ofUser returns the deployments on the host that have the user of this one,
// whatever the run is about. This one is among them.
func (t target) ofUser() []*inventory.Deployment {
	all := []*inventory.Deployment{t.deployment}
	for _, d := range t.inv.On(t.host) {
		if d.User == t.deployment.User && d.Name != t.deployment.Name {
			all = append(all, d)
		}
	}
	return all
}

// only ends the command line of a hint that is about this deployment alone.
func (t target) only() string {
	return "--limit " + t.deployment.Name + " " + hint.Quote(t.inv.Path)
}

// targets returns a target for each deployment.
func targets(inv *inventory.Inventory, host *inventory.Host, deployments []*inventory.Deployment, given Given) []target {
	given = given.knowing(inv)
	var targets []target
	for _, d := range deployments {
		targets = append(targets, target{inv: inv, host: host, deployment: d, selected: deployments, given: given})
	}
	return targets
}

// A kind is one kind of step.
type kind struct {
	steps func(target) []provision.Step // mostly one
	undo  func(target) []undo           // nil: see stays
	stage stage
	stays string // why nothing is undone
}

// A removable step also says how it is undone.
type removable interface {
	provision.Step

	// undo returns the step that takes back what was made for the deployment
	// of the target, and for no other. The inventory may know nothing of that
	// deployment any more: see [Recalled].
	undo(target) undo
}

// undone is the kind of a step that [Remove] undoes.
func undone[S removable](step func(target) S, in stage) kind {
	return undoneEach(func(t target) []S { return []S{step(t)} }, in)
}

// undoneEach is undone for several steps of a target.
func undoneEach[S removable](steps func(target) []S, in stage) kind {
	k := kind{stage: in}
	k.steps = func(t target) []provision.Step {
		var all []provision.Step
		for _, s := range steps(t) {
			all = append(all, s)
		}
		return all
	}
	k.undo = func(t target) []undo {
		var all []undo
		for _, s := range steps(t) {
			all = append(all, s.undo(t))
		}
		return all
	}
	return k
}

// stays is the kind of a step that [Remove] leaves as it is.
func stays[S provision.Step](step func(target) S, because string) kind {
	return kind{steps: func(t target) []provision.Step { return []provision.Step{step(t)} }, stays: because}
}

// An optional step is not wanted of every deployment.
type optional interface{ wanted() bool }

// wanted adds the steps of a target to others, but for those that are not wanted,
// or there already: the deployments of one user have some in common.
func (k kind) wanted(steps []provision.Step, t target) []provision.Step {
	for _, s := range k.steps(t) {
		if o, ok := s.(optional); !ok || o.wanted() {
			steps = addStep(steps, s)
		}
	}
	return steps
}

func addStep(steps []provision.Step, s provision.Step) []provision.Step {
	for _, there := range steps {
		if there.Name() == s.Name() {
			return steps
		}
	}
	return append(steps, s)
}
