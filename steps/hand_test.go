package steps

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"provision/inventory"
	"provision/provision"
)

// handed is the deployment of these tests.
var handed = &inventory.Deployment{Name: "app", User: theUser, Directory: "app dir"}

// follow runs a script, and returns what it says.
func (s *sandbox) follow(t *testing.T, script provision.Script) (said string, facts provision.Facts, err error) {
	t.Helper()
	facts, err = provision.Follow(t.Context(), s.target(nil), script, func(line string) { said += line + "\n" })
	return said, facts, err
}

// The gate is asked with no key. What it says meanwhile is told at once, and how it
// ended is told apart.
func TestDeployScript(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		gate := func(text string) {
			t.Helper()
			if err := os.WriteFile(s.dir+gateFile, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		script := func(version string) provision.Script {
			script := Deploy(handed, version, "anna@laptop with provision 'x'")
			script.Text = strings.ReplaceAll(script.Text, "/bin/sh "+gateFile, s.shell+" "+s.dir+gateFile)
			script.Text = strings.ReplaceAll(script.Text, "-r "+gateFile, "-r "+s.dir+gateFile)
			return script
		}
		if _, _, err := s.follow(t, script("")); err == nil || err.Error() != "web1: the gate is not installed" {
			t.Errorf("without a gate: %v", err)
		}
		gate(`echo "asked $*: $SSH_ORIGINAL_COMMAND" >&2; printf 'app: one\nprovision: deployed\n'`)
		for version, want := range map[string]string{"": "deploy", "1.4.2": "deploy 1.4.2", "a b; $(id) '": "deploy a b; $(id) '"} {
			said, facts, err := s.follow(t, script(version))
			if said != "asked app - anna@laptop with provision 'x': "+want+"\n" || fmt.Sprint(facts) != "map[outcome:[app: one provision: deployed]]" || err != nil {
				t.Errorf("%q: said %q, %v, %v", version, said, facts, err)
			}
		}
		gate("echo 'provision: refused: no-version: none' >&2; exit 126")
		if said, facts, err := s.follow(t, script("")); said != Refused+"no-version: none\n" || fmt.Sprint(facts) != "map[status:[126]]" || err != nil {
			t.Errorf("said %q, %v, %v", said, facts, err)
		}
	})
}

// Compose is asked for what there is of the project, and only if that is what is
// wanted.
func TestLogsScript(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		s.stub(t, "systemctl", "echo active")
		s.stub(t, "docker", `cd `+s.dir+`
case "$*" in
ps*oneoff=False*) sed 's,$, `+s.path("app dir")+`,' ids ;;
inspect*) cat containers ;;
*broken*) echo "<line>"; echo "unknown flag" >&2; exit 125 ;;
compose*) printf '<%s>' "$@"; echo ;;
*) echo "docker $*?" >&2; exit 1 ;;
esac`)
		check := func(q LogsQuery, said, wrong string) {
			t.Helper()
			got, _, err := s.follow(t, Logs(handed, q))
			if wrong != "" && (err == nil || err.Error() != "web1: "+wrong || got != said) || wrong == "" && (err != nil || got != said) {
				t.Errorf("%+v: said %q, %v\nwant %q, %s", q, got, err, said, wrong)
			}
		}
		all := LogsQuery{Tail: "100"}
		check(all, "", "the deployment is not there yet")
		s.write(t, "app dir/.env", "not for Compose: '", 0o600)
		s.write(t, "../../ids", "", 0o600)
		check(all, "", "there are no containers")
		s.write(t, "../../ids", "one\ntwo\n", 0o600)
		line := func(service, name string) string {
			return strings.Join([]string{"id", "running", "0", "0", "2026-01-01T00:00:00Z", "healthy", "always", "sha256:aa", service, name, "frob", "web:1", "null"}, "\t") + "\n"
		}
		s.write(t, "../../containers", line("web", "frob-web-1")+line("web", "frob-web-2")+line("-odd.1", "frob-odd-1"), 0o600)
		const logs = "<compose><--project-name><frob><logs><--no-color><--tail>"
		check(all, logs+"<100><-->\n", "")
		check(LogsQuery{Tail: "all", Since: "2026-01-31T10:00:00Z", Follow: true, Services: []string{"-odd.1", "web"}},
			logs+"<all><--since><2026-01-31T10:00:00Z><--follow><--><-odd.1><web>\n", "")
		for _, service := range []string{"we", ".*", "", "frob-web-1"} {
			check(LogsQuery{Tail: "1", Services: []string{"web", service}}, "", "no such service: "+service+"; there are containers of: -odd.1 web")
		}
		check(LogsQuery{Tail: "broken"}, "<line>\n", "docker compose logs has failed: unknown flag")
		s.stub(t, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
		check(all, "", "docker cannot be asked: Cannot connect to the Docker daemon")
		s.stub(t, "systemctl", "echo inactive")
		check(all, "", "docker cannot be asked: it does not run")
	})
}
