package verify

import (
	"regexp"
	"strings"

	"provision/cmd/output"
	"provision/inventory"
	"provision/provision/visible"
)

// A pageStanding is what runs of one deployment of a host.
type pageStanding struct {
	Deployment, State, Up, Since, Last, Branch string
	Versions                                   []pageLink
	Commit                                     pageLink // of the clone
}

// A pageLink is a text that may lead somewhere.
type pageLink struct{ Text, URL string }

// standingOf shows what a status says. An image leads to the commit that it was made
// from where its name says that it is the project's.
func standingOf(inv *inventory.Inventory, d *inventory.Deployment, l output.Line) pageStanding {
	s := pageStanding{Deployment: visible.String(d.Name), State: "ok", Up: l.UpOfWanted(), Since: l.RunsSince(), Last: l.LastDeploy(),
		Branch: l.Branch, Commit: commitLink(inv, d, l.Commit)}
	if s.Commit.Text != "" {
		s.Commit.Text = s.Commit.Text[:min(12, len(s.Commit.Text))]
	}
	if l.Ill() || l.Deploying == nil && l.Last.Bad() {
		s.State = "drift"
	}
	own := strings.ToLower(inv.Registry.Host + "/" + d.Project)
	for _, version := range l.Versions() {
		link := pageLink{Text: version.String()}
		if rest, ok := strings.CutPrefix(strings.ToLower(version.Image), own); ok && (rest == "" || rest[0] == '/' || rest[0] == ':' || rest[0] == '@') {
			link.URL = commitLink(inv, d, version.Revision).URL
		}
		s.Versions = append(s.Versions, link)
	}
	return s
}

var commitID = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

// commitLink leads to a commit in GitLab, if that is one.
func commitLink(inv *inventory.Inventory, d *inventory.Deployment, commit string) pageLink {
	if !commitID.MatchString(commit) {
		return pageLink{Text: commit}
	}
	return pageLink{commit, strings.TrimSuffix(inv.GitLab.URL, "/") + "/" + d.Project + "/-/commit/" + commit}
}
