package cmd

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"provision/cmd/access"
	"provision/inventory"
	"provision/provision"
	"provision/provision/hint"
	"provision/provision/visible"
	"provision/steps"
)

var (
	//go:embed page/page.html
	pageText string
	//go:embed page/page.css
	pageStyle string
	//go:embed page/page.js
	pageScript string

	pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"whole": whole}).Parse(pageText))
)

// A page is what verify found, to be read in a browser. It is one file, which
// asks nobody for anything: its policy allows its own style and script alone.
type page struct {
	Policy string
	Style  template.CSS
	Script template.JS

	Verdict   string // in a sentence
	State     string // of the worst host
	Inventory string
	When      string
	How       string
	Version   string
	Counts    []pageCount // as in the last line of what is printed
	Without   string      // what it would take to see more; "" if nothing
	Partly    bool        // some steps are not fully visible or checked
	Filters   []pageFilter
	Hosts     []pageHost // the worst first
	Ending    []pageCredential
	Endless   []string
	Unseen    []string
	Map       template.HTML
}

// Many tells whether there is something to choose from.
func (p *page) Many() bool { return len(p.Hosts) > 1 }

type pageCount struct {
	What  string
	N     int
	State string // colours it; "" where it is no reason to look
}

// A pageFilter leaves the hosts that are of a kind, see [pageHost.Is].
type pageFilter struct {
	Kind, What string
	N          int
}

// A pageHost is one host. Its state is breach, drift, error, note, unchecked or
// fine: the worst of what it is.
type pageHost struct {
	Name, Address string
	Deployments   []string
	State, Word   string
	Findings      []pageFinding // and notes
	Partly        []pageFinding // what was not seen
	Fine          []pageFine
	Counts        string // of its steps

	drift  bool
	lost   lost // without the name of the host
	notes  int
	counts verdictCounts
}

// Is reports whether the host is left by a filter.
func (h pageHost) Is(kind string) bool {
	switch kind {
	case "drift":
		return h.drift
	case "error":
		return h.lost.any()
	case "note":
		return h.notes > 0
	case "unchecked":
		return h.counts.unchecked > 0
	}
	return true
}

// A pageFine is a step that is fine, perhaps for each of several deployments.
type pageFine struct {
	Step  string
	Times int
}

// A pageFinding is what there is to say about one step.
type pageFinding struct {
	State, Word      string
	Deployment, Step string
	Reasons          []pageReason
	Plan             []pageChange
}

// A pageReason is why a step is not as it should be, where that is not the lack of
// what apply would do; or a note, or what is not checked. It may have several lines.
type pageReason struct {
	Text  string
	Hints []string
}

type pageChange struct {
	Summary string
	Detail  []pageLine
	Later   bool
}

// A pageLine is one line of a difference.
type pageLine struct {
	Text           string
	Added, Removed bool
}

type pageCredential struct {
	Name, State string
	Days        int
}

// Bar is how long the bar of a credential is: a year is all of it.
func (c pageCredential) Bar() int { return max(0, min(c.Days, 365)) }

// badness says which hosts come first. What cannot be seen makes none worse than
// fine: it is the same every night.
var badness = []string{"breach", "drift", "error", "note", "unchecked", "fine", "unseen"}

// findingWords tell what a finding is, but for drift: its text does.
var findingWords = map[string]string{"breach": "a key can do too much", "error": "not looked at", "note": "note",
	"unchecked": "not fully checked", "unseen": "not fully visible"}

// pageFilters are the kinds of hosts that can be picked out.
var pageFilters = []pageFilter{{Kind: "all", What: "all"}, {Kind: "drift", What: "drift"}, {Kind: "error", What: "not looked at"},
	{Kind: "note", What: "with notes"}, {Kind: "unchecked", What: "not fully checked"}}

// writePage writes what was found about some hosts. Renew is as in
// [steps.Given], and own is the credential that GitLab was asked with.
func (v *verification) writePage(file string, f *fleet, o verifyOptions, own ...provision.Credential) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(v.page(f, o, time.Now(), own...).write(out), out.Close())
}

