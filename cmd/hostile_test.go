package cmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"provision/e2e/needs"
	"provision/provision/visible"
)

const token = "glpat-canary-of-the-token"

// A fakeGitLab knows the token, and counts who asks.
func fakeGitLab(t *testing.T, asked *atomic.Int32) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path != "/api/v4/personal_access_tokens/self" || r.Header.Get("PRIVATE-TOKEN") != token {
			http.Error(w, `{"message":"404 Not Found"}`, http.StatusNotFound)
			return
		}
		fmt.Fprint(w, `{"id": 1, "name": "admin", "active": true, "revoked": false, "scopes": ["api"], "expires_at": "2099-01-01"}`)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// typed writes an inventory and runs a command on it.
func typed(t *testing.T, inventory string, args ...string) (code int, out, errs string) {
	t.Helper()
	return typedIn(t.Context(), t, inventory, args...)
}

func typedIn(ctx context.Context, t *testing.T, inventory string, args ...string) (code int, out, errs string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "inventory.toml")
	if err := os.WriteFile(file, []byte(inventory), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code = Run(ctx, Env{Args: append(append([]string{"provision"}, args...), file), Stdout: &stdout, Stderr: &stderr})
	for line := range strings.Lines(stdout.String() + stderr.String()) {
		if line = strings.TrimSuffix(line, "\n"); visible.String(line) != line {
			t.Errorf("what is printed could steer a terminal: %q", line)
		}
	}
	if strings.Contains(stdout.String()+stderr.String(), token) {
		t.Errorf("the token is printed:\n%s%s", &stdout, &stderr)
	}
	return code, stdout.String(), stderr.String()
}

func head(url string) string {
	return fmt.Sprintf(`
[gitlab]
url = %q
token = { env = "TEST_TOKEN" }
host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0"]
ssh = "ssh://git@git.example.com"
[registry]
host = "registry.example.com"
`, url)
}

func host(name, address string) string {
	return fmt.Sprintf("[hosts.%q]\naddress = %q\nuser = \"admin\"\nhost_keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0\"]\n", name, address)
}

func deployment(name, host, user, directory, project, environment string) string {
	return fmt.Sprintf("[deployments.%q]\nhost = %q\nuser = %q\ndirectory = %q\nproject = %q\nenvironment = %q\nvariables = { group = \"acme\" }\n", name, host, user, directory, project, environment)
}

