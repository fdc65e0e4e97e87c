package inventory

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// placed is a deployment with the table that it comes from.
type placed struct {
	*Deployment
	node *node
}

// deployments reads [deployments.NAME] with [defaults.deployment], and makes
// one for each host of each.
func (r *reader) deployments(t, defaults *table, inv *Inventory) []*Deployment {
	def := defaults.sub("deployment")
	def.partial = true
	r.deployment(def)
	r.overridePath(def)
	defaultParameters := r.parameters(def.get("parameters"))

	names := make([]string, len(inv.Hosts))
	hosts := make(map[string]*Host, len(inv.Hosts))
	for i, h := range inv.Hosts {
		names[i], hosts[h.Name] = h.Name, h
	}
	if n := t.get("hosts"); n == nil || n.table == nil {
		hosts = nil // which is a problem already
	}
	var all []placed
	for _, n := range r.namedTables(t.get("deployments"), "deployments") {
		own := r.open(n, "deployment")
		full := r.inherit(own, def, "host", "hosts")
		d := r.deployment(full)
		d.TokenGroup = inv.Registry.Group
		if d.TokenGroup == "" {
			d.TokenGroup = namespace(d.Project)
		}
		parameters := r.parameters(own.get("parameters")).over(defaultParameters)
		chosen := full.hosts(hosts, names)
		several := len(chosen) > 1
		if several && full.get("environment") == nil {
			r.problem(n.own("hosts"), "several hosts need an environment, to have variables of their own each", `write environment = "production" beside it`)
		}
		for _, h := range chosen {
			one := *d
			one.Host, one.Scope = h, d.Environment
			switch {
			case full.get("environment") == nil && !several:
				one.Scope = "*"
			case d.Environment != "" && full.get("hosts") != nil: // also of one, so that no host that comes or goes renames it
				one.Scope += "/" + h.Name
			}
			if len(one.Scope) > maxEnvironment {
				r.problem(n.own("environment"), "is too long with the name of the host: "+quote(one.Scope), "GitLab takes 255 characters")
			}
			one.Parameters = parameters.values()
			one.Override = r.override(full, &one, parameters)
			all = append(all, placed{&one, n})
		}
		r.unused(own.get("parameters"), full.get("override") != nil, len(chosen) > 0)
	}
	r.unused(def.get("parameters"), true, len(all) > 0)
	r.collisions(all, inv)

	deployments := make([]*Deployment, len(all))
	for i, d := range all {
		deployments[i] = d.Deployment
	}
	return deployments
}

// deployment reads what all hosts of a deployment share.
func (r *reader) deployment(t *table) *Deployment {
	d := &Deployment{
		Name:        t.name,
		Project:     t.need("project", `write project = "transmogrify/frobnicator", the one that holds the compose.yaml`),
		User:        t.need("user", `write user = "deploy-user"`),
		Environment: t.string("environment"),
		Branch:      t.string("branch"),
		Rollback:    t.bool("rollback"),
		KeepImages:  t.int("keep_images"),
		Logs:        t.int("logs"),
		Version:     t.string("version"),
		Before:      t.string("before"),
	}
	d.Wait, _ = time.ParseDuration(cmp.Or(t.string("wait"), defaultWait)) // held to its rule
	directory := d.Project[strings.LastIndexByte(d.Project, '/')+1:]
	if what, _ := composeName(directory); what != "" {
		directory = "frobnicator"
	}
	d.Directory = t.need("directory", "write directory = "+strconv.Quote(directory)+", which also names the Compose project")

	group := namespace(d.Project)
	if group == "" {
		group = "transmogrify"
	}
	if t.get("variables") == nil {
		t.missing("variables", "write variables = { group = "+quote(group)+" }, or { projects = […] }")
		return d
	}
	v := t.sub("variables")
	d.Variables = Variables{
		Group:    v.string("group"),
		Projects: v.strings("projects"),
		Prefix:   v.string("prefix"),
	}
	if v.node.table != nil && (v.get("group") == nil) == (v.get("projects") == nil) {
		r.problem(v.node, "must have either group or projects", "write variables = { group = "+quote(group)+" }, or { projects = […] }")
	}
	return d
}

