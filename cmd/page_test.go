package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	browser "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"provision/e2e/needs"
	"provision/inventory"
	"provision/provision"
	"provision/provision/hint"
	"provision/provision/visible"
)

// markup would be some, if anything that is said were taken for it.
const markup = `</script></style></svg><script>alert(1)</script><img src=x onerror=alert(2)>"'><b id=forged>{{.Policy}}`

// aPage writes the page of a fleet: web1 has drifted, web2 is fine, the third
// has a name that is markup and a key that can do too much, web4 cannot be
// looked at, web5 is not fully checked, and web6 is fine with a note. It also
// returns the last line that is printed.
func aPage(t *testing.T) (file, last string) {
	t.Helper()
	inv, err := inventory.Load("../inventory/example.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{markup, "web4", "web5", "web6"} {
		h, d := *inv.Hosts[1], *inv.Deployments[2]
		h.Name, d.Host, d.Scope = name, &h, "production/"+name
		inv.Hosts, inv.Deployments = append(inv.Hosts, &h), append(inv.Deployments, &d)
	}
	f := &fleet{inv: inv}
	f.only(inv.Deployments)
	var out strings.Builder
	v := newVerification(newReport(&out, "text"))
	change := provision.Change{Verb: provision.Update, Object: markup, Detail: "-" + markup + "\n+\x1b[2J\n", Do: provision.Script{}}
	v.add("web1",
		verdict{deployment: markup, step: "gate " + markup, wrong: []finding{{text: "apply would " + change.String()}, {markup, []string{markup}}}, plan: []provision.Change{change}, notes: plainly(markup)},
		verdict{step: "registry-login deploy-user", credentials: []provision.Credential{{Name: markup, Ends: true, Days: 20}, {Name: "token of web1", Ends: true, Days: 5}}})
	v.add("web2", verdict{step: "gate"}, verdict{step: "user", unseen: []string{markup}})
	v.add(markup, verdict{step: "restriction", breaches: []string{markup}})
	v.add("web5", verdict{step: "user", unchecked: []string{markup}}, verdict{step: "registry-login deploy-user", unseen: []string{"the token"}})
	v.add("web6", verdict{deployment: "a", step: "gate"}, verdict{deployment: "b", step: "gate"}, verdict{step: "containers a", notes: []finding{{"no container runs", []string{markup}}}})
	v.print(Env{Stderr: io.Discard}, f, map[*inventory.Host]error{
		f.hosts[3]: hint.Add(hint.Add(errors.New("web4: the host does not let "+markup+" in\ntried: the given key\nnot tried: "+markup), "add it:\n%s", markup), "or not"),
	})
	file = filepath.Join(t.TempDir(), "page.html")
	if err := v.writePage(file, f, verifyOptions{fleetOptions: fleetOptions{inventory: markup}, renew: 7}, provision.Credential{Name: "own", Ends: true, Days: 100}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return file, lines[len(lines)-1]
}

// The page in a browser: it works as it stands, asks for nothing, and takes
// nothing that is said for markup.
func TestPage(t *testing.T) {
	chromium := needs.Program(t, "chromium")
	file, last := aPage(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, never := range []string{"\x1b", "http-equiv=\"refresh", " src=\"", "url(", "@import", "javascript:", " style=\""} {
		if bytes.Contains(text, []byte(never)) {
			t.Errorf("the page has %q", never)
		}
	}

	allocator, stop := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))...)
	defer stop()
	ctx, stop := chromedp.NewContext(allocator)
	defer stop()

	var mu sync.Mutex
	var told, asked []string
	err = chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventConsoleAPICalled:
			told = append(told, fmt.Sprint("console: ", e.Type))
		case *runtime.EventExceptionThrown:
			told = append(told, e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			told = append(told, e.Entry.Text)
		case *browser.EventJavascriptDialogOpening:
			told = append(told, "dialog: "+e.Message)
		case *network.EventRequestWillBeSent:
			asked = append(asked, e.Request.URL)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop = context.WithTimeout(ctx, 2*time.Minute) // a browser may hang
	defer stop()
	run := func(actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, actions...); err != nil {
			t.Fatal(err)
		}
	}
	evaluate := func(expression string) any {
		t.Helper()
		value, err := chromedp.Run(ctx, chromedp.Evaluate[any](expression))
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	// is fails the test unless an expression has that value.
	is := func(expression string, want any) {
		t.Helper()
		if got := evaluate(expression); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", expression, got, want)
		}
	}
	const names = `Array.from(document.querySelectorAll("article")).filter(e => getComputedStyle(e).display != "none").map(e => e.dataset.host.slice(0, 8)).join(" ")`
	const tiles = `Array.from(document.querySelectorAll(".tiles li")).filter(e => getComputedStyle(e).display != "none").length`
	const ground = `getComputedStyle(document.body).backgroundColor`
	url := "file://" + file

	order(t, ctx, network.Enable, network.EnableParams{})
	order(t, ctx, log.Enable, cdp.Empty{})
	order(t, ctx, runtime.Enable, cdp.Empty{})
	run(chromedp.Navigate(url))
	is(names, "</script web1 web4 web6 web5 web2") // the worst first
	is(`document.title`, "A deploy key can do what it must not, and 1 host could not be looked at")
	is(`document.scripts.length`, 1)
	is(`document.querySelectorAll("img, iframe, link, object, #forged").length`, 0)
	is(`document.querySelector("h3").firstChild.data.trim()`, visible.String(markup))
	is(`document.querySelectorAll("svg.access-map .card").length > 10`, true)
	is(`document.querySelectorAll("svg.access-map script, svg.access-map style, svg.access-map b").length`, 0)
	is(`getComputedStyle(document.querySelector("svg.access-map .ground")).fill`, "rgb(244, 245, 247)")
	is(`Array.from(document.querySelectorAll(".credentials b")).map(e => e.textContent).join()`, "5 days,20 days,100 days")
	is(`document.querySelectorAll(".credentials .drift").length`, 1)

	// What is counted is what is printed, and the same at the hosts.
	counted := fmt.Sprint(evaluate(`Array.from(document.querySelectorAll(".counts div")).map(e => e.querySelector("dd").textContent + " " + e.querySelector("dt").textContent).join(", ")`))
	if printed := strings.ToLower(last[:strings.LastIndex(last, ", ")]); counted != printed { // without the seconds
		t.Errorf("the page counts %q, and printed is %q", counted, printed)
	}
	if want := "6 hosts, 8 steps fine, 1 wrong, 1 breach, 1 not fully checked, 2 not fully visible, 2 notes, 1 host could not be looked at"; counted != want {
		t.Errorf("the page counts %q, want %q", counted, want)
	}
	is(`Array.from(document.querySelectorAll("summary")).reduce((n, e) => n + Number((/^([0-9]+) steps? fine/.exec(e.textContent) || [0, 0])[1]), 0)`, 8)
	is(`Array.from(document.querySelectorAll("details .fine li")).reduce((n, e) => n + Number((/× ([0-9]+)$/.exec(e.textContent) || [0, 1])[1]), 0)`, 8)
	is(`document.querySelector("#host-web5 summary").textContent`, "2 steps fine, 1 not fully checked, 1 not fully visible")
	is(`document.querySelector("#host-web6 .state").textContent`, "fine, 1 note")
	is(`document.querySelector("#host-web6 .finding.note .reason").checkVisibility()`, true)
	is(`document.querySelector("#host-web6 .finding.note .hint").textContent`, "hint: "+visible.String(markup))

	is(`document.querySelector("#host-web2").className`, "fine")
	is(`getComputedStyle(document.querySelector("#host-web2 .unseen")).color`, "rgb(92, 96, 107)") // grey
	is(`getComputedStyle(document.querySelector("#host-web5 .unchecked")).color`, "rgb(128, 85, 0)")

	// What comes and what goes is told by its sign, and by its colour.
	is(`Array.from(document.querySelectorAll("#host-web1 pre > *")).map(e => e.tagName + e.textContent[0] + getComputedStyle(e).color).join()`,
		"DEL-rgb(163, 35, 27),INS+rgb(42, 106, 70)")
	is(`getComputedStyle(document.querySelector("#host-web1 .finding li")).listStyleType`, "none") // there is no second

	// An error keeps its lines, and its hints are told from it.
	is(`document.querySelector("#host-web4 .reason").innerText`,
		"the host does not let "+markup+" in\ntried: the given key\nnot tried: "+markup)
	is(`Array.from(document.querySelectorAll("#host-web4 .hint")).map(e => e.innerText).join("|")`,
		"hint: add it:\n"+markup+"|hint: or not")

	// The map is as wide as the column, and all of it can be seen.
	order(t, ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 1200, Height: 900, DeviceScaleFactor: 1})
	is(`(m => [m.scrollWidth == m.clientWidth, m.getBoundingClientRect().width == document.querySelector("main").clientWidth])(document.querySelector(".map")).join()`, "true,true")
	is(`document.documentElement.scrollWidth`, 1200)
	is(`document.querySelector(".sideways").checkVisibility()`, false)

	// The filters, with nothing but keys.
	t.Run("keys", func(t *testing.T) {
		for range 3 {
			run(chromedp.KeyEvent(kb.Tab))
			if evaluate(`document.activeElement.id`) == "show-all" {
				break
			}
		}
		is(`document.activeElement.id`, "show-all")
		run(chromedp.KeyEvent(kb.ArrowRight))
		is(names, "</script web1")
		is(tiles, 2)
		is(`document.getElementById("shown").value`, "2 of 6")
		run(chromedp.KeyEvent(kb.ArrowRight))
		is(names, "web4")
		run(chromedp.KeyEvent(kb.ArrowRight))
		is(names, "web1 web6")
		is(`document.querySelector("input:checked + label").textContent`, "with notes 2")
		run(chromedp.KeyEvent(kb.ArrowRight))
		is(names, "web5")
		run(chromedp.KeyEvent(kb.Tab))
		is(`document.activeElement.id`, "host")
		run(chromedp.KeyEvent("WEB5"))
		is(names, "web5")
		run(chromedp.KeyEvent("x"))
		is(names, "")
		is(`document.getElementById("none").checkVisibility()`, true)
		run(chromedp.KeyEvent(kb.Escape))
		is(names, "web5")
		evaluate(`document.activeElement.blur()`)
		run(chromedp.KeyEvent("/"))
		is(`document.activeElement.id`, "host")
	})
	t.Run("without scripts", func(t *testing.T) {
		order(t, ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		run(chromedp.Navigate(url))
		is(`document.getElementById("search").hidden`, true)
		is(names, "</script web1 web4 web6 web5 web2")
		run(chromedp.Focus(chromedp.CSS("#show-all")), chromedp.KeyEvent(kb.ArrowRight))
		is(names, "</script web1")
		order(t, ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: false})
		run(chromedp.Navigate(url))
	})
	t.Run("on a phone, at night", func(t *testing.T) {
		is(ground, "rgb(252, 252, 251)")
		order(t, ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 360, Height: 700, DeviceScaleFactor: 2, Mobile: true})
		order(t, ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}})
		is(`document.documentElement.scrollWidth`, 360)
		is(ground, "rgb(20, 21, 24)")
		is(`(m => [m.scrollWidth > m.clientWidth, m.querySelector("svg").clientWidth >= 960])(document.querySelector(".map")).join()`, "true,true") // legible
		is(`getComputedStyle(document.querySelector("svg.access-map .ground")).fill`, "rgb(26, 27, 32)")
		is(`document.querySelector(".sideways").checkVisibility()`, true)
		is(`(m => { m.focus(); return [m.tabIndex, document.activeElement == m] })(document.querySelector(".map")).join()`, "0,true")
		evaluate(`void (scrolled = new Promise(done => document.querySelector(".map").addEventListener("scroll", () => done(true), {once: true})))`)
		run(chromedp.KeyEvent(kb.ArrowRight))
		if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("scrolled", chromedp.EvalAwaitPromise)); err != nil {
			t.Errorf("no key scrolls the map: %v", err)
		}
	})

	mu.Lock()
	defer mu.Unlock()
	if len(told) > 0 {
		t.Errorf("the browser says:\n%s", strings.Join(told, "\n"))
	}
	for _, u := range asked {
		if u != url {
			t.Errorf("the page asks for %s", u)
		}
	}
	if len(asked) == 0 {
		t.Error("not even the page itself was asked for")
	}
}

