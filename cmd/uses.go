package cmd

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"provision/inventory"
	"provision/provision/hint"
	"provision/provision/visible"
)

// usesOf tells what the commands that look at hosts, plan among them, would do
// because an inventory says so: the commands that they run and the secrets that
// they read, with the rights of whoever calls them, and where they connect to.
func usesOf(inv *inventory.Inventory) []string {
	var keys []string
	sources, users := map[string]inventory.Secret{}, map[string][]string{}
	use := func(s inventory.Secret, what string) {
		if s.IsZero() {
			return
		}
		key := s.Key()
		if _, had := sources[key]; !had {
			keys = append(keys, key)
			sources[key] = s
		}
		if !slices.Contains(users[key], what) {
			users[key] = append(users[key], what)
		}
	}
	use(inv.GitLab.Token, "the token of GitLab")
	for _, r := range append([]*inventory.Registry{&inv.Registry}, inv.Registries...) {
		use(r.Credential.Password, "the password of the registry "+r.Host)
	}
	for _, h := range inv.Hosts {
		use(h.BecomePassword, "the password of sudo on "+h.Name)
	}
	for _, d := range inv.Deployments {
		for _, v := range d.Env {
			use(v.Secret, "the variable "+v.Name+" of "+d.Name)
		}
		for _, f := range d.Files {
			use(f.Secret, "the file "+f.Path+" of "+d.Name)
		}
	}
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, visible.Line(fmt.Sprintf(format, args...))) }
	for _, key := range keys {
		what := strings.Join(users[key], ", ")
		if s := sources[key]; len(s.Command) > 0 {
			add("runs %s: %s", shellWords(s.Command), what)
		} else {
			add("reads %s: %s", s, what)
		}
	}
	if inv.GitLab.URL != "" {
		add("sends the token to %s", inv.GitLab.URL)
	}
	for _, h := range inv.Hosts {
		if h.Local {
			add("gets the rights of root on this machine, as %s", h.Name)
			continue
		}
		add("logs in to %s, as %s", addressOf(h), h.Name)
	}
	return lines
}

// shellWords writes the words of a command as a shell would take them.
func shellWords(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = hint.Quote(word)
	}
	return strings.Join(quoted, " ")
}

// addressOf is where a host is, as far as the inventory says.
func addressOf(h *inventory.Host) string {
	address := h.Address
	if h.Port != 0 {
		address = net.JoinHostPort(address, strconv.Itoa(h.Port))
	}
	if h.User != "" {
		address = h.User + "@" + address
	}
	return address
}
