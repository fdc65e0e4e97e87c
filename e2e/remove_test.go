package e2e_test

import (
	"bufio"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"provision/e2e/gitlabtest"
	"provision/e2e/lab"
	"provision/inventory"
)

// Three deployments on one host, two of them of one user.
const three = head + web1 + app + withOverride + `
[deployments.sister]
host = "web1"
project = "transmogrify/sister"
user = "deploy-user"
directory = "sister"
environment = "sister"
variables = { projects = ["transmogrify/sister"], prefix = "S_" }

[deployments.tool]
host = "web1"
project = "transmogrify/tool"
user = "deploy-tool"
directory = "tool"
environment = "staging"
variables = { group = "transmogrify" }
`

// withVolume gives the deployment app a volume.
const withVolume = overrideText + `    volumes:
      - data:/data
volumes:
  data: {}
`

// Everything is as it was before: the files of the host and what is in GitLab.
type everything struct {
	files  map[string]lab.File
	gitlab map[string]string
}

// traces are what a removal leaves on a host, and why.
var traces = map[string]string{
	"/run/provision.lock":  "says which run was the last one, until the next boot",
	"/etc/passwd-":         "useradd and userdel keep a backup",
	"/etc/shadow-":         "the same",
	"/etc/group-":          "the same",
	"/etc/gshadow-":        "the same",
	"/var/lib/docker/":     "images that were pulled, volumes, and what dockerd remembers",
	"/var/lib/containerd/": "the same",
	"/tmp/runc-process*":   "a health check is running",
}

func (w *world) everything(t *testing.T) everything {
	t.Helper()
	e := everything{w.snapshot(t, "web1"), w.inGitLab(t)}
	for name := range e.files {
		for trace := range traces {
			if name == trace || strings.HasSuffix(trace, "/") && strings.HasPrefix(name, trace) ||
				strings.HasSuffix(trace, "*") && strings.HasPrefix(name, strings.TrimSuffix(trace, "*")) {
				delete(e.files, name)
			}
		}
	}
	return e
}

// inGitLab returns what there is in GitLab, by what it is and where.
func (w *world) inGitLab(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	var paths []string
	for _, d := range w.Inventory.Deployments {
		paths = append(paths, d.Project)
		for _, k := range w.GitLab.DeployKeys(d.Project) {
			all[fmt.Sprintf("deploy key %d of %s", k.ID, d.Project)] = fmt.Sprint(k.Title, k.Key, k.CanPush)
		}
		all["branches of "+d.Project] = fmt.Sprint(w.GitLab.ProtectedBranches(d.Project))
	}
	for _, path := range append(paths, "transmogrify") {
		for _, v := range w.GitLab.Variables(path) {
			text, err := v.Value.Reveal()
			if err != nil {
				t.Fatal(err)
			}
			all["variable "+v.Key+" of "+path+" for "+v.Scope] = fmt.Sprint(text, v.File, v.Protected, v.Raw, v.Description)
		}
		for _, token := range w.GitLab.Tokens(path) {
			if token.Active { // GitLab lists those that are revoked for ever
				all[fmt.Sprintf("token %d of %s", token.ID, path)] = fmt.Sprint(token.Name, token.Scopes, token.Expires)
			}
		}
	}
	return all
}

func (e everything) compare(t *testing.T, now everything) {
	t.Helper()
	compare(t, e.files, now.files)
	for what := range e.gitlab {
		if now.gitlab[what] != e.gitlab[what] {
			t.Errorf("GitLab: %s was %q and is %q", what, e.gitlab[what], now.gitlab[what])
		}
	}
	for what := range now.gitlab {
		if _, ok := e.gitlab[what]; !ok {
			t.Errorf("GitLab: %s is new", what)
		}
	}
}

// remove removes a deployment, and fails the test unless that works.
func (w *world) remove(t *testing.T, name string, flags ...string) result {
	t.Helper()
	return w.run(t, append([]string{"remove", "--deployment", name, "--yes"}, flags...)...).exits(t, 0)
}

// drop takes a deployment out of the inventory, and returns it.
func (w *world) drop(t *testing.T, name string) *inventory.Deployment {
	t.Helper()
	d := w.deployment(t, name)
	w.Inventory.Deployments = slices.DeleteFunc(slices.Clone(w.Inventory.Deployments), func(o *inventory.Deployment) bool { return o == d })
	return d
}

func (w *world) volumes(t *testing.T) string {
	t.Helper()
	return w.sh(t, "web1", "docker volume ls --quiet")
}

