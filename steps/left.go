package steps

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
)

// The marks of what is made in GitLab, as ciVariables and registryLogin write them: a
// variable names its deployment and its host, a token and a deploy key their user and host.
const markedName = `([a-z0-9][a-z0-9._-]{0,62})`

var (
	variableMark = regexp.MustCompile(`^Set by provision for ` + markedName + ` on ` + markedName + `\.$`)
	titleMark    = regexp.MustCompile(`^([a-z_][a-z0-9_-]{0,31})@` + markedName + `$`)
)

// A Left is what GitLab has of a host that the inventory does not name.
//
// Whose it is, the marks do not tell: they are labels, and another inventory that shares
// a group writes the same ones. So this is the rule:
//
//   - What a deployment of the inventory wants, which is an owner, a variable and an
//     environment, is no part of a Left, whatever host it names. Nor does a host of the
//     inventory lose what it holds: the token that it logs in with, and its deploy keys.
//   - Where all its variables lead to a host of the inventory, under another name, that
//     host decides: if it carries none of these deployments, and none of these users, they
//     open nothing. This alone is certain, see [Left.Certain].
//   - A token or a key with the name of a host in the inventory is part of one where no host
//     that has that name, or its user, holds it: see unheld.
//   - All else may be of a host in another inventory. It is told of, and goes by the
//     name of the host alone, which somebody has to say. It counts as drift where
//     a variable is that of a deployment in this inventory, by name, owner, prefix and
//     environment.
type Left struct {
	Host string
	all  []leftover
	inv  *inventory.Inventory
}

// A leftover is one thing with our mark.
type leftover struct {
	kind       leftKind
	owner      forge.Owner
	host, user string // the user is "" where a variable does not tell
	id         string // what tells it from others of its kind and owner: see keyed, and [Held]

	renamed bool // a key that was made under another name of the host, if it is ours
	unused  bool // a token that nobody has logged in with

	deployment, prefix, scope string          // of a variable
	leads                     *inventory.Host // the one of the inventory to which a variable leads, if it does
}

type leftKind string

const (
	leftToken    leftKind = "token"
	leftKey      leftKind = "deploy key"
	leftVariable leftKind = "CI variable"
)

// leftPlaces are where an inventory has things in GitLab.
type leftPlaces struct {
	variables []forge.Owner
	projects  []string
	groups    []forge.Owner     // of tokens
	kinds     []forge.TokenKind // there have been, should the inventory want another one by now
}

func leftPlacesOf(inv *inventory.Inventory) (p leftPlaces) {
	if inv.Registry.Credential.Kind != inventory.Named {
		p.kinds = []forge.TokenKind{forge.AccessToken, forge.DeployToken}
	}
	add := func(owners *[]forge.Owner, kind forge.OwnerKind, path string) {
		if o := (forge.Owner{Kind: kind, Path: path}); path != "" && path != "." && !slices.Contains(*owners, o) {
			*owners = append(*owners, o)
		}
	}
	for _, d := range inv.Deployments {
		for _, o := range ciOf(d).owners {
			add(&p.variables, o.Kind, o.Path)
		}
		add(&p.variables, forge.ProjectOwner, d.Project)
		add(&p.variables, forge.GroupOwner, path.Dir(d.Project))
		if !slices.Contains(p.projects, d.Project) {
			p.projects = append(p.projects, d.Project)
		}
		if p.kinds != nil {
			add(&p.groups, forge.GroupOwner, d.TokenGroup)
		}
	}
	if p.kinds != nil {
		add(&p.groups, forge.GroupOwner, inv.Registry.Group)
	}
	return p
}

// LeftBehind looks in all places of GitLab that the inventory names for what hosts have
// there that it does not name, and returns it by host. Places that this token may not
// look at are left out.
func LeftBehind(ctx context.Context, g forge.Forge, inv *inventory.Inventory) ([]Left, error) {
	all, _, err := leftIn(ctx, g, inv)
	if err != nil {
		return nil, err
	}
	var hosts []Left
	for _, l := range all {
		i := slices.IndexFunc(hosts, func(h Left) bool { return h.Host == l.host })
		if i < 0 {
			i = len(hosts)
			hosts = append(hosts, Left{Host: l.host, inv: inv})
		}
		hosts[i].all = append(hosts[i].all, l)
	}
	slices.SortFunc(hosts, func(a, b Left) int { return cmp.Compare(a.Host, b.Host) })
	return hosts, nil
}

