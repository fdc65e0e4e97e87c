package cmd

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

// statusTable is a row for each deployment of each host. What was not found is
// unreachable.
func statusTable(r *output.Report, sites []*fleet.Site, found map[*inventory.Deployment]*standing) [][]string {
	rows := [][]string{{"HOST", "DEPLOYMENT", "UP", "VERSION", "SINCE (UTC)", "LAST DEPLOY (UTC)", "BEHIND"}}
	for _, s := range sites {
		for _, d := range s.Deployments {
			st := found[d]
			if st == nil {
				rows = append(rows, []string{d.Host.Name, d.Name, output.Paint(r.Out, output.Red, "unreachable"), "-", "-", "-", "-"})
				continue
			}
			l, up := st.line, st.up()
			if st.ill() {
				up = output.Paint(r.Out, output.Red, up)
			}
			rows = append(rows, []string{l.Host, l.Deployment, up, versions(l.Services), minute(since(l.Services)), lastDeploy(r, *l.Status), number(l.Behind, "-")})
		}
	}
	return rows
}

// up is how many services are up, of those that are wanted.
func (s *standing) up() string {
	if s.line.Up == nil && s.line.Wanted == nil {
		return "-"
	}
	return number(s.line.Up, "?") + "/" + number(s.line.Wanted, "?")
}

func number(n *int, unknown string) string {
	if n == nil {
		return unknown
	}
	return fmt.Sprint(*n)
}

// versions are those of the services that say from which revision they were made,
// or of all if none does. The others, such as a database, are not the team's.
func versions(services []output.Service) string {
	ours := slices.DeleteFunc(slices.Clone(services), func(s output.Service) bool { return s.Revision == "" })
	if len(ours) == 0 {
		ours = services
	}
	var all []string
	for _, s := range ours {
		if v := versionOf(s); v != "" && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	switch len(all) {
	case 0:
		return "-"
	case 1, 2:
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s, %s +%d", all[0], all[1], len(all)-2)
}

// versionOf is the tag of an image, or where that says nothing the digest; and the
// revision.
func versionOf(s output.Service) string {
	_, version, _ := strings.Cut(s.Image[strings.LastIndexByte(s.Image, '/')+1:], ":")
	if version == "" || version == "latest" {
		_, digest, _ := strings.Cut(s.Digest, ":")
		version = digest[:min(12, len(digest))]
	}
	if s.Revision != "" {
		version = strings.TrimSpace(version + " (" + s.Revision[:min(12, len(s.Revision))] + ")")
	}
	return version
}

// since is when the last of the services was started that run, or of all if none
// does.
func since(services []output.Service) (newest string) {
	running := slices.DeleteFunc(slices.Clone(services), func(s output.Service) bool { return s.State != "running" })
	if len(running) == 0 {
		running = services
	}
	for _, s := range running {
		newest = max(newest, s.Since)
	}
	return newest
}

// minute shortens a time.
func minute(text string) string {
	if len(text) < len("2006-01-02T15:04") {
		return "-"
	}
	return strings.Replace(text[:len("2006-01-02T15:04")], "T", " ", 1)
}

func lastDeploy(r *output.Report, s output.Status) string {
	if d := s.Deploying; d != nil {
		return "deploying since " + minute(d.Since) + by(*d)
	}
	d := s.Last
	if d == nil {
		return "-"
	}
	outcome := d.Outcome
	switch outcome {
	case "same":
		outcome = "nothing new"
	case "failed", "cut":
		outcome = output.Paint(r.Out, output.Red, outcome)
	}
	return minute(d.Time) + " " + outcome + by(*d)
}

// by tells who has asked for a deploy; of a key, as much as tells it from others.
func by(d output.Deploy) string {
	if d.By == "" {
		return ""
	}
	return " by " + output.Cut(d.By, len("SHA256:")+9)
}

// print prints what the table has no room for, or as JSON all.
func (s *standing) print(r *output.Report) {
	l := s.line
	if r.JSON {
		r.Say(l)
	} else {
		s.explain(r)
	}
	if s.behind != nil {
		r.Tally.Notes++
		r.Say(output.Line{Event: "note", Host: l.Host, Deployment: l.Deployment,
			Text: "how far the clone is behind is not known: " + visible.String(s.behind.Error()), Hints: hint.Of(s.behind)})
	}
}

// explain prints why something is not up.
func (s *standing) explain(r *output.Report) {
	l := s.line
	tell := func(text string, hints ...string) {
		r.Say(output.Line{Host: l.Host, Deployment: l.Deployment, Text: text, Hints: hints})
	}
	if l.Text != "" {
		tell(l.Text, l.Hints...)
	}
	for _, service := range l.Services {
		if service.Verdict == "ok" || service.Verdict == "" {
			continue
		}
		text := "service " + service.Name + " " + service.Reason
		if w := service.Wanted; w != nil && *w == 0 {
			text += ", and compose.yaml does not want it"
		}
		tell(text)
	}
	if d := l.Last; d != nil && l.Deploying == nil && (d.Outcome == "failed" || d.Outcome == "cut") {
		tell("the last deploy: " + d.Text)
	}
}
