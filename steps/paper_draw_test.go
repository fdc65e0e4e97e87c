package steps

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision/forge"
)

var paperAddresses = []string{"192.0.2.1", "192.0.2.2"}

const paperHead = `
[gitlab]
url = "https://git.example.com"
host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0"]
[registry]
host = "registry.example.com"
`

// draw returns a valid inventory: deployments with any names, users, directories,
// hosts, projects, and places in GitLab.
func (w *paperWorld) draw() *inventory.Inventory {
	one := func(list ...string) string { return list[w.r.IntN(len(list))] }
	for {
		var text strings.Builder
		fmt.Fprintf(&text, "%scredential = %q\n", paperHead, one("group-access-token", "deploy-token"))
		var names []string
		drawn := w.drawHosts()
		for _, address := range paperAddresses {
			if name := drawn[address]; name != "" {
				names = append(names, name)
				fmt.Fprintf(&text, "[hosts.%s]\naddress = %q\nuser = \"admin\"\n", name, address)
			}
		}
		if len(names) == 0 {
			continue
		}
		labels := []string{"a", "b", "c", "d"}
		w.r.Shuffle(4, func(i, j int) { labels[i], labels[j] = labels[j], labels[i] })
		for _, name := range labels[:1+w.r.IntN(3)] {
			user := one("deploy", "runner")
			hosts := fmt.Sprintf("host = %q", one(names...))
			if w.r.IntN(5) == 0 && len(names) == 2 {
				hosts = fmt.Sprintf("hosts = [%q, %q]", names[0], names[1])
			}
			directory := one("x", "y") // of another project it would be no clone
			project := map[string]string{"x": "g/one", "y": "g/two"}[directory]
			variables := one(`group = "g"`, fmt.Sprintf("projects = [%q]", project))
			fmt.Fprintf(&text, "[deployments.%s]\n%s\nproject = %q\nuser = %q\ndirectory = %q\nenvironment = %q\nvariables = { %s%s }\n",
				name, hosts, project, user, directory, one("production", "staging"), variables, one("", `, prefix = "APP_"`))
		}
		if inv, err := inventory.Parse("inventory.toml", []byte(text.String()), "."); err == nil && !overrides(inv) && w.sees(inv) {
			w.leave(inv)
			return inv
		}
	}
}

// drawHosts returns the names that machines have in a new inventory, by their addresses:
// what is in one gets another name now and then, or goes; what is in none may come; and
// now and then one takes the name of the other, which gets its name or a new one.
func (w *paperWorld) drawHosts() map[string]string {
	names := map[string]string{}
	for _, address := range paperAddresses {
		if name := w.drawHost(address); name != "" {
			names[address] = name
		}
	}
	one, other := paperAddresses[0], paperAddresses[1]
	if w.r.IntN(2) == 0 {
		one, other = other, one
	}
	if len(names) == 2 && w.r.IntN(8) == 0 {
		names[one], names[other] = names[other], names[one]
		if w.r.IntN(2) == 0 {
			names[other] = w.newName()
		}
	}
	return names
}

// drawHost returns the name of one machine, or "".
func (w *paperWorld) drawHost(address string) string {
	is := slices.ContainsFunc(w.old.Hosts, func(h *inventory.Host) bool { return h.Address == address })
	if w.last[address] == "" || is && w.r.IntN(10) > 0 || !is && w.r.IntN(2) == 0 {
		return cmp.Or(w.last[address], w.newName())
	}
	if is == (w.r.IntN(2) == 0) {
		return ""
	}
	return w.newName()
}

func (w *paperWorld) newName() string {
	w.names++
	return fmt.Sprintf("web%d", w.names)
}

// sees tells whether an inventory names all places in GitLab that the old one has something
// in, if that has a host that this one has not: what is elsewhere nobody looks for.
func (w *paperWorld) sees(inv *inventory.Inventory) bool {
	old, places := leftPlacesOf(w.old), leftPlacesOf(inv)
	all := func(is, was []forge.Owner) bool {
		return !slices.ContainsFunc(was, func(o forge.Owner) bool { return !slices.Contains(is, o) })
	}
	if len(w.gone(inv)) == 0 {
		return true
	}
	return all(places.variables, old.variables) && all(places.groups, old.groups) &&
		!slices.ContainsFunc(old.projects, func(p string) bool { return !slices.Contains(places.projects, p) })
}

// gone returns the machines of the old inventory that a new one has not.
func (w *paperWorld) gone(inv *inventory.Inventory) (addresses []string) {
	for _, was := range w.old.Hosts {
		if !slices.ContainsFunc(inv.Hosts, func(h *inventory.Host) bool { return h.Address == was.Address }) {
			addresses = append(addresses, was.Address)
		}
	}
	return addresses
}

// leave takes the machines away that an inventory has not. What comes later is a new one,
// which may have the old name.
func (w *paperWorld) leave(inv *inventory.Inventory) {
	for _, address := range w.gone(inv) {
		w.hosts[address].empty()
	}
	for _, h := range inv.Hosts {
		w.last[h.Address] = h.Name
	}
}

// overrides tells whether the variables of a deployment hide those of another one from its
// jobs, which the step overridden-variables tells of.
func overrides(inv *inventory.Inventory) bool {
	seen := map[string]bool{}
	for _, d := range inv.Deployments {
		key := d.Project + " " + d.Variables.Prefix + " " + d.Scope
		if seen[key] {
			return true
		}
		seen[key] = true
	}
	return false
}

func describeAll(inv *inventory.Inventory) string {
	var all []string
	for _, d := range inv.Deployments {
		all = append(all, fmt.Sprintf("%s: %s (%s) ~%s/%s of %s, %s", d.Name, d.Host.Name, d.Host.Address, d.User, d.Directory, d.Project, joinAnd(func() (list []string) {
			for _, p := range placesOf(d) {
				list = append(list, p.String())
			}
			return list
		}())))
	}
	return strings.Join(all, "\n")
}