func leftIn(ctx context.Context, g forge.Forge, inv *inventory.Inventory) (all []leftover, hidden []string, err error) {
	p, index := leftPlacesOf(inv), indexOf(inv)
	skip := func(owner string, err error) (bool, error) {
		if notThere(err) {
			if !slices.Contains(hidden, owner) {
				hidden = append(hidden, owner)
			}
			return true, nil
		}
		return err != nil, err
	}
	add := func(l leftover) {
		if !index.hosts[l.host] {
			all = append(all, l)
		}
	}
	var tokens []leftover
	for _, owner := range p.groups {
		for _, kind := range p.kinds {
			made, err := g.Tokens(ctx, owner, kind)
			if skipped, err := skip(owner.String(), err); skipped {
				if err != nil {
					return nil, nil, err
				}
				continue
			}
			tokens = append(tokens, markedTokens(owner, kind, made)...)
		}
	}
	all = index.unheld("", tokens)
	for _, project := range p.projects {
		var marked []leftover
		owner := forge.Owner{Kind: forge.ProjectOwner, Path: project}
		keys, err := g.DeployKeys(ctx, project)
		if skipped, err := skip(owner.String(), err); skipped {
			if err != nil {
				return nil, nil, err
			}
			continue
		}
		for _, k := range keys {
			m := titleMark.FindStringSubmatch(k.Title)
			if m != nil && !k.CanPush && (deployKey{user: m[1]}).marked(k) {
				marked = append(marked, leftover{kind: leftKey, owner: owner, user: m[1], host: m[2], id: keyOf(k.Key), renamed: !strings.HasSuffix(strings.TrimSpace(k.Key), " "+k.Title)})
			}
		}
		all = append(all, index.unheld(project, marked)...)
	}
	for _, owner := range p.variables {
		variables, err := g.Variables(ctx, owner)
		if skipped, err := skip(owner.String(), err); skipped {
			if err != nil {
				return nil, nil, err
			}
			continue
		}
		for _, l := range index.leftVariables(owner, variables) {
			add(l)
		}
	}
	users := map[string]bool{} // whose keys may be ours under another name
	for _, d := range inv.Deployments {
		users[d.User] = true
	}
	for _, l := range all {
		users[l.user] = users[l.user] || l.kind != leftKey
	}
	return slices.DeleteFunc(all, func(l leftover) bool { return l.renamed && !users[l.user] }), hidden, nil
}

// Asks returns the hosts of the inventory that may hold what is left: those to which
// it leads, those that have one of its users, and the one that has its name.
func (l Left) Asks() (hosts []*inventory.Host) {
	if i := slices.IndexFunc(l.inv.Hosts, func(h *inventory.Host) bool { return h.Name == l.Host }); i >= 0 {
		hosts = append(hosts, l.inv.Hosts[i])
	}
	users := map[string]bool{}
	for _, one := range l.all {
		if one.leads != nil && !slices.Contains(hosts, one.leads) {
			hosts = append(hosts, one.leads)
		}
		if one.kind != leftVariable {
			users[one.user] = true
		}
	}
	for _, d := range l.inv.Deployments {
		if users[d.User] && !slices.Contains(hosts, d.Host) {
			hosts = append(hosts, d.Host)
		}
	}
	return hosts
}

// Certain tells whether what is left opens nothing any more, by what the hosts of the
// inventory hold: see [Left]. A key that only looks like ours, as ssh-keygen(1) names it,
// is of a user to whom no variable leads.
func (l Left) Certain(held *Held) bool {
	users := map[string]bool{}
	for _, one := range l.all {
		if one.kind == leftVariable {
			users[one.user] = true
		}
	}
	return len(users) > 0 && !slices.ContainsFunc(l.all, func(one leftover) bool {
		return !users[one.user] || held.keeps(one, l.inv) != "" || one.kind == leftVariable && one.leads == nil
	})
}

// Without returns what is left without what hosts of the inventory hold.
func (l Left) Without(held *Held) Left {
	l.all = slices.DeleteFunc(slices.Clone(l.all), func(one leftover) bool { return held.keeps(one, l.inv) != "" })
	return l
}

// Known tells whether the host is in the inventory: then tokens and keys are left that have
// its name, and that no host of the inventory holds.
func (l Left) Known() bool { return indexOf(l.inv).hosts[l.Host] }

// Empty tells whether nothing is left.
func (l Left) Empty() bool { return len(l.all) == 0 }

// ours tells whether a variable is that of a deployment in the inventory.
func (l Left) ours() bool {
	return slices.ContainsFunc(l.all, func(one leftover) bool {
		return one.kind == leftVariable && slices.ContainsFunc(l.inv.Deployments, func(d *inventory.Deployment) bool {
			c := ciOf(d)
			return d.Name == one.deployment && slices.Contains(c.owners, one.owner) && d.Variables.Prefix == one.prefix &&
				(one.scope == d.Scope || d.Environment != "" && (one.scope == d.Environment || strings.HasPrefix(one.scope, d.Environment+"/")))
		})
	})
}

// leftStep is what tells of what is left, and what removes it.
const leftStep = "left-in-gitlab"

// Found tells of what is left, as drift or as a note, and how it is removed.
func (l Left) Found() provision.StepPlan {
	counts := map[leftKind]int{}
	for _, one := range l.all {
		counts[one.kind]++
	}
	var parts []string
	for _, kind := range []leftKind{leftVariable, leftToken, leftKey} {
		if n := counts[kind]; n > 0 {
			parts = append(parts, plural(n, string(kind)))
		}
	}
	what := joinAnd(parts)
	if l.Known() {
		return provision.StepPlan{Step: leftStep, Notes: []provision.StepNote{{
			Text: fmt.Sprintf("GitLab has %s with the name of %s, and no host of the inventory holds it", what, l.Host),
			Hint: fmt.Sprintf("if no other inventory has a %s: provision clean %s", l.Host, hint.Quote(l.inv.Path)),
		}}}
	}
	text := fmt.Sprintf("%s is not in the inventory, and GitLab still has %s of it", l.Host, what)
	if names := l.deployments(); len(names) > 0 {
		text += ", for " + joinAnd(names)
	}
	return provision.StepPlan{Step: leftStep, Notes: []provision.StepNote{{
		Text: text, Drift: l.ours(),
		Hint: fmt.Sprintf("if it is in no other inventory: provision remove --gone %s %s", l.Host, hint.Quote(l.inv.Path)),
	}}}
}

func (l Left) deployments() (names []string) {
	for _, one := range l.all {
		if one.deployment != "" && !slices.Contains(names, one.deployment) {
			names = append(names, one.deployment)
		}
	}
	return names
}
