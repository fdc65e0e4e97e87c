package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"provision/cmd/output"
	"provision/e2e/gitlabtest"
	"provision/e2e/needs"
	"provision/e2e/sshtest"
	"provision/provision"
	"provision/provision/secret"
)

// A fleetTest is many bare hosts, one deployment for each, and a GitLab.
type fleetTest struct {
	servers *sshtest.Servers
	gitlab  *gitlabtest.GitLab
	dir     string
	file    string // the inventory
	config  string // of ssh
}

// bareHost is one that has Docker and nothing else.
var bareHost = sshtest.Programs(sshtest.Bare(
	"uid=0", "init=systemd", "free=10000",
	"has=docker", "has=compose", "has=git", "has=ssh",
	"host-key=ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0",
))

// newFleet makes a fleet of n hosts. config is the text of an ssh_config in
// which JUMP stands for the first host, which is then none of the fleet.
func newFleet(t *testing.T, n int, answer sshtest.Answer, config string) *fleetTest {
	t.Helper()
	needs.Program(t, "ssh")
	// No agent and no ssh_config of whoever runs this.
	t.Setenv("SSH_AUTH_SOCK", "")
	t.Setenv("FLEET_TOKEN", "")
	f := &fleetTest{dir: t.TempDir()}
	var err error
	if f.servers, err = sshtest.New(answer); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.servers.Close)
	if config != "" {
		n++
	}
	addresses, err := f.servers.Listen(n)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := f.servers.Identity(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	if config != "" {
		host, port, _ := net.SplitHostPort(addresses[0])
		known := filepath.Join(f.dir, "known_hosts")
		write(t, known, fmt.Sprintf("[%s]:%s %s\n", host, port, f.servers.HostKey))
		// What every host is reached by is one server, so that all are that server.
		relay := "bash -c 'exec 3<>/dev/tcp/ADDRESS/PORT 4<&0; cat <&4 >&3 & cat <&3; kill $!'"
		config = strings.ReplaceAll(config, "RELAY", relay)
		config = strings.NewReplacer("JUMP", "ssh://root@"+addresses[0], "ADDRESS", host, "PORT", port).Replace(config)
		config += fmt.Sprintf("\nHost *\n\tUserKnownHostsFile %s\n\tIdentityFile %s\n\tIdentitiesOnly yes\n", known, identity)
		addresses = addresses[1:]
	}
	f.config = filepath.Join(f.dir, "config")
	write(t, f.config, config)

	f.gitlab = gitlabtest.New(gitlabtest.Config{})
	token := f.gitlab.Seed("transmogrify/frobnicator")
	f.gitlab.Protect("transmogrify/frobnicator", "main")
	f.gitlab.AddMember("transmogrify", "owner", gitlabtest.Owner)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go f.gitlab.Serve(l, nil)
	t.Cleanup(func() { f.gitlab.Close() })
	text, err := token.Reveal()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(f.dir, "token"), text)

	var b strings.Builder
	fmt.Fprintf(&b, `
[gitlab]
url = "http://%s"
token = { file = %q }
host_keys = [%q]
[registry]
host = "registry.example.com"
[defaults.host]
user = "root"
become = "none"
host_keys = [%q]
identity = %q
`, l.Addr(), filepath.Join(f.dir, "token"), f.servers.HostKey, f.servers.HostKey, identity)
	var names []string
	for i, address := range addresses {
		fmt.Fprintf(&b, "[hosts.h%d]\naddress = %q\n", i, address)
		names = append(names, fmt.Sprintf("%q", fmt.Sprintf("h%d", i)))
	}
	fmt.Fprintf(&b, `
[deployments.app]
hosts = [%s]
project = "transmogrify/frobnicator"
user = "deploy-user"
directory = "frobnicator"
environment = "production"
variables = { group = "transmogrify" }
`, strings.Join(names, ", "))
	f.file = filepath.Join(f.dir, "inventory.toml")
	write(t, f.file, b.String())
	return f
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// plan plans, and returns the last line of the output and how many requests
// GitLab got.
func (f *fleetTest) plan(t *testing.T, ctx context.Context, flags ...string) (s output.Tally, code, requests int) {
	t.Helper()
	before := len(f.gitlab.Requests())
	var out, errs bytes.Buffer
	args := append(append([]string{"provision", "plan", "--output", "json", "--ssh-config", f.config}, flags...), f.file)
	code = Run(ctx, Env{Args: args, Stdout: &out, Stderr: &errs})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil {
		t.Fatalf("%v\n%s%s", err, &out, &errs)
	}
	if code != exitOK && ctx.Err() == nil {
		for _, l := range lines {
			if strings.Contains(l, `"event":"error"`) {
				t.Errorf("exit code %d\n%s%s", code, l, &errs)
				break
			}
		}
	}
	return s, code, len(f.gitlab.Requests()) - before
}

