package inventory

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// A deploymentTable is a deployment before it is on a host, with the places of
// what several keys say together. They are nil where a key is absent, and may be
// those of defaults.
type deploymentTable struct {
	Deployment
	overridePath string // of the file, not of this key

	host, hosts, user, directory, environment, variables, override, parameters, env, files, registries *node
}

// A placed is a deployment on one host, with its table.
type placed struct {
	*Deployment
	table *deploymentTable
	node  *node
}

// deployments reads [deployments.NAME] with [defaults.deployment], and makes
// one for each host of each.
func (r *reader) deployments(doc document, inv *Inventory) []*Deployment {
	defaults := r.open(doc.defaults.deployment, &deploymentSection.section)
	defaults.partial = true
	def := r.deployment(defaults)
	defaultParameters := r.parameters(def.parameters)

	names := make([]string, len(inv.Hosts))
	hosts := make(map[string]*Host, len(inv.Hosts))
	for i, h := range inv.Hosts {
		names[i], hosts[h.Name] = h.Name, h
	}
	if doc.hosts == nil || doc.hosts.table == nil {
		hosts = nil // which is a problem already
	}
	var all []placed
	used := map[*Registry]bool{}
	for _, n := range r.namedTables(doc.deployments, "deployments") {
		full := r.inherit(r.open(n, &deploymentSection.section), defaults)
		full.each(n, defaults.node)
		d := r.deployment(full)
		r.appProblems(d)
		d.TokenGroup = cmp.Or(inv.Registry.Group, namespace(d.Project))
		d.Registries = r.chosen(d.registries, inv.Registries, used)
		ownParameters := d.parameters
		if n.own(ownParameters) == n {
			ownParameters = nil
		}
		parameters := r.parameters(ownParameters).over(defaultParameters)
		chosen := full.hosts(d, hosts, names)
		several := len(chosen) > 1
		if several && d.environment == nil {
			r.problem(n.own(d.hosts), "several hosts need an environment, to have variables of their own each", `write environment = "production" beside it`)
		}
		for _, h := range chosen {
			one := d.Deployment
			one.Host, one.Scope = h, d.Environment
			switch {
			case d.environment == nil && !several:
				one.Scope = "*"
			case d.Environment != "" && d.hosts != nil: // also of one, so that no host that comes or goes renames it
				one.Scope += "/" + h.Name
			}
			if len(one.Scope) > maxEnvironment {
				r.problem(n.own(d.environment), "is too long with the name of the host: "+quote(one.Scope), "GitLab takes 255 characters")
			}
			one.Parameters = parameters.values()
			one.Override = r.overrideOf(d, &one, parameters)
			all = append(all, placed{&one, d, n})
		}
		if len(chosen) > 0 { // else nobody has looked
			r.unused(ownParameters, anOverride(d.override != nil))
		}
	}
	if len(all) > 0 {
		r.unused(def.parameters, withOverride)
	}
	if len(all) > 0 {
		r.idle(doc, inv.Registries, used)
	}
	r.collisions(all, inv)

	deployments := make([]*Deployment, len(all))
	for i, d := range all {
		deployments[i] = d.Deployment
	}
	return deployments
}

// deployment reads what all hosts of a deployment share.
func (r *reader) deployment(t *table) *deploymentTable {
	d := &deploymentTable{Deployment: Deployment{Name: t.name}}
	deploymentSection.fill(t, d)
	if v := d.variables; v != nil && v.table != nil {
		var given []string
		for _, name := range variablesSection.alternatives() {
			if v.table[name] != nil {
				given = append(given, name)
			}
		}
		if len(given) != 1 {
			r.problem(v, "must have either group or projects", variablesHint(d))
		}
	}
	return d
}

func directoryHint(d *deploymentTable) string {
	directory := d.Project[strings.LastIndexByte(d.Project, '/')+1:]
	if what, _ := composeName(directory); what != "" {
		directory = "frobnicator"
	}
	return "write directory = " + strconv.Quote(directory) + ", which also names the Compose project"
}

func variablesHint(d *deploymentTable) string {
	return "write variables = { group = " + quote(cmp.Or(namespace(d.Project), "transmogrify")) + " }, or { projects = […] }"
}

// hosts reads host or hosts; known are all hosts, nil if they cannot be read,
// and names their names.
func (t *table) hosts(d *deploymentTable, known map[string]*Host, names []string) []*Host {
	one, many := d.host, d.hosts
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
		host, port := h.Address, h.Port
		if h.CIAddress != "" {
			host, port = h.CIAddress, h.CIPort
		}
		if strings.Contains(host, ":") && port != 0 && port != 22 {
			return fmt.Sprintf("CI cannot call %s: ssh takes no IPv6 address with a port, as in [%s]:%d", quote(s), host, port), `write ci_address = "NAME:PORT" in its table, with a host name`
		}
		return "", ""
	}
	if one != nil {
		if h := known[t.one(one, rule)]; h != nil {
			hosts = append(hosts, h)
		}
		return hosts
	}
	for _, name := range t.list(many, rule) {
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
				r.problem(d.node.own(d.table.variables),
					fmt.Sprintf("%s has %s for scope %s from %s already", quote(path), d.Variables.Key(CIKeyVariable), quote(d.Scope), r.where(other.node)),
					`write another environment, or a prefix here: prefix = "OTHER_"`)
			}
		}
		if d.Directory != "" {
			key := onHost{d.Host, d.Directory}
			if other, ok := directories[key]; !ok {
				directories[key] = d
			} else if other.User == d.User {
				r.problem(d.node.own(d.table.directory), fmt.Sprintf("%s on host %s belongs to %s already", quote(d.Directory), d.Host.Name, r.where(other.node)), "write another one")
			} else {
				r.problem(d.node.own(d.table.directory), fmt.Sprintf("host %s has a Compose project %s of another user already, from %s", d.Host.Name, quote(d.Directory), r.where(other.node)), "write another one: the directory names the project")
			}
		}
		if d.User != "" && d.TokenGroup != "" && inv.Registry.Credential.Kind != Named {
			key := onHost{d.Host, d.User}
			if other, ok := users[key]; !ok {
				users[key] = d
			} else if !strings.EqualFold(other.TokenGroup, d.TokenGroup) {
				r.problem(d.node.own(d.table.user),
					fmt.Sprintf("%s on host %s would need two logins to the registry, for group %s and for group %s of %s, and docker keeps one", quote(d.User), d.Host.Name, quote(d.TokenGroup), quote(other.TokenGroup), r.where(other.node)),
					"write another user, or a group above both as registry.group")
			}
		}
	}
}
