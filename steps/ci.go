package steps

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
)

// ci is where the pipelines find what they need to reach a deployment.
type ci struct {
	deployment, host string
	user             string
	target           string // how CI reaches the host, as ssh(1) takes it
	known            string // the same as in known_hosts
	scope            string
	owners           []forge.Owner
	variables        inventory.Variables

	from *ci // of the host that the deployment moves away from; nil: it does not move
}

// movingCI is ciOf, where it is known from which host the deployment moves.
func movingCI(t target) ci {
	c := ciOf(t.deployment)
	if t.given.From != nil {
		before := *t.deployment
		before.Host = t.given.From
		from := ciOf(&before)
		c.from = &from
	}
	return c
}

// made tells whether we have set a variable for this deployment, here or on the host
// that it moves away from.
func (c ci) made(v forge.Variable) bool {
	return v.Description == c.description() || c.moved(v)
}

// moved tells whether a variable was set for the host that the deployment moves away
// from.
func (c ci) moved(v forge.Variable) bool {
	return c.from != nil && v.Description == c.from.description()
}

func ciOf(d *inventory.Deployment) ci {
	host, port := d.Host.CIAddress, d.Host.CIPort
	if host == "" {
		host, port = d.Host.Address, d.Host.Port
	}
	c := ci{
		deployment: d.Name, host: d.Host.Name, user: d.User,
		target: sshTarget(d.User, host, port), known: knownHostsName(host, port),
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

// DeployTarget returns where CI logs in to a deployment, as ssh(1) takes it: the
// variable SSH_DEPLOY_TARGET.
func DeployTarget(d *inventory.Deployment) string { return ciOf(d).target }

// sshTarget writes where ssh(1) is to log in. It takes no IPv6 address in an URI,
// and so none with a port: the inventory has none.
func sshTarget(user, host string, port int) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
		return user + "@" + host
	}
	return "ssh://" + user + "@" + urlHost(host, port)
}

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

// where names one of our variables.
func (c ci) where(base string, owner forge.Owner) string {
	return variableName(owner, c.variables.Key(base), c.scope)
}

// scoped adds the way out where GitLab has no scopes for groups.
func (c ci) scoped(err error) error {
	if errors.Is(err, forge.ErrScope) {
		return hint.Add(err, "that needs GitLab Premium; projects have scopes in every GitLab, so write variables = { projects = [\"…\"] }")
	}
	return err
}

// variableName names a variable.
func variableName(owner forge.Owner, key, scope string) string {
	if scope == "*" {
		return "CI variable " + key + " (" + owner.String() + ")"
	}
	return "CI variable " + key + " (" + owner.String() + ", environment " + scope + ")"
}

// keyed is a variable of an owner as a fact.
func keyed(v forge.Variable) string { return v.Key + " " + v.Scope }

// unset removes a variable that is a fact, see keyed, if it is still among those
// that are chosen.
func unset(owner forge.Owner, fact string, choose func([]forge.Variable) []forge.Variable) provision.Change {
	key, scope, _ := strings.Cut(fact, " ")
	return provision.Change{Verb: provision.Remove, Object: variableName(owner, key, scope), Do: provision.Call(func(ctx context.Context, g forge.Forge) error {
		variables, err := g.Variables(ctx, owner)
		if err != nil {
			return err
		}
		for _, v := range choose(variables) {
			if v.Key == key && v.Scope == scope {
				return g.RemoveVariable(ctx, owner, key, scope)
			}
		}
		return nil
	})}
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
