package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"provision/e2e/gitlabtest"
	"provision/e2e/lab"
	"provision/e2e/sample"
	"provision/inventory"
	"provision/templates"
)

// A canary is a secret that is looked for where it must not be.
type canary struct {
	name  string
	texts []string // whoever has one of them has the secret, or a good part of it
	homes []string // the files of the host that may have it, and must
}

// pem makes a canary of a private key: of its lines, but for the first ones,
// which all keys have.
func pemCanary(t *testing.T, name, text string, homes ...string) canary {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) < 5 {
		t.Fatalf("%s is no private key", name)
	}
	return canary{name, lines[2 : len(lines)-1], homes}
}

// find returns which canaries are in a text.
func find(canaries []canary, text string) []string {
	var found []string
	for _, c := range canaries {
		if slices.ContainsFunc(c.texts, func(s string) bool { return strings.Contains(text, s) }) {
			found = append(found, c.name)
		}
	}
	return found
}

const sudoPassword = "Kanarienvogel im Bergwerk 7431"

// canaryWorld is one with secrets of all kinds; the canaries are those that are
// there from the beginning.
func canaryWorld(t *testing.T) (*world, []canary) {
	t.Helper()
	w := newWorld(t, livedIn+`
[deployments.tool]
host = "web1"
project = "transmogrify/tool"
user = "deploy-tool"
directory = "tool"
environment = "staging"
variables = { projects = ["transmogrify/tool"] }
`, hosts(func(_ string, o *lab.Options) { o.Password = sudoPassword }))
	w.Inventory.Host("web1").BecomePassword = w.secretFile(t, sudoPassword)
	token, err := os.ReadFile(w.Inventory.GitLab.Token.File)
	if err != nil {
		t.Fatal(err)
	}
	return w, []canary{
		{name: "the password of sudo", texts: []string{sudoPassword, "Kanarienvogel"}},
		{name: "the token of GitLab", texts: []string{string(token), base64.StdEncoding.EncodeToString(token)}},
	}
}

// No secret is ever seen in what is printed, among the arguments or in the
// environment of any process, in a log, or in any file but the one that it
// belongs into; neither in a run that works nor in one that fails.
func TestSecrets(t *testing.T) {
	t.Parallel()
	w, canaries := canaryWorld(t)
	temp := t.TempDir()
	var printed strings.Builder
	traces := 0
	apply := func(wants int, flags ...string) {
		t.Helper()
		traces++
		command, out, errors := w.process(t, append([]string{"apply", "--verbose", "--trace", fmt.Sprintf("%s/trace%d", temp, traces)}, flags...)...)
		command.Env = append(command.Env, "TMPDIR="+temp)
		command.Run()
		if code := command.ProcessState.ExitCode(); code != wants {
			t.Fatalf("the exit code is %d, want %d:\n%s%s", code, wants, out, errors)
		}
		fmt.Fprintf(&printed, "%s%s", out, errors)
	}

	s := startSampler(t, w)
	canaries = append(canaries, w.failures(t, apply)...)
	apply(0, "--limit", "app")
	apply(0, "--output", "json")
	apply(0)
	for _, d := range w.Inventory.Deployments {
		if _, err := w.CI(t.Context(), d, ""); err != nil {
			t.Fatal(err)
		}
	}
	seen := s.stop()
	canaries = append(canaries, w.born(t)...)

	for _, want := range []string{"useradd\x00--system", "docker\x00login\x00--username\x00provision-", "sudo\x00-S", "ssh-keygen\x00-q", "git\x00clone", "docker\x00compose", programVariable + "=yes\x00"} {
		if !slices.ContainsFunc(seen, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("none of the %d processes that were seen is %q: the sampler proves nothing", len(seen), want)
		}
	}
	for _, want := range []string{"web1: user deploy-user: began: ", "web1: containers app: output: ", `"event":"began"`} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("nothing that was printed is %q", want)
		}
	}
	checkTraces(t, temp, traces)
	for _, leak := range w.leaks(t, canaries, seen, printed.String(), temp, os.Getenv("HOME")) {
		t.Error(leak)
	}
}

// leaks returns where canaries are that must not be there: among the arguments and
// in the environments of processes, in what was printed, in the journal and the
// files of the host, and in directories of the client.
func (w *world) leaks(t *testing.T, canaries []canary, processes []string, printed string, dirs ...string) []string {
	t.Helper()
	var leaks []string
	add := func(found []string, where string) {
		if found != nil {
			leaks = append(leaks, fmt.Sprintf("%v: %s", found, where))
		}
	}
	for _, process := range processes {
		add(find(canaries, process), fmt.Sprintf("in a process: %q", process))
	}
	add(find(canaries, printed), "printed:\n"+printed)
	add(find(canaries, w.sh(t, "web1", "journalctl --sync; journalctl --all --output export")), "in the journal")
	leaks = append(leaks, w.inFiles(t, canaries)...)
	for _, dir := range dirs {
		leaks = append(leaks, inDir(t, canaries, dir)...)
	}
	return leaks
}