// A deployment goes without a trace, and others do not notice.
func TestRemove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, three)
	if err := os.WriteFile(filepath.Join(w.dir, "override.yaml"), []byte(withVolume), 0o644); err != nil {
		t.Fatal(err)
	}
	all := w.Inventory.Deployments
	w.sh(t, "web1", "docker info >/dev/null") // what docker makes at its start is there
	before := w.everything(t)
	w.apply(t)
	w.deploy(t, "app", "2")
	if got := w.volumes(t); got != "frobnicator_data" {
		t.Fatalf("the volumes are %q", got)
	}
	app := w.deployment(t, "app")
	key := w.variable(t, "transmogrify", "SSH_AUTH", app.Scope)

	applied := w.everything(t)
	w.run(t, "remove", "--deployment", "app").exits(t, 2).says(t, "there is no terminal to ask whether to remove app", "--yes")
	w.run(t, "remove", "--deployment", "ap", "--yes").exits(t, 2).says(t, "did you mean app?", "--limit HOST")
	w.run(t, "remove", "--deployment", "web1", "--yes").exits(t, 2).says(t, `"web1" is no deployment`)
	w.run(t, "remove", "--deployment", "shop", "--limit", "web1", "--yes").exits(t, 1).says(t, `carries no deployment called "shop"`, "app, sister, tool")
	applied.compare(t, w.everything(t))

	w.remove(t, "app").says(t,
		"containers app: note: the volume frobnicator_data stays",
		"user deploy-user: note: deploy-user stays, for sister\n",
		"still names app, and apply would make it again")
	w.remove(t, "app").says(t, "web1: nothing to do\n", ", 0 changes made, ")
	if got := w.volumes(t); got != "frobnicator_data" {
		t.Errorf("the volumes are %q", got)
	}
	w.refused(t, "deploy-user", key)
	if got := w.sh(t, "web1", `cat /home/deploy-user/.ssh/authorized_keys; ls /home/deploy-user /etc/provision/deployments /usr/local/lib/provision/look`); strings.Contains(got, "app") || strings.Contains(got, "frobnicator") {
		t.Errorf("something is left: %s", got)
	}

	w.drop(t, "app")
	if steps := w.missing(t); len(steps) > 0 {
		t.Errorf("without app the plan has %v", steps)
	}
	w.deploy(t, "sister", "2")
	w.deploy(t, "tool", "2")
	w.converged(t)

	rest := w.Inventory.Deployments
	w.Inventory.Deployments = all // that app is still named here keeps nothing alive
	w.remove(t, "sister").saysNot(t, "stays")
	w.Inventory.Deployments = rest
	if got := w.sh(t, "web1", "getent passwd deploy-user || echo gone; ls /home"); strings.Contains(got, "deploy-user") {
		t.Errorf("the user is left: %s", got)
	}
	w.drop(t, "sister")
	w.deploy(t, "tool", "3")
	w.remove(t, "tool")

	w.Inventory.Deployments = all
	before.compare(t, w.everything(t))
	w.remove(t, "app", "--volumes").says(t, "remove the containers and networks of app, and the data in frobnicator_data")
	w.remove(t, "app", "--volumes").says(t, "web1: nothing to do\n")
	if got := w.volumes(t); got != "" {
		t.Errorf("the volumes are %q", got)
	}
	before.compare(t, w.everything(t))

	w.apply(t) // and all of it can come back
	w.runs(t, "app", "2")
}

// refused fails the test if a key opens anything.
func (w *world) refused(t *testing.T, user, private string) {
	t.Helper()
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		t.Fatal(err)
	}
	h := w.Hosts["web1"]
	client, err := ssh.Dial("tcp", fmt.Sprintf("%s:%d", h.Address, h.Port), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err == nil {
		client.Close()
		t.Error("the key still opens the host")
	} else if !strings.Contains(err.Error(), "unable to authenticate") {
		t.Error(err)
	}
}

