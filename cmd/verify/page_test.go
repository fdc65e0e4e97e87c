package verify

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/inventory"
	"provision/provision"
	"provision/provision/hint"
)

// markup would be some, if anything that is said were taken for it.
const markup = `</script></style></svg><script>alert(1)</script><img src=x onerror=alert(2)>"'><b id=forged>{{.Policy}}`

// aPage writes the page of a fleet: web1 has drifted, web2 is ok, the third
// has a name that is markup and a key that can do too much, web4 cannot be
// looked at, web5 is not fully checked, and web6 is ok with a note. It also
// returns the last line that is printed.
func aPage(t *testing.T) (file, last string) {
	t.Helper()
	inv, err := inventory.Load("../../inventory/example.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{markup, "web4", "web5", "web6"} {
		h, d := *inv.Hosts[1], *inv.Deployments[2]
		h.Name, d.Host, d.Scope = name, &h, "production/"+name
		inv.Hosts, inv.Deployments = append(inv.Hosts, &h), append(inv.Deployments, &d)
	}
	f := fleetOf(inv, inv.Deployments)
	var out strings.Builder
	v := newVerification(Mode{As: CI}, output.New(output.Options{Out: &out, Errs: io.Discard}))
	change := provision.Change{Verb: provision.Update, Object: markup, Detail: "-" + markup + "\n+\x1b[2J\n", Do: provision.Script{}}
	v.add("web1",
		verdict{deployment: markup, step: "gate " + markup, wrong: []finding{{text: "apply would " + change.String()}, {markup, []string{markup}}}, plan: []provision.Change{change}, notes: plainly(markup)},
		verdict{step: "registry-login deploy-user", credentials: []provision.Credential{{Name: markup, Ends: true, Days: 20}, {Name: "token of web1", Ends: true, Days: 5}}})
	v.add("web2", verdict{step: "gate"}, verdict{step: "user", unseen: []string{markup}})
	v.add(markup, verdict{step: "restriction", breaches: []string{markup}})
	v.add("web5", verdict{step: "user", unchecked: []string{markup}}, verdict{step: "registry-login deploy-user", unseen: []string{"the token"}})
	v.add("web6", verdict{deployment: "a", step: "gate"}, verdict{deployment: "b", step: "gate"}, verdict{step: "containers a", notes: []finding{{"no container runs", []string{markup}}}})
	v.tellStatus(f.Sites[0].Deployments[0], statusText(t, output.Service{Name: markup, Image: markup, Revision: markup, Since: markup}, markup))
	v.tellStatus(f.Sites[1].Deployments[0], statusText(t, output.Service{Name: "app", State: "running", Revision: "4d2491d0c1f2a3b4",
		Image: inv.Registry.Host + "/" + f.Sites[1].Deployments[0].Project + ":1.4"}, "main"))
	v.print(f.Sites, map[*inventory.Host]error{
		f.Sites[3].Host: hint.Add(hint.Add(errors.New("web4: the host does not let "+markup+" in\ntried: the given key\nnot tried: "+markup), "add it:\n%s", markup), "or not"),
	}, output.Cost{})
	file = filepath.Join(t.TempDir(), "page.html")
	f.Given.Renew = 7
	page, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	if err := v.page(f, About{Inventory: markup}, time.Now(), provision.Credential{Name: "own", Ends: true, Days: 100}).write(page); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return file, lines[len(lines)-1]
}

