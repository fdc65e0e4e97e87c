package cmd

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"provision/e2e/gitlabtest"
)

// A trace has what was asked of GitLab and of the way to hosts, each line with
// its time, and no token; and only its owner can read it, whatever was there.
func TestTrace(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gitlab := gitlabtest.New(gitlabtest.Config{URL: "http://" + listener.Addr().String()})
	go gitlab.Serve(listener, nil)
	t.Cleanup(func() { gitlab.Close() })
	secret, _ := gitlab.Seed("transmogrify/frobnicator").Reveal()
	t.Setenv("TEST_TOKEN", secret)

	file := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(file, []byte("of another run"), 0o644); err != nil {
		t.Fatal(err)
	}
	inventory := head(gitlab.URL()) + host("web1", "127.0.0.1:1") + deployment("app", "web1", "deploy-user", "frobnicator", "transmogrify/frobnicator", "production")
	if code, out, errs := typed(t, inventory, "plan", "--trace", file); code != exitFailed {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the trace has the mode %v", info.Mode())
	}
	for _, want := range []string{
		"provision * ", `: ["plan" "--trace" `, "gitlab * GET /api/v4/personal_access_tokens/self: 200, ", " bytes sent, ",
		"web1 * connect to 127.0.0.1:1 as admin: ", "provision = provision: web1: connect to 127.0.0.1:1: connection refused\n", "provision =   hint: ", "provision = 1 host, ",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the trace lacks %q", want)
		}
	}
	if strings.Contains(string(text), secret) || strings.Contains(string(text), "of another run") {
		t.Error("the trace has what it must not have")
	}
	for line := range strings.Lines(string(text)) {
		if !regexp.MustCompile(`^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (provision|gitlab|web1) [*=<>] .`).MatchString(line) {
			t.Errorf("%q", line)
		}
	}
	if t.Failed() {
		t.Logf("%s", text)
	}

	code, _, errs := typed(t, inventory, "plan", "--trace", filepath.Join(file, "no folder"))
	if code != exitUsage || !strings.HasPrefix(errs, "provision: --trace: ") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}
