package verify

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"provision/provision/hint"
	"provision/provision/visible"
)

// A pageShared stands at a host for a finding that others have as well.
type pageShared struct {
	ID, State, Word  string
	Deployment, Step string
	Others           int
}

// gather takes the findings that several hosts have out of these, and tells of each
// once.
func (p *page) gather(file string) {
	key := func(f pageFinding) string {
		f.Commands = nil // they name the host
		return fmt.Sprintf("%q", fmt.Sprintf("%+v", f))
	}
	hosts := map[string][]string{}
	for _, h := range p.Hosts {
		for _, f := range h.Findings {
			if k := key(f); !slices.Contains(hosts[k], h.Name) {
				hosts[k] = append(hosts[k], h.Name)
			}
		}
	}
	ids := map[string]string{}
	for i := range p.Hosts {
		h := &p.Hosts[i]
		var own []pageFinding
		for _, f := range h.Findings {
			k := key(f)
			if len(hosts[k]) < 2 {
				own = append(own, f)
				continue
			}
			if ids[k] == "" {
				ids[k] = fmt.Sprintf("finding-%d", len(ids)+1)
				shared := f
				shared.ID, shared.Hosts = ids[k], hosts[k]
				shared.Commands = commandsFor(f, file, hosts[k]...)
				p.Shared = append(p.Shared, shared)
			}
			h.Shared = append(h.Shared, pageShared{ids[k], f.State, f.Word, f.Deployment, f.Step, len(hosts[k]) - 1})
		}
		h.Findings = own
	}
}

// commandsFor are the commands of provision that mend a finding: what apply would
// do, it does; and a key that can do too much is replaced after that.
func commandsFor(f pageFinding, file string, hosts ...string) (all []string) {
	limit := " --limit " + hint.Quote(strings.Join(hosts, ",")) + " " + hint.Quote(file)
	apply := slices.ContainsFunc(f.Plan, func(c pageChange) bool { return !c.Later })
	if apply || f.State == "breach" {
		command := "provision apply"
		if slices.ContainsFunc(f.Plan, func(c pageChange) bool { return c.Interrupts }) {
			command += " --interrupt"
		}
		all = append(all, visible.String(command+limit))
	}
	if f.State == "breach" {
		all = append(all, visible.String("provision rotate-key --only ci-key"+limit))
	}
	return all
}

// commandForm is a command in a hint, from its name to where the sentence goes on.
var commandForm = regexp.MustCompile(`\b(?:provision (?:plan|apply|verify|remove|clean|rotate-key)|git -C|docker compose|systemctl|usermod|groupdel|dpkg|snap)\b(?: [^\s;,]*[^\s;,.])*`)

// pageHint tells the commands of a hint from its words.
func pageHint(text string) (parts []pagePart) {
	end := 0
	add := func(text string, command bool) {
		if text != "" {
			parts = append(parts, pagePart{text, command})
		}
	}
	for _, at := range commandForm.FindAllStringIndex(text, -1) {
		add(text[end:at[0]], false)
		add(text[at[0]:at[1]], true)
		end = at[1]
	}
	add(text[end:], false)
	return parts
}
