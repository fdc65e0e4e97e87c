package e2e_test

import (
	"crypto/sha256"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"provision/e2e/gitlabtest"
	"provision/e2e/lab"
	"provision/e2e/sample"
	"provision/inventory"
)

var sessionFile = regexp.MustCompile(`^/home/[^/]+/\.provision/[^/]+/session\.[0-9]+$`)

// A finding is a line of JSON output of verify.
type finding struct{ Event, Host, Deployment, Step, Text string }

// A verification is what one verify found out, as JSON and as JUnit.
type verification struct {
	result
	findings []finding
	cases    []testCase
}

type testCase struct {
	Suite   string `xml:"-"`
	Name    string `xml:"name,attr"`
	Class   string `xml:"classname,attr"`
	Failure string `xml:"failure"`
	Error   string `xml:"error"`
}

// verify verifies with the inventory in a file.
func verify(t *testing.T, file string, flags ...string) verification {
	t.Helper()
	report := filepath.Join(t.TempDir(), "report.xml")
	args := append([]string{"provision", "verify", file, "--output", "json", "--junit", report}, flags...)
	v := verification{result: run(t.Context(), args...)}
	for text := range strings.Lines(v.out) {
		followsSchema(t, text)
		var f finding
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			t.Fatalf("%v: %v", err, v)
		}
		v.findings = append(v.findings, f)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("%v: %v", err, v)
	}
	if out, err := exec.CommandContext(t.Context(), "xmllint", "--noout", "--schema", schemas+"junit.xsd", report).CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, out, text)
	}
	var suites struct {
		Suites []struct {
			Name  string     `xml:"name,attr"`
			Cases []testCase `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &suites); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	for _, s := range suites.Suites {
		for _, c := range s.Cases {
			c.Suite = s.Name
			v.cases = append(v.cases, c)
		}
	}
	return v
}

// of returns the steps that an event is about, each once.
func (v verification) of(event string) []string {
	var steps []string
	for _, f := range v.findings {
		if f.Event == event && !slices.Contains(steps, f.Step) {
			steps = append(steps, f.Step)
		}
	}
	slices.Sort(steps)
	return steps
}

// finds fails the test unless exactly these steps are not as they should be,
// in all that was written.
func (v verification) finds(t *testing.T, steps ...string) {
	t.Helper()
	want := 0
	if len(steps) > 0 {
		want = 3
	}
	if v.code != want {
		t.Errorf("the exit code should be %d: %v", want, v.result)
	}
	slices.Sort(steps)
	told := append(v.of("wrong"), v.of("breach")...)
	slices.Sort(told)
	if got := slices.Compact(told); !slices.Equal(got, steps) {
		t.Errorf("not as they should be: %q, want %q: %v", got, steps, v.result)
	}
	var failed []string
	for _, c := range v.cases {
		if c.Failure != "" {
			failed = append(failed, c.Name)
		}
		if c.Error != "" {
			t.Errorf("an error in JUnit: %+v", c)
		}
	}
	slices.Sort(failed)
	if !slices.Equal(failed, steps) {
		t.Errorf("JUnit has the failures %q, want %q", failed, steps)
	}
	if len(v.cases) == 0 {
		t.Error("JUnit has no cases")
	}
}

// inventoryFile writes the inventory as it is now.
func (w *world) inventoryFile(t *testing.T) string {
	t.Helper()
	file, err := w.Write()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// withToken writes an inventory that takes the token of GitLab from a variable
// of the environment, which is set unless the token is empty.
func (w *world) withToken(t *testing.T, token string) string {
	t.Helper()
	const variable = "TOKEN_OF_THIS_TEST"
	text, err := os.ReadFile(w.inventoryFile(t))
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), "\ntoken = ")
	_, after, _ := strings.Cut(rest, "\n")
	if !ok {
		t.Fatalf("there is no token in\n%s", text)
	}
	file := filepath.Join(t.TempDir(), "inventory.toml")
	if err := os.WriteFile(file, []byte(before+"\ntoken = { env = \""+variable+"\" }\n"+after), 0o644); err != nil {
		t.Fatal(err)
	}
	if token != "" {
		t.Setenv(variable, token)
	}
	return file
}

// keyFile puts the key of a deployment into a file, as a job has it.
func (w *world) keyFile(t *testing.T, d *inventory.Deployment) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "SSH_AUTH")
	if err := os.WriteFile(file, []byte(w.variable(t, "transmogrify", "SSH_AUTH", d.Scope)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// refused tells that everything was tried that a CI key must not do.
const refused = ", 20 attempts refused"

// Every way to verify finds a host ok that an apply has just made, tells
// what it cannot see, and changes nothing.
func TestVerify(t *testing.T) {
	w := newWorld(t, head+web1+app+withOverride)
	w.apply(t)
	d := w.deployment(t, "app")
	key := w.keyFile(t, d)
	files, asked := w.snapshot(t, "web1"), len(w.GitLab.Requests())

	t.Run("the key that GitLab holds", func(t *testing.T) {
		page := filepath.Join(t.TempDir(), "page.html")
		v := verify(t, w.inventoryFile(t), "--html", page)
		v.finds(t)
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`<h1 class="ok">The host is ok</h1>`, `<span>access token <span class="whole">deploy-user@web1</span> of group transmogrify</span>`, "&#34; that GitLab was asked with", ">gate app</text>",
			`<td class="up">1/1</td>`, " good, by admin</td>", `<a class="commit" href="` + w.Inventory.GitLab.URL + "/transmogrify/frobnicator/-/commit/"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("the page lacks %q", want)
			}
		}
		if days := regexp.MustCompile(`<b>\d+ days</b>`).FindAllString(string(text), -1); !slices.ContainsFunc(days, func(s string) bool { return s >= "<b>363" && s <= "<b>366 days</b>" }) {
			t.Errorf("no credential lasts for a year: %q", days)
		}
		v.says(t, refused)
		if got, want := v.of("unchecked"), []string{"user deploy-user"}; !slices.Equal(got, want) {
			t.Errorf("not checked: %q, want %q", got, want)
		}
	})
	t.Run("a key of ours, and a token", func(t *testing.T) {
		v := verify(t, w.inventoryFile(t), "--key", key)
		v.finds(t)
		v.says(t, refused)
	})
	t.Run("a token that can only read", func(t *testing.T) {
		text, _ := w.GitLab.AddPersonalToken("owner", time.Now().AddDate(0, 3, 0), "read_api").Reveal()
		v := verify(t, w.withToken(t, text))
		v.finds(t)
		v.says(t, refused)
		if got, want := v.of("unchecked"), []string{"user deploy-user"}; !slices.Equal(got, want) {
			t.Errorf("not checked: %q, want %q", got, want)
		}
	})
	t.Run("a token that cannot read", func(t *testing.T) {
		text, _ := w.GitLab.AddPersonalToken("owner", time.Now().AddDate(0, 3, 0), "read_user").Reveal()
		run(t.Context(), "provision", "verify", w.withToken(t, text)).exits(t, 1).says(t, "read_api")
	})
	t.Run("a job", func(t *testing.T) {
		t.Setenv("SSH_AUTH", key)
		t.Setenv("SSH_KNOWN_HOSTS", w.variable(t, "transmogrify", "SSH_KNOWN_HOSTS", d.Scope))
		t.Setenv("SSH_DEPLOY_TARGET", w.variable(t, "transmogrify", "SSH_DEPLOY_TARGET", d.Scope))
		v := verify(t, w.withToken(t, ""))
		v.finds(t)
		v.says(t, refused, "the type, the scope and the protection", "whether the branch that deploys is protected")
		want := []string{"ci-key app", "deploy-key deploy-user transmogrify/frobnicator", "overridden-variables app", "registry-login deploy-user", "repo-key-switch deploy-user", "stale-variables app", "user deploy-user"}
		if got := v.of("unchecked"); !slices.Equal(got, want) {
			t.Errorf("not checked: %q, want %q", got, want)
		}
		t.Run("with old variables", func(t *testing.T) {
			t.Setenv("SSH_KNOWN_HOSTS", "web1 ssh-ed25519 AAAA")
			verify(t, w.withToken(t, "")).finds(t, "ci-variables app")
		})
	})
	t.Run("a key and nothing else", func(t *testing.T) {
		v := verify(t, w.withToken(t, ""), "--key", key)
		v.finds(t)
		v.says(t, refused)
		want := []string{"ci-key app", "ci-variables app", "deploy-key deploy-user transmogrify/frobnicator", "overridden-variables app", "registry-login deploy-user", "repo-key-switch deploy-user", "stale-variables app", "user deploy-user"}
		if got := v.of("unchecked"); !slices.Equal(got, want) {
			t.Errorf("not checked: %q, want %q", got, want)
		}
	})
	t.Run("as admin", func(t *testing.T) {
		v := verify(t, w.inventoryFile(t), "--as", "admin")
		v.finds(t)
		v.saysNot(t, "attempts")
		if got := v.of("unchecked"); len(got) > 0 {
			t.Errorf("not checked: %q", got)
		}
	})
	t.Run("as admin without a token", func(t *testing.T) {
		v := verify(t, w.withToken(t, ""), "--as", "admin")
		v.finds(t)
		want := []string{"ci-key app", "ci-variables app", "deploy-key deploy-user transmogrify/frobnicator", "overridden-variables app", "registry-login deploy-user", "repo-key-switch deploy-user", "stale-variables app"}
		if got := v.of("unchecked"); !slices.Equal(got, want) {
			t.Errorf("not checked: %q, want %q", got, want)
		}
	})
	t.Run("nothing at all", func(t *testing.T) {
		r := run(t.Context(), "provision", "verify", w.withToken(t, "")).exits(t, 2)
		r.says(t, "there is no CI key to verify with", "--key FILE", "SSH_AUTH", "--as admin")
	})
	t.Run("nothing at all, at a terminal", func(t *testing.T) {
		script := exec.CommandContext(t.Context(), "script", "--quiet", "--return", "--command",
			fmt.Sprintf("exec /proc/%d/exe verify %s", os.Getpid(), w.withToken(t, "")), "/dev/null")
		script.Env = append(os.Environ(), programVariable+"=yes")
		out, err := script.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "no token of GitLab: looking as an admin") || !strings.Contains(string(out), "1 host, ") {
			t.Errorf("%v\n%s", err, out)
		}
	})

	// The gate counts the sessions of a key by the locks on empty files.
	now := w.snapshot(t, "web1")
	for _, all := range []map[string]lab.File{files, now} {
		maps.DeleteFunc(all, func(name string, f lab.File) bool {
			return sessionFile.MatchString(name) && f.Content == fmt.Sprintf("%x", sha256.Sum256(nil))
		})
	}
	compare(t, files, now)
	requests := w.GitLab.Requests()[asked:]
	if len(requests) < 10 {
		t.Errorf("GitLab was asked only %d times", len(requests))
	}
	for _, r := range requests {
		if r.Method != http.MethodGet || r.Changed {
			t.Errorf("a verify asked GitLab for %s %s", r.Method, r.Path)
		}
	}

	// A key of somebody is none of CI's, but as good as root.
	w.sh(t, "web1", `ssh-keygen -q -t ed25519 -N "" -C somebody@laptop -f /run/key && cat /run/key.pub >>/home/deploy-user/.ssh/authorized_keys`)
	mine := w.sh(t, "web1", "ssh-keygen -lf /run/key.pub | cut -d ' ' -f 2,3")
	for _, as := range []string{"ci", "admin"} {
		v := verify(t, w.inventoryFile(t), "--as", as)
		v.finds(t)
		v.says(t, "unrestricted key in ~deploy-user/.ssh/authorized_keys (no forced command): "+mine, ", 1 note")
	}
	run(t.Context(), "provision", "verify", "--strict", w.inventoryFile(t)).exits(t, 3)
}

