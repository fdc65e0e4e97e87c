package steps

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
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
//   - All else may be of a host in another inventory. It is told of, and goes by the
//     name of the host alone, which somebody has to say. It counts as drift where
//     a variable is that of a deployment in this inventory, by name, owner, prefix and
//     environment.
type Left struct {
	Host string
	all  []leftover
	inv  *inventory.Inventory
}

// An inventoryIndex finds in an inventory what something in GitLab speaks of.
type inventoryIndex struct {
	inv    *inventory.Inventory
	hosts  map[string]bool
	wanted map[string]bool            // variables, see wantedKey
	leads  map[string]*inventory.Host // by what stands behind the user of a target
}

func indexOf(inv *inventory.Inventory) inventoryIndex {
	x := inventoryIndex{inv, map[string]bool{}, map[string]bool{}, map[string]*inventory.Host{}}
	for _, h := range inv.Hosts {
		x.hosts[h.Name] = true
		_, at, _ := strings.Cut(DeployTarget(&inventory.Deployment{Host: h}), "@")
		x.leads[at] = h
	}
	for _, d := range inv.Deployments {
		c := ciOf(d)
		for _, owner := range c.owners {
			x.wanted[wantedKey(owner, c.variables.Prefix, c.scope)] = true
		}
	}
	return x
}

func wantedKey(owner forge.Owner, prefix, scope string) string {
	return owner.String() + " " + prefix + " " + scope
}

// A leftover is one thing with our mark.
type leftover struct {
	kind       leftKind
	owner      forge.Owner
	host, user string // the user is "" where a variable does not tell
	id         string // what tells it from others of its kind and owner: see keyed, and [Held]

	renamed bool // a key that was made under another name of the host, if it is ours

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
	groups    []forge.Owner // of tokens
	kind      forge.TokenKind
}

func leftPlacesOf(inv *inventory.Inventory) (p leftPlaces) {
	switch inv.Registry.Credential.Kind {
	case inventory.DeployToken:
		p.kind = forge.DeployToken
	case inventory.Named:
	default:
		p.kind = forge.AccessToken
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
		if p.kind != "" {
			add(&p.groups, forge.GroupOwner, d.TokenGroup)
		}
	}
	if p.kind != "" {
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
			hidden = append(hidden, owner)
			return true, nil
		}
		return err != nil, err
	}
	add := func(l leftover) {
		if !index.hosts[l.host] {
			all = append(all, l)
		}
	}
	for _, owner := range p.groups {
		tokens, err := g.Tokens(ctx, owner, p.kind)
		if skipped, err := skip(owner.String(), err); skipped {
			if err != nil {
				return nil, nil, err
			}
			continue
		}
		for _, t := range tokens {
			m := titleMark.FindStringSubmatch(t.Name)
			if m != nil && t.Active && (registryLogin{kind: p.kind, user: m[1], title: t.Name}).ours(t) {
				add(leftover{kind: leftToken, owner: owner, user: m[1], host: m[2], id: strconv.FormatInt(t.ID, 10)})
			}
		}
	}
	for _, project := range p.projects {
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
				add(leftover{kind: leftKey, owner: owner, user: m[1], host: m[2], id: keyOf(k.Key), renamed: !strings.HasSuffix(strings.TrimSpace(k.Key), " "+k.Title)})
			}
		}
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

// leftVariables chooses the variables of an owner that are marked, and that no deployment
// of the inventory wants. The one that says where the deployment is comes last: it tells
// whose the others are, should a removal end early.
func (x inventoryIndex) leftVariables(owner forge.Owner, variables []forge.Variable) (left []leftover) {
	for _, base := range []string{inventory.CIKeyVariable, inventory.KnownHostsVariable, inventory.DeployTargetVariable} {
		for _, v := range variables {
			m := variableMark.FindStringSubmatch(v.Description)
			prefix, ok := strings.CutSuffix(v.Key, base)
			if m == nil || !ok || x.wanted[wantedKey(owner, prefix, v.Scope)] {
				continue
			}
			l := leftover{kind: leftVariable, owner: owner, host: m[2], id: keyed(v), deployment: m[1], prefix: prefix, scope: v.Scope}
			for _, t := range variables {
				if t.Key == prefix+inventory.DeployTargetVariable && t.Scope == v.Scope && t.Description == v.Description {
					target, _ := t.Value.Reveal() // it is no secret
					user, at, _ := strings.Cut(strings.TrimPrefix(target, "ssh://"), "@")
					l.user, l.leads = user, x.leads[at]
				}
			}
			left = append(left, l)
		}
	}
	return left
}

// Asks returns the hosts of the inventory that may hold what is left: those to which
// it leads, and those that have one of its users.
func (l Left) Asks() (hosts []*inventory.Host) {
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
	text := fmt.Sprintf("%s is not in the inventory, and GitLab still has %s of it", l.Host, joinAnd(parts))
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