// Whatever stands in the place of a name, the answer is one problem with its
// place and exit code 2; GitLab is not even asked.
func TestHostileNames(t *testing.T) {
	t.Setenv("TEST_TOKEN", token)
	var asked atomic.Int32
	url := fakeGitLab(t, &asked)
	for _, name := range []string{
		"", " ", "a b", "'", "a'b", `"`, "$(touch escaped)", "`id`", "${HOME}", "a\nb", "a\r\nb", "a\x00b", "-n", "--", "-oProxyCommand=id", "ünïcödé", "\u202eweb", "\x1b]0;x\a", "../up", "a/../../b", "*", "a;b", "a&b", "a|b", "a>b",
		strings.Repeat("x", 10_000), strings.Repeat("ü", 10_000),
	} {
		for what, text := range map[string]string{
			"host":       host(name, "web1.example.com") + deployment("app", name, "deploy", "app", "acme/app", "production"),
			"address":    host("web1", name) + deployment("app", "web1", "deploy", "app", "acme/app", "production"),
			"deployment": host("web1", "web1.example.com") + deployment(name, "web1", "deploy", "app", "acme/app", "production"),
			"user":       host("web1", "web1.example.com") + deployment("app", "web1", name, "app", "acme/app", "production"),
			"directory":  host("web1", "web1.example.com") + deployment("app", "web1", "deploy", name, "acme/app", "production"),
			"project":    host("web1", "web1.example.com") + deployment("app", "web1", "deploy", "app", name, "production"),
		} {
			for _, command := range []string{"plan", "apply"} {
				code, out, errs := typed(t, head(url)+text, command)
				lines := strings.Count(errs, "\n")
				if code != exitUsage || out != "" || lines < 1 || lines > 4 || !strings.Contains(errs, "inventory.toml:") || len(errs) > 4000 {
					t.Errorf("%s: %s %.50q: exit code %d, %d lines, %d bytes:\n%s%.300s", command, what, name, code, lines, len(errs), out, errs)
				}
			}
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("GitLab was asked %d times", n)
	}
	if files, _ := filepath.Glob("*escaped*"); files != nil {
		t.Error("a name was run")
	}
}

// closed returns a port of this machine where nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

const manyHosts = 5000

// Thousands of hosts are no more trouble than each of them: here none answers.
func TestManyHosts(t *testing.T) {
	t.Setenv("TEST_TOKEN", token)
	t.Setenv("PATH", "") // without ssh nobody is asked for a configuration
	t.Setenv("HOME", t.TempDir())
	var asked atomic.Int32
	var text strings.Builder
	text.WriteString(head(fakeGitLab(t, &asked)))
	port := closed(t)
	for i := range manyHosts {
		text.WriteString(host(fmt.Sprintf("web%d", i), fmt.Sprintf("127.1.%d.%d:%s", i/250, i%250+1, port)))
		text.WriteString(deployment(fmt.Sprintf("app%d", i), fmt.Sprintf("web%d", i), "deploy", "app", "acme/app", fmt.Sprintf("production%d", i)))
	}
	code, out, errs := typed(t, text.String(), "plan", "--parallel", "50")
	if want := fmt.Sprintf("%d hosts, 0 changes to make, %[1]d hosts failed, ", manyHosts); code != exitFailed || !strings.HasPrefix(out, want) {
		t.Errorf("exit code %d: %.300s", code, out)
	}
	if n := strings.Count(errs, "provision: web"); n != manyHosts || !strings.Contains(errs, "\nprovision: web4999: connect to ") {
		t.Errorf("%d errors", n)
	}
	if asked := asked.Load(); asked != 1 {
		t.Errorf("GitLab was asked %d times", asked)
	}

	// One of them is one of them.
	if code, _, errs := typed(t, text.String(), "plan", "--limit", "web4321"); code != exitFailed || strings.Count(errs, "provision: ") != 1 || !strings.HasPrefix(errs, "provision: web4321: ") {
		t.Errorf("exit code %d: %.300s", code, errs)
	}
}

// A host behind a jump host behind that host cannot be reached, and a plan does
// not try for ever.
func TestJumpCycles(t *testing.T) {
	needs.Program(t, "ssh")
	t.Setenv("TEST_TOKEN", token)
	var asked atomic.Int32
	url := fakeGitLab(t, &asked)
	for name, config := range map[string]string{
		"itself": "Host a\n\tProxyJump a\n",
		"two":    "Host a\n\tProxyJump b\nHost b\n\tProxyJump a\n",
		"three":  "Host a\n\tProxyJump b\nHost b\n\tProxyJump c\nHost c\n\tProxyJump a\n",
		"a tail": "Host a\n\tProxyJump b\nHost b\n\tProxyJump c\nHost c\n\tProxyJump b\n",
	} {
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, errs := typed(t, head(url)+host("web1", "a")+deployment("app", "web1", "deploy", "app", "acme/app", "production"), "apply", "--ssh-config", file)
		if code != exitFailed || strings.Count(errs, "provision: ") != 1 || !strings.HasPrefix(errs, "provision: web1: ") ||
			!strings.Contains(errs, "stands twice") && !strings.Contains(errs, "loop") {
			t.Errorf("%s: exit code %d: %s", name, code, errs)
		}
	}
}

// Somebody between here and GitLab gets no token: not with another certificate,
// not by sending us elsewhere, and not by reading along.
func TestWrongGitLab(t *testing.T) {
	t.Setenv("TEST_TOKEN", token)
	var stolen atomic.Int32
	steal := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { stolen.Add(1) })
	thief := httptest.NewServer(steal)
	t.Cleanup(thief.Close)
	impostor := httptest.NewUnstartedServer(steal)
	impostor.Config.ErrorLog = nil
	impostor.StartTLS()
	t.Cleanup(impostor.Close)
	rest := host("web1", "web1.example.com") + deployment("app", "web1", "deploy", "app", "acme/app", "production")
	for _, command := range []string{"plan", "apply", "verify", "rotate-key"} {
		check := func(url string, wants int, says string) {
			t.Helper()
			code, out, errs := typed(t, head(url)+rest, command)
			told := strings.Count(errs, "provision: ") + strings.Count(errs, "inventory.toml:")
			if code != wants || out != "" || told != 1 || !strings.Contains(errs, says) {
				t.Errorf("%s: %s: exit code %d, want %d and %q:\n%s%s", command, url, code, wants, says, out, errs)
			}
		}
		check(impostor.URL, exitFailed, "certificate")
		for _, status := range []int{301, 302, 303, 307, 308} {
			elsewhere := httptest.NewServer(http.RedirectHandler(strings.Replace(thief.URL, "127.0.0.1", "localhost", 1)+"/api/v4/personal_access_tokens/self", status))
			check(elsewhere.URL, exitFailed, "localhost")
			elsewhere.Close()
		}
		check("http://git.example.com", exitUsage, "http")
		check("http://127.0.0.1.example.com", exitUsage, "http")
		check("http://localhost@git.example.com", exitUsage, "http")
	}
	if n := stolen.Load(); n > 0 {
		t.Errorf("%d requests went to somebody else", n)
	}
}

