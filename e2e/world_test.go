package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"provision/cmd"
	"provision/e2e/gitlabtest"
	"provision/e2e/lab"
	"provision/e2e/needs"
	"provision/e2e/rehearsal"
	"provision/inventory"
)

// The pieces of the inventories of these tests. WORLD stands for a domain of
// which every world has its own.
const (
	head = `
[gitlab]
url = "https://git.WORLD"
host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0"]
[registry]
host = "registry.WORLD"
`
	web1 = `
[hosts.web1]
address = "web1.WORLD"
user = "admin"
`
	web2 = `
[hosts.web2]
address = "web2.WORLD"
user = "admin"
`
	// app is the deployment that most tests are about.
	app = `
[deployments.app]
host = "web1"
project = "transmogrify/frobnicator"
user = "deploy-user"
directory = "frobnicator"
environment = "production"
variables = { group = "transmogrify" }
`
	// withOverride may stand behind a deployment.
	withOverride = `
override = "override.yaml"
parameters = { motto = "one" }
`
	overrideText = `services:
  app:
    restart: unless-stopped
    environment:
      MOTTO: "@{motto}"
      WHERE: "@{host}"
`
)

// A world is an inventory come to life for one test.
type world struct {
	*rehearsal.World
	dir string // of the inventory as the test wrote it
}

var worlds atomic.Int64

// newWorld makes the world of an inventory. Each option changes how it is made.
func newWorld(t *testing.T, text string, options ...func(*rehearsal.Options)) *world {
	t.Helper()
	needs.Lab(t, noLab)
	w := &world{dir: t.TempDir()}
	text = strings.ReplaceAll(text, "WORLD", fmt.Sprintf("w%d.example.com", worlds.Add(1)))
	file := filepath.Join(w.dir, "inventory.toml")
	for name, text := range map[string]string{file: text, filepath.Join(w.dir, "override.yaml"): overrideText} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	inv, err := inventory.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	o := rehearsal.Options{Secrets: true}
	for _, change := range options {
		change(&o)
	}
	if w.World, err = rehearsal.New(t.Context(), theLab, inv, o); w.World != nil {
		t.Cleanup(func() {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func edition(e gitlabtest.Edition) func(*rehearsal.Options) {
	return func(o *rehearsal.Options) { o.Edition = e }
}

func hosts(change func(name string, o *lab.Options)) func(*rehearsal.Options) {
	return func(o *rehearsal.Options) { o.Host = change }
}

// A result is what a command printed, and its exit code.
type result struct {
	code        int
	out, errors string
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d\nstdout:\n%sstderr:\n%s", r.code, r.out, r.errors)
}

// says fails the test unless all texts are in what was printed.
func (r result) says(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.out+r.errors, text) {
			t.Errorf("it does not say %q:\n%v", text, r)
		}
	}
}

// saysNot fails the test if one of the texts is in what was printed.
func (r result) saysNot(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(r.out+r.errors, text) {
			t.Errorf("it says %q:\n%v", text, r)
		}
	}
}

// exits fails the test unless that is the exit code.
func (r result) exits(t *testing.T, code int) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("the exit code should be %d: %v", code, r)
	}
	return r
}

// A line is one of JSON output.
type line struct {
	Event, Host, Step, Change, Detail, Text, Hint, Time, By string
	Output                                                  []string
	Hosts, Failed, Changes, Connections, Trips              int
}

// lines reads JSON output.
func (r result) lines(t *testing.T) []line {
	t.Helper()
	var all []line
	for text := range strings.Lines(r.out) {
		followsSchema(t, text)
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("a line that is no JSON: %v\n%v", err, r)
		}
		all = append(all, l)
	}
	return all
}

// of returns the lines of an event.
func of(event string, all []line) []line {
	return slices.DeleteFunc(slices.Clone(all), func(l line) bool { return l.Event != event })
}

// summary returns the last line of JSON output.
func (r result) summary(t *testing.T) line {
	t.Helper()
	all := r.lines(t)
	if len(all) == 0 || all[len(all)-1].Event != "summary" {
		t.Fatalf("there is no summary: %v", r)
	}
	return all[len(all)-1]
}

// typed writes the inventory as it is now and returns the command line.
func (w *world) typed(t *testing.T, args ...string) []string {
	t.Helper()
	file, err := w.Write()
	if err != nil {
		t.Fatal(err)
	}
	return append(append([]string{"provision"}, args...), file)
}

// run runs a command on the inventory.
func (w *world) run(t *testing.T, args ...string) result {
	t.Helper()
	return run(t.Context(), w.typed(t, args...)...)
}

func run(ctx context.Context, args ...string) result {
	var out, errors bytes.Buffer
	code := cmd.Run(ctx, cmd.Env{Args: args, Stdout: &out, Stderr: &errors})
	return result{code, out.String(), errors.String()}
}

