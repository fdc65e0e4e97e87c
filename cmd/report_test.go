package cmd

import (
	"bytes"
	"strings"
	"testing"

	"provision/provision/visible"
)

// The last word of the program steers no terminal, whatever was typed.
func TestLastWordIsVisible(t *testing.T) {
	const hostile = "\x1b]0;title\a\x1b[2J\x9b31m\u202eevil\u2066\r\b\x7f\xff"
	var errs bytes.Buffer
	if code := Run(t.Context(), Env{Args: []string{"provision", "plan", hostile}, Stdout: new(bytes.Buffer), Stderr: &errs}); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	for line := range strings.Lines(errs.String()) {
		if line = strings.TrimSuffix(line, "\n"); visible.String(line) != line {
			t.Errorf("%q", line)
		}
	}
}
