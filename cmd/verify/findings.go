package verify

import (
	"fmt"
	"slices"
	"strings"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/inventory"
	"provision/provision/hint"
	"provision/provision/visible"
)

// A lost is what could not be looked at: whole hosts, and deployments where it is
// not all of a host.
type lost struct {
	hosts       int
	deployments []string
}

func (v *Verification) lost(sites []*fleet.Site) lost {
	var l lost
	for _, s := range sites {
		name := s.Host.Name
		for _, d := range v.partly[name] {
			l.deployments = append(l.deployments, d+" on "+name)
		}
		if v.errs[name] != nil && len(v.partly[name]) == 0 {
			l.hosts++
		}
	}
	return l
}

func (l lost) any() bool { return l.hosts+len(l.deployments) > 0 }

// unreachable ends a sentence that begins with String.
func (l lost) unreachable() string {
	if l.hosts+len(l.deployments) == 1 {
		return " is unreachable"
	}
	return " are unreachable"
}

// String names deployments if they are few, for a line to stay one.
func (l lost) String() string {
	var parts []string
	if len(l.deployments) > 2 {
		parts = append(parts, output.Count(len(l.deployments), "deployment"))
	} else {
		for _, d := range l.deployments {
			parts = append(parts, visible.String(d))
		}
	}
	if l.hosts > 0 {
		parts = append(parts, output.Count(l.hosts, "host"))
	}
	return strings.Join(parts, " and ")
}

// add takes verdicts about a host. Deployments of one user see the same of it; a
// note is taken once.
func (v *Verification) add(host string, verdicts ...verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range verdicts {
		verdicts[i].notes = slices.DeleteFunc(slices.Clone(verdicts[i].notes), func(note finding) bool {
			return slices.ContainsFunc(v.verdicts[host], func(before verdict) bool {
				return before.step == verdicts[i].step && slices.ContainsFunc(before.notes, func(n finding) bool { return n.text == note.text })
			})
		})
	}
	v.verdicts[host] = append(v.verdicts[host], verdicts...)
}

// lose takes the deployments of a host that could not be looked at, where others
// could.
func (v *Verification) lose(host string, deployments []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.partly[host] = deployments
}

// print prints what is not ok, host by host, and how much is.
func (v *Verification) print(sites []*fleet.Site, errs map[*inventory.Host]error, cost output.Cost) {
	tally := &v.report.Tally
	var counts verdictCounts
	var gaps []gap
	for _, s := range sites {
		h := s.Host
		gaps = append(gaps, v.tellVerdicts(h.Name, &counts)...)
		if err := errs[h]; err != nil {
			v.report.Fail(h.Name, err)
			v.errs[h.Name] = err
			continue
		}
		tally.Hosts++
	}
	for _, host := range v.left {
		v.tellVerdicts(host, &counts)
	}
	v.gaps(gaps)
	text := fmt.Sprintf("%s, %s ok", output.Count(tally.Hosts+tally.Failed, "host"), output.Count(counts.ok, "step"))
	if counts.wrong > 0 {
		text += fmt.Sprintf(", %d DRIFT", counts.wrong)
	}
	switch {
	case counts.breaches == 1:
		text += ", 1 BREACH"
	case counts.breaches > 1:
		text += fmt.Sprintf(", %d BREACHES", counts.breaches)
	}
	if counts.unchecked > 0 {
		text += fmt.Sprintf(", %d not fully checked", counts.unchecked)
	}
	if counts.unseen > 0 {
		text += fmt.Sprintf(", %d %s", counts.unseen, v.mode.needs(counts.unseen))
	}
	if tally.Notes > 0 {
		text += ", " + output.Count(tally.Notes, "note")
		if v.mode.Strict {
			text += " that --strict FAILS FOR"
		}
	}
	if counts.refused > 0 {
		text += fmt.Sprintf(", %d attempts refused", counts.refused)
	}
	if lost := v.lost(sites); lost.any() {
		text += fmt.Sprintf(", %s UNREACHABLE", lost)
	}
	v.report.Last(text, cost)
}

// tellVerdicts prints those about a host and counts them, and returns what could not be
// looked at.
func (v *Verification) tellVerdicts(host string, counts *verdictCounts) (gaps []gap) {
	for _, verdict := range v.verdicts[host] {
		at := output.Line{Host: host, Deployment: verdict.deployment, Step: verdict.step}
		for i, b := range verdict.breaches {
			f := finding{text: breachText + b}
			if i == len(verdict.breaches)-1 {
				f.hints = []string{"apply puts authorized_keys right, and sshd_config is yours; then the key is to be replaced: provision rotate-key --only ci-key --limit " + host + " " + hint.Quote(v.path)}
			}
			v.tell("breach", at, f)
		}
		v.wrong(at, verdict.wrong)
		if missed := verdict.missed(); missed != "" {
			gaps = append(gaps, gap{at, missed})
		}
		for _, n := range verdict.notes {
			v.report.Tally.Notes++
			v.tell("note", at, n)
		}
		if v.report.Verbose {
			for _, name := range verdict.refused {
				v.tell("refused", at, finding{text: name})
			}
			if verdict.ok() && verdict.missed() == "" {
				v.tell("fine", at, finding{})
			}
		}
		counts.add(verdict)
	}
	return gaps
}

// wrong prints what is not as it should be at one step. A line of text begins it
// once, for the lines to be as many as the last line counts.
func (v *Verification) wrong(at output.Line, reasons []finding) {
	if !v.report.JSON && len(reasons) > 0 {
		all := finding{}
		for i, r := range reasons {
			if i > 0 {
				all.text += "\n"
			}
			all.text += r.text
			all.hints = append(all.hints, r.hints...)
		}
		reasons = []finding{all}
	}
	for _, reason := range reasons {
		v.tell("wrong", at, reason)
	}
}

// A gap is what could not be looked at, and where.
type gap struct {
	at   output.Line
	what string
}

// gaps prints what could not be looked at. To be read by somebody, what is the
// same in many places is said once.
func (v *Verification) gaps(gaps []gap) {
	places := map[string][]output.Line{}
	for _, g := range gaps {
		places[g.what] = append(places[g.what], g.at)
	}
	for _, g := range gaps {
		same := places[g.what]
		if len(same) == 1 || v.report.JSON || v.report.Verbose {
			v.tell("unchecked", g.at, finding{text: g.what})
			continue
		}
		delete(places, g.what) // said
		if len(same) > 0 {
			hosts := slices.CompactFunc(same, func(a, b output.Line) bool { return a.Host == b.Host })
			v.tell("unchecked", output.Line{}, finding{text: fmt.Sprintf("%d steps of %s: %s", len(same), output.Count(len(hosts), "host"), g.what)})
		}
	}
}

// tell prints one finding.
func (v *Verification) tell(event string, l output.Line, f finding) {
	l.Event, l.Text, l.Hints = event, f.text, f.hints
	v.report.Say(l)
}
