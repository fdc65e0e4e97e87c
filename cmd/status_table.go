package cmd

import (
	"fmt"
	"strconv"

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
			l := st.line
			up, last, behind := l.UpOfWanted(), l.LastDeploy(), "-"
			if l.Ill() {
				up = output.Paint(r.Out, output.Red, up)
			}
			if l.Deploying == nil && l.Last.Bad() {
				last = output.Paint(r.Out, output.Red, last)
			}
			if l.Behind != nil {
				behind = strconv.Itoa(*l.Behind)
			}
			rows = append(rows, []string{l.Host, l.Deployment, up, output.VersionsText(l.Versions()), l.RunsSince(), last, behind})
		}
	}
	return rows
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

// worthKeeping is how many bytes in a container are more than what a program leaves
// that keeps nothing, such as files of locks.
const worthKeeping = 1e6

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
		if service.Written >= worthKeeping {
			tell(fmt.Sprintf("service %s has written %d MB into its container, which go when a deploy makes it anew", service.Name, service.Written/1e6), "give it a volume for what it must keep")
		}
		unwanted := service.Wanted != nil && *service.Wanted == 0
		if service.Verdict == "" || service.Verdict == "ok" && !unwanted {
			continue
		}
		text := "service " + service.Name + " " + service.Reason
		if unwanted {
			text += ", and neither compose.yaml nor an active profile wants it"
		}
		tell(text)
	}
	if l.Deploying == nil && l.Last.Bad() {
		tell("the last deploy: " + l.Last.Text)
	}
}
