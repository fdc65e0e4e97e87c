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
	"os"
	"slices"
	"strings"
	"time"

	"provision/cmd/access"
	"provision/inventory"
	"provision/provision"
	"provision/steps"
)

var (
	//go:embed page/page.html
	pageText string
	//go:embed page/page.css
	pageStyle string
	//go:embed page/page.js
	pageScript string

	pageTemplate = template.Must(template.New("page").Parse(pageText))
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
	Counts    []pageCount
	Hosts     []pageHost // the worst first
	Drift     int        // hosts that are not as they should be
	Unchecked int        // hosts that could not be checked fully
	Ending    []pageCredential
	Endless   []string
	Unseen    []string
	Map       template.HTML
}

type pageCount struct {
	What  string
	N     int
	State string // colours it; "" where it is no reason to look
}

// A pageHost is one host. Its state is breach, drift, error, unchecked or fine.
type pageHost struct {
	Name, Address string
	Deployments   []string
	State, Word   string
	Findings      []pageFinding
	Unchecked     []pageStep
	Notes         []pageStep
	Fine          []string
	Bad           bool // breach, drift or error
}

// A pageFinding is what is not as it should be about one step.
type pageFinding struct {
	State, Word      string
	Deployment, Step string
	Reasons          []pageReason
	Plan             []pageChange
}

// A pageReason is why a step is not as it should be, where that is not the lack of
// what apply would do.
type pageReason struct{ Text, Hint string }

type pageChange struct {
	Summary, Detail string
	Later           bool
}

type pageStep struct{ Deployment, Step, Text string }

type pageCredential struct {
	Name, State string
	Days        int
}

// Bar is how long the bar of a credential is: a year is all of it.
func (c pageCredential) Bar() int { return max(0, min(c.Days, 365)) }

// badness says which hosts come first.
var badness = []string{"breach", "drift", "error", "unchecked", "fine"}

var stateWords = map[string]string{
	"breach": "a key can do too much", "drift": "drift", "error": "not looked at",
	"unchecked": "fine, not fully checked", "fine": "fine",
}

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
		Inventory: provision.Visible(o.inventory), When: now.UTC().Format("2 January 2006, 15:04 UTC"),
		How: "looked at through the gate, with the deploy keys", Version: version(),
	}
	if o.asAdmin {
		p.How = "looked at with the rights of an admin"
	}
	var counts verdictCounts
	var deployments []*inventory.Deployment
	for _, h := range f.hosts {
		deployments = append(deployments, f.deployments[h]...)
		p.Hosts = append(p.Hosts, v.pageHost(h, f.deployments[h]))
		for _, verdict := range v.verdicts[h.Name] {
			counts.add(verdict)
		}
	}
	slices.SortStableFunc(p.Hosts, func(a, b pageHost) int {
		return cmp.Compare(slices.Index(badness, a.State), slices.Index(badness, b.State))
	})
	drift, lost := 0, 0
	for _, h := range p.Hosts {
		switch {
		case h.State == "error":
			lost++
		case h.Bad:
			drift++
		}
		if len(h.Unchecked) > 0 || h.State == "error" {
			p.Unchecked++
		}
	}
	p.Drift = drift + lost
	p.Verdict = sentence(len(p.Hosts), drift, lost, counts.breaches)
	p.State = "fine"
	if p.Drift > 0 {
		p.State = p.Hosts[0].State
	}
	p.Counts = []pageCount{
		{"hosts", len(p.Hosts), ""},
		{"steps fine", counts.fine, ""},
		{"steps not as they should be", counts.wrong, "drift"},
		{"things that a key must not do", counts.breaches, "breach"},
		{"hosts not looked at", lost, "error"},
		{"steps not fully checked", counts.unchecked, "unchecked"},
		{"attempts refused", counts.refused, ""},
	}
	p.Counts = slices.DeleteFunc(p.Counts, func(c pageCount) bool { return c.N == 0 && c.State != "" })
	p.credentials(v, f, deployments, o.renew, own)
	p.Map = template.HTML(access.Of(f.inv, deployments).Inline()) // it escapes what it shows
	return p
}