// order gives the browser a command.
func order[P, R any](t *testing.T, ctx context.Context, command cdp.Command[P, R], params P) {
	t.Helper()
	if _, err := chromedp.Call(ctx, command, params); err != nil {
		t.Fatal(err)
	}
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
		{1, 0, lost{}, verdictCounts{}, 0, "The host is as it should be"},
		{1, 0, lost{}, verdictCounts{unseen: 4}, 0, "The host is as it should be"},
		{1, 0, lost{}, verdictCounts{}, 1, "The host is as it should be, with 1 note to read"},
		{1, 0, lost{}, verdictCounts{unchecked: 2}, 0, "The host is as it should be, as far as was checked"},
		{3, 0, lost{}, verdictCounts{}, 0, "All 3 hosts are as they should be"},
		{3, 0, lost{}, verdictCounts{}, 2, "All 3 hosts are as they should be, with 2 notes to read"},
		{1, 1, lost{}, verdictCounts{}, 0, "The host is not as it should be"},
		{3, 1, lost{}, verdictCounts{unchecked: 2}, 0, "1 of 3 hosts is not as it should be"},
		{3, 1, lost{}, verdictCounts{}, 1, "1 of 3 hosts is not as it should be"},
		{3, 2, lost{hosts: 1}, verdictCounts{}, 0, "2 of 3 hosts are not as they should be, and 1 host could not be looked at"},
		{3, 1, one, verdictCounts{}, 0, "1 of 3 hosts is not as it should be, and shop-staging on web2 could not be looked at"},
		{1, 0, lost{hosts: 1}, verdictCounts{}, 0, "The host could not be looked at"},
		{3, 0, lost{hosts: 2}, verdictCounts{}, 0, "2 of 3 hosts could not be looked at"},
		{3, 0, one, verdictCounts{}, 0, "shop-staging on web2 could not be looked at"},
		{3, 0, lost{1, []string{"a on web1", "b on web1"}}, verdictCounts{}, 0, "a on web1 and b on web1 and 1 host could not be looked at"},
		{3, 0, lost{1, make([]string, 3)}, verdictCounts{}, 0, "3 deployments and 1 host could not be looked at"},
		{3, 1, lost{}, verdictCounts{breaches: 4}, 0, "A deploy key can do what it must not"},
	} {
		if got := sentence(tt.hosts, tt.drift, tt.lost, tt.counts, tt.notes); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

// anExample returns the fleet of the example, or the part of it that is on some hosts.
func anExample(t *testing.T, hosts ...string) *fleet {
	t.Helper()
	inv, err := inventory.Load("../inventory/example.toml")
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{inv: inv}
	f.only(slices.DeleteFunc(slices.Clone(inv.Deployments), func(d *inventory.Deployment) bool { return !slices.Contains(hosts, d.Host.Name) }))
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
		asAdmin       bool
		state, says   string
		counted       pageCount
		verdict, word string
	}{
		{verdict{unseen: []string{"its password"}}, false, "fine", "Without rights of an admin and without a token of GitLab, some steps are not fully visible.",
			pageCount{"not fully visible", 1, "unseen"}, "The host is as it should be", "fine"},
		{verdict{unseen: []string{"the token"}}, true, "fine", "Without a token of GitLab, some steps are not fully visible.",
			pageCount{"not fully visible", 1, "unseen"}, "The host is as it should be", "fine"},
		{verdict{unchecked: []string{"the token"}}, true, "unchecked", ">A step that is not fully",
			pageCount{"not fully checked", 1, "unchecked"}, "The host is as it should be, as far as was checked", "fine, not fully checked"},
	} {
		v := newVerification(newReport(io.Discard, "text"))
		v.add("web1", tt.what)
		p := v.page(f, verifyOptions{asAdmin: tt.asAdmin}, time.Now())
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
		text := written(t, newVerification(newReport(io.Discard, "text")).page(anExample(t, hosts...), verifyOptions{}, time.Now()))
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
	v := newVerification(newReport(&out, "text"))
	v.add("web1", verdict{step: "gate"})
	v.add("web2", verdict{step: "gate"})
	v.lose("web1", []string{"frobnicator-staging"})
	v.print(Env{Stderr: io.Discard}, f, map[*inventory.Host]error{f.hosts[0]: errors.New("web1: frobnicator-staging: the host does not let deploy-user in")})
	if want := "2 hosts, 2 steps fine, frobnicator-staging on web1 COULD NOT BE LOOKED AT, "; !strings.HasPrefix(out.String(), want) {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	p := v.page(f, verifyOptions{}, time.Now())
	if p.Verdict != "frobnicator-staging on web1 could not be looked at" || p.State != "error" {
		t.Errorf("the page says %q, %s", p.Verdict, p.State)
	}
	if h := p.Hosts[0]; h.Name != "web1" || h.Word != "frobnicator-staging not looked at" || !h.Is("error") || h.Counts != "1 step fine" {
		t.Errorf("the host is %+v", h)
	}
	if want := (pageCount{"deployment could not be looked at", 1, "error"}); p.Counts[len(p.Counts)-1] != want {
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
