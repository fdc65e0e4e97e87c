package steps

import (
	"context"
	"errors"
	"fmt"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
)

// ci is where the pipelines find what they need to reach a deployment.
type ci struct {
	deployment, host string
	user, address    string // how CI reaches the host; address as in an URL
	known            string // the same as in known_hosts
	scope            string
	owners           []forge.Owner
	variables        inventory.Variables
}

func ciOf(d *inventory.Deployment) ci {
	host, port := d.Host.CIAddress, d.Host.CIPort
	if host == "" {
		host, port = d.Host.Address, d.Host.Port
	}
	c := ci{
		deployment: d.Name, host: d.Host.Name, user: d.User,
		address: urlHost(host, port), known: knownHostsName(host, port),
		scope: d.Scope, variables: d.Variables,
	}
	if d.Variables.Group != "" {
		c.owners = append(c.owners, forge.Owner{Kind: forge.GroupOwner, Path: d.Variables.Group})
	}
	for _, p := range d.Variables.Projects {
		c.owners = append(c.owners, forge.Owner{Kind: forge.ProjectOwner, Path: p})
	}
	return c
}

func (c ci) target() string { return "ssh://" + c.user + "@" + c.address }

// ciBases are the variables of a deployment, without a prefix.
var ciBases = []string{inventory.CIKeyVariable, inventory.DeployTargetVariable, inventory.KnownHostsVariable}

// description marks a variable as ours.
func (c ci) description() string {
	return "Set by provision for " + c.deployment + " on " + c.host + "."
}

// find returns the variable of that name and exactly our scope.
func (c ci) find(variables []forge.Variable, base string) (forge.Variable, bool) {
	for _, v := range variables {
		if v.Key == c.variables.Key(base) && v.Scope == c.scope {
			return v, true
		}
	}
	return forge.Variable{}, false
}

// where names one of our variables for people.
func (c ci) where(base string, owner forge.Owner) string {
	return called(forge.Variable{Key: c.variables.Key(base), Scope: c.scope}, owner)
}

// scoped adds the way out where GitLab has no scopes for groups.
func (c ci) scoped(err error) error {
	if errors.Is(err, forge.ErrScope) {
		return hint.Add(err, "that needs GitLab Premium; projects have scopes in every GitLab, so write variables = { projects = [\"…\"] }")
	}
	return err
}

// called names a variable for people.
func called(v forge.Variable, owner forge.Owner) string {
	name := v.Key + " of " + owner.String()
	if v.Scope != "*" {
		name += " for " + v.Scope
	}
	return name
}

// unset removes the variable that is called so, if it is still among those that
// are chosen.
func unset(owner forge.Owner, name string, choose func([]forge.Variable) []forge.Variable) provision.Change {
	return call(func(ctx context.Context, g forge.Forge) error {
		variables, err := g.Variables(ctx, owner)
		if err != nil {
			return err
		}
		for _, v := range choose(variables) {
			if called(v, owner) == name {
				return g.RemoveVariable(ctx, owner, v.Key, v.Scope)
			}
		}
		return nil
	}, "remove %s", name)
}

// notThere tells that something of GitLab cannot be looked at: it is gone, or
// not for the eyes of this token.
func notThere(err error) bool {
	return errors.Is(err, forge.ErrNotFound) || errors.Is(err, forge.ErrForbidden) || errors.Is(err, forge.ErrUnseen)
}

// hidden says what may be left in places that could not be looked at.
func hidden(f provision.Facts, format string, args ...any) []provision.Change {
	var notes []provision.Change
	for _, place := range f["hidden"] {
		notes = append(notes, provision.Note("%s is gone, or this token may not look there; it may still have %s", place, fmt.Sprintf(format, args...)))
	}
	return notes
}
