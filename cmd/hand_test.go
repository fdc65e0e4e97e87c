package cmd

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"provision/cmd/fleet/fleettest"
	"provision/e2e/sshtest"
	"provision/provision/remote"
)

// handHosts answer with facts, and with lines, which are those without a "=".
func handHosts(answers map[string][]string) *fleettest.Hosts {
	return &fleettest.Hosts{Program: func(host string, program []byte) []byte {
		facts := ""
		for _, line := range answers[host] {
			if strings.Contains(line, "=") {
				facts += "\x00" + line
			} else {
				facts += "\n" + line
			}
		}
		all := strings.Split("said=yes"+facts, "\x00")
		return sshtest.Bare(all...)(program)
	}}
}

func TestDeploy(t *testing.T) {
	good := []string{"provision: pulling", "outcome=app: registry.example.com/app@sha256:aa", "outcome=provision: deployed 1 of 1 services in 2 s"}
	f := newFleet(t, 3, bareHost, "")
	for _, tt := range []struct {
		name   string
		h1     []string
		args   []string
		code   int
		want   []string
		logins string
	}{
		{"all", good, nil, exitOK, []string{
			"h0: pulling\nh0: deployed 1 of 1 services in 2 s\nh0:     app: registry.example.com/app@sha256:aa\nh1: pulling\n", "\n3 hosts deployed, "}, "h0 h1 h2"},
		{"one", good, []string{"--limit", "h2"}, exitOK, []string{"h2: deployed 1 of 1 services", "\n1 host deployed, "}, "h2"},
		{"a failure", []string{"status=1", "outcome=now app: one", "outcome=provision: deploy failed after 1 s: app is unhealthy\x1b[2J", "outcome=hint: mend it"}, nil, exitFailed, []string{
			"h0: deployed", "h1: now app: one\nprovision: h1: deploy failed after 1 s: app is unhealthy\\x1b[2J\n  hint: mend it\nh2: not deployed\n1 host deployed, 1 failed, 1 not deployed, "}, "h0 h1"},
		{"a refusal", []string{"provision: refused: too-many-sessions: too many sessions; try again later", "status=126"}, nil, exitFailed, []string{
			"provision: h1: refused: too-many-sessions: too many sessions; try again later\nh2: not deployed\n"}, "h0 h1"},
		{"no version yet", []string{"status=1", "outcome=provision: deploy failed after 1 s: no TAG", "outcome=hint: provision deploy --tag VERSION app INVENTORY"}, []string{"--limit", "h*"}, exitFailed, []string{
			"  hint: provision deploy --tag VERSION app --limit 'h*' " + f.file + "\n"}, "h0 h1"},
		{"not there", []string{"provision: refused: not-cloned: the deployment is not there yet", "status=126"}, nil, exitFailed, []string{
			"h1: refused: not-cloned: the deployment is not there yet\n  hint: provision apply --limit h1 " + f.file}, "h0 h1"},
		{"an older gate", []string{"provision: refused: key-revoked: this key is no longer allowed", "status=126"}, nil, exitFailed, []string{
			"h1: the gate of the host is older than this program\n  hint: provision apply --limit h1 " + f.file}, "h0 h1"},
		{"what a container says is no refusal", append([]string{"provision: refused: no-version: really"}, good...), nil, exitOK, []string{"\n3 hosts deployed, "}, "h0 h1 h2"},
		{"no outcome", []string{"status=124"}, nil, exitFailed, []string{"h1: the gate does not say how the deploy has ended; its exit status is 124\n"}, "h0 h1"},
		{"not even a status", nil, nil, exitFailed, []string{"h1: the gate does not say how the deploy has ended; its exit status is 0\n"}, "h0 h1"},
		{"JSON", []string{"status=1", "outcome=provision: deploy failed"}, []string{"--output", "json"}, exitFailed, []string{
			`{"version":2,"event":"progress","host":"h0","deployment":"app","text":"pulling"}`,
			`{"version":2,"event":"deployed","host":"h0","deployment":"app","detail":"app: registry.example.com/app@sha256:aa","text":"deployed 1 of 1 services in 2 s"}`,
			`{"version":2,"event":"error","host":"h1","text":"h1: deploy failed"}`, `{"version":2,"event":"not deployed","host":"h2","deployment":"app","text":"not deployed"}`,
			`"event":"summary","text":"1 host deployed, 1 failed, 1 not deployed"`}, "h0 h1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hosts := handHosts(map[string][]string{"h0": good, "h1": tt.h1, "h2": good})
			code, printed := f.runs(t, hosts, nil, append([]string{"deploy", "app"}, tt.args...)...)
			if code != tt.code || visited(hosts) != tt.logins {
				t.Errorf("exit code %d, logged in to %s; want %d, %s", code, visited(hosts), tt.code, tt.logins)
			}
			for _, text := range tt.want {
				if !strings.Contains(printed, text) {
					t.Errorf("it does not say %q:\n%s", text, printed)
				}
			}
			if strings.ContainsAny(printed, "\x1b") {
				t.Errorf("it prints control characters: %q", printed)
			}
		})
	}
}

func visited(hosts *fleettest.Hosts) string {
	var names []string
	for _, l := range hosts.Logins() {
		names = append(names, l.Name)
	}
	return strings.Join(names, " ")
}

// A host that cannot be reached is the last, too, and nothing is begun there.
func TestDeployUnreachable(t *testing.T) {
	hosts := handHosts(nil)
	hosts.Login = func(remote.Target) error { return errors.New("no route") }
	code, printed := newFleet(t, 2, bareHost, "").runs(t, hosts, nil, "deploy", "app")
	if code != exitFailed || visited(hosts) != "h0" || !strings.Contains(printed, "provision: no route\nh1: not deployed\n0 hosts deployed, 1 failed, 1 not deployed, ") {
		t.Errorf("exit code %d\n%s", code, printed)
	}
}