// sentence says how some hosts are, of which some have drifted, and some could
// not be looked at.
func sentence(hosts, drift, lost, breaches int) string {
	be := func(n int) string {
		if n == 1 {
			return "is"
		}
		return "are"
	}
	var text string
	switch {
	case breaches > 0:
		text = "A deploy key can do what it must not"
	case drift > 0:
		text = fmt.Sprintf("%d of %s %s not as it should be", drift, count(hosts, "host"), be(drift))
		if drift > 1 {
			text = strings.Replace(text, "it should", "they should", 1)
		}
	case lost > 0:
		return fmt.Sprintf("%d of %s could not be looked at", lost, count(hosts, "host"))
	case hosts == 1:
		return "The host is as it should be"
	default:
		return fmt.Sprintf("All %d hosts are as they should be", hosts)
	}
	if lost > 0 {
		text += fmt.Sprintf(", and %s could not be looked at", count(lost, "host"))
	}
	return text
}

func (v *verification) pageHost(h *inventory.Host, deployments []*inventory.Deployment) pageHost {
	p := pageHost{Name: provision.Visible(h.Name), Address: provision.Visible(cmp.Or(h.Address, h.CIAddress)), State: "fine"}
	for _, d := range deployments {
		p.Deployments = append(p.Deployments, provision.Visible(d.Name))
	}
	worsen := func(state string) {
		if slices.Index(badness, state) < slices.Index(badness, p.State) {
			p.State = state
		}
	}
	find := func(f pageFinding, texts ...string) {
		for _, text := range texts {
			said, hint, _ := strings.Cut(visibleLines(text), "\nhint: ")
			f.Reasons = append(f.Reasons, pageReason{said, hint})
		}
		if f.State != "drift" {
			f.Word = stateWords[f.State]
		}
		if strings.HasSuffix(f.Step, " "+f.Deployment) {
			f.Deployment = "" // it is said already
		}
		worsen(f.State)
		p.Findings = append(p.Findings, f)
	}
	for _, verdict := range v.verdicts[h.Name] {
		at := pageStep{provision.Visible(verdict.deployment), provision.Visible(verdict.step), ""}
		if len(verdict.breaches) > 0 {
			find(pageFinding{State: "breach", Deployment: at.Deployment, Step: at.Step}, verdict.breaches...)
		}
		if len(verdict.wrong) > 0 {
			f := pageFinding{State: "drift", Deployment: at.Deployment, Step: at.Step}
			for _, c := range verdict.plan {
				f.Plan = append(f.Plan, pageChange{provision.Visible(c.Summary), visibleLines(strings.TrimSuffix(c.Detail, "\n")), c.Do == nil})
			}
			find(f, verdict.wrong[len(verdict.plan):]...)
		}
		if len(verdict.unchecked) > 0 {
			at.Text = visibleLines(strings.Join(verdict.unchecked, "; "))
			p.Unchecked = append(p.Unchecked, at)
			worsen("unchecked")
		}
		for _, n := range verdict.notes {
			at.Text = visibleLines(n)
			p.Notes = append(p.Notes, at)
		}
		if verdict.fine() && len(verdict.unchecked) == 0 {
			p.Fine = append(p.Fine, at.Step)
		}
	}
	for _, err := range split(v.errs[h.Name]) {
		if err != nil {
			find(pageFinding{State: "error"}, err.Error())
		}
	}
	slices.SortStableFunc(p.Findings, func(a, b pageFinding) int {
		return cmp.Compare(slices.Index(badness, a.State), slices.Index(badness, b.State))
	})
	slices.Sort(p.Fine)
	p.Fine = slices.Compact(p.Fine) // as CI sees it, each deployment has those of its host
	p.Word, p.Bad = stateWords[p.State], len(p.Findings) > 0
	return p
}

// credentials are all of some deployments: how long each lasts, as far as that
// was seen. The keys of CI have no end.
func (p *page) credentials(v *verification, f *fleet, deployments []*inventory.Deployment, renew int, own []provision.Credential) {
	seen := map[string]bool{}
	add := func(c provision.Credential) {
		name := provision.Visible(c.Name)
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
			if name := fmt.Sprintf("%s: %s %s", h.Name, kind, of); len(verdict.unchecked) > 0 && (kind == "registry-login" || kind == "deploy-key") && !seen[name] {
				seen[name] = true
				p.Unseen = append(p.Unseen, provision.Visible(name))
			}
		}
	}
	for _, d := range deployments {
		for _, owner := range append(slices.Clone(d.Variables.Projects), d.Variables.Group) {
			if owner != "" {
				add(provision.Credential{Name: fmt.Sprintf("%s of %s for %s", d.Variables.Key("SSH_AUTH"), owner, d.Scope)})
			}
		}
	}
	slices.SortStableFunc(p.Ending, func(a, b pageCredential) int { return cmp.Compare(a.Days, b.Days) })
}