// A key that can do what it must not is the loudest finding of all, however
// that came about.
func TestVerifyFindsBreaches(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	d := w.deployment(t, "app")
	const shell = "app: restriction app: BREACH: the CI key can do what it must not: a shell: "
	type breach struct {
		name, host string
		steps      []string
		says       []string
	}
	breaches := sample.Some(t, []breach{
		{"the line has no restrictions", `sed -i s/^restrict,// .ssh/authorized_keys`, []string{"ci-key app", "restriction app"},
			[]string{"BREACH: the CI key can do what it must not: a terminal: ", "must not: forwarding to a port: ", "must not: forwarding from a port: "}},
		{"the line allows a terminal", `sed -i 's/^restrict,/restrict,pty,/' .ssh/authorized_keys`, []string{"ci-key app", "restriction app"},
			[]string{"must not: a terminal: "}},
		{"the line starts a shell", lineOfKey("before", `restrict,command="/bin/sh -c \"$SSH_ORIGINAL_COMMAND\"" KEY`), []string{"restriction app"},
			[]string{shell, "must not: a command: ", "opens something else than the gate"}},
		{"there is neither restriction nor command", `sed -i 's/^restrict,command="[^"]*" //' .ssh/authorized_keys`, []string{"restriction app"},
			[]string{shell, "must not: sftp: ", "must not: forwarding to a port: ", "opens something else than the gate"}},
		{"the gate does whatever is asked", `printf '#!/bin/sh\neval "$SSH_ORIGINAL_COMMAND"\n' >/usr/local/lib/provision/gate`, []string{"restriction app"},
			[]string{shell, "must not: a command: ", "must not: a command after a semicolon: "}},
		{"the gate does whatever is asked, but for verify", `sed -i "s/^\*) refuse not-allowed 'this key allows only.*/*) eval \"\$asked\"; exit ;;/" /usr/local/lib/provision/gate`, []string{"gate", "restriction app"},
			[]string{"web1: app: gate: DRIFT: ", shell}},
		{"the gate lets commands stand behind a word", `sed -i "s/^'' | deploy | status)/'deploy;'*) eval \"\${asked#*;}\"; exit ;;\n&/" /usr/local/lib/provision/gate`, []string{"gate", "restriction app"},
			[]string{"must not: a command after a semicolon: "}},
	}, 3)
	// It is not known what that one does, so it is not tried what else it does.
	breaches = append(slices.Clone(breaches), breach{"the line starts another command", lineOfKey("before", `command="echo ran >>/tmp/ran" KEY`), []string{"restriction app"},
		[]string{"restriction app: DRIFT: the CI key opens something else than the gate", "not checked: every other step, until apply has put it right; what else the key can do"}})
	for _, breach := range breaches {
		t.Run(breach.name, func(t *testing.T) {
			w.sh(t, "web1", "cd /home/deploy-user\n"+breach.host)
			verify(t, w.inventoryFile(t)).finds(t, breach.steps...)
			r := w.run(t, "verify").exits(t, 3)
			r.says(t, breach.says...)
			w.apply(t)
		})
	}
	verify(t, w.inventoryFile(t)).finds(t)
	if ran := w.sh(t, "web1", "cat /tmp/ran; ls /root/uid* 2>/dev/null || :"); strings.Count(ran, "ran") != 4 {
		t.Errorf("in two verifies a foreign command ran %d times, want 4:\n%s", strings.Count(ran, "ran"), ran)
	}
	w.deploy(t, d.Name, "2")
}