func TestPageSentence(t *testing.T) {
	one := lost{deployments: []string{"shop-staging on web2"}}
	for _, tt := range []struct {
		hosts, drift int
		lost         lost
		counts       verdictCounts
		notes        int

		want string
	}{
		{1, 0, lost{}, verdictCounts{}, 0, "The host is ok"},
		{1, 0, lost{}, verdictCounts{unseen: 4}, 0, "The host is ok"},
		{1, 0, lost{}, verdictCounts{}, 1, "The host is ok, with 1 note to read"},
		{1, 0, lost{}, verdictCounts{unchecked: 2}, 0, "The host is ok, as far as was checked"},
		{3, 0, lost{}, verdictCounts{}, 0, "All 3 hosts are ok"},
		{3, 0, lost{}, verdictCounts{}, 2, "All 3 hosts are ok, with 2 notes to read"},
		{1, 1, lost{}, verdictCounts{}, 0, "The host has drifted"},
		{3, 1, lost{}, verdictCounts{unchecked: 2}, 0, "1 of 3 hosts has drifted"},
		{3, 1, lost{}, verdictCounts{}, 1, "1 of 3 hosts has drifted"},
		{3, 2, lost{hosts: 1}, verdictCounts{}, 0, "2 of 3 hosts have drifted, and 1 host is unreachable"},
		{3, 1, one, verdictCounts{}, 0, "1 of 3 hosts has drifted, and shop-staging on web2 is unreachable"},
		{1, 0, lost{hosts: 1}, verdictCounts{}, 0, "The host is unreachable"},
		{3, 0, lost{hosts: 2}, verdictCounts{}, 0, "2 of 3 hosts are unreachable"},
		{3, 0, one, verdictCounts{}, 0, "shop-staging on web2 is unreachable"},
		{3, 0, lost{1, []string{"a on web1", "b on web1"}}, verdictCounts{}, 0, "a on web1 and b on web1 and 1 host are unreachable"},
		{3, 0, lost{1, make([]string, 3)}, verdictCounts{}, 0, "3 deployments and 1 host are unreachable"},
		{3, 1, lost{}, verdictCounts{breaches: 4}, 0, "A CI key can do what it must not"},
	} {
		if got := sentence(tt.hosts, tt.drift, tt.lost, tt.counts, tt.notes); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

// anExample returns the fleet of the example, or the part of it that is on some hosts.
func anExample(t *testing.T, hosts ...string) *fleet.Fleet {
	t.Helper()
	inv, err := inventory.Load("../../inventory/example.toml")
	if err != nil {
		t.Fatal(err)
	}
	return fleetOf(inv, slices.DeleteFunc(slices.Clone(inv.Deployments), func(d *inventory.Deployment) bool { return !slices.Contains(hosts, d.Host.Name) }))
}

// fleetOf returns a fleet that is connected to nothing.
func fleetOf(inv *inventory.Inventory, deployments []*inventory.Deployment) *fleet.Fleet {
	f := &fleet.Fleet{Inventory: inv}
	for _, p := range fleet.PartsOf(deployments) {
		f.Sites = append(f.Sites, &fleet.Site{Host: p.Host, Deployments: p.Deployments})
	}
	return f
}

// written returns a page as it is written.
func written(t *testing.T, p *page) string {
	t.Helper()
	var b strings.Builder
	if err := p.write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What nobody can see who looks in that way is no reason to look, every night
// again; what was to be checked and was not is one.
func TestPageOfWhatIsUnseen(t *testing.T) {
	f := anExample(t, "web1")
	for _, tt := range []struct {
		what          verdict
		as            Rights
		state, says   string
		counted       pageCount
		verdict, word string
	}{
		{verdict{unseen: []string{"its password"}}, CI, "ok", "Without rights of an admin and without a token of GitLab, some steps cannot be checked fully.",
			pageCount{"needs admin", 1, "unseen"}, "The host is ok", "ok"},
		{verdict{unseen: []string{"the token"}}, Admin, "ok", "Without a token of GitLab, some steps cannot be checked fully.",
			pageCount{"needs token", 1, "unseen"}, "The host is ok", "ok"},
		{verdict{unchecked: []string{"the token"}}, Admin, "unchecked", ">A step that is not fully",
			pageCount{"not fully checked", 1, "unchecked"}, "The host is ok, as far as was checked", "ok, not fully checked"},
	} {
		v := newVerification(Mode{As: tt.as}, output.New(output.Options{Out: io.Discard, Errs: io.Discard}))
		v.add("web1", tt.what)
		p := v.page(f, About{}, time.Now())
		if host := p.Hosts[0]; p.State != tt.state || host.State != tt.state || host.Word != tt.word || p.Verdict != tt.verdict || !slices.Contains(p.Counts, tt.counted) {
			t.Errorf("%+v: %q, %s; the host is %s, %q; counted %v", tt.what, p.Verdict, p.State, host.State, host.Word, p.Counts)
		}
		if text := written(t, p); !strings.Contains(text, tt.says) {
			t.Errorf("%+v: the page lacks %q", tt.what, tt.says)
		}
	}
}

// One host is nothing to choose from.
func TestPageOfOneHost(t *testing.T) {
	for _, hosts := range [][]string{nil, {"web1"}, {"web1", "web2"}} {
		text := written(t, newVerification(Mode{As: CI}, output.New(output.Options{Out: io.Discard, Errs: io.Discard})).page(anExample(t, hosts...), About{}, time.Now()))
		for _, choice := range []string{"<fieldset", `type="search"`, `class="tiles"`, "<script", `id="none"`, "<output"} {
			if strings.Contains(text, choice) != (len(hosts) > 1) {
				t.Errorf("for %d hosts: %q is there: %t", len(hosts), choice, len(hosts) <= 1)
			}
		}
	}
}

// Where a host has others that could be looked at, the deployment is named that
// could not, on the page and in the last line.
func TestPageOfALostDeployment(t *testing.T) {
	f := anExample(t, "web1", "web2")
	var out strings.Builder
	v := newVerification(Mode{As: CI}, output.New(output.Options{Out: &out, Errs: io.Discard}))
	v.add("web1", verdict{step: "gate"})
	v.add("web2", verdict{step: "gate"})
	v.lose("web1", []string{"frobnicator-staging"})
	v.print(f.Sites, map[*inventory.Host]error{f.Sites[0].Host: errors.New("web1: frobnicator-staging: the host does not let deploy-user in")}, output.Cost{})
	if want := "2 hosts, 2 steps ok, frobnicator-staging on web1 UNREACHABLE, "; !strings.HasPrefix(out.String(), want) {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	p := v.page(f, About{}, time.Now())
	if p.Verdict != "frobnicator-staging on web1 is unreachable" || p.State != "error" {
		t.Errorf("the page says %q, %s", p.Verdict, p.State)
	}
	if h := p.Hosts[0]; h.Name != "web1" || h.Word != "frobnicator-staging unreachable" || !h.Is("error") || h.Counts != "1 step ok" {
		t.Errorf("the host is %+v", h)
	}
	if want := (pageCount{"deployment unreachable", 1, "error"}); p.Counts[len(p.Counts)-1] != want {
		t.Errorf("counted %v", p.Counts)
	}
}

// The lines of a difference are told apart, and keep their signs. The names of
// the files are none of them.
func TestPageLines(t *testing.T) {
	var got []string
	for _, l := range pageLines("--- a\n+++ b\n@@ -1 +1 @@\n same\n--- gone\n+++ come\n+\x1b\n") {
		got = append(got, fmt.Sprintf("%s %t %t", l.Text, l.Added, l.Removed))
	}
	want := []string{"--- a false false", "+++ b false false", "@@ -1 +1 @@ false false", " same false false",
		"--- gone false true", "+++ come true false", `+\x1b true false`}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestWhole(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{"log in as deploy-shop@shop1, or <so>", `log in as <span class="whole">deploy-shop@shop1,</span> or &lt;so&gt;`},
		{"~deploy-shop/app/web-shop.yaml", `<span class="whole">~deploy-shop/</span>app/<span class="whole">web-shop.yaml</span>`},
		{`a-<b onclick="x">`, `<span class="whole">a-&lt;b</span> onclick=&#34;x&#34;&gt;`},
		{"a-b\nhint-c", "<span class=\"whole\">a-b</span>\n<span class=\"whole\">hint-c</span>"},
	} {
		if got := string(whole(tt.text)); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.text, got, tt.want)
		}
	}
}
