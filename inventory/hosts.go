package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// hosts reads [hosts.NAME] with [defaults.host].
func (r *reader) hosts(t, defaults *table) []*Host {
	def := defaults.sub("host")
	def.partial = true
	r.host(def)
	tables := r.namedTables(t.get("hosts"), "hosts")
	if len(tables) == 0 && t.get("hosts") == nil {
		t.missing("hosts", `write [hosts.web1] with address = "…"`)
	}
	var hosts []*Host
	called := map[string]*node{}
	for _, n := range tables {
		h := r.host(r.inherit(r.open(n, "host"), def))
		hosts = append(hosts, h)
		r.sameMachine(called, n, "address", h.Local, h.Address, h.Port)
		if h.CIAddress != "" {
			r.sameMachine(called, n, "ci_address", false, h.CIAddress, h.CIPort)
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
func (r *reader) inherit(t, defaults *table, either ...string) *table {
	all := *t
	all.node = t.over(defaults.node, either...)
	return &all
}

// host reads a host, or with a partial table the defaults of hosts.
func (r *reader) host(t *table) *Host {
	h := &Host{
		Name:     t.name,
		User:     t.string("user"),
		HostKeys: t.hostKeys("host_keys"),
		Identity: r.path(t.string("identity")),
		Become:   Become(t.choice("become")),
		Engine:   Engine(t.choice("engine")),
	}
	if n := t.get("become_password"); n != nil {
		h.BecomePassword = r.secret(n, anySecret)
	}
	if t.partial {
		return h
	}
	if s := t.need("address", `write address = "host", "host:port" or "local"`); s == "local" {
		h.Local = true
	} else if s != "" {
		h.Address, h.Port, _ = address(s)
	}
	if s := t.string("ci_address"); s == "local" {
		r.problem(t.get("ci_address"), "is this machine, which CI's runners are not", "write what they call it")
	} else if s != "" {
		h.CIAddress, h.CIPort, _ = address(s)
		if h.CIPort == 0 {
			h.CIPort = 22 // a runner has no ssh_config(5)
		}
	}
	return h
}

// choice reads one of the words of a key; the first is the default.
func (t *table) choice(key string) string {
	f, _ := formOf(t.of, key)
	n := t.get(key)
	if n == nil {
		return f.words[0]
	}
	s := t.one(n, func(s string) (what, hint string) {
		if slices.Contains(f.words, s) {
			return "", ""
		}
		last := len(f.words) - 1
		return quote(s) + " is unknown", "write " + strings.Join(f.words[:last], ", ") + " or " + f.words[last]
	})
	return cmp.Or(s, f.words[0])
}

// sameMachine reports two hosts that are one machine.
func (r *reader) sameMachine(called map[string]*node, n *node, key string, local bool, host string, port int) {
	if port == 0 {
		port = 22
	}
	id := fmt.Sprintf("%s %s %d", key, strings.ToLower(host), port)
	if local {
		id = "local"
	} else if host == "" {
		return
	}
	other := called[id]
	if other == nil {
		called[id] = n
		return
	}
	r.problem(n.own(key), "is the machine of "+r.where(other)+" too", "write one table for it; deployments may have users of their own")
}

// own returns the node of a key in n if it stands in n, else n.
func (n *node) own(key string) *node {
	if child := n.table[key]; child != nil && strings.HasPrefix(child.key, n.key+".") {
		return child
	}
	return n
}

// where names another table.
func (r *reader) where(n *node) string {
	line, _ := r.text.position(n.offset)
	return fmt.Sprintf("%s (line %d)", n.key, line)
}