// Whoever waits for GitLab is told so.
func TestFleetTellsOfWaiting(t *testing.T) {
	f := newFleet(t, 1, bareHost, "")
	f.gitlab.Fail("", "", 1, gitlabtest.TooManyRequests(2))
	var out, errs bytes.Buffer
	code := Run(t.Context(), Env{Args: []string{"provision", "plan", "--ssh-config", f.config, f.file}, Stdout: &out, Stderr: &errs})
	if code != exitOK || !strings.HasPrefix(errs.String(), "waiting for GitLab's rate limit, ") || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("exit code %d, it says\n%s%s", code, &errs, &out)
	}
}

// However many deployments a group has, GitLab is asked for each list once, and
// every host is connected to once.
func TestFleetSharesWhatGitLabSays(t *testing.T) {
	f := newFleet(t, 100, bareHost, "")
	_, _, one := newFleet(t, 1, bareHost, "").plan(t, t.Context())
	s, _, all := f.plan(t, t.Context(), "--parallel", "auto")
	if s.Hosts != 100 || s.Failed != 0 || s.Connections != 100 || s.Trips != 100 || s.Changes == 0 {
		t.Errorf("100 hosts: %+v; want a connection and a trip for each", s)
	}
	if one == 0 || all != one {
		t.Errorf("100 deployments of one group take %d requests of GitLab, one takes %d", all, one)
	}
	asked := map[string]int{}
	for _, r := range f.gitlab.Requests() {
		asked[r.Method+" "+r.Path]++
	}
	for question, n := range asked {
		if n > 2 { // once in each of the two runs
			t.Errorf("%s was asked %d times in two runs", question, n)
		}
	}
}

// Hosts behind one jump host share one login there.
func TestFleetBehindOneJumpHost(t *testing.T) {
	f := newFleet(t, 30, bareHost, "Host 127.77.*\n\tProxyJump JUMP\nMatch host ADDRESS\n\tProxyJump none\n")
	// What comes first in ssh_config wins, so the exception goes first.
	text, err := os.ReadFile(f.config)
	if err != nil {
		t.Fatal(err)
	}
	jump, exception, _ := strings.Cut(string(text), "Match")
	write(t, f.config, "Match"+strings.Replace(exception, "\nHost *", "\n"+jump+"\nHost *", 1))

	s, _, _ := f.plan(t, t.Context(), "--parallel", "30")
	count := f.servers.Count()
	if s.Hosts != 30 || s.Failed != 0 || count.Logins != 31 || count.Forwards != 30 {
		t.Errorf("30 hosts behind a jump host: %+v, %+v; want 31 logins, 30 of them through it", s, count)
	}
}

// A fleet behind a ProxyCommand logs in to the same server for each host, and
// not so often at a time that it begins to hang up.
func TestFleetBehindOneServer(t *testing.T) {
	f := newFleet(t, 40, bareHost, "Host 127.77.*\n\tProxyCommand RELAY\n")
	f.servers.MaxStartups(10)
	f.plan(t, t.Context(), "--parallel", "40")
	count := f.servers.Count()
	if count.Dropped != 0 || count.Startups > 8 || count.Logins != 40 {
		t.Errorf("40 logins to one server: %+v; want none dropped and at most 8 at a time", count)
	}
}

// A server that hangs up because it has too many logins is asked again.
func TestFleetIsPatient(t *testing.T) {
	f := newFleet(t, 12, bareHost, "Host 127.77.*\n\tProxyCommand RELAY\n")
	f.servers.Refuse(5)
	s, _, _ := f.plan(t, t.Context(), "--parallel", "12")
	if s.Failed != 0 || f.servers.Count().Dropped != 5 {
		t.Errorf("a busy server: %+v, %+v", s, f.servers.Count())
	}
}

