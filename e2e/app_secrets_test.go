package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The secrets of an app are in their files, and nowhere else: neither printed, nor
// logged, nor traced, nor among the arguments or in the environment of a process,
// nor in a report; neither where all goes well nor where it fails. What had another
// value is nowhere any more.
func TestSecretsOfAnApp(t *testing.T) {
	t.Parallel()
	a := newAppWorld(t, "")
	const env, key, clone = "/home/deploy-user/frobnicator/.env", "/home/deploy-user/frobnicator/secrets/tls.key", "/home/deploy-user/frobnicator"
	temp := t.TempDir()
	var printed strings.Builder
	traces := 0
	run := func(wants int, args ...string) {
		t.Helper()
		traces++
		command, out, errors := a.process(t, append(args, "--verbose", "--trace", fmt.Sprintf("%s/trace%d", temp, traces))...)
		command.Env = append(command.Env, "TMPDIR="+temp)
		command.Run()
		if code := command.ProcessState.ExitCode(); code != wants {
			t.Fatalf("%v: the exit code is %d, want %d:\n%s%s", args, code, wants, out, errors)
		}
		fmt.Fprintf(&printed, "%s%s", out, errors)
	}
	values := func(n int) (canaries []canary) {
		token := fmt.Sprintf("Zaunkoenig-%d-4417", n)
		body := fmt.Sprintf("Rotkehlchen%dRotkehlchen", n)
		secretText(t, a.token, token+"\n")
		secretText(t, a.key, "-----BEGIN KEY-----\n"+body+"\n-----END KEY-----\n")
		return []canary{{fmt.Sprintf("token %d", n), []string{token}, []string{env}}, {fmt.Sprintf("key %d", n), []string{body}, []string{key}}}
	}

	s := startSampler(t, a.world)
	first := values(1)
	run(0, "plan")
	run(0, "apply")
	run(0, "apply", "--output", "json")
	if _, err := a.CI(t.Context(), a.deployment(t, "app"), ""); err != nil {
		t.Fatal(err)
	}
	second := values(2)
	run(0, "plan", "--output", "json")
	a.sh(t, "web1", `cd "$1" && mv .env kept && ln -s kept .env && mv secrets/tls.key key && mkdir secrets/tls.key`, clone)
	run(1, "apply")
	a.sh(t, "web1", `cd "$1" && mv -f kept .env && rmdir secrets/tls.key && mv key secrets/tls.key`, clone)
	run(0, "apply")
	file := filepath.Join(t.TempDir(), "ci")
	secretText(t, file, a.variable(t, "transmogrify", "SSH_AUTH", "production"))
	report, page := filepath.Join(temp, "verify.xml"), filepath.Join(temp, "verify.html")
	run(0, "verify", "--key", file, "--limit", "app", "--junit", report, "--html", page)
	run(0, "verify", "--as", "admin")
	a.sh(t, "web1", `chmod 644 "$1"; sed -i /API_TOKEN/d "$2"`, key, env)
	run(3, "verify", "--as", "admin", "--junit", report+"2", "--html", page+"2")
	run(0, "rotate-key", "--only", "repo-key")
	a.sh(t, "web1", `rm "$1"/.env.before-*`, clone)
	seen := s.stop()

	for i := range first {
		first[i].homes = nil
	}
	for _, want := range []string{"git\x00rev-parse", "sha256sum", "docker\x00compose"} {
		if !slices.ContainsFunc(seen, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("none of the %d processes that were seen is %q: the sampler proves nothing", len(seen), want)
		}
	}
	for _, want := range []string{"update .env of app (API_TOKEN; the next deploy uses it)", ".env is a link"} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("nothing that was printed is %q", want)
		}
	}
	trace, err := os.ReadFile(temp + "/trace2")
	if err != nil || !strings.Contains(string(trace), "_secret='\\''(secret)'\\''\n") {
		t.Errorf("%v: the trace has no secret that is left out: it proves nothing", err)
	}
	for _, leak := range a.leaks(t, append(first, second...), seen, printed.String(), temp, os.Getenv("HOME")) {
		t.Error(leak)
	}
}
