package inventory

import (
	"slices"
)

// A registryTable is a registry with the place of its host.
type registryTable struct {
	Registry
	host *node
}

// The names by which people know Docker Hub, and its host in the name of an image.
const dockerHub = "docker.io"

var dockerHubNames = []string{"hub.docker.com", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}

func namedRegistryHost(s string) (what, hint string) {
	if slices.Contains(dockerHubNames, s) {
		return quote(s) + " is Docker Hub, whose images have another host in their names", "write host = " + quote(dockerHub)
	}
	return registryHost(s)
}

// Key returns what stands for the registry in the config.json of docker.
func (r Registry) Key() string {
	if r.Host == dockerHub {
		return "https://index.docker.io/v1/"
	}
	return r.Host
}

// registries reads [registries.NAME].
func (r *reader) registries(doc document) []*Registry {
	var all []*Registry
	hosts := map[string]*node{}
	if doc.registry.Host != "" {
		hosts[doc.registry.Host] = &node{key: "registry"}
	}
	for _, n := range r.namedTables(doc.registries, "registries") {
		t := &registryTable{Registry: Registry{Name: n.name}}
		otherRegistrySection.fill(r.open(n, &otherRegistrySection.section), t)
		all = append(all, &t.Registry)
		if n.table == nil || t.Host == "" {
			continue
		}
		other := hosts[t.Host]
		switch {
		case other == nil:
			hosts[t.Host] = n
		case other.key == "registry":
			r.problem(t.host, "is the host of [registry] already", "docker keeps one login for each registry and user")
		default:
			r.problem(t.host, "is the host of "+r.where(other)+" already", "docker keeps one login for each registry and user: write one table for it")
		}
		if n.table["ca_file"] == nil && n.table["credential"] == nil {
			r.problem(n, "has neither a credential nor a ca_file, so that nothing is to be done for it", `write credential = { username = "…", password = { env = "…" } }, or leave the table out`)
		}
		if n.table["ca_file"] != nil && t.Host == dockerHub {
			r.problem(n.table["ca_file"], "Docker Hub has no private CA", "leave it out; a mirror of Docker Hub is a registry with a host of its own")
		}
	}
	return all
}

// chosen returns the registries that a deployment names. What was used of them
// is kept in used.
func (r *reader) chosen(n *node, all []*Registry, used map[*Registry]bool) []*Registry {
	if n == nil {
		return nil
	}
	if n.array == nil {
		r.problem(n, "must be an array of strings, not "+n.kind(), `write it in brackets: ["…"]`)
		return nil
	}
	known := make(map[string]*Registry, len(all))
	var names []string
	for _, one := range all {
		known[one.Name] = one
		names = append(names, one.Name)
	}
	rule := func(s string) (what, hint string) {
		if known[s] != nil {
			return "", ""
		}
		if _, hint := r.guess(s, names); hint != "" {
			return "there is no registry " + quote(s), hint
		}
		return "there is no registry " + quote(s), "write [" + join("registries", s) + "] for it; every deployment has that of [registry]"
	}
	var chosen []*Registry
	for _, item := range n.array {
		one := known[r.one(item, rule)]
		switch {
		case one == nil:
		case slices.Contains(chosen, one):
			r.problem(item, "stands here twice", "")
		default:
			chosen = append(chosen, one)
			used[one] = true
		}
	}
	return chosen
}

// idle reports the registries that no deployment names: nobody logs in there.
func (r *reader) idle(doc document, all []*Registry, used map[*Registry]bool) {
	for _, one := range all {
		if n := doc.registries.table[one.Name]; !used[one] && n.table != nil {
			r.problem(n, "is named by no deployment, so that nobody logs in there", "write registries = ["+quote(one.Name)+"] in the deployments that need it, or in [defaults.deployment]")
		}
	}
}
