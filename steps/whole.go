package steps

import (
	"strings"

	"provision/inventory"
	"provision/provision/forge"
)

// A whole is what follows from an inventory as a whole. For all of its hosts it is the same, so
// it is worked out once: a plan of thousands of hosts must not look at all of them for each.
type whole struct {
	inv    *inventory.Inventory
	hosts  map[string]map[string]bool // that have a user
	places map[place]bool             // of the variables of all deployments
	groups []forge.Owner              // that have variables of deployments
}

func wholeOf(inv *inventory.Inventory) *whole {
	w := &whole{inv, map[string]map[string]bool{}, map[place]bool{}, nil}
	groups := map[string]bool{}
	for _, d := range inv.Deployments {
		if w.hosts[d.User] == nil {
			w.hosts[d.User] = map[string]bool{}
		}
		w.hosts[d.User][d.Host.Name] = true
		for _, p := range placesOf(d) {
			w.places[p] = true
		}
		if group := d.Variables.Group; group != "" && !groups[strings.ToLower(group)] {
			groups[strings.ToLower(group)] = true
			w.groups = append(w.groups, forge.Owner{Kind: forge.GroupOwner, Path: group})
		}
	}
	return w
}

// whole is that of the inventory.
func (t target) whole() *whole { return t.given.knowing(t.inv).whole }

// knowing returns a Given that has the [whole] of an inventory.
func (g Given) knowing(inv *inventory.Inventory) Given {
	if g.whole == nil || g.whole.inv != inv {
		g.whole = wholeOf(inv)
	}
	return g
}

// Know has [For] work out what follows from the inventory as a whole now, once for all of its
// hosts. The inventory may not change from then on.
func (g *Given) Know(inv *inventory.Inventory) { *g = g.knowing(inv) }

// otherTitles are the titles of tokens that the other hosts of the inventory have or may have
// for a user.
type otherTitles struct {
	whole      *whole // nil: there is no other host
	user, host string
}

func (t target) otherTitles() otherTitles {
	return otherTitles{t.whole(), t.deployment.User, t.host.Name}
}

func (o otherTitles) have(title string) bool {
	host, ok := strings.CutPrefix(title, o.user+"@")
	return ok && host != o.host && o.whole != nil && o.whole.hosts[o.user][host]
}

// some tells whether another host has the user.
func (o otherTitles) some() bool {
	if o.whole == nil {
		return false
	}
	hosts := o.whole.hosts[o.user]
	return len(hosts) > 1 || len(hosts) == 1 && !hosts[o.host]
}