// Whenever a removal ends early, running it again finishes it.
func TestRemoveInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app+withOverride)
	before := w.everything(t)
	t.Run("by GitLab", func(t *testing.T) {
		w.apply(t)
		for _, pattern := range []string{"/api/v4/groups/*/variables/*", "/api/v4/groups/*/access_tokens/*", "/api/v4/projects/*/deploy_keys/*"} {
			trap := w.GitLab.Fail(http.MethodDelete, pattern, 0, gitlabtest.Failure(http.StatusServiceUnavailable))
			w.run(t, "remove", "--deployment", "app", "--yes").exits(t, 1).says(t, "FAILED")
			trap.Remove()
			if trap.Count() == 0 {
				t.Errorf("nobody asked for %s", pattern)
			}
		}
		w.remove(t, "app")
		before.compare(t, w.everything(t))
	})
	t.Run("by an answer that is lost", func(t *testing.T) {
		w.apply(t)
		trap := w.GitLab.Fail(http.MethodDelete, "", 1, gitlabtest.LostAfter())
		w.run(t, "remove", "--deployment", "app", "--yes")
		w.remove(t, "app")
		if trap.Count() != 1 {
			t.Errorf("%d answers were lost", trap.Count())
		}
		before.compare(t, w.everything(t))
	})
	// Killed as soon as it says that it has done something, again and again.
	t.Run("by kill", func(t *testing.T) {
		w.apply(t)
		kills := 0
		for {
			// The host may notice the end of the one before a moment later.
			command, out, errors := w.process(t, "remove", "--deployment", "app", "--yes", "--lock-wait", "1m")
			command.Stdout = nil
			pipe, err := command.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			killed := false
			lines := bufio.NewScanner(pipe)
			for lines.Scan() {
				fmt.Fprintln(out, lines.Text())
				if !killed && strings.Contains(lines.Text(), ": done: ") {
					killed = true
					command.Process.Kill()
				}
			}
			err = command.Wait()
			if !killed {
				if err != nil {
					t.Fatalf("%v\n%s%s", err, out, errors)
				}
				break
			}
			if kills++; kills > 40 {
				t.Fatalf("it never ends\n%s", out)
			}
		}
		if kills < 4 {
			t.Errorf("it was killed only %d times", kills)
		}
		before.compare(t, w.everything(t))
	})
}

