package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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

	"provision/inventory"
	"provision/provision"
)

// markup would be some, if anything that is said were taken for it.
const markup = `</script></style></svg><script>alert(1)</script><img src=x onerror=alert(2)>"'><b id=forged>{{.Policy}}`

// aPage writes the page of a fleet: web1 has drifted, web2 is fine, the third
// has a name that is markup and a key that can do too much, web4 cannot be
// looked at, and web5 is not fully checked.
func aPage(t *testing.T) string {
	t.Helper()
	inv, err := inventory.Load("../inventory/example.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{markup, "web4", "web5"} {
		h, d := *inv.Hosts[1], *inv.Deployments[2]
		h.Name, d.Host, d.Scope = name, &h, "production/"+name
		inv.Hosts, inv.Deployments = append(inv.Hosts, &h), append(inv.Deployments, &d)
	}
	f := &fleet{inv: inv}
	f.only(inv.Deployments)
	v := newVerification(newReport(io.Discard, "text"))
	change := provision.Change{Summary: "mend " + markup, Detail: "-" + markup + "\n+\x1b[2J\n", Do: provision.Script{}}
	v.add("web1",
		verdict{deployment: markup, step: "gate " + markup, wrong: []string{"apply would " + change.Summary, markup + "\nhint: " + markup}, plan: []provision.Change{change}, notes: []string{markup}},
		verdict{step: "registry-login deploy-user", credentials: []provision.Credential{{Name: markup, Ends: true, Days: 20}, {Name: "token of web1", Ends: true, Days: 5}}})
	v.add("web2", verdict{step: "gate"})
	v.add(markup, verdict{step: "restriction", breaches: []string{markup}})
	v.add("web5", verdict{step: "user", unchecked: []string{markup}}, verdict{step: "registry-login deploy-user", unchecked: []string{"the token"}})
	v.print(Env{Stderr: io.Discard}, f, map[*inventory.Host]error{f.hosts[3]: errors.New("web4: " + markup)})
	file := filepath.Join(t.TempDir(), "page.html")
	if err := v.writePage(file, f, verifyOptions{fleetOptions: fleetOptions{inventory: markup}, renew: 7}, provision.Credential{Name: "own", Ends: true, Days: 100}); err != nil {
		t.Fatal(err)
	}
	return file
}

// The page in a browser: it works as it stands, asks for nothing, and takes
// nothing that is said for markup.
func TestPage(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("SKIPPED, THE PAGE OF VERIFY: there is no chromium here: apt-get install chromium")
	}
	file := aPage(t)
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
	is(names, "</script web1 web4 web5 web2") // the worst first
	is(`document.title`, "A deploy key can do what it must not, and 1 host could not be looked at")
	is(`document.scripts.length`, 1)
	is(`document.querySelectorAll("img, iframe, link, object, #forged").length`, 0)
	is(`document.querySelector("h3").firstChild.data.trim()`, provision.Visible(markup))
	is(`document.querySelectorAll("svg.access-map .card").length > 10`, true)
	is(`document.querySelectorAll("svg.access-map script, svg.access-map style, svg.access-map b").length`, 0)
	is(`getComputedStyle(document.querySelector("svg.access-map .ground")).fill`, "rgb(244, 245, 247)")
	is(`Array.from(document.querySelectorAll(".credentials b")).map(e => e.textContent).join()`, "5 days,20 days,100 days")
	is(`document.querySelectorAll(".credentials .drift").length`, 1)

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
		is(names, "</script web1 web4")
		is(tiles, 3)
		is(`document.getElementById("shown").value`, "3 of 5")
		run(chromedp.KeyEvent(kb.ArrowRight))
		is(names, "web4 web5")
		run(chromedp.KeyEvent(kb.Tab))
		is(`document.activeElement.id`, "host")
		run(chromedp.KeyEvent("WEB5"))
		is(names, "web5")
		run(chromedp.KeyEvent("x"))
		is(names, "")
		is(`document.getElementById("none").checkVisibility()`, true)
		run(chromedp.KeyEvent(kb.Escape))
		is(names, "web4 web5")
		evaluate(`document.activeElement.blur()`)
		run(chromedp.KeyEvent("/"))
		is(`document.activeElement.id`, "host")
	})
	t.Run("without scripts", func(t *testing.T) {
		order(t, ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		run(chromedp.Navigate(url))
		is(`document.getElementById("search").hidden`, true)
		is(names, "</script web1 web4 web5 web2")
		run(chromedp.Focus(chromedp.CSS("#show-all")), chromedp.KeyEvent(kb.ArrowRight))
		is(names, "</script web1 web4")
		order(t, ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: false})
		run(chromedp.Navigate(url))
	})
	t.Run("on a phone, at night", func(t *testing.T) {
		is(ground, "rgb(252, 252, 251)")
		order(t, ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 360, Height: 700, DeviceScaleFactor: 2, Mobile: true})
		order(t, ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}})
		is(`document.documentElement.scrollWidth`, 360)
		is(ground, "rgb(20, 21, 24)")
		is(`getComputedStyle(document.querySelector("svg.access-map .ground")).fill`, "rgb(26, 27, 32)")
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
	for _, tt := range []struct {
		hosts, drift, lost, breaches int
		want                         string
	}{
		{1, 0, 0, 0, "The host is as it should be"},
		{3, 0, 0, 0, "All 3 hosts are as they should be"},
		{3, 1, 0, 0, "1 of 3 hosts is not as it should be"},
		{3, 2, 1, 0, "2 of 3 hosts are not as they should be, and 1 host could not be looked at"},
		{1, 0, 1, 0, "1 of 1 host could not be looked at"},
		{3, 1, 0, 4, "A deploy key can do what it must not"},
	} {
		if got := sentence(tt.hosts, tt.drift, tt.lost, tt.breaches); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}