// process returns the same command as a process of its own.
func (w *world) process(t *testing.T, args ...string) (command *exec.Cmd, out, errors *bytes.Buffer) {
	t.Helper()
	command = exec.CommandContext(t.Context(), "/proc/self/exe")
	command.Args = w.typed(t, args...)
	command.Env = append(os.Environ(), programVariable+"=yes")
	out, errors = new(bytes.Buffer), new(bytes.Buffer)
	command.Stdout, command.Stderr = out, errors
	return command, out, errors
}

// apply applies the inventory, and fails the test unless that works.
func (w *world) apply(t *testing.T, flags ...string) result {
	t.Helper()
	return w.run(t, append([]string{"apply"}, flags...)...).exits(t, 0)
}

// plan plans, and returns what is missing as "STEP: CHANGE" and what there is to
// tell as "STEP: note: TEXT".
func (w *world) plan(t *testing.T, flags ...string) []string {
	t.Helper()
	var all []string
	for _, l := range w.run(t, append([]string{"plan", "--output", "json"}, flags...)...).exits(t, 0).lines(t) {
		switch l.Event {
		case "change", "later":
			all = append(all, l.Step+": "+l.Change)
		case "note":
			all = append(all, l.Step+": note: "+l.Text)
		}
	}
	return all
}

// missing plans, and returns the steps that lack something, each once.
func (w *world) missing(t *testing.T, flags ...string) []string {
	t.Helper()
	var steps []string
	for _, text := range w.plan(t, flags...) {
		step, what, _ := strings.Cut(text, ": ")
		if !strings.HasPrefix(what, "note: ") && !slices.Contains(steps, step) {
			steps = append(steps, step)
		}
	}
	return steps
}

// planned fails the test unless all of want are in a plan; one that ends in "…"
// is a prefix.
func planned(t *testing.T, plan []string, want ...string) {
	t.Helper()
	for _, text := range want {
		prefix, isPrefix := strings.CutSuffix(text, "…")
		if !slices.ContainsFunc(plan, func(s string) bool { return s == text || isPrefix && strings.HasPrefix(s, prefix) }) {
			t.Errorf("the plan lacks %q:\n%s", text, strings.Join(plan, "\n"))
		}
	}
}

// converged fails the test unless an apply has nothing to do.
func (w *world) converged(t *testing.T, flags ...string) {
	t.Helper()
	r := w.apply(t, append([]string{"--output", "json"}, flags...)...)
	if s := r.summary(t); s.Changes != 0 || s.Hosts == 0 {
		t.Errorf("a second apply makes changes: %v", r)
	}
}

// sh runs a script as root on a host and returns what it printed.
func (w *world) sh(t *testing.T, host, script string, args ...string) string {
	t.Helper()
	out, err := w.Hosts[host].Exec(t.Context(), script, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(out, "\n")
}

// deployment returns the one of that name; of many, the one on the first host.
func (w *world) deployment(t *testing.T, name string) *inventory.Deployment {
	t.Helper()
	for _, d := range w.Inventory.Deployments {
		if d.Name == name {
			return d
		}
	}
	t.Fatalf("there is no deployment %s", name)
	return nil
}

// push pushes a version of the image of a deployment.
func (w *world) push(t *testing.T, name, version string) {
	t.Helper()
	if err := w.Push(t.Context(), w.deployment(t, name).Project, version); err != nil {
		t.Fatal(err)
	}
}

// runs fails the test unless a deployment runs that version.
func (w *world) runs(t *testing.T, name, version string) {
	t.Helper()
	got, err := w.Version(t.Context(), w.deployment(t, name))
	if err != nil {
		t.Fatal(err)
	}
	if got != version {
		t.Errorf("%s runs version %q, want %q", name, got, version)
	}
}

// deploy pushes a version and deploys it as CI does.
func (w *world) deploy(t *testing.T, name, version string) {
	t.Helper()
	w.push(t, name, version)
	if out, err := w.CI(t.Context(), w.deployment(t, name), ""); err != nil {
		t.Fatalf("the deploy of %s failed: %v\n%s", name, err, out)
	}
	w.runs(t, name, version)
}

// variable returns the value of one of CI's variables.
func (w *world) variable(t *testing.T, owner, key, scope string) string {
	t.Helper()
	v, ok := w.GitLab.Variable(owner, key, scope)
	if !ok {
		t.Fatalf("%s has no variable %s for %s", owner, key, scope)
	}
	text, err := v.Value.Reveal()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// active returns the ids of the access tokens of a group that work.
func (w *world) active(group, name string) []int64 {
	var ids []int64
	for _, token := range w.GitLab.Tokens(group) {
		if token.Active && token.Name == name {
			ids = append(ids, token.ID)
		}
	}
	return ids
}

// api calls GitLab as its owner, and returns the answer.
func (w *world) api(t *testing.T, method, path, body string) []byte {
	t.Helper()
	token, err := os.ReadFile(w.Inventory.GitLab.Token.File)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(method, w.GitLab.URL()+"/api/v4"+path, strings.NewReader(body))
	r.Header.Set("PRIVATE-TOKEN", string(token))
	r.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	w.GitLab.ServeHTTP(answer, r)
	if answer.Code >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, answer.Code, answer.Body)
	}
	return answer.Body.Bytes()
}
