package steps

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/visible"
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

// description marks a variable as ours. The names in it are labels: what a variable is
// follows from its owner, its key and its scope.
func (c ci) description() string { return markBegins + c.deployment + " on " + c.host + "." }

const markBegins = "Set by provision for "

// markedFor returns the deployment that a description names, "" for one that was not
// made by us.
func markedFor(description string) string {
	name, ok := strings.CutPrefix(description, markBegins)
	if !ok {
		return ""
	}
	name, _, _ = strings.Cut(name, " on ")
	return name
}

// owns tells whether we have set a variable at the place of ours. Where it is marked with other
// names, the deployment or its host had those before, if the target beside it leads here.
func (c ci) owns(variables []forge.Variable, v forge.Variable) bool {
	return v.Description == c.description() || markedFor(v.Description) != "" && c.leads(variables, c.variables.Prefix, c.scope)
}

// leads tells whether variables with that prefix and scope lead to this deployment.
func (c ci) leads(variables []forge.Variable, prefix, scope string) bool {
	for _, v := range variables {
		if v.Key == prefix+inventory.DeployTargetVariable && v.Scope == scope {
			text, err := v.Value.Reveal()
			return err == nil && text == c.target
		}
	}
	return false
}

// forItsName is the remark of a change of nothing but a description.
const forItsName = "(only its description: the names have changed)"

// find returns the variable of that name and exactly our scope.
func (c ci) find(variables []forge.Variable, base string) (forge.Variable, bool) {
	for _, v := range variables {
		if v.Key == c.variables.Key(base) && v.Scope == c.scope {
			return v, true
		}
	}
	return forge.Variable{}, false
}

// isBase tells whether a key is that of one of our variables.
func (c ci) isBase(key string) bool {
	return slices.ContainsFunc(ciBases, func(base string) bool { return key == c.variables.Key(base) })
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

// whereNow adds to the error about a group that is not found where a project of it lives
// now: GitLab leads from the old path of a project to the new one, and not from that of a
// group.
func whereNow(ctx context.Context, f forge.Forge, project string, err error) error {
	if !errors.Is(err, forge.ErrNotFound) {
		return err
	}
	p, asked := f.Project(ctx, project)
	if asked != nil || p.Group == "" || strings.EqualFold(p.Path, project) {
		return err
	}
	return hint.Add(err, "GitLab has moved project %s to %s, in group %s: write these in the inventory", project, visible.String(p.Path), visible.String(p.Group))
}
