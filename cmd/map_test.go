package cmd

import (
	"bytes"
	"strings"
	"testing"
)

func TestMap(t *testing.T) {
	const example = "../inventory/example.toml"
	for _, tt := range []struct {
		args       string
		code       int
		says, mute string
	}{
		{example, exitOK, "flowchart LR\n", "<svg"},
		{example + " --format svg", exitOK, "<svg ", "flowchart"},
		{example + " -f dot", exitOK, "digraph ", "<svg"},
		{"--limit web2 " + example, exitOK, "deploy-user@web2", "web1"},
		{"--limit frobnicator-staging " + example, exitOK, "gate frobnicator-staging", "gate frobnicator-production"},
		{example + " --format png", exitUsage, `--format is mermaid, svg, dot, not "png"`, "\nflowchart"},
		{example + " --limit web9", exitUsage, `no host or deployment is called "web9"`, "flowchart"},
		{"", exitUsage, "there is no inventory.toml here or in a folder above", "flowchart"},
		{"no-such-file.toml", exitUsage, "no-such-file.toml", "flowchart"},
		{"../cmd/map.go", exitUsage, "map.go:", "flowchart"},
	} {
		var out, errs bytes.Buffer
		code := Run(t.Context(), Env{Args: append([]string{"provision", "map"}, strings.Fields(tt.args)...), Stdout: &out, Stderr: &errs})
		if got := out.String() + errs.String(); code != tt.code || !strings.Contains(got, tt.says) || strings.Contains(got, tt.mute) {
			t.Errorf("%s: exit code %d, want %d, %q and no %q:\n%s", tt.args, code, tt.code, tt.says, tt.mute, got)
		}
		if (out.Len() == 0) != (tt.code != exitOK) {
			t.Errorf("%s: standard output has %d bytes", tt.args, out.Len())
		}
	}
}