// A command that is over has nothing left running, whatever became of it: hosts
// that are not there, and an interrupt while a host says nothing.
func TestNothingIsLeftRunning(t *testing.T) {
	t.Setenv("TEST_TOKEN", token)
	var asked atomic.Int32
	url := fakeGitLab(t, &asked)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, command := range []string{"plan", "apply", "verify", "rotate-key", "remove"} {
		args := []string{command}
		if command == "remove" {
			args = append(args, "one")
		}
		one := deployment("one", "web1", "deploy", "app", "acme/app", "one")
		if code, out, errs := typed(t, head(url)+host("web1", "127.0.0.1:"+closed(t))+one, args...); code == exitOK {
			t.Errorf("%s: %s%s", command, out, errs)
		}
		if command == "verify" || command == "remove" {
			continue // they ask GitLab for more first, which this one does not have
		}
		ctx, interrupt := context.WithCancel(t.Context())
		go func() {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			interrupt()
			io.Copy(io.Discard, conn)
			conn.Close()
		}()
		if code, out, errs := typedIn(ctx, t, head(url)+host("web1", silent.Addr().String())+one, args...); code != exitFailed {
			t.Errorf("%s: exit code %d: %s%s", command, code, out, errs)
		}
		if ctx.Err() == nil {
			t.Errorf("%s: the host was not asked", command)
		}
		interrupt()
	}
	if asked.Load() == 0 {
		t.Error("GitLab was not asked: nothing was begun")
	}
	silent.Close()
	patience, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	left := running()
	for ; left != "" && patience.Err() == nil; left = running() {
		runtime.Gosched()
	}
	if left != "" {
		t.Errorf("still running:\n%s", left)
	}
}

// running returns the goroutines that are at work in this program or in its
// connections. An idle connection to GitLab is kept for the next question.
func running() string {
	buffer := make([]byte, 1<<20)
	var left []string
	for i, stack := range strings.Split(string(buffer[:runtime.Stack(buffer, true)]), "\n\n") {
		if i > 0 && (strings.Contains(stack, "provision/") || strings.Contains(stack, "crypto/ssh")) && !strings.Contains(stack, "fakeGitLab") && !strings.Contains(stack, "testing.tRunner") {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}
