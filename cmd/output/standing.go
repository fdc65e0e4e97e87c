package output

import (
	"fmt"
	"slices"
	"strings"
)

// Ill reports whether less is up than is wanted, or nobody knows.
func (s Status) Ill() bool { return s.Up == nil || s.Wanted == nil || *s.Up < *s.Wanted }

// UpOfWanted is how many services are up, of those that are wanted: "3/4", with a ?
// for what nobody knows.
func (s Status) UpOfWanted() string {
	if s.Up == nil && s.Wanted == nil {
		return "-"
	}
	number := func(n *int) string {
		if n == nil {
			return "?"
		}
		return fmt.Sprint(*n)
	}
	return number(s.Up) + "/" + number(s.Wanted)
}

// A ServiceVersion is what tells one image of a service from another.
type ServiceVersion struct {
	Name     string // the tag, or where that says nothing a part of the digest; may be ""
	Revision string // whole, may be ""
	Image    string
}

func (v ServiceVersion) String() string {
	if v.Revision == "" {
		return v.Name
	}
	return strings.TrimSpace(fmt.Sprintf("%s (%.12s)", v.Name, v.Revision))
}

// ours are the services without those that Compose does not want, if it wants any.
func (s Status) ours() []Service {
	return those(s.Services, func(s Service) bool { return s.Wanted == nil || *s.Wanted > 0 })
}

// those are the services of which ok holds, or all where it holds of none.
func those(services []Service, ok func(Service) bool) []Service {
	if chosen := slices.DeleteFunc(slices.Clone(services), func(s Service) bool { return !ok(s) }); len(chosen) > 0 {
		return chosen
	}
	return services
}

// Versions are those of the wanted services that say from which revision they were
// made, or of all wanted ones if none does: the others, such as a database, are not
// the team's. Each is there once.
func (s Status) Versions() (all []ServiceVersion) {
	ours := those(s.ours(), func(s Service) bool { return s.Revision != "" })
	for _, s := range ours {
		_, tag, _ := strings.Cut(s.Image[strings.LastIndexByte(s.Image, '/')+1:], ":")
		if tag == "" || tag == "latest" {
			_, digest, _ := strings.Cut(s.Digest, ":")
			tag = fmt.Sprintf("%.12s", digest)
		}
		v := ServiceVersion{tag, s.Revision, s.Image}
		if text := v.String(); text != "" && !slices.ContainsFunc(all, func(w ServiceVersion) bool { return w.String() == text }) {
			all = append(all, v)
		}
	}
	return all
}

// VersionsText lists versions, of many the first two.
func VersionsText(all []ServiceVersion) string {
	if len(all) == 0 {
		return "-"
	}
	text := all[0].String()
	if len(all) > 1 {
		text += ", " + all[1].String()
	}
	if len(all) > 2 {
		text += fmt.Sprintf(" +%d", len(all)-2)
	}
	return text
}

// RunsSince is when the last of the wanted services was started that run, or of those
// that have done their work where none runs: "2026-01-02 03:04", or "-".
func (s Status) RunsSince() string {
	running := those(s.ours(), func(s Service) bool { return s.State == "running" })
	newest := ""
	for _, s := range running {
		if s.State == "running" || s.Verdict == "ok" {
			newest = max(newest, s.Since)
		}
	}
	return minute(newest)
}

// minute shortens a time.
func minute(text string) string {
	if len(text) < len("2006-01-02T15:04") {
		return "-"
	}
	return strings.Replace(text[:len("2006-01-02T15:04")], "T", " ", 1)
}

// LastDeploy tells of the deploy that runs, or else how the last one has ended; "-"
// where nothing is known of one.
func (s Status) LastDeploy() string {
	switch {
	case s.Deploying != nil:
		return "deploying since " + minute(s.Deploying.Since) + s.Deploying.by()
	case s.Last == nil:
		return "-"
	}
	outcome := s.Last.Outcome
	if outcome == "same" {
		outcome = "changed nothing"
	}
	return minute(s.Last.Time) + " " + outcome + s.Last.by()
}

// Bad reports whether there was a deploy that has not ended well.
func (d *Deploy) Bad() bool { return d != nil && (d.Outcome == "failed" || d.Outcome == "cut") }

// by tells who has asked for a deploy; of a key, as much as tells it from others.
func (d *Deploy) by() string {
	if d.By == "" {
		return ""
	}
	return ", by " + Cut(d.By, len("SHA256:")+9)
}