// What these commands are about is one deployment, and nothing is connected to
// before that is known.
func TestOneDeployment(t *testing.T) {
	f := newFleet(t, 2, bareHost, "")
	text := f.text(t)
	write(t, f.file, strings.Replace(text, `hosts = ["h0", "h1"]`, `hosts = ["h0"]`, 1))
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"deploy", "apq"}, `inventory.toml has no deployment "apq"; did you mean app?`},
		{[]string{"logs", "apq"}, `inventory.toml has no deployment "apq"; did you mean app?`},
		{[]string{"logs", "app", "--limit", "h1"}, "--limit leaves no host of app, which is on h0"},
		{[]string{"deploy", "app", "--tag", ""}, `--tag is "": a version is a tag or a digest`},
		{[]string{"deploy", "app", "--tag", "a b; id"}, `--tag is "a b; id": a version is a tag or a digest`},
		{[]string{"deploy", "app", "--tag", "1.4.2"}, "the inventory lets nobody choose a version of app\n  hint: write version = \"TAG\" into deployments.app, "},
		{[]string{"deploy", "app", "more"}, "more is neither an inventory nor a host of " + f.file + "\n  hint: provision deploy --tag more app " + f.file},
		{[]string{"deploy", "app", "--parallel", "2"}, "there is no flag --parallel"},
		{[]string{"logs", "app", "--tail", "-1"}, `--tail wants a number of lines, or all, not "-1"`},
		{[]string{"logs", "app", "--tail", ""}, `--tail wants a number of lines, or all, not ""`},
		{[]string{"logs", "app", "--since", "yesterday"}, `--since is "yesterday"; write 90m, 24h, 7d, or a date as `},
	} {
		hosts := handHosts(nil)
		if code, printed := f.runs(t, hosts, nil, tt.args...); code != exitUsage || !strings.Contains(printed, tt.want) || len(hosts.Logins()) != 0 {
			t.Errorf("%v: exit code %d\n%s", tt.args, code, printed)
		}
	}
	var out bytes.Buffer
	if code := Run(t.Context(), Env{Args: []string{"provision", "logs"}, Stdout: &out, Stderr: &out}); code != exitUsage || !strings.Contains(out.String(), "which deployment?\n  hint: provision logs DEPLOYMENT\n") {
		t.Errorf("exit code %d\n%s", code, &out)
	}
}

func TestLogs(t *testing.T) {
	f := newFleet(t, 2, bareHost, "")
	var mu sync.Mutex
	var programs []string
	hosts := handHosts(map[string][]string{"h0": {"\x1b[2Kapp-1  | one", "app-1  | \x1b]0;x\a two"}, "h1": {"app-1  | three"}})
	answer := hosts.Program
	hosts.Program = func(host string, program []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		programs = append(programs, string(program))
		return answer(host, program)
	}
	for _, tt := range []struct {
		args []string
		want []string
		sent string
	}{
		{nil, []string{"h0: app-1  | one\n", `h0: app-1  | \x1b]0;x\a two`, "h1: app-1  | three\n", "\n2 hosts, 3 lines, "}, `'\''frobnicator'\'' '\'''\'' '\'''\'' '\''100'\''` + "\n"},
		{[]string{"--limit", "h0"}, []string{"app-1  | one\napp-1  | ", "\n1 host, 2 lines, "}, ""},
		{[]string{"--limit", "h1", "--output", "json"}, []string{`{"version":2,"event":"output","host":"h1","deployment":"app","text":"app-1  | three"}` + "\n"}, ""},
		{[]string{"--since", "2026-01-31T10:00:00.5Z", "-f", "-s", "web", "-s", "db"}, nil, `'\''--follow'\'' '\''2026-01-31T10:00:00.5Z'\'' '\''all'\'' '\''web'\'' '\''db'\''` + "\n"},
		{[]string{"--since", "1h", "--tail", "7"}, nil, `'\''7'\''` + "\n"},
	} {
		programs = nil
		code, printed := f.runs(t, hosts, nil, append([]string{"logs", "app"}, tt.args...)...)
		if code != exitOK {
			t.Errorf("%v: exit code %d\n%s", tt.args, code, printed)
		}
		for _, text := range tt.want {
			if !strings.Contains(printed, text) {
				t.Errorf("%v: it does not say %q:\n%s", tt.args, text, printed)
			}
		}
		if strings.ContainsAny(printed, "\x1b\a") || slices.Contains(tt.args, "h0") && strings.Contains(printed, "h0: ") {
			t.Errorf("%v: it prints %q", tt.args, printed)
		}
		for _, program := range programs {
			if !strings.Contains(program, tt.sent) {
				t.Errorf("%v: the script is not called with %s:\n%s", tt.args, tt.sent, program)
			}
		}
	}
}

// A host that fails keeps no other from being read.
func TestLogsOfSomeHosts(t *testing.T) {
	hosts := handHosts(map[string][]string{"h1": {"app-1  | three"}})
	hosts.Login = func(to remote.Target) error {
		if to.Name == "h0" {
			return errors.New("h0: no route")
		}
		return nil
	}
	code, printed := newFleet(t, 2, bareHost, "").runs(t, hosts, nil, "logs", "app")
	for _, text := range []string{"provision: h0: no route\n", "h1: app-1  | three\n", "2 hosts, 1 line, 1 host failed, "} {
		if code != exitFailed || !strings.Contains(printed, text) {
			t.Errorf("exit code %d, want %q\n%s", code, text, printed)
		}
	}
}
