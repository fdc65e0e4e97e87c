package inventory

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// A hostTable is a host with the places of its addresses.
type hostTable struct {
	Host
	address, ciAddress *node
}

// hosts reads [hosts.NAME] with [defaults.host].
func (r *reader) hosts(d document) []*Host {
	defaults := r.open(d.defaults.host, &hostDefaultsSection.section)
	defaults.partial = true
	hostDefaultsSection.fill(defaults, &hostTable{})
	var hosts []*Host
	called := map[string]*node{}
	for _, n := range r.namedTables(d.hosts, "hosts") {
		h := &hostTable{Host: Host{Name: n.name}}
		hostSection.fill(r.inherit(r.open(n, &hostSection.section), defaults), h)
		if h.CIAddress != "" && h.CIPort == 0 {
			h.CIPort = 22 // a runner has no ssh_config(5)
		}
		hosts = append(hosts, &h.Host)
		if h.Local {
			r.sameMachine(called, n, n.own(h.address), "local")
		} else if h.Address != "" {
			r.sameMachine(called, n, n.own(h.address), "address "+hostPort(h.Address, h.Port))
		}
		if h.CIAddress != "" {
			r.sameMachine(called, n, n.own(h.ciAddress), "ci_address "+hostPort(h.CIAddress, h.CIPort))
		}
	}
	return hosts
}

// namedTables returns the tables in n, and reports names that do not work.
func (r *reader) namedTables(n *node, of string) []*node {
	if n == nil {
		return nil
	}
	if n.table == nil {
		r.problem(n, "must be a table, not "+n.kind(), "write ["+of+".NAME]")
		return nil
	}
	for _, child := range n.children() {
		if what, hint := goodName(child.name); what != "" {
			r.problem(child, what, hint)
		}
	}
	return n.children()
}

// inherit adds the defaults to a table of a host or a deployment.
func (r *reader) inherit(t, defaults *table) *table {
	all := *t
	all.node = t.over(defaults.node, t.section.alternatives()...)
	return &all
}

// hostPort tells servers apart.
func hostPort(host string, port int) string {
	return strings.ToLower(host) + " " + strconv.Itoa(cmp.Or(port, 22))
}

// sameMachine reports at a place that the host of a table is the machine of
// another one that was called the same.
func (r *reader) sameMachine(called map[string]*node, n, at *node, name string) {
	other := called[name]
	if other == nil {
		called[name] = n
		return
	}
	r.problem(at, "is the machine of "+r.where(other)+" too", "write one table for it; deployments may have users of their own")
}

// own returns a key if it stands in n, and n if it is absent or a default.
func (n *node) own(key *node) *node {
	if key != nil && strings.HasPrefix(key.key, n.key+".") {
		return key
	}
	return n
}

// where names another table.
func (r *reader) where(n *node) string {
	line, _ := r.text.position(n.offset)
	return fmt.Sprintf("%s (line %d)", n.key, line)
}