// A run that is interrupted begins nothing more, and hosts that are waited for
// are let go.
func TestFleetIsInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	arrived := make(chan struct{}, 500)
	f := newFleet(t, 500, func(command string, in io.Reader, out, stderr io.Writer) uint32 {
		arrived <- struct{}{}
		_, _ = io.Copy(io.Discard, in)
		return 1
	}, "")
	go func() {
		for range 10 { // all that are under way are waited for
			<-arrived
		}
		interrupt()
	}()
	s, code, _ := f.plan(t, ctx, "--parallel", "10")
	count := f.servers.Count()
	if code != exitFailed || s.Failed != 500 {
		t.Errorf("exit code %d, %+v; want all 500 hosts failed", code, s)
	}
	if count.Commands != 10 || count.Logins != 10 {
		t.Errorf("%+v; want no login and no program after the first 10", count)
	}
	if n := runtime.NumGoroutine(); n > 600+400 {
		t.Errorf("%d goroutines are left", n)
	}
}

// A gate that knows no version of the protocol, whose answer is taken from the
// last one that was like that, is drift of the gate, which apply mends.
func TestFleetWithAnOlderGate(t *testing.T) {
	asked := make(chan string, 100)
	f := newFleet(t, 1, func(command string, _ io.Reader, _, stderr io.Writer) uint32 {
		asked <- command
		fmt.Fprintln(stderr, "provision: refused: a nonce has hexadecimal digits")
		return 126
	}, "")
	f.giveKeyToCI(t)
	var out, errs bytes.Buffer
	code := Run(t.Context(), Env{Args: []string{"provision", "verify", "--parallel", "1", "--ssh-config", f.config, f.file}, Stdout: &out, Stderr: &errs})
	if code != exitMissing || !strings.Contains(out.String(), "h0: app: gate: DRIFT: the gate of the host is older than this program\n") || !strings.Contains(out.String(), "hint: upgrade it: provision apply\n") {
		t.Errorf("exit code %d, said\n%s%s", code, &out, &errs)
	}
	if first := <-asked; !regexp.MustCompile("^verify [0-9a-f]{32} " + provision.GateProtocol + "$").MatchString(first) {
		t.Errorf("the gate was asked %q", first)
	}
}

// Of two deployments on a host, one has no key in GitLab. It is the one that
// cannot be looked at; the other is looked at, and the host is not lost.
func TestFleetLosesOneDeployment(t *testing.T) {
	f := newFleet(t, 1, func(_ string, _ io.Reader, _, stderr io.Writer) uint32 {
		fmt.Fprintln(stderr, "provision: refused: there is nothing installed")
		return 126
	}, "")
	text, err := os.ReadFile(f.file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f.file, string(text)+`
[deployments.blog]
host = "h0"
project = "transmogrify/frobnicator"
user = "deploy-user"
directory = "blog"
environment = "staging"
variables = { group = "transmogrify" }
`)
	identity, err := f.servers.Identity(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(identity)
	if err != nil {
		t.Fatal(err)
	}
	verify := func() (last string) {
		var out, errs bytes.Buffer
		Run(t.Context(), Env{Args: []string{"provision", "verify", "--ssh-config", f.config, f.file}, Stdout: &out, Stderr: &errs})
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		last, _, _ = strings.Cut(lines[len(lines)-1], "UNREACHABLE, ")
		return last
	}
	if got, want := verify(), " ok, 1 host "; !strings.HasSuffix(got, want) {
		t.Errorf("with no key: %q, want %q", got, want)
	}
	f.gitlab.AddVariable("transmogrify", gitlabtest.Variable{Key: "SSH_AUTH", Value: secret.New(string(key)), File: true, Scope: "production/h0"})
	if got, want := verify(), " refused, blog on h0 "; !strings.HasSuffix(got, want) {
		t.Errorf("with one key: %q, want %q", got, want)
	}
}

// text is the inventory as it is.
func (f *fleetTest) text(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(f.file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
