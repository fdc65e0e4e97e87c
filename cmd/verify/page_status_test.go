package verify

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"provision/cmd/fleet/fleettest"
	"provision/cmd/output"
	"provision/provision"
	"provision/provision/remote"
)

// statusText is what a gate says of a service and a branch. Of a branch that is odd
// all is, and less is up than is wanted.
func statusText(t *testing.T, s output.Service, branch string) string {
	t.Helper()
	up, wanted, commit, last := 1, 1, "0123456789abcdef0123456789abcdef01234567", &output.Deploy{Time: "2026-01-02T03:04:05Z", By: "SHA256:abc", Outcome: "good"}
	if branch == markup {
		wanted, commit, last = 2, markup, &output.Deploy{Time: markup, By: markup, Outcome: markup, Text: markup}
	}
	text, err := json.Marshal(output.Line{Version: output.Version, Event: "deployment",
		Status: &output.Status{Services: []output.Service{s}, Up: &up, Wanted: &wanted, Last: last, Branch: branch, Commit: commit}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// An image leads to a commit of the project that it belongs to, and no other does.
func TestPageLinks(t *testing.T) {
	f := anExample(t, "web1")
	d := f.Sites[0].Deployments[0]
	own := f.Inventory.Registry.Host + "/" + d.Project
	const revision = "4d2491d0c1f2"
	url := f.Inventory.GitLab.URL + "/" + d.Project + "/-/commit/" + revision
	for _, tt := range []struct{ image, revision, want string }{
		{own, revision, url},
		{own + ":1", revision, url},
		{own + "/worker:1", revision, url},
		{own + "s:1", revision, ""},
		{"postgres:16", revision, ""},
		{own, "v1.4", ""},
		{own, "../../-/settings", ""},
		{own, "4d2491", ""},
	} {
		l, err := output.ReadStatus(statusText(t, output.Service{Name: "app", Image: tt.image, Revision: tt.revision}, "main"))
		if err != nil {
			t.Fatal(err)
		}
		if got := standingOf(f.Inventory, d, l).Versions; len(got) != 1 || got[0].URL != tt.want {
			t.Errorf("%s of %s leads to %v, want %q", tt.revision, tt.image, got, tt.want)
		}
	}
}

// A finding that several hosts have is told of once, with the hosts and one command
// for all of them; what only one has stays there.
func TestPageGathers(t *testing.T) {
	f := anExample(t, "web1", "web2")
	v := newVerification(Mode{As: CI}, output.New(output.Options{Out: io.Discard, Errs: io.Discard}))
	change := provision.Change{Verb: provision.Update, Object: "the gate", Do: provision.Script{}}
	for _, host := range []string{"web1", "web2"} {
		v.add(host, verdict{step: "gate", wrong: []finding{{text: "apply would " + change.String()}}, plan: []provision.Change{change}},
			verdict{step: "user", notes: plainly("a note of " + host)})
	}
	v.add("web2", verdict{step: "restriction", breaches: []string{"a shell"}})
	p := v.page(f, About{Inventory: "my inventory.toml"}, time.Now())
	if len(p.Shared) != 1 || !slices.Equal(p.Shared[0].Hosts, []string{"web2", "web1"}) || !slices.Equal(p.Shared[0].Commands, []string{"provision apply --limit web2,web1 'my inventory.toml'"}) {
		t.Fatalf("shared are %+v", p.Shared)
	}
	for _, h := range p.Hosts {
		if len(h.Shared) != 1 || h.Shared[0].Others != 1 || h.Shared[0].ID != p.Shared[0].ID || slices.ContainsFunc(h.Findings, func(f pageFinding) bool { return f.Step == "gate" }) || !h.drift {
			t.Errorf("%s has %+v and %+v", h.Name, h.Findings, h.Shared)
		}
	}
	breach := p.Hosts[0].Findings[0]
	if !slices.Equal(breach.Commands, []string{"provision apply --limit web2 'my inventory.toml'", "provision rotate-key --only ci-key --limit web2 'my inventory.toml'"}) {
		t.Errorf("a breach has %q", breach.Commands)
	}
	if text := written(t, p); strings.Count(text, ">apply would<")+strings.Count(text, "update the gate") != 1 || !strings.Contains(text, `href="#`+p.Shared[0].ID+`"`) || !strings.Contains(text, `id="`+p.Shared[0].ID+`"`) {
		t.Errorf("the page is\n%s", text)
	}
}

// What GitLab has of a host that the inventory does not name is on the page, too.
func TestPageOfWhatIsLeft(t *testing.T) {
	f := anExample(t, "web1")
	v := newVerification(Mode{As: CI}, output.New(output.Options{Out: io.Discard, Errs: io.Discard}))
	v.add("web2", verdict{step: "left-in-gitlab", wrong: []finding{{"GitLab still has 1 token of it", []string{"if it is in no other inventory: provision remove --gone web2 i.toml"}}}})
	v.left = []string{"web2"}
	p := v.page(f, About{Inventory: "i.toml"}, time.Now())
	if len(p.Hosts) != 2 || p.Hosts[0].Name != "web2" || p.Hosts[0].State != "drift" {
		t.Errorf("the hosts are %+v", p.Hosts)
	}
	if text := written(t, p); !strings.Contains(text, "GitLab still has 1 token of it") || !strings.Contains(text, ">provision remove --gone web2 i.toml<") {
		t.Errorf("the page is\n%s", text)
	}
}

// The commands of hints are told from their words.
func TestPageHint(t *testing.T) {
	for text, want := range map[string]string{
		"move it away": "",
		"as deploy: git -C app fetch && git -C app switch main; then deploy": "git -C app fetch && git -C app switch main",
		"docker compose config, there and as deploy, says why":               "docker compose config",
		"finish it: dpkg --configure -a":                                     "dpkg --configure -a",
		"put it back, or: provision remove --deployment app i.toml":          "provision remove --deployment app i.toml",
		"groupdel app, if nobody needs it; or choose another user":           "groupdel app",
		"apply puts it right": "",
		"git diff shows them": "",
	} {
		var got []string
		whole := ""
		for _, part := range pageHint(text) {
			whole += part.Text
			if part.Command {
				got = append(got, part.Text)
			}
		}
		if strings.Join(got, "|") != want || whole != text {
			t.Errorf("%q: %q of %q", text, got, whole)
		}
	}
}

// The gate is asked what runs; what is too long, or is something else, is nothing.
func TestAskStatus(t *testing.T) {
	f := anExample(t, "web1")
	d := f.Sites[0].Deployments[0]
	text := statusText(t, output.Service{Name: "app"}, "main")
	for said, want := range map[string]bool{text: true, "": false, "{}": false, text + strings.Repeat(" ", maxStatus): false} {
		hosts := &fleettest.Hosts{Gate: func(words string) (string, error) {
			if words != "status" {
				t.Errorf("the gate is asked for %q", words)
			}
			return said, nil
		}}
		conn, err := hosts.Dial(t.Context(), remote.Target{})
		if err != nil {
			t.Fatal(err)
		}
		v := newVerification(Mode{As: CI, Page: true}, output.New(output.Options{Out: io.Discard, Errs: io.Discard}))
		v.askStatus(t.Context(), conn, d)
		if _, told := v.statuses[d]; told != want {
			t.Errorf("%.50q: it is told of: %t", said, told)
		}
	}
}
