package steps

import (
	"strconv"
	"strings"

	"provision/inventory"
	"provision/provision/forge"
)

// An inventoryIndex finds in an inventory what something in GitLab speaks of.
type inventoryIndex struct {
	inv    *inventory.Inventory
	hosts  map[string]bool
	needs  map[string]int             // how many keys of a project, or tokens, a user has to have
	wanted map[string]bool            // variables, see wantedKey
	leads  map[string]*inventory.Host // by what stands behind the user of a target
}

func indexOf(inv *inventory.Inventory) inventoryIndex {
	x := inventoryIndex{inv, map[string]bool{}, map[string]int{}, map[string]bool{}, map[string]*inventory.Host{}}
	for _, h := range inv.Hosts {
		x.hosts[h.Name] = true
		_, at, _ := strings.Cut(DeployTarget(&inventory.Deployment{Host: h}), "@")
		x.leads[at] = h
	}
	seen := map[string]bool{}
	for _, d := range inv.Deployments {
		c := ciOf(d)
		for _, in := range []string{"", d.Project} { // of a user on a host there is one
			if one := d.User + "@" + d.Host.Name + " " + in; !seen[one] {
				seen[one] = true
				x.needs[d.User+" "+in]++
			}
		}
		for _, owner := range c.owners {
			x.wanted[wantedKey(owner, c.variables.Prefix, c.scope)] = true
		}
	}
	return x
}

func wantedKey(owner forge.Owner, prefix, scope string) string {
	return owner.String() + " " + prefix + " " + scope
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
			l := leftover{leads: x.leadsTo(variables, v), kind: leftVariable, owner: owner, host: m[2], id: keyed(v), deployment: m[1], prefix: prefix, scope: v.Scope}
			for _, t := range variables {
				if t.Key == prefix+inventory.DeployTargetVariable && t.Scope == v.Scope && t.Description == v.Description {
					target, _ := t.Value.Reveal() // it is no secret
					l.user, _, _ = strings.Cut(strings.TrimPrefix(target, "ssh://"), "@")
				}
			}
			left = append(left, l)
		}
	}
	return left
}

// leadsTo returns the host of the inventory to which those variables lead that were set
// together with one of them, or nil.
func (x inventoryIndex) leadsTo(variables []forge.Variable, v forge.Variable) *inventory.Host {
	for _, base := range ciBases {
		prefix, ok := strings.CutSuffix(v.Key, base)
		if !ok {
			continue
		}
		for _, t := range variables {
			if t.Key == prefix+inventory.DeployTargetVariable && t.Scope == v.Scope && t.Description == v.Description {
				target, _ := t.Value.Reveal() // it is no secret
				_, at, _ := strings.Cut(strings.TrimPrefix(target, "ssh://"), "@")
				return x.leads[at]
			}
		}
	}
	return nil
}

// markedTokens chooses the tokens of an owner that have our mark and work.
func markedTokens(owner forge.Owner, kind forge.TokenKind, made []forge.Token) (tokens []leftover) {
	for _, t := range made {
		m := titleMark.FindStringSubmatch(t.Name)
		if s := (registryLogin{kind: kind}); m != nil && t.Active {
			if s.user = m[1]; s.ours(t) {
				tokens = append(tokens, leftover{kind: leftToken, owner: owner, user: m[1], host: m[2], id: s.loginOf(strconv.FormatInt(t.ID, 10)), unused: t.NeverUsed})
			}
		}
	}
	return tokens
}

// unheld chooses, of the tokens or of the keys of a project, those of hosts that the
// inventory does not name; and where a user has more than it has hosts, those of hosts that
// it names: which host holds which one, the names do not tell, as a host may have got that
// of another one. A token that nobody has used yet, apply takes care of.
func (x inventoryIndex) unheld(project string, marked []leftover) (left []leftover) {
	has := map[string]int{}
	for _, l := range marked {
		if !l.unused {
			has[l.user]++
		}
	}
	for _, l := range marked {
		if !x.hosts[l.host] || has[l.user] > x.needs[l.user+" "+project] && !l.unused {
			left = append(left, l)
		}
	}
	return left
}
