package steps

import (
	"context"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
)

// overriddenVariables wants no variable of a project or a subgroup in place of
// those that the group has: a job gets the nearest one, whatever the others are.
// See https://docs.gitlab.com/ci/variables/#cicd-variable-precedence.
type overriddenVariables struct {
	ci     ci
	nearer []forge.Owner // nearer to the jobs of the project than the group
}

func overriddenVariablesOf(t target) overriddenVariables {
	d := t.deployment
	s := overriddenVariables{ci: ciOf(d)}
	if d.Variables.Group == "" {
		return s
	}
	within, ok := strings.CutPrefix(strings.ToLower(d.Project), strings.ToLower(d.Variables.Group)+"/")
	if !ok {
		return s
	}
	s.nearer = append(s.nearer, forge.Owner{Kind: forge.ProjectOwner, Path: d.Project})
	for group := d.Project; strings.Contains(within, "/"); within = within[:strings.LastIndexByte(within, '/')] {
		group = group[:strings.LastIndexByte(group, '/')]
		s.nearer = append(s.nearer, forge.Owner{Kind: forge.GroupOwner, Path: group})
	}
	return s
}

func (s overriddenVariables) Name() string { return "overridden-variables " + s.ci.deployment }

func (s overriddenVariables) Scope() provision.Scope {
	return provision.Scope{User: s.ci.user, Deployment: s.ci.deployment}
}

// wanted tells whether there is a place nearer to the jobs.
func (s overriddenVariables) wanted() bool { return len(s.nearer) > 0 }

// What this token may not see is not told: nobody has looked there.
func (s overriddenVariables) Probe() provision.Probe {
	return provision.Probe{Ask: func(ctx context.Context, f forge.Forge) (provision.Facts, error) {
		if _, err := f.Self(ctx); err != nil {
			return nil, err // a job without a token is given what counts, wherever it comes from
		}
		facts := provision.Facts{}
		for _, owner := range s.nearer {
			variables, err := f.Variables(ctx, owner)
			if notThere(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			for _, v := range variables {
				if s.overrides(v) {
					facts.Add("nearer "+owner.String(), keyed(v))
				}
			}
		}
		return facts, nil
	}}
}

// overrides tells whether the jobs of the deployment get v in place of ours. What
// is ours there is left from before, and stale-variables removes it.
func (s overriddenVariables) overrides(v forge.Variable) bool {
	if markedFor(v.Description) == s.ci.deployment || !inScope(s.ci.scope, v.Scope) {
		return false
	}
	switch v.Key {
	case s.ci.variables.Key(inventory.DeployTargetVariable):
		text, err := v.Value.Reveal() // no secret
		return err != nil || text != s.ci.target
	case s.ci.variables.Key(inventory.CIKeyVariable), s.ci.variables.Key(inventory.KnownHostsVariable):
		return true
	}
	return false
}

// inScope tells whether jobs of an environment get a variable with that scope.
// In a scope * stands for any text, and a job without an environment gets what
// is for all.
func inScope(environment, scope string) bool {
	if environment == "*" {
		return scope == "*"
	}
	parts := strings.Split(scope, "*")
	rest, ok := strings.CutPrefix(environment, parts[0])
	if !ok || len(parts) == 1 {
		return ok && rest == ""
	}
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

func (s overriddenVariables) Plan(f provision.Facts) ([]provision.Change, error) {
	var changes []provision.Change
	for _, owner := range s.nearer {
		for _, what := range f["nearer "+owner.String()] {
			key, scope, _ := strings.Cut(what, " ")
			changes = append(changes, provision.Drift("jobs get %s in place of the one of group %s", variableName(owner, key, scope), s.ci.variables.Group).
				WithHint("delete it in GitLab, or give the deployment a variables.prefix"))
		}
	}
	return changes, nil
}