// It asks, and takes only yes for yes.
func TestRemoveAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	applied := w.everything(t)
	remove := func(answer string) (string, error) {
		command, out, _ := w.process(t, "remove", "--deployment", "app")
		words := append([]string{"exec", "/proc/self/exe"}, command.Args[1:]...)
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		words[1] = self
		command.Path = "/usr/bin/script"
		command.Args = []string{"script", "--quiet", "--return", "--flush", "--command", strings.Join(words, " "), "/dev/null"}
		command.Stdin = strings.NewReader(answer)
		command.Stderr = out
		err = command.Run()
		return out.String(), err
	}
	out, err := remove("n\n")
	if err == nil || !strings.Contains(out, "remove app from web1? [y/N] ") || !strings.Contains(out, "nothing is removed") || !strings.Contains(out, "containers app: remove the containers") {
		t.Errorf("%v\n%s", err, out)
	}
	applied.compare(t, w.everything(t))
	logins := func() int {
		n, err := strconv.Atoi(strings.TrimSpace(w.sh(t, "web1", loginsCount)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := logins()
	if out, err := remove("y\n"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if n := logins() - before; n != 1 {
		t.Errorf("it has logged in %d times, to ask and to remove", n)
	}
	w.remove(t, "app").says(t, "nothing to do")
}

// What somebody else has made stays.
func TestRemoveAdopted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, livedIn+withOverride)
	people := setUpByHand(t, w)
	w.sh(t, "web1", `gpasswd --delete deploy-user docker; cat >>/home/deploy-user/.ssh/known_hosts </dev/null`)
	before := w.everything(t)
	keys := w.read(t, "/home/deploy-user/.ssh/authorized_keys")
	w.apply(t)
	r := w.remove(t, "app")
	r.says(t,
		"checkout app: note: ~deploy-user/frobnicator stays, as somebody else has made it",
		"user deploy-user: note: deploy-user stays, as somebody else has made it",
		"CI variable SSH_AUTH (group transmogrify, environment production) stays, as somebody else has set it; its key is revoked for app on web1",
		"deploy-user's key stays a deploy key of transmogrify/frobnicator: somebody else has added it")
	w.remove(t, "app").says(t, "web1: nothing to do\n")

	after := w.everything(t)
	differ := map[string]string{
		"/home/deploy-user/.ssh/authorized_keys":                  "the line of the old key was replaced",
		"/home/deploy-user/.ssh/authorized_keys.before-provision": "so the file before that is kept",
		"/home/deploy-user/.docker/config.json":                   "the login made by hand was replaced",
	}
	backups := 0
	for name := range after.files {
		if strings.HasPrefix(name, "/home/deploy-user/frobnicator/compose.override.yaml.before-") {
			backups++
			delete(after.files, name) // what was there by hand
		}
	}
	if backups != 1 {
		t.Errorf("%d backups of the override", backups)
	}
	differ["/home/deploy-user/frobnicator/compose.override.yaml"] = "it was replaced, with a backup beside it"
	for name, why := range differ {
		if before.files[name] == after.files[name] {
			t.Errorf("%s does not differ, although %s", name, why)
		}
		delete(before.files, name)
		delete(after.files, name)
	}
	for what := range maps.Clone(before.gitlab) {
		if strings.HasPrefix(what, "variable SSH_AUTH ") { // it was made raw
			delete(before.gitlab, what)
			delete(after.gitlab, what)
		}
	}
	before.compare(t, after)
	if v, ok := w.GitLab.Variable("transmogrify", "SSH_AUTH", "production"); !ok || v.Description != "" {
		t.Errorf("SSH_AUTH is %+v, %v", v, ok)
	}
	var want string
	for line := range strings.Lines(keys) {
		if !strings.HasSuffix(line, " pull-key\n") {
			want += line
		}
	}
	if got := w.read(t, "/home/deploy-user/.ssh/authorized_keys"); got != want {
		t.Errorf("authorized_keys is\n%q, want\n%q", got, want)
	}
	people.getIn(t, w)
	w.refused(t, "deploy-user", string(people.pull))
	if got := w.sh(t, "web1", "docker ps --all --quiet"); got != "" {
		t.Errorf("containers are left: %s", got)
	}
}

// A deployment that the inventory forgot is removed as far as the host knows it;
// one with work of somebody in it stays.
func TestRemoveForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app+withOverride)
	before := w.everything(t)
	w.apply(t)
	forgotten := w.drop(t, "app")
	const carried = "app is installed on this host but not in the inventory"
	w.Inventory.Deployments = nil
	for _, command := range [][]string{{"plan"}, {"apply"}} {
		w.run(t, command...).exits(t, 0).says(t, carried)
	}
	w.run(t, "verify", "--as", "admin").exits(t, 3).says(t, carried)
	w.run(t, "log").exits(t, 0).says(t, "install /usr/local/lib/provision/gate")
	for _, command := range []string{"verify", "rotate-key"} {
		w.run(t, command).exits(t, 2).says(t, "there is no deployment")
	}
	w.Inventory.Deployments = []*inventory.Deployment{{
		Name: "tool", Host: forgotten.Host, Project: "transmogrify/frobnicator", User: "deploy-tool", Directory: "tool",
		Environment: "staging", Scope: "staging", Variables: inventory.Variables{Group: "transmogrify"}, TokenGroup: "transmogrify",
		Wait: 5 * time.Minute, KeepImages: 2,
	}}
	w.run(t, "plan").says(t, carried)
	w.run(t, "remove", "--deployment", "app", "--yes").exits(t, 2)

	w.sh(t, "web1", `mkdir /home/deploy-user/frobnicator/data && echo precious >/home/deploy-user/frobnicator/data/rows && chmod 700 /home/deploy-user/frobnicator/data`)
	r := w.remove(t, "app", "--limit", "web1")
	r.saysNot(t, "still names")
	r.says(t,
		"checkout app: note: ~deploy-user/frobnicator stays, as it has what is nowhere else: data\n",
		"user deploy-user: note: deploy-user stays, for ~/frobnicator\n")
	if got := w.sh(t, "web1", "cat /home/deploy-user/frobnicator/data/rows"); got != "precious" {
		t.Errorf("the data is %q", got)
	}
	now := w.everything(t)
	if !maps.Equal(now.gitlab, before.gitlab) {
		t.Errorf("GitLab had %v and has %v", before.gitlab, now.gitlab)
	}
	w.run(t, "remove", "--deployment", "app", "--limit", "web1", "--yes").exits(t, 1).says(t, `carries no deployment called "app"`)
}

// What is gone already is no obstacle.
func TestRemoveRuins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app+withOverride)
	before := w.everything(t)
	for what, ruin := range map[string]string{
		"clone": "rm -rf /home/deploy-user/frobnicator",
		"user":  "userdel --force --remove deploy-user 2>/dev/null",
	} {
		t.Run(what, func(t *testing.T) {
			w.apply(t)
			w.sh(t, "web1", ruin)
			r := w.remove(t, "app", "--output", "json")
			if s := r.summary(t); s.Hosts != 1 || s.Failed != 0 || s.Changes == 0 || s.Connections != 1 || s.Trips > 5 {
				t.Errorf("%+v", s)
			}
			before.compare(t, w.everything(t))
			if got := w.sh(t, "web1", "docker ps --all --quiet; docker network ls --quiet --filter label=com.docker.compose.project"); got != "" {
				t.Errorf("docker still has %s", got)
			}
		})
	}
}
