package cmd

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"provision/provision/visible"
)

// A trace is the file that --trace names. Every line of it has the time, whom
// it is about, and a sign:
//
//	>  what is sent to a host, with "(secret)" for each secret
//	<  what a host says, made visible
//	*  what is done to reach a host or GitLab, and how that went
//	=  what this program prints
//
// Before it is opened, and without --trace, nothing is written.
type trace struct {
	mu   sync.Mutex
	file *os.File
}

// open begins the trace of a run. Only its owner may read it: names of hosts,
// users and projects stand in there.
func (t *trace) open(name string, args []string) error {
	if name == "" || t.file != nil {
		return nil
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return usagef("--trace: %w", err)
	}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		if err := file.Chmod(0o600); err != nil { // it may have been there
			return usagef("--trace: %w", err)
		}
	}
	t.file = file
	t.line("provision", '*', fmt.Sprintf("%s, %s/%s: %q", version(), runtime.GOOS, runtime.GOARCH, args))
	return nil
}

func (t *trace) close() {
	if t.file != nil {
		t.file.Close()
	}
}

// line writes every line of a text.
func (t *trace) line(who string, sign byte, text string) {
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

// printed traces what this program prints.
func (t *trace) printed(text string) { t.line("provision", '=', unpainted(text)) }

// conversation traces the programs of a host and its answers.
func (t *trace) conversation(host string) func(sent bool, text string) {
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

// about traces what is done to reach a host.
func (t *trace) about(host, text string) { t.line(host, '*', text) }

// gitlab traces requests.
func (t *trace) gitlab(text string) { t.line("gitlab", '*', text) }
