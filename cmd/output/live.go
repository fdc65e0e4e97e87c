package output

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

// A Live display is the last lines of a terminal while hosts are worked on: one
// for each that is active, with what is under way there, and one that counts
// the others. What is printed meanwhile stands above, and at the end nothing is
// left of it.
//
// Between two frames the cursor stands where the display begins. However the
// terminal is resized and its lines wrapped anew, erasing from there to the end
// of the screen takes all of the display and nothing else.
//
// The zero display shows nothing.
type Live struct {
	mu       sync.Mutex
	terminal *os.File // nil: there is none
	begun    time.Time
	hosts    []*liveHost // active, in the order of their beginning
	all      int
	done     int
	failed   int
	paused   int
	waiting  string // for GitLab
	changed  bool   // since the last frame
	shown    int    // lines of the last frame
	end      chan struct{}
	ended    chan struct{}
}

type liveHost struct {
	name, doing string
	since       time.Time
}

// NewLive returns a display on the first of some outputs that is a terminal which
// can show it.
func NewLive(outs ...io.Writer) *Live {
	l := &Live{}
	for _, out := range outs {
		if l.terminal == nil && os.Getenv("CI") == "" {
			l.terminal = TerminalOf(out)
		}
	}
	return l
}

// Start begins to show that work goes on with so many hosts.
func (l *Live) Start(hosts int) {
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

// Stop erases the display.
func (l *Live) Stop() {
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

// Begin shows a host as active.
func (l *Live) Begin(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.hosts, l.changed = append(l.hosts, &liveHost{host, "connect", now}), true
}

// Doing shows what is under way at a host.
func (l *Live) Doing(host, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.hosts {
		if h.name == host {
			h.doing, h.since, l.changed = visible.String(what), time.Now(), true
		}
	}
}

// Waiting shows what GitLab is waited for, "" for nothing. Where there is no display, the
// line is printed to out, and stays.
func (l *Live) Waiting(out io.Writer, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.terminal == nil {
		if text != "" {
			fmt.Fprintln(out, text)
		}
		return
	}
	l.waiting, l.changed = visible.String(text), true
}

// Finish counts a host among those that are done.
func (l *Live) Finish(host string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = slices.DeleteFunc(l.hosts, func(h *liveHost) bool { return h.name == host })
	l.changed = true
	if l.done++; err != nil {
		l.failed++
	}
}

// Pause takes the display away until resume is called, because a person is
// asked for something.
func (l *Live) Pause() (resume func()) {
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

// Print writes lines that stay.
func (l *Live) Print(out io.Writer, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown > 0 && TerminalOf(out) != nil {
		l.write(out, text)
	} else {
		io.WriteString(out, text)
	}
}

// wipe erases all from the line of the cursor on. It does so in two parts: when a
// whole screen is erased at once, some terminals keep it above.
const wipe = "\r\x1b[K\n\x1b[J\x1b[A"

func (l *Live) erase() {
	if l.shown > 0 {
		io.WriteString(l.terminal, wipe)
		l.shown = 0
	}
}

// write replaces the display by a text and a new one, in one piece and line over
// line, so that nothing flickers.
func (l *Live) write(out io.Writer, text string) {
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
func (l *Live) frame() []string {
	if l.paused > 0 {
		return nil
	}
	wide, high, err := term.GetSize(int(l.terminal.Fd()))
	if err != nil || wide < 1 || high < 1 {
		wide, high = 80, 24
	}
	wide-- // what fills the last column wraps in some terminals
	var lines []string
	add := func(text string, since time.Time) bool {
		if len(lines) >= high-2 {
			return false
		}
		age := ""
		if d := time.Since(since); d >= 2*time.Second {
			age = fmt.Sprintf(" %d s", int(d.Seconds()))
		}
		lines = append(lines, Cut(Cut(text, wide-len(age))+age, wide))
		return true
	}
	shown := 0
	if l.waiting != "" {
		add(l.waiting, time.Now())
	}
	for _, h := range l.hosts {
		if !add(h.name+": "+h.doing, h.since) {
			break
		}
		shown++
	}
	status := fmt.Sprintf("%d of %s done", l.done, Count(l.all, "host"))
	if l.failed > 0 {
		status += fmt.Sprintf(", %d FAILED", l.failed)
	}
	if n := len(l.hosts) - shown; n > 0 {
		status += fmt.Sprintf(", %d more under way", n)
	}
	status += fmt.Sprintf(", %d s", int(time.Since(l.begun).Seconds()))
	return append(lines, Cut(status, wide))
}
