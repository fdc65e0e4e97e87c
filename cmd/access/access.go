// Package access says who can do what in a fleet: which project or group of
// GitLab holds a key, what that key opens on which host, and what can be
// reached with each credential if it is stolen. It knows the inventory and
// nothing else, and draws what it knows.
package access

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision/visible"
)

// A Map is all ways from GitLab to what runs on the hosts.
type Map struct {
	Paths []Path
	Admin Card // whoever has the inventory, and all that it refers to
}

// Columns are the headings of the cards of a [Path], and how one leads to the
// next.
var Columns = [...]struct{ Name, What string }{
	{"in GitLab", "whose jobs see"},
	{"a variable with a key", "that logs in as"},
	{"a user on a host", "but can only run"},
	{"the forced command", "which restarts"},
	{"a Compose project", "that runs"},
	{"images of a registry", "as CI has pushed them"},
}

// A Path is the way of one deployment on one host: each card leads to the next.
type Path [len(Columns)]Card

// A Card is one thing on the way. What is hidden or would steer a terminal is
// written out in all of its texts.
type Card struct {
	Kind   string // what it is: "group", "variable"
	Name   string
	Lines  []string // what else there is to say
	Stolen string   // what can be done with it by whoever steals it; "": it is no secret
}

func (c Card) equal(other Card) bool {
	return c.Kind == other.Kind && c.Name == other.Name && c.Stolen == other.Stolen && slices.Equal(c.Lines, other.Lines)
}

// Of returns the map of some deployments of an inventory. Those that share
// something stand side by side.
func Of(inv *inventory.Inventory, deployments []*inventory.Deployment) Map {
	var m Map
	order := map[string]int{}
	place := func(key string) int {
		if _, ok := order[key]; !ok {
			order[key] = len(order)
		}
		return order[key]
	}
	type placed struct {
		Path
		at [3]int
	}
	var all []placed
	for _, d := range deployments {
		p := pathOf(inv, d)
		at := [3]int{place("owner " + p[0].Name), place("host " + d.Host.Name), place("user " + d.User)}
		all = append(all, placed{p, at})
	}
	slices.SortStableFunc(all, func(a, b placed) int { return slices.Compare(a.at[:], b.at[:]) })
	for _, p := range all {
		m.Paths = append(m.Paths, p.Path)
	}
	m.Admin = admin(inv, deployments)
	return m
}

func pathOf(inv *inventory.Inventory, d *inventory.Deployment) Path {
	login := d.User + "@" + d.Host.Name
	p := Path{
		owner(d.Variables),
		{
			Kind: "variable", Name: d.Variables.Key(inventory.CIKeyVariable), Lines: []string{"for " + scope(d.Scope)},
			Stolen: fmt.Sprintf("deploys %s on %s again; no shell, no file", d.Name, d.Host.Name),
		},
		{
			Kind: "user", Name: login, Lines: []string{"at " + cmp.Or(d.Host.CIAddress, d.Host.Address)},
			Stolen: "root on " + d.Host.Name + ", by the group docker",
		},
		{Kind: "command", Name: "gate " + d.Name, Lines: []string{"on " + d.Host.Name, "deploy, status, verify: no more"}},
		{
			Kind: "Compose project", Name: d.Directory, Lines: []string{"clone of " + d.Project, "by deploy key " + login},
			Stolen: "reads " + strings.Join(projects(inv, d), " and ") + ", cannot push",
		},
		{
			Kind: "registry", Name: inv.Registry.Host, Lines: []string{"images of " + d.TokenGroup, "by token " + login},
			Stolen: "pulls all images of " + d.TokenGroup,
		},
	}
	if c := inv.Registry.Credential; c.Kind == inventory.Named {
		p[5].Lines = []string{"by login " + c.Username}
		p[5].Stolen = fmt.Sprintf("all that %s may do there", c.Username)
	}
	for _, r := range d.Registries {
		if c := r.Credential; c.Kind == inventory.Named {
			p[5].Lines = append(p[5].Lines, fmt.Sprintf("and %s by login %s", r.Host, c.Username))
			p[5].Stolen += fmt.Sprintf("; all that %s may do at %s", c.Username, r.Host)
		}
	}
	for i := range p {
		p[i] = p[i].visible()
	}
	return p
}

func owner(v inventory.Variables) Card {
	if v.Group != "" {
		return Card{Kind: "group", Name: v.Group, Lines: []string{"jobs of protected branches", "of all its projects"}}
	}
	c := Card{Kind: "project", Name: strings.Join(v.Projects, ", "), Lines: []string{"jobs of protected branches"}}
	if len(v.Projects) > 1 {
		c.Kind = "projects"
	}
	return c
}

func scope(scope string) string {
	if scope == "*" {
		return "every environment"
	}
	return scope
}

// projects returns what the key of a deploy user reads: one key for all that
// the user has on the host.
func projects(inv *inventory.Inventory, of *inventory.Deployment) []string {
	read := []string{of.Project}
	for _, d := range inv.Deployments {
		if d.Host == of.Host && d.User == of.User && !slices.Contains(read, d.Project) {
			read = append(read, d.Project)
		}
	}
	return read
}

// admin is about whoever applies the inventory.
func admin(inv *inventory.Inventory, deployments []*inventory.Deployment) Card {
	var hosts []string
	for _, d := range deployments {
		if !slices.Contains(hosts, d.Host.Name) {
			hosts = append(hosts, d.Host.Name)
		}
	}
	return Card{
		Name: "the admin's machine",
		Lines: []string{
			"root by SSH on " + strings.Join(hosts, ", "),
			"a token with the scope api for " + inv.GitLab.URL,
		},
		Stolen: "everything above, on every host",
	}.visible()
}

func (c Card) visible() Card {
	c.Name, c.Stolen = visible.String(c.Name), visible.String(c.Stolen)
	for i := range c.Lines {
		c.Lines[i] = visible.String(c.Lines[i])
	}
	return c
}

// text returns all that a card says, line by line.
func (c Card) text() []string {
	lines := append([]string{strings.TrimSpace(c.Kind + " " + c.Name)}, c.Lines...)
	if c.Stolen != "" {
		lines = append(lines, "if stolen: "+c.Stolen)
	}
	return lines
}
