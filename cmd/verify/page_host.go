package verify

import (
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"regexp"
	"slices"
	"strings"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/inventory"
	"provision/provision"
	"provision/provision/hint"
	"provision/provision/visible"
	"provision/steps"
)

func (v *Verification) pageHost(inv *inventory.Inventory, h *inventory.Host, deployments []*inventory.Deployment, file string) pageHost {
	p := pageHost{Name: visible.String(h.Name), Address: visible.String(cmp.Or(h.Address, h.CIAddress)), State: "ok"}
	for _, d := range deployments {
		p.Deployments = append(p.Deployments, visible.String(d.Name))
		if l, ok := v.statuses[d]; ok {
			p.Standing = append(p.Standing, standingOf(inv, d, l))
		}
	}
	find := func(state string, f pageFinding, reasons ...finding) {
		f.State, f.Word, f.Reasons = state, findingWords[state], pageReasons(reasons)
		f.Commands = commandsFor(f, file, h.Name)
		if state == "unseen" {
			f.Word = v.mode.needs(1)
		}
		if slices.Index(badness, state) < slices.Index(badness, p.State) {
			p.State = state
		}
		if state == "unchecked" || state == "unseen" {
			p.Partly = append(p.Partly, f)
			return
		}
		p.Findings = append(p.Findings, f)
	}
	ok := map[string]int{}
	for _, verdict := range v.verdicts[h.Name] {
		p.counts.add(verdict)
		at := pageFinding{Deployment: visible.String(verdict.deployment), Step: visible.String(verdict.step)}
		if strings.HasSuffix(at.Step, " "+at.Deployment) {
			at.Deployment = "" // it is said already
		}
		if len(verdict.breaches) > 0 {
			find("breach", at, plainly(verdict.breaches...)...)
		}
		if len(verdict.wrong) > 0 {
			f := at
			for _, c := range verdict.plan {
				f.Plan = append(f.Plan, pageChange{visible.String(c.String()), pageLines(c.Detail), c.Do == nil, c.Interrupts.What != ""})
			}
			find("drift", f, verdict.wrong[len(verdict.plan):]...)
		}
		if len(verdict.unchecked) > 0 {
			find("unchecked", at, finding{text: strings.Join(verdict.unchecked, "; ")})
		}
		if len(verdict.unseen) > 0 {
			find("unseen", at, finding{text: strings.Join(verdict.unseen, "; ")})
		}
		if len(verdict.notes) > 0 {
			p.notes += len(verdict.notes)
			find("note", at, verdict.notes...)
		}
		if verdict.ok() {
			ok[at.Step]++
		} else {
			p.drift = true
		}
	}
	if err := v.errs[h.Name]; err != nil {
		if p.lost.deployments = v.partly[h.Name]; p.lost.deployments == nil {
			p.lost.hosts = 1
		}
		for _, err := range output.Split(err) {
			find("error", pageFinding{}, finding{strings.TrimPrefix(err.Error(), h.Name+": "), hint.Of(err)})
		}
	}
	slices.SortStableFunc(p.Findings, func(a, b pageFinding) int {
		return cmp.Compare(slices.Index(badness, a.State), slices.Index(badness, b.State))
	})
	for _, step := range slices.Sorted(maps.Keys(ok)) {
		p.OK = append(p.OK, pageOK{step, ok[step]})
	}
	p.words(v.mode)
	return p
}

// words says how a host is, and what was counted there, as the last line of what
// is printed does.
func (p *pageHost) words(m Mode) {
	p.Word = "ok"
	if p.drift || p.lost.any() {
		p.Word = cmp.Or(findingWords[p.State], p.State)
	}
	if p.State == "error" && p.lost.hosts == 0 {
		p.Word = p.lost.String() + " " + p.Word
	}
	if p.notes > 0 {
		p.Word += ", " + output.Count(p.notes, "note")
	}
	if p.counts.unchecked > 0 && !p.drift && !p.lost.any() {
		p.Word += ", not fully checked"
	}
	p.Counts = output.Count(p.counts.ok, "step") + " ok"
	if p.counts.unchecked > 0 {
		p.Counts += fmt.Sprintf(", %d not fully checked", p.counts.unchecked)
	}
	if p.counts.unseen > 0 {
		p.Counts += fmt.Sprintf(", %d %s", p.counts.unseen, m.needs(p.counts.unseen))
	}
}

// pageLines are the lines of what a change says in detail. The names of both
// files begin as lines that come and go do.
func pageLines(detail string) (all []pageLine) {
	for text := range strings.Lines(detail) {
		text = strings.TrimSuffix(text, "\n")
		name := len(all) < 2 && (strings.HasPrefix(text, "--- ") || strings.HasPrefix(text, "+++ "))
		all = append(all, pageLine{visible.String(text), !name && strings.HasPrefix(text, "+"), !name && strings.HasPrefix(text, "-")})
	}
	return all
}

// hyphened is a word, or a part of a path, that browsers would break at a hyphen.
var hyphened = regexp.MustCompile(`[^\s/]*-[^\s/]*/?`)

// whole keeps together what can stand in one line.
func whole(text string) template.HTML {
	var b strings.Builder
	end := 0
	for _, at := range hyphened.FindAllStringIndex(text, -1) {
		template.HTMLEscape(&b, []byte(text[end:at[0]]))
		b.WriteString(`<span class="whole">`)
		template.HTMLEscape(&b, []byte(text[at[0]:at[1]]))
		b.WriteString("</span>")
		end = at[1]
	}
	template.HTMLEscape(&b, []byte(text[end:]))
	return template.HTML(b.String())
}

func pageReasons(reasons []finding) (all []pageReason) {
	for _, f := range reasons {
		r := pageReason{Text: visible.Lines(f.text)}
		for _, h := range f.hints {
			r.Hints = append(r.Hints, pageHint(visible.Lines(h)))
		}
		all = append(all, r)
	}
	return all
}

// credentials are all of some deployments: how long each lasts, as far as that
// was seen. The keys of CI have no end.
func (p *page) credentials(v *Verification, f *fleet.Fleet, deployments []*inventory.Deployment, own []provision.Credential) {
	seen := map[string]bool{}
	add := func(c provision.Credential) {
		name := visible.String(c.Name)
		if seen[name] {
			return
		}
		seen[name] = true
		if !c.Ends {
			p.Endless = append(p.Endless, name)
			return
		}
		state := ""
		switch {
		case c.Days < f.Given.Renew:
			state = "drift"
		case c.Days < steps.WarnDays:
			state = "unchecked"
		}
		p.Ending = append(p.Ending, pageCredential{name, state, c.Days})
	}
	for _, c := range own {
		add(c)
	}
	for _, s := range f.Sites {
		for _, verdict := range v.verdicts[s.Host.Name] {
			for _, c := range verdict.credentials {
				add(c)
			}
			kind, of, _ := strings.Cut(verdict.step, " ")
			if name := fmt.Sprintf("%s: %s %s", s.Host.Name, kind, of); verdict.missed() != "" && (kind == "registry-login" || kind == "deploy-key") && !seen[name] {
				seen[name] = true
				p.Unseen = append(p.Unseen, visible.String(name))
			}
		}
	}
	for _, d := range deployments {
		for _, owner := range append(slices.Clone(d.Variables.Projects), d.Variables.Group) {
			if owner != "" {
				add(provision.Credential{Name: fmt.Sprintf("%s of %s for %s", d.Variables.Key(inventory.CIKeyVariable), owner, d.Scope)})
			}
		}
	}
	slices.SortStableFunc(p.Ending, func(a, b pageCredential) int { return cmp.Compare(a.Days, b.Days) })
}
