package steps

import (
	"context"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
)

// ciMoved wants no variables of a deployment to stay where they were before it
// got another environment or prefix; a second host is enough for that. It comes
// after ci-key: CI has the new ones by then.
type ciMoved struct{ ci }

func ciMovedSteps(w wish) []provision.Step {
	return each(w, func(d *inventory.Deployment) ciMoved { return ciMoved{ciOf(d)} })
}

func (s ciMoved) Name() string { return "ci-moved " + s.deployment }

func (s ciMoved) Probe() provision.Probe {
	return provision.Probe{Ask: func(ctx context.Context, f forge.Forge) (provision.Facts, error) {
		facts := provision.Facts{}
		for _, owner := range s.owners {
			variables, err := f.Variables(ctx, owner)
			if err != nil {
				return nil, err
			}
			for _, v := range s.left(variables) {
				facts.Add("left "+owner.String(), called(v, owner))
			}
		}
		return facts, nil
	}}
}

// left returns the variables of the deployment that stand elsewhere. That they
// are of this one, and not of a namesake in another inventory, is seen by where
// they lead, so the target is last: an interrupted removal can go on.
func (s ciMoved) left(variables []forge.Variable) []forge.Variable {
	var left []forge.Variable
	for _, target := range variables {
		prefix, ok := strings.CutSuffix(target.Key, targetVariable)
		if text, err := target.Value.Reveal(); !ok || err != nil || text != s.target() || target.Description != s.description() {
			continue
		}
		if target.Scope == s.scope && prefix == s.variables.Prefix {
			continue
		}
		for _, base := range []string{keyVariable, knownHostsVariable, targetVariable} {
			for _, v := range variables {
				if v.Key == prefix+base && v.Scope == target.Scope && v.Description == s.description() {
					left = append(left, v)
				}
			}
		}
	}
	return left
}

func (s ciMoved) Plan(f provision.Facts) ([]provision.Change, error) {
	var changes []provision.Change
	for _, owner := range s.owners {
		for _, what := range f["left "+owner.String()] {
			changes = append(changes, unset(owner, what, s.left))
		}
	}
	return changes, nil
}