const threeHosts = head + web1 + web2 + `
[hosts.web3]
address = "web3.WORLD"
user = "admin"
[deployments.app]
hosts = ["web1", "web2", "web3"]
project = "transmogrify/frobnicator"
user = "deploy-user"
directory = "frobnicator"
environment = "production"
variables = { group = "transmogrify" }
`

// What cannot be looked at is never ok, and hides nothing of the others.
func TestVerifyCannotLook(t *testing.T) {
	t.Parallel()
	w := newWorld(t, threeHosts)
	w.apply(t)
	verify(t, w.inventoryFile(t)).finds(t)
	w.sh(t, "web3", "sed -i s/frobnicator/elsewhere/ /etc/provision/deployments/app")
	w.sh(t, "web3", "cp /etc/provision/deployments/app /etc/provision/deployments/old")

	unseen := func(t *testing.T, flags []string, says ...string) {
		t.Helper()
		v := verify(t, w.inventoryFile(t), flags...)
		v.exits(t, 1).says(t, says...)
		if !slices.ContainsFunc(v.findings, func(f finding) bool { return f.Event == "error" }) {
			t.Errorf("there is no line about an error: %v", v)
		}
		if !slices.Contains(v.of("wrong"), "deploy-settings app") || !slices.Contains(v.of("wrong"), "unmanaged") {
			t.Errorf("what is wrong with web3 is not told: %v", v)
		}
		errors, failures := 0, 0
		for _, c := range v.cases {
			if c.Error != "" {
				errors++
			}
			if c.Failure != "" {
				failures++
			}
		}
		if errors != 1 || failures != 2 {
			t.Errorf("JUnit has %d errors and %d failures, want one and two", errors, failures)
		}
	}

	t.Run("another host key", func(t *testing.T) {
		h := w.Inventory.Host("web2")
		keys := h.HostKeys
		h.HostKeys = w.Inventory.Host("web1").HostKeys
		defer func() { h.HostKeys = keys }()
		unseen(t, nil, "web2", "host key", "1 host UNREACHABLE")
		unseen(t, []string{"--as", "admin"}, "web2", "host key", "1 host UNREACHABLE")
	})
	t.Run("the key is refused", func(t *testing.T) {
		w.sh(t, "web2", "mv /home/deploy-user/.ssh/authorized_keys /root")
		unseen(t, nil, "web2: app: the host does not let deploy-user in")
		w.sh(t, "web2", "mv /root/authorized_keys /home/deploy-user/.ssh")
	})
	t.Run("GitLab fails", func(t *testing.T) {
		trap := w.GitLab.Fail("GET", "/api/v4/groups/*/access_tokens", 0, gitlabtest.Failure(http.StatusBadGateway))
		defer trap.Remove()
		v := verify(t, w.inventoryFile(t))
		v.exits(t, 1).says(t, "registry-login deploy-user", "502")
	})
	t.Run("docker hangs", func(t *testing.T) {
		w.sh(t, "web2", "kill -STOP $(pidof dockerd)")
		unseen(t, nil, "web2: containers app: look: ", "docker")
		w.sh(t, "web2", "kill -CONT $(pidof dockerd)")
	})
	t.Run("the host is off", func(t *testing.T) {
		if err := w.Hosts["web2"].PowerOff(t.Context()); err != nil {
			t.Fatal(err)
		}
		unseen(t, nil, "web2", "3 hosts, ", "1 host UNREACHABLE")
	})
}

