package verify

import (
	"cmp"
	"context"
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
	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/inventory"
	"provision/provision"
	"provision/provision/visible"
)

var (
	//go:embed page/page.html
	pageText string
	//go:embed page/page.css
	pageStyle string
	//go:embed page/page.js
	pageScript string
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
	Partly    bool        // some steps need admin, or are not fully checked
	Filters   []pageFilter
	Shared    []pageFinding // findings that several hosts have, each once
	Hosts     []pageHost    // the worst first
	Ending    []pageCredential
	Endless   []string
	Unseen    []string
	Map       template.HTML
}

// Many tells whether there is something to choose from.
func (p *page) Many() bool { return len(p.Hosts) > 1 }

// Running tells whether there is something to say of what runs.
func (p *page) Running() bool {
	return slices.ContainsFunc(p.Hosts, func(h pageHost) bool { return len(h.Standing) > 0 })
}

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
// ok: the worst of what it is.
type pageHost struct {
	Name, Address string
	Deployments   []string
	State, Word   string
	Standing      []pageStanding // what runs, as far as that was asked
	Findings      []pageFinding  // and notes, but for those that other hosts have as well
	Shared        []pageShared   // which are told of once
	Partly        []pageFinding  // what was not seen
	OK            []pageOK
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

// A pageOK is a step that is ok, perhaps for each of several deployments.
type pageOK struct {
	Step  string
	Times int
}

// A pageFinding is what there is to say about one step.
type pageFinding struct {
	State, Word      string
	Deployment, Step string
	Reasons          []pageReason
	Plan             []pageChange
	Commands         []string // that mend it

	ID    string   // of one that several hosts have, and
	Hosts []string // those
}

// A pageReason is why a step is not as it should be, where that is not the lack of
// what apply would do; or a note, or what is not checked. It may have several lines.
type pageReason struct {
	Text  string
	Hints [][]pagePart
}

// A pagePart is a part of a hint: words, or a command to be copied.
type pagePart struct {
	Text    string
	Command bool
}

type pageChange struct {
	Summary    string
	Detail     []pageLine
	Later      bool
	Interrupts bool
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
// ok: it is the same every night.
var badness = []string{"breach", "drift", "error", "note", "unchecked", "ok", "unseen"}

// findingWords tell what a finding is, but for drift: its text does.
var findingWords = map[string]string{"breach": "a key can do too much", "error": "unreachable", "note": "note",
	"unchecked": "not fully checked"}

// pageFilters are the kinds of hosts that can be picked out.
var pageFilters = []pageFilter{{Kind: "all", What: "all"}, {Kind: "drift", What: "drift"}, {Kind: "error", What: "unreachable"},
	{Kind: "note", What: "with notes"}, {Kind: "unchecked", What: "not fully checked"}}

// About is what a page says of the run that wrote it.
type About struct {
	Inventory string // its path
	Version   string // of this program
}

// WritePage writes what was found about the hosts of a fleet into a file.
func (v *Verification) WritePage(ctx context.Context, file string, f *fleet.Fleet, about About) error {
	p := v.page(f, about, time.Now(), v.mode.ownToken(ctx, f.Forge)...)
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(p.write(out), out.Close())
}

func (p *page) write(w io.Writer) error {
	p.Style, p.Script = template.CSS(pageStyle+access.Style), template.JS(pageScript)
	p.Policy = fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; base-uri 'none'; form-action 'none'",
		hashed(string(p.Style)), hashed(string(p.Script)))
	page, err := template.New("page").Funcs(template.FuncMap{"whole": whole}).Parse(pageText)
	if err != nil {
		return err
	}
	return page.Execute(w, p)
}

// hashed names a text as a policy of content does.
func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// page makes the page. Own is the credential that GitLab was asked with.
func (v *Verification) page(f *fleet.Fleet, about About, now time.Time, own ...provision.Credential) *page {
	p := &page{
		Inventory: visible.String(about.Inventory), When: now.UTC().Format("2 January 2006, 15:04 UTC"),
		How: "looked at through the gate, with the CI keys", Version: about.Version,
	}
	if v.mode.As == Admin {
		p.How = "looked at with the rights of an admin"
	}
	var counts verdictCounts
	var deployments []*inventory.Deployment
	lost := v.lost(f.Sites)
	drift, notes := 0, 0
	add := func(h *inventory.Host, on []*inventory.Deployment) {
		host := v.pageHost(f.Inventory, h, on, about.Inventory)
		p.Hosts = append(p.Hosts, host)
		for _, verdict := range v.verdicts[h.Name] {
			counts.add(verdict)
		}
		if host.drift {
			drift++
		}
		notes += host.notes
	}
	for _, s := range f.Sites {
		deployments = append(deployments, s.Deployments...)
		add(s.Host, s.Deployments)
	}
	for _, name := range v.left {
		add(&inventory.Host{Name: name}, nil)
	}
	slices.SortStableFunc(p.Hosts, func(a, b pageHost) int {
		return cmp.Compare(slices.Index(badness, a.State), slices.Index(badness, b.State))
	})
	p.gather(about.Inventory)
	p.Verdict = sentence(len(p.Hosts), drift, lost, counts, notes)
	if len(p.Hosts) > 0 {
		p.State = p.Hosts[0].State
	}
	if v.mode.Strict && p.State == "note" {
		p.Verdict += ", which --strict fails for"
	}
	if counts.unseen > 0 {
		var without []string
		if v.mode.As == CI {
			without = append(without, "rights of an admin")
		}
		if !v.mode.Token {
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
		{"", counts.ok, "step ok", "steps ok"},
		{"drift", counts.wrong, "drift", "drift"},
		{"breach", counts.breaches, "breach", "breaches"},
		{"unchecked", counts.unchecked, "not fully checked", "not fully checked"},
		{"unseen", counts.unseen, v.mode.needs(1), v.mode.needs(2)},
		{"note", notes, "note", "notes"},
		{"", counts.refused, "attempt refused", "attempts refused"},
		{"error", len(lost.deployments), "deployment unreachable", "deployments unreachable"},
		{"error", lost.hosts, "host unreachable", "hosts unreachable"},
	} {
		switch {
		case c.n == 1:
			p.Counts = append(p.Counts, pageCount{c.one, c.n, c.state})
		case c.n > 1 || c.one == "step ok":
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
	p.credentials(v, f, deployments, own)
	p.Map = template.HTML(access.Of(f.Inventory, deployments).Inline()) // it escapes what it shows
	return p
}

// sentence says how some hosts are, of which some have drifted, and some could
// not be reached.
func sentence(hosts, drift int, lost lost, counts verdictCounts, notes int) string {
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
		text = "A CI key can do what it must not"
	case drift > 0:
		text = some(drift, " has drifted", " have drifted")
	case lost.any() && len(lost.deployments) == 0:
		return some(lost.hosts, " is unreachable", " are unreachable")
	case lost.any():
		return lost.String() + lost.unreachable()
	case hosts == 1:
		text = "The host is ok"
	default:
		text = fmt.Sprintf("All %d hosts are ok", hosts)
	}
	if lost.any() {
		return text + ", and " + lost.String() + lost.unreachable()
	}
	if counts.breaches+drift > 0 {
		return text
	}
	if counts.unchecked > 0 {
		text += ", as far as was checked"
	}
	if notes > 0 {
		text += fmt.Sprintf(", with %s to read", output.Count(notes, "note"))
	}
	return text
}
