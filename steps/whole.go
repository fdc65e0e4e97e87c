package steps

import (
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision/forge"
)

// A whole is what follows from an inventory as a whole. For all of its hosts it is the same, so
// it is worked out once: a plan of thousands of hosts must not look at all of them for each.
type whole struct {
	inv    *inventory.Inventory
	titles map[string][]titled        // by the title
	hosts  map[string]map[string]bool // that have a user
	places map[place]bool             // of the variables of all deployments
	groups []forge.Owner              // that have variables of deployments
}

// titled is a user of a host in a project.
type titled struct{ user, host, project string }

func wholeOf(inv *inventory.Inventory) *whole {
	w := &whole{inv, map[string][]titled{}, map[string]map[string]bool{}, map[place]bool{}, nil}
	groups := map[string]bool{}
	for _, d := range inv.Deployments {
		w.add(titled{d.User, d.Host.Name, d.Project})
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

func (w *whole) add(t titled) {
	title := t.user + "@" + t.host
	w.titles[title] = append(w.titles[title], t)
	if w.hosts[t.user] == nil {
		w.hosts[t.user] = map[string]bool{}
	}
	w.hosts[t.user][t.host] = true
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

// otherTitles are the titles of tokens and deploy keys that the other hosts of the inventory
// have or may have for a user, in a project or, with "", in any. Whatever has one of these is
// theirs, whatever this host says.
type otherTitles struct {
	whole               *whole // nil: there is no other host
	user, host, project string
}

func (t target) otherTitles(project string) otherTitles {
	return otherTitles{t.whole(), t.deployment.User, t.host.Name, project}
}

func (o otherTitles) have(title string) bool {
	return o.whole != nil && slices.ContainsFunc(o.whole.titles[title], func(t titled) bool {
		return t.user == o.user && t.host != o.host && (o.project == "" || t.project == o.project)
	})
}

// some tells whether another host has the user, for whatever project.
func (o otherTitles) some() bool {
	if o.whole == nil {
		return false
	}
	hosts := o.whole.hosts[o.user]
	return len(hosts) > 1 || len(hosts) == 1 && !hosts[o.host]
}