// checkTraces fails the test unless there are so many traces in a directory that
// only their owner may read, and all that a secret could be in is in them.
func checkTraces(t *testing.T, dir string, count int) {
	t.Helper()
	all := ""
	for n := range count {
		file := fmt.Sprintf("%s/trace%d", dir, n+1)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has the mode %v", file, info.Mode())
		}
		all += string(text)
	}
	for _, want := range []string{
		" * sudo asks for a password, and is given one\n", " > _secret='\\''(secret)'\\''\n", " < @", " fact public=ssh-ed25519 ",
		" * POST /api/v4/groups/transmogrify/variables: 201, ", "gitlab * POST /api/v4/groups/transmogrify/access_tokens: ", " = web1: ", ": began: ", " = provision: web1: ",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("none of the traces has %q: they prove nothing", want)
		}
	}
}

// secretFile keeps a secret where the inventory can name it.
func (w *world) secretFile(t *testing.T, text string) inventory.Secret {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return inventory.Secret{File: file}
}

// born returns the secrets that the applies made.
func (w *world) born(t *testing.T) []canary {
	t.Helper()
	all := []canary{
		pemCanary(t, "the key of CI for app", w.variable(t, "transmogrify", "SSH_AUTH", "production")),
		pemCanary(t, "the key of CI for tool", w.variable(t, "transmogrify/tool", "SSH_AUTH", "staging")),
	}
	for _, user := range []string{"deploy-user", "deploy-tool"} {
		key := "/home/" + user + "/.ssh/id_ed25519"
		all = append(all, pemCanary(t, "the key of "+user, w.read(t, key), key))

		all = append(all, w.loginOf(t, user)...)
	}
	return all
}

// loginOf returns what a user logs in to the registry with.
func (w *world) loginOf(t *testing.T, user string) []canary {
	t.Helper()
	file := "/home/" + user + "/.docker/config.json"
	var config struct {
		Auths map[string]struct{ Auth string }
	}
	if err := json.Unmarshal([]byte(w.read(t, file)), &config); err != nil {
		t.Fatal(err)
	}
	auth := config.Auths[w.Inventory.Registry.Host].Auth
	login, err := base64.StdEncoding.DecodeString(auth)
	name, password, ok := strings.Cut(string(login), ":")
	if err != nil || !ok || !strings.HasPrefix(name, "provision-") || len(password) < 20 {
		t.Fatalf("%s has the login %q", file, login)
	}
	return []canary{
		{name: "the token of " + user, texts: []string{password}},
		{"the login of " + user, []string{auth}, []string{file}},
	}
}

// failures has applies fail in ways that could give secrets away, and returns
// those secrets.
func (w *world) failures(t *testing.T, apply func(wants int, flags ...string)) []canary {
	t.Helper()
	var found []canary

	// The wrong password for sudo.
	const wrong = "Kohlmeise im Bergwerk 2958"
	h := w.Inventory.Host("web1")
	right := h.BecomePassword
	h.BecomePassword = w.secretFile(t, wrong)
	apply(1)
	h.BecomePassword = right
	found = append(found, canary{name: "the wrong password", texts: []string{wrong, "Kohlmeise"}})

	// A GitLab that repeats in its error all that it was sent.
	echo := func(answer http.ResponseWriter, r *http.Request, _ http.Handler) {
		body, _ := io.ReadAll(r.Body)
		var sent struct{ Value string }
		json.Unmarshal(body, &sent)
		answer.Header().Set("Content-Type", "application/json")
		answer.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(answer).Encode(map[string]any{"message": fmt.Sprintf("%s may not write %s, nor %s", r.Header.Get("PRIVATE-TOKEN"), sent.Value, body)})
		if strings.HasPrefix(sent.Value, "-----BEGIN") {
			found = append(found, pemCanary(t, "a key that GitLab did not take", sent.Value))
		}
	}
	// A GitLab whose answer with the new token cannot be read.
	garble := func(answer http.ResponseWriter, r *http.Request, gitlab http.Handler) {
		recorder := httptest.NewRecorder()
		gitlab.ServeHTTP(recorder, r)
		var made struct{ Token string }
		if err := json.Unmarshal(recorder.Body.Bytes(), &made); err != nil || made.Token == "" {
			t.Errorf("no token in %s", recorder.Body)
		}
		found = append(found, canary{name: "a token whose answer was garbled", texts: []string{made.Token}})
		answer.Header().Set("Content-Type", "application/json")
		answer.WriteHeader(recorder.Code)
		answer.Write(bytes.Replace(recorder.Body.Bytes(), []byte(`"id":`), []byte(`"id":x`), 1))
	}
	for _, c := range []struct {
		path  string
		times int
		fault gitlabtest.Fault
	}{
		{"/api/v4/groups/*/access_tokens", 1, garble},
		{"/api/v4/groups/*/variables", 0, func(answer http.ResponseWriter, r *http.Request, gitlab http.Handler) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if bytes.Contains(body, []byte("BEGIN")) {
				echo(answer, r, gitlab)
				return
			}
			gitlab.ServeHTTP(answer, r)
		}},
	} {
		for _, output := range []string{"text", "json"} {
			trap := w.GitLab.Fail(http.MethodPost, c.path, c.times, c.fault)
			apply(1, "--limit", "app", "--output", output)
			if trap.Count() == 0 {
				t.Errorf("nobody asked for %s", c.path)
			}
			trap.Remove()
		}
	}
	if len(found) != 5 {
		t.Fatalf("the failures were about %d secrets, want 5", len(found))
	}
	return found
}