// hosts reads host or hosts; known are all hosts, nil if they cannot be read,
// and names their names.
func (t *table) hosts(known map[string]*Host, names []string) []*Host {
	one, many := t.get("host"), t.get("hosts")
	example := "web1"
	if len(names) > 0 {
		example = names[0]
	}
	hint := "write host = " + quote(example) + `, or hosts = ["…", "…"]`
	switch {
	case one == nil && many == nil:
		t.missing("host", hint)
		return nil
	case one != nil && many != nil:
		t.problem(many, "stands beside host", "write one of the two")
		return nil
	case one != nil && one.array != nil:
		t.problem(one, "must be a string, not an array", hint)
		return nil
	case many != nil && many.array == nil:
		t.problem(many, "must be an array of strings, not "+many.kind(), hint)
		return nil
	}
	if known == nil {
		return nil
	}
	var hosts []*Host
	rule := func(s string) (what, hint string) {
		h := known[s]
		if h == nil {
			_, hint := t.guess(s, names)
			if hint == "" {
				hint = "write [" + join("hosts", s) + "] for it"
			}
			return "there is no host " + quote(s), hint
		}
		if h.Local && h.CIAddress == "" {
			return "CI cannot call " + quote(s) + ", whose address is local", `write ci_address = "…" in its table`
		}
		return "", ""
	}
	if one != nil {
		if h := known[t.string("host", rule)]; h != nil {
			hosts = append(hosts, h)
		}
		return hosts
	}
	for _, name := range t.strings("hosts", rule) {
		hosts = append(hosts, known[name])
	}
	return hosts
}

// collisions reports what two deployments cannot both have.
func (r *reader) collisions(all []placed, inv *Inventory) {
	type variable struct{ owner, prefix, scope string }
	type onHost struct {
		host *Host
		name string
	}
	variables := map[variable]placed{}
	directories := map[onHost]placed{}
	users := map[onHost]placed{}
	for _, d := range all {
		for _, path := range d.Variables.owners() {
			// Paths in GitLab are the same in upper and lower case.
			key := variable{strings.ToLower(path), d.Variables.Prefix, d.Scope}
			if d.Scope == "" {
				continue // its environment is wrong
			}
			if other, ok := variables[key]; !ok {
				variables[key] = d
			} else {
				r.problem(d.node.own("variables"),
					fmt.Sprintf("%s has %s for scope %s from %s already", quote(path), d.Variables.Key(CIKeyVariable), quote(d.Scope), r.where(other.node)),
					`write another environment, or a prefix here: prefix = "OTHER_"`)
			}
		}
		if d.Directory != "" {
			key := onHost{d.Host, d.Directory}
			if other, ok := directories[key]; !ok {
				directories[key] = d
			} else if other.User == d.User {
				r.problem(d.node.own("directory"), fmt.Sprintf("%s on host %s belongs to %s already", quote(d.Directory), d.Host.Name, r.where(other.node)), "write another one")
			} else {
				r.problem(d.node.own("directory"), fmt.Sprintf("host %s has a Compose project %s of another user already, from %s", d.Host.Name, quote(d.Directory), r.where(other.node)), "write another one: the directory names the project")
			}
		}
		if d.User != "" && d.TokenGroup != "" && inv.Registry.Credential.Kind != Named {
			key := onHost{d.Host, d.User}
			if other, ok := users[key]; !ok {
				users[key] = d
			} else if !strings.EqualFold(other.TokenGroup, d.TokenGroup) {
				r.problem(d.node.own("user"),
					fmt.Sprintf("%s on host %s would need two logins to the registry, for group %s and for group %s of %s, and docker keeps one", quote(d.User), d.Host.Name, quote(d.TokenGroup), quote(other.TokenGroup), r.where(other.node)),
					"write another user, or a group above both as registry.group")
			}
		}
	}
}
