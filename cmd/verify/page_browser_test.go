package verify

import (
	"bytes"
	"context"
	"fmt"
	"os"
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
	"provision/provision/visible"
)

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
	is(`document.title`, "A CI key can do what it must not, and 1 host is unreachable")
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
	if want := "6 hosts, 8 steps ok, 1 drift, 1 breach, 1 not fully checked, 2 need admin, 2 notes, 1 host unreachable"; counted != want {
		t.Errorf("the page counts %q, want %q", counted, want)
	}
	is(`Array.from(document.querySelectorAll("summary")).reduce((n, e) => n + Number((/^([0-9]+) steps? ok/.exec(e.textContent) || [0, 0])[1]), 0)`, 8)
	is(`Array.from(document.querySelectorAll("details .ok li")).reduce((n, e) => n + Number((/× ([0-9]+)$/.exec(e.textContent) || [0, 1])[1]), 0)`, 8)
	is(`document.querySelector("#host-web5 summary").textContent`, "2 steps ok, 1 not fully checked, 1 needs admin")
	is(`document.querySelector("#host-web6 .state").textContent`, "ok, 1 note")
	is(`document.querySelector("#host-web6 .finding.note .reason").checkVisibility()`, true)
	is(`document.querySelector("#host-web6 .finding.note .hint").textContent`, "hint: "+visible.String(markup))

	is(`document.querySelector("#host-web2").className`, "ok")
	is(`getComputedStyle(document.querySelector("#host-web2 .unseen")).color`, "rgb(92, 96, 107)") // grey
	is(`getComputedStyle(document.querySelector("#host-web5 .unchecked")).color`, "rgb(128, 85, 0)")

	// What runs leads to its commit, and a command is picked up whole.
	is(`Array.from(document.querySelectorAll(".standing tbody tr")).map(e => e.className + " " + e.querySelector(".up").textContent).join()`, "drift 1/2,ok 1/1")
	is(`Array.from(document.querySelectorAll(".standing a.commit")).map(e => e.textContent + " " + e.href).join("|")`,
		"1.4 (4d2491d0c1f2) https://git.example.com/transmogrify/frobnicator/-/commit/4d2491d0c1f2a3b4|0123456789ab https://git.example.com/transmogrify/frobnicator/-/commit/0123456789abcdef0123456789abcdef01234567")
	is(`(e => { getSelection().setBaseAndExtent(e.firstChild, 0, e.firstChild, 3); return getComputedStyle(e).userSelect })(document.querySelector("#host-web1 .mend .command"))`, "all")
	is(`document.querySelector("#host-web1 .mend .command").textContent.startsWith("provision apply --limit web1 '")`, true)

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
		is(`Array.from(document.querySelectorAll(".standing tbody tr")).filter(e => getComputedStyle(e).display != "none").length`, 1)
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