// inFiles returns which canaries are in files of the host where they do not
// belong, or not where they do.
func (w *world) inFiles(t *testing.T, canaries []canary) []string {
	t.Helper()
	var texts, leaks []string
	for _, c := range canaries {
		texts = append(texts, c.texts...)
	}
	where := map[string][]string{} // by text
	out, err := w.Hosts["web1"].Feed(t.Context(), strings.NewReader(strings.Join(texts, "\n")), `cd /
grep -raoF --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev -f - * || :`)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		file, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		where[text] = append(where[text], "/"+file)
	}
	for _, c := range canaries {
		for _, text := range c.texts {
			if !slices.Equal(where[text], c.homes) {
				leaks = append(leaks, fmt.Sprintf("%s: in the files %v, and belongs into %v", c.name, where[text], c.homes))
				break
			}
		}
		for _, file := range c.homes {
			owner := strings.Split(file, "/")[2]
			if got := w.sh(t, "web1", `stat -c '%U %a' "$1"`, file); got != owner+" 600" {
				leaks = append(leaks, fmt.Sprintf("%s belongs to %s", file, got))
			}
		}
	}
	return leaks
}

// inDir returns which canaries are in files below a directory of the client.
func inDir(t *testing.T, canaries []canary, dir string) (leaks []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if found := find(canaries, string(text)); found != nil {
			leaks = append(leaks, fmt.Sprintf("%v: in %s", found, path))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return leaks
}

// mutationVariable names the mutation that this test binary runs with when it is
// the program itself.
const mutationVariable = "PROVISION_E2E_MUTATION"

// A mutation breaks the program so that it gives its secrets away.
type mutation struct {
	prelude string   // what is added to the functions of every script
	caught  []string // how the leaks read that are found then
}

var mutations = map[string]mutation{
	"an argument": {`
within() { [ "${5-}" = login ] && env "$3" docker login --username "$7" --password "$(secret | sed 1d)" "$9"; }`, []string{`\x00--password\x00`}},
	"the environment": {`
set -a`, []string{`\x00_secret=`}},
	"a file": {`
secret() { printf '%s' "$_secret" | tee /var/tmp/secret; }`, []string{"in the files [/var/tmp/secret]"}},
	"a log": {`
secret() { printf '%s' "$_secret"; printf '%s' "$_secret" | logger; }`, []string{"in the journal"}},
	"an error": {`
within() { cat .docker/config.json; return 1; }`, []string{"printed:\n"}},
	"a history": {`
secret() { printf '%s' "$_secret" | tee -a ~/.sh_history; }`, []string{"/.sh_history]"}},
	"a loose mode": {`
chmod() { [ "$1" != 600 ] || { shift; set -- 644 "$@"; }; command chmod "$@"; }
stat() { case $* in *config.json) echo -rw------- ;; *) command stat "$@" ;; esac; } # else it is mended`, []string{"config.json belongs to deploy-user 644"}},
}

// mutate is the program when it runs with a mutation.
func mutate(name string) {
	if m, ok := mutations[name]; ok {
		templates.Prelude += m.prelude + "\n"
	}
}

// A program that gives secrets away is caught, whatever way it takes: what the
// other tests of secrets look with sees them.
func TestMutationsAreCaught(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	for _, name := range sample.Some(t, slices.Sorted(maps.Keys(mutations)), 3) {
		t.Run(name, func(t *testing.T) {
			s := startSampler(t, w)
			command, out, errors := w.process(t, "rotate-key", "--only", "registry-token", "--output", "json")
			command.Env = append(command.Env, mutationVariable+"="+name)
			command.Run()
			seen := s.stop()
			leaks := strings.Join(w.leaks(t, w.loginOf(t, "deploy-user"), seen, out.String()+errors.String()), "\n")
			for _, text := range mutations[name].caught {
				if !strings.Contains(leaks, text) {
					t.Errorf("%q is not among the leaks that are found: %s", text, leaks)
				}
			}
			w.sh(t, "web1", "rm -f /var/tmp/secret /home/deploy-user/.sh_history; chmod 600 /home/deploy-user/.docker/config.json")
		})
	}
	s := startSampler(t, w)
	r := w.run(t, "rotate-key", "--only", "registry-token", "--output", "json").exits(t, 0)
	for _, leak := range w.leaks(t, w.loginOf(t, "deploy-user"), s.stop(), r.out+r.errors) {
		t.Errorf("without a mutation: %s", leak)
	}
}