func (p *page) write(w io.Writer) error {
	p.Style, p.Script = template.CSS(pageStyle+access.Style), template.JS(pageScript)
	p.Policy = fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; base-uri 'none'; form-action 'none'",
		hashed(string(p.Style)), hashed(string(p.Script)))
	return pageTemplate.Execute(w, p)
}

// hashed names a text as a policy of content does.
func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (v *verification) page(f *fleet, o verifyOptions, now time.Time, own ...provision.Credential) *page {
	p := &page{
		Inventory: visible.String(o.inventory), When: now.UTC().Format("2 January 2006, 15:04 UTC"),
		How: "looked at through the gate, with the deploy keys", Version: version(),
	}
	if o.asAdmin {
		p.How = "looked at with the rights of an admin"
	}
	var counts verdictCounts
	var deployments []*inventory.Deployment
	lost := v.lost(f)
	drift, notes := 0, 0
	for _, h := range f.hosts {
		deployments = append(deployments, f.deployments[h]...)
		host := v.pageHost(h, f.deployments[h])
		p.Hosts = append(p.Hosts, host)
		for _, verdict := range v.verdicts[h.Name] {
			counts.add(verdict)
		}
		if host.drift {
			drift++
		}
		notes += host.notes
	}
	slices.SortStableFunc(p.Hosts, func(a, b pageHost) int {
		return cmp.Compare(slices.Index(badness, a.State), slices.Index(badness, b.State))
	})
	p.Verdict = sentence(len(p.Hosts), drift, lost, counts, notes)
	if len(p.Hosts) > 0 {
		p.State = p.Hosts[0].State
	}
	if v.strict && p.State == "note" {
		p.Verdict += ", which --strict fails for"
	}
	if counts.unseen > 0 {
		var without []string
		if !o.asAdmin {
			without = append(without, "rights of an admin")
		}
		if !f.hasToken() {
			without = append(without, "a token of GitLab")
		}
		p.Without = strings.Join(without, " and without ")
	}
	p.Partly = counts.unseen+counts.unchecked > 0
	for _, c := range []struct {
		state     string
		n         int
		one, many string
	}{
		{"", len(p.Hosts), "host", "hosts"},
		{"", counts.fine, "step fine", "steps fine"},
		{"drift", counts.wrong, "wrong", "wrong"},
		{"breach", counts.breaches, "breach", "breaches"},
		{"unchecked", counts.unchecked, "not fully checked", "not fully checked"},
		{"unseen", counts.unseen, "not fully visible", "not fully visible"},
		{"note", notes, "note", "notes"},
		{"", counts.refused, "attempt refused", "attempts refused"},
		{"error", len(lost.deployments), "deployment could not be looked at", "deployments could not be looked at"},
		{"error", lost.hosts, "host could not be looked at", "hosts could not be looked at"},
	} {
		switch {
		case c.n == 1:
			p.Counts = append(p.Counts, pageCount{c.one, c.n, c.state})
		case c.n > 1 || c.one == "step fine":
			p.Counts = append(p.Counts, pageCount{c.many, c.n, c.state})
		}
	}
	for _, filter := range pageFilters {
		for _, h := range p.Hosts {
			if h.Is(filter.Kind) {
				filter.N++
			}
		}
		if filter.N > 0 {
			p.Filters = append(p.Filters, filter)
		}
	}
	p.credentials(v, f, deployments, o.renew, own)
	p.Map = template.HTML(access.Of(f.inv, deployments).Inline()) // it escapes what it shows
	return p
}

// sentence says how some hosts are, of which some have drifted, and some could
// not be looked at.
func sentence(hosts, drift int, lost lost, counts verdictCounts, notes int) string {
	const unlooked = " could not be looked at"
	some := func(n int, one, many string) string {
		switch {
		case hosts == 1:
			return "The host" + one
		case n == 1:
			return fmt.Sprintf("1 of %d hosts%s", hosts, one)
		}
		return fmt.Sprintf("%d of %d hosts%s", n, hosts, many)
	}
	var text string
	switch {
	case counts.breaches > 0:
		text = "A deploy key can do what it must not"
	case drift > 0:
		text = some(drift, " is not as it should be", " are not as they should be")
	case lost.any() && len(lost.deployments) == 0:
		return some(lost.hosts, unlooked, unlooked)
	case lost.any():
		return lost.String() + unlooked
	case hosts == 1:
		text = "The host is as it should be"
	default:
		text = fmt.Sprintf("All %d hosts are as they should be", hosts)
	}
	if lost.any() {
		return text + ", and " + lost.String() + unlooked
	}
	if counts.breaches+drift > 0 {
		return text
	}
	if counts.unchecked > 0 {
		text += ", as far as was checked"
	}
	if notes > 0 {
		text += fmt.Sprintf(", with %s to read", count(notes, "note"))
	}
	return text
}

