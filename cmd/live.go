package cmd

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"provision/provision/visible"
)

// A live display is the last lines of a terminal while hosts are worked on: one
// for each that is active, with what is under way there, and one that counts
// the others. What is printed meanwhile stands above, and at the end nothing is
// left of it.
//
// Between two frames the cursor stands where the display begins. However the
// terminal is resized and its lines wrapped anew, erasing from there to the end
// of the screen takes all of the display and nothing else.
//
// The zero display shows nothing.
type live struct {
	mu       sync.Mutex
	terminal *os.File // nil: there is none
	begun    time.Time
	hosts    []*liveHost // active, in the order of their beginning
	all      int
	done     int
	failed   int
	paused   int
	changed  bool // since the last frame
	shown    int  // lines of the last frame
	end      chan struct{}
	ended    chan struct{}
}

type liveHost struct {
	name, doing string
	since       time.Time
}

// newLive returns a display on standard output, or else on standard error,
// where one of them is a terminal that can show it.
func newLive(env Env, o fleetOptions) *live {
	l := &live{}
	for _, out := range []io.Writer{env.Stdout, env.Stderr} {
		if l.terminal == nil && o.output == "text" && os.Getenv("CI") == "" {
			l.terminal = terminalOf(out)
		}
	}
	return l
}

// start begins to show that work goes on with so many hosts.
func (l *live) start(hosts int) {
	if l.terminal == nil {
		return
	}
	l.begun, l.all, l.done, l.failed = time.Now(), hosts, 0, 0
	l.end, l.ended = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(l.ended)
		frames := time.NewTicker(100 * time.Millisecond)
		defer frames.Stop()
		for n := 1; ; n++ {
			select {
			case <-l.end:
				return
			case <-frames.C:
			}
			l.mu.Lock()
			if l.changed || n%10 == 0 { // the seconds count on
				l.write(l.terminal, "")
			}
			l.mu.Unlock()
		}
	}()
}

// stop erases the display.
func (l *live) stop() {
	if l.terminal == nil {
		return
	}
	close(l.end)
	<-l.ended
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	l.hosts = nil
}

// begin shows a host as active.
func (l *live) begin(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.hosts, l.changed = append(l.hosts, &liveHost{host, "connect", now}), true
}

// doing shows what is under way at a host.
func (l *live) doing(host, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.hosts {
		if h.name == host {
			h.doing, h.since, l.changed = visible.String(what), time.Now(), true
		}
	}
}

// finish counts a host among those that are done.
func (l *live) finish(host string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = slices.DeleteFunc(l.hosts, func(h *liveHost) bool { return h.name == host })
	l.changed = true
	if l.done++; err != nil {
		l.failed++
	}
}

// pause takes the display away until resume is called, because a person is
// asked for something.
func (l *live) pause() (resume func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	l.paused++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.paused--
		l.changed = true
	}
}

// print writes lines that stay.
func (l *live) print(out io.Writer, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown > 0 && terminalOf(out) != nil {
		l.write(out, text)
	} else {
		io.WriteString(out, text)
	}
}

// wipe erases all from the line of the cursor on. It does so in two parts: when a
// whole screen is erased at once, some terminals keep it above.
const wipe = "\r\x1b[K\n\x1b[J\x1b[A"

func (l *live) erase() {
	if l.shown > 0 {
		io.WriteString(l.terminal, wipe)
		l.shown = 0
	}
}

// write replaces the display by a text and a new one, in one piece and line over
// line, so that nothing flickers.
func (l *live) write(out io.Writer, text string) {
	lines := l.frame()
	if lines == nil {
		return
	}
	var b strings.Builder
	if text != "" {
		b.WriteString(wipe + text)
	}
	b.WriteByte('\r')
	for i, line := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(line + "\x1b[K")
	}
	b.WriteString("\x1b[J\r")
	if len(lines) > 1 {
		fmt.Fprintf(&b, "\x1b[%dA", len(lines)-1)
	}
	l.shown, l.changed = len(lines), false
	io.WriteString(out, b.String())
}

// frame returns the lines of the display, as they fit into the terminal; none
// when it is not to be seen.
func (l *live) frame() []string {
	if l.paused > 0 {
		return nil
	}
	wide, high, err := term.GetSize(int(l.terminal.Fd()))
	if err != nil || wide < 1 || high < 1 {
		wide, high = 80, 24
	}
	wide-- // what fills the last column wraps in some terminals
	var lines []string
	for _, h := range l.hosts {
		if len(lines) >= high-2 {
			break
		}
		age := ""
		if d := time.Since(h.since); d >= 2*time.Second {
			age = fmt.Sprintf(" %d s", int(d.Seconds()))
		}
		lines = append(lines, cut(cut(h.name+": "+h.doing, wide-len(age))+age, wide))
	}
	status := fmt.Sprintf("%d of %s done", l.done, count(l.all, "host"))
	if l.failed > 0 {
		status += fmt.Sprintf(", %d FAILED", l.failed)
	}
	if n := len(l.hosts) - len(lines); n > 0 {
		status += fmt.Sprintf(", %d more under way", n)
	}
	status += fmt.Sprintf(", %d s", int(time.Since(l.begun).Seconds()))
	return append(lines, cut(status, wide))
}
