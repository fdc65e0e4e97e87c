package output

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"provision/cmd/usage"
	"provision/provision/visible"
)

// A Trace is the file that --trace names. Every line of it has the time, whom
// it is about, and a sign:
//
//	>  what is sent to a host, with "(secret)" for each secret
//	<  what a host says, made visible
//	*  what is done to reach a host or GitLab, and how that went
//	=  what this program prints
//
// Before it is opened, and without --trace, nothing is written.
type Trace struct {
	mu   sync.Mutex
	file *os.File
}

// Open begins the trace of a run. Only its owner may read it: names of hosts,
// users and projects stand in there.
func (t *Trace) Open(name, version string, args []string) error {
	if name == "" || t.file != nil {
		return nil
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return usage.Errorf("--trace: %w", err)
	}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		if err := file.Chmod(0o600); err != nil { // it may have been there
			return usage.Errorf("--trace: %w", err)
		}
	}
	t.file = file
	t.line("provision", '*', fmt.Sprintf("%s, %s/%s: %q", version, runtime.GOOS, runtime.GOARCH, args))
	return nil
}

// Close ends the trace.
func (t *Trace) Close() {
	if t.file != nil {
		t.file.Close()
	}
}

// line writes every line of a text.
func (t *Trace) line(who string, sign byte, text string) {
	if t == nil || t.file == nil || text == "" {
		return
	}
	head := fmt.Sprintf("%s %s %c ", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), who, sign)
	var b strings.Builder
	for l := range strings.Lines(text) {
		b.WriteString(head)
		b.WriteString(visible.String(strings.TrimSuffix(l, "\n")))
		b.WriteByte('\n')
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.file.WriteString(b.String())
}

// Printed traces what this program prints.
func (t *Trace) Printed(text string) { t.line("provision", '=', unpainted(text)) }

// Conversation traces the programs of a host and its answers.
func (t *Trace) Conversation(host string) func(sent bool, text string) {
	if t == nil || t.file == nil {
		return nil
	}
	return func(sent bool, text string) {
		sign := byte('<')
		if sent {
			sign = '>'
		}
		t.line(host, sign, text)
	}
}

// About traces what is done to reach a host.
func (t *Trace) About(host, text string) { t.line(host, '*', text) }

// GitLab traces requests.
func (t *Trace) GitLab(text string) { t.line("gitlab", '*', text) }