func (v *verification) pageHost(h *inventory.Host, deployments []*inventory.Deployment) pageHost {
	p := pageHost{Name: visible.String(h.Name), Address: visible.String(cmp.Or(h.Address, h.CIAddress)), State: "fine"}
	for _, d := range deployments {
		p.Deployments = append(p.Deployments, visible.String(d.Name))
	}
	find := func(state string, f pageFinding, reasons ...finding) {
		f.State, f.Word, f.Reasons = state, findingWords[state], pageReasons(reasons)
		if slices.Index(badness, state) < slices.Index(badness, p.State) {
			p.State = state
		}
		if state == "unchecked" || state == "unseen" {
			p.Partly = append(p.Partly, f)
			return
		}
		p.Findings = append(p.Findings, f)
	}
	fine := map[string]int{}
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
				f.Plan = append(f.Plan, pageChange{visible.String(c.String()), pageLines(c.Detail), c.Do == nil})
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
		if verdict.fine() {
			fine[at.Step]++
		} else {
			p.drift = true
		}
	}
	if err := v.errs[h.Name]; err != nil {
		if p.lost.deployments = v.partly[h.Name]; p.lost.deployments == nil {
			p.lost.hosts = 1
		}
		for _, err := range split(err) {
			find("error", pageFinding{}, finding{strings.TrimPrefix(err.Error(), h.Name+": "), hint.Of(err)})
		}
	}
	slices.SortStableFunc(p.Findings, func(a, b pageFinding) int {
		return cmp.Compare(slices.Index(badness, a.State), slices.Index(badness, b.State))
	})
	for _, step := range slices.Sorted(maps.Keys(fine)) {
		p.Fine = append(p.Fine, pageFine{step, fine[step]})
	}
	p.words()
	return p
}

// words says how a host is, and what was counted there, as the last line of what
// is printed does.
func (p *pageHost) words() {
	p.Word = "fine"
	if p.drift || p.lost.any() {
		p.Word = cmp.Or(findingWords[p.State], p.State)
	}
	if p.State == "error" && p.lost.hosts == 0 {
		p.Word = p.lost.String() + " " + p.Word
	}
	if p.notes > 0 {
		p.Word += ", " + count(p.notes, "note")
	}
	if p.counts.unchecked > 0 && !p.drift && !p.lost.any() {
		p.Word += ", not fully checked"
	}
	p.Counts = count(p.counts.fine, "step") + " fine"
	if p.counts.unchecked > 0 {
		p.Counts += fmt.Sprintf(", %d not fully checked", p.counts.unchecked)
	}
	if p.counts.unseen > 0 {
		p.Counts += fmt.Sprintf(", %d not fully visible", p.counts.unseen)
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
			r.Hints = append(r.Hints, visible.Lines(h))
		}
		all = append(all, r)
	}
	return all
}

// credentials are all of some deployments: how long each lasts, as far as that
// was seen. The keys of CI have no end.
func (p *page) credentials(v *verification, f *fleet, deployments []*inventory.Deployment, renew int, own []provision.Credential) {
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
		case c.Days < renew:
			state = "drift"
		case c.Days < steps.WarnDays:
			state = "unchecked"
		}
		p.Ending = append(p.Ending, pageCredential{name, state, c.Days})
	}
	for _, c := range own {
		add(c)
	}
	for _, h := range f.hosts {
		for _, verdict := range v.verdicts[h.Name] {
			for _, c := range verdict.credentials {
				add(c)
			}
			kind, of, _ := strings.Cut(verdict.step, " ")
			if name := fmt.Sprintf("%s: %s %s", h.Name, kind, of); verdict.missed() != "" && (kind == "registry-login" || kind == "deploy-key") && !seen[name] {
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