// Over N shards every host is verified once, and a job verifies what its key
// is for.
func TestVerifyShards(t *testing.T) {
	w := newWorld(t, two)
	w.apply(t)
	file := w.inventoryFile(t)
	suites := func(flags ...string) (hosts []string) {
		v := verify(t, file, flags...)
		v.finds(t)
		for _, c := range v.cases {
			if strings.HasPrefix(c.Name, "restriction ") {
				hosts = append(hosts, c.Class)
			}
		}
		return hosts
	}
	all := []string{"web1.app", "web1.tool", "web2.tool"}
	check := func(name string, got []string, want ...string) {
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: verified %q, want %q", name, got, want)
		}
	}
	check("without shards", suites(), all...)
	check("--shard", append(suites("--shard", "1/2"), suites("--shard", "2/2")...), all...)
	t.Setenv("CI_NODE_TOTAL", "1") // as in every job
	check("one job", suites(), all...)
	t.Setenv("CI_NODE_TOTAL", "2")
	t.Setenv("CI_NODE_INDEX", "1")
	got := suites()
	t.Setenv("CI_NODE_INDEX", "2")
	check("two jobs", append(got, suites()...), all...)
	check("--shard in a job", suites("--shard", "1/1"), all...)
	t.Setenv("CI_NODE_INDEX", "")
	t.Setenv("CI_NODE_TOTAL", "")

	t.Setenv("CI_ENVIRONMENT_NAME", "production")
	t.Setenv("SSH_AUTH", w.keyFile(t, w.deployment(t, "app")))
	check("a job of an environment", suites(), "web1.app")
	run(t.Context(), "provision", "verify", file, "--limit", "tool").exits(t, 1).says(t, "the host does not let deploy-tool in")
}

// What only an admin sees is told to be not checked, and is checked as one.
func TestVerifyAsAdmin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	w.sh(t, "web1", "usermod --password '!' deploy-user")
	v := verify(t, w.inventoryFile(t))
	v.finds(t)
	v.says(t, "without rights of an admin: what kind of password the user has")
	verify(t, w.inventoryFile(t), "--as", "admin").finds(t, "user deploy-user")
	w.apply(t)
	verify(t, w.inventoryFile(t), "--as", "admin").finds(t)

	// Another deployment is spoken of, by all who look.
	w.sh(t, "web1", "sed s/frobnicator/elsewhere/ /etc/provision/deployments/app >/etc/provision/deployments/old")
	const drift = "old is installed on this host but not in the inventory\n"
	w.run(t, "verify").exits(t, 3).says(t, "web1: app: unmanaged: DRIFT: "+drift)
	w.run(t, "verify", "--as", "admin").exits(t, 3).says(t, "web1: unmanaged: DRIFT: "+drift)
	w.run(t, "plan", "--exit-code").exits(t, 0).says(t, "web1: unmanaged: note: "+drift)
}
