package steps

import (
	"context"
	"path"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
)

// staleVariables wants no variables of a deployment where they were before it
// got another environment or prefix, for which a second host is enough, or before
// they went from its project to the group or back. It comes after ci-key: CI has
// the new ones by then.
type staleVariables struct {
	ci     ci
	places []forge.Owner // where variables can have been
}

func staleVariablesOf(t target) staleVariables {
	d := t.deployment
	s := staleVariables{ci: ciOf(d)}
	s.places = append(s.places, s.ci.owners...)
	for _, owner := range []forge.Owner{{Kind: forge.ProjectOwner, Path: d.Project}, {Kind: forge.GroupOwner, Path: path.Dir(d.Project)}} {
		if !slices.Contains(s.places, owner) && owner.Path != "." {
			s.places = append(s.places, owner)
		}
	}
	return s
}

func (s staleVariables) Name() string { return "stale-variables " + s.ci.deployment }

func (s staleVariables) Scope() provision.Scope {
	return provision.Scope{User: s.ci.user, Deployment: s.ci.deployment}
}

func (s staleVariables) Probe() provision.Probe {
	return provision.Probe{Ask: func(ctx context.Context, f forge.Forge) (provision.Facts, error) {
		facts := provision.Facts{}
		for _, owner := range s.places {
			variables, err := f.Variables(ctx, owner)
			if err != nil && notThere(err) && !slices.Contains(s.ci.owners, owner) {
				continue
			}
			if err != nil {
				return nil, err
			}
			for _, v := range s.left(owner)(variables) {
				facts.Add("left "+owner.String(), keyed(v))
				if v.Scope != s.ci.scope || !strings.HasPrefix(v.Key, s.ci.variables.Prefix+"SSH_") {
					facts.Add("jobs", "outdated")
				}
			}
		}
		return facts, nil
	}}
}

// left chooses the variables of the deployment that an owner has and should not
// have. That they are of this one, and not of a namesake in another inventory, is
// seen by where they lead, so the target is last: an interrupted removal can go on.
func (s staleVariables) left(owner forge.Owner) func([]forge.Variable) []forge.Variable {
	wanted := slices.Contains(s.ci.owners, owner)
	return func(variables []forge.Variable) (left []forge.Variable) {
		for _, target := range variables {
			prefix, ok := strings.CutSuffix(target.Key, inventory.DeployTargetVariable)
			if text, err := target.Value.Reveal(); !ok || err != nil || text != s.ci.target || target.Description != s.ci.description() {
				continue
			}
			if wanted && target.Scope == s.ci.scope && prefix == s.ci.variables.Prefix {
				continue
			}
			for _, base := range []string{inventory.CIKeyVariable, inventory.KnownHostsVariable, inventory.DeployTargetVariable} {
				for _, v := range variables {
					if v.Key == prefix+base && v.Scope == target.Scope && v.Description == s.ci.description() {
						left = append(left, v)
					}
				}
			}
		}
		return left
	}
}

func (s staleVariables) Plan(f provision.Facts) ([]provision.Change, error) {
	var changes []provision.Change
	if f.Has("jobs", "outdated") {
		changes = append(changes, provision.Note("the jobs of %s use an old environment or prefix, and fail until they are what provision render ci prints now, and with --verify", s.ci.deployment))
	}
	for _, owner := range s.places {
		for _, what := range f["left "+owner.String()] {
			changes = append(changes, unset(owner, what, s.left(owner)))
		}
	}
	return changes, nil
}
