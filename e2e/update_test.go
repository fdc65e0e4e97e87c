package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"provision/e2e/lab"
	"provision/e2e/rehearsal"
)

// commit puts files on top of a branch of a project, or of a new branch from there
// on, and returns the new commit. A text of "" takes a file away.
func (w *world) commit(t *testing.T, project, branch, message string, files map[string]string) string {
	t.Helper()
	repository, tree := w.GitLab.Repository(project), t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir = tree
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=owner", "GIT_AUTHOR_EMAIL=owner@example.com",
			"GIT_COMMITTER_NAME=owner", "GIT_COMMITTER_EMAIL=owner@example.com")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if _, err := os.Stat(repository); err != nil {
		git("init", "--quiet", "--bare", "--initial-branch", branch, repository)
		git("init", "--quiet", "--initial-branch", branch)
	} else {
		git("clone", "--quiet", repository, ".")
		if git("ls-remote", "--heads", "origin", branch) != "" {
			git("checkout", "--quiet", branch)
		} else {
			git("checkout", "--quiet", "-b", branch)
		}
	}
	for name, text := range files {
		file := filepath.Join(tree, name)
		switch url, isModule := strings.CutPrefix(text, "submodule "); {
		case isModule:
			module, commit, _ := strings.Cut(url, " ")
			git("update-index", "--add", "--cacheinfo", "160000,"+commit+","+name)
			git("config", "--file", ".gitmodules", "submodule."+name+".path", name)
			git("config", "--file", ".gitmodules", "submodule."+name+".url", module)
			git("add", ".gitmodules")
			continue
		case text == "":
			git("rm", "--quiet", name)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		git("add", "--force", name)
	}
	git("commit", "--quiet", "--allow-empty", "--message", message)
	git("push", "--quiet", "--force", repository, "HEAD:refs/heads/"+branch)
	return git("rev-parse", "HEAD")
}

// at returns the commit that the clone of a deployment is at.
func (w *world) at(t *testing.T, name string) string {
	t.Helper()
	d := w.deployment(t, name)
	return w.sh(t, d.Host.Name, `git -c safe.directory='*' -C "$(getent passwd "$1" | cut -d : -f 6)/$2" rev-parse HEAD`, d.User, d.Directory)
}

const updatedCompose = `services:
  web:
    image: IMAGE
    ports: ["127.0.0.1:18080:80"]
    environment: {TOKEN: "${TOKEN:-none}"}
    volumes: ["./site.conf:/site.conf:ro", "data:/data"]
  cron: {image: IMAGE}
volumes:
  data: {}
`

// A clone is brought forward by hand alone, and what that changes is shown before
// it is done.
func TestUpdate(t *testing.T) {
	t.Parallel()
	image := ""
	compose := func(text string, replace ...string) string {
		return strings.ReplaceAll(strings.NewReplacer(replace...).Replace(text), "IMAGE", image)
	}
	w := newWorld(t, head+web1+app, func(o *rehearsal.Options) {
		o.Files = func(_, of string) map[string]string {
			image = of
			return map[string]string{"compose.yaml": compose(updatedCompose), "site.conf": "one\n"}
		}
	})
	w.apply(t)
	const project, secret = "transmogrify/frobnicator", "S3CR3T!WORD"
	first := w.at(t, "app")
	w.sh(t, "web1", `cd /home/deploy-user/frobnicator && printf 'TOKEN=%s\n' "$1" >.env && chown deploy-user: .env && chmod 600 .env`, secret)
	w.run(t, "update").exits(t, 0).says(t, "web1: nothing to do", "1 host, 0 changes to make")

	// Two commits more: a new service, and another image and port.
	for _, i := range []lab.Image{{Repository: project + "/queue"}, {Repository: project, Tag: "1"}} {
		i.Version, i.Healthy = "1", true
		if _, err := w.PushImage(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	forward := compose(updatedCompose, "  cron: {image: IMAGE}\n", "  queue: {image: IMAGE/queue, environment: {WHICH: one}}\n", "web:\n    image: IMAGE", "web:\n    image: IMAGE:1", "18080", "18081", "data:/data", "files:/data", "data: {}", "files: {}")
	w.commit(t, project, "main", "add a queue", map[string]string{"compose.yaml": forward})
	second := w.commit(t, project, "main", "move the site", map[string]string{"site.conf": "two\n"})
	for _, command := range [][]string{{"plan"}, {"apply"}, {"verify", "--as", "admin"}} {
		w.run(t, command...).exits(t, 0).says(t, "web1: checkout app: note: ~deploy-user/frobnicator is 2 commits behind main\n", "hint: provision update --limit app")
	}
	shows := []string{
		"web1: update app: update ~deploy-user/frobnicator to " + second[:8] + " of main (2 commits)\n", " add a queue\n", "     " + second[:8] + " move the site\n",
		"+ service queue: image " + image + "/queue\n", "- service cron: image " + image + "\n",
		"  service web: image " + image + ":1 instead of " + image + "\n", "+ service web: port 127.0.0.1:18081/tcp\n", "- service web: port 127.0.0.1:18080/tcp\n",
		"+ service web: volume files\n", "- service web: volume data\n",
	}
	r := w.run(t, "update").exits(t, 3)
	r.says(t, append(shows, "nothing is updated, as there is no terminal to ask", "hint: with --yes ")...)
	r.saysNot(t, secret, "settings that are not shown", "Compose project is called", "/update/")
	if now := w.at(t, "app"); now != first {
		t.Errorf("the clone is at %s", now)
	}

	// No deploy reads half of it: it waits for the one that runs.
	letGo := w.holdDeploys(t, "deploy-user", "app")
	typed := w.typed(t, "update", "--yes", "--verbose")
	updated := make(chan result, 1)
	go func() { updated <- run(t.Context(), typed...) }()
	w.sh(t, "web1", "until pgrep -f '^flock -w 14400 9' >/dev/null; do sleep 0.02; done")
	if now := w.at(t, "app"); now != first {
		t.Errorf("it does not wait: the clone is at %s", now)
	}
	letGo()
	r = <-updated
	r.exits(t, 0).says(t, append(shows, "waiting for the deploy that began at ", "web1: update app: done: update ~deploy-user/frobnicator to "+second[:8])...)
	if now := w.at(t, "app"); now != second {
		t.Errorf("the clone is at %s, not at %s", now, second)
	}
	w.run(t, "update", "--yes").exits(t, 0).says(t, "web1: nothing to do")
	w.run(t, "verify", "--as", "admin").exits(t, 3).says(t, "queue was never started", "service cron runs, and compose.yaml no longer has it")
	if j := w.ci(t, w.deployment(t, "app"), ""); j.code != 0 {
		t.Fatalf("%+v", j)
	}
	w.run(t, "verify", "--as", "admin").exits(t, 0).saysNot(t, "behind")
	if got := w.sh(t, "web1", `docker ps --format '{{.Names}}' --filter label=com.docker.compose.project=frobnicator | sort | paste -s -d ' '`); got != "frobnicator-queue-1 frobnicator-web-1" {
		t.Errorf("there runs %s", got)
	}
	if log := w.run(t, "log").exits(t, 0); !strings.Contains(log.out, "update app: update ~deploy-user/frobnicator to "+second[:8]) {
		t.Errorf("the host does not tell who moved it: %v", log)
	}

	// Only a mounted file changes.
	third := w.commit(t, project, "main", "site", map[string]string{"site.conf": "three\n"})
	w.run(t, "update", "--yes").exits(t, 0).says(t, "nothing changes for Compose\n", "note: ~deploy-user/frobnicator/site.conf changes, and service web, which mounts it, ", "hint: after the deploy: docker compose up --detach --force-recreate web")

	// Back, because it was a mistake, and to nothing else.
	w.run(t, "update", "--commit", first, "--yes").exits(t, 0).says(t, "to "+first[:8]+" of main: goes back by 3 commits", "commits that are taken back:")
	w.run(t, "update", "--commit", "0123456789abcdef", "--yes").exits(t, 1).says(t, project+" has no commit 0123456789abcdef")
	w.run(t, "update", "--commit", "main").exits(t, 2).says(t, "--commit wants the id of a commit")
	w.run(t, "update", "--commit", third[:12], "--yes").exits(t, 0)

	// What would be lost stops it, and is as it was.
	fourth := w.commit(t, project, "main", "an .env", map[string]string{".env": "TOKEN=project\n", "compose.yaml": compose(forward, "WHICH: one}", "WHICH: two, KEY: \"${QUEUE_KEY}\"}")})
	if out := w.run(t, "update", "--yes").exits(t, 1); true {
		out.says(t, "provision: web1: update app: ~deploy-user/frobnicator has files that are not of the project, and that "+fourth[:8]+" would overwrite: .env\n", "hint: move them away")
	}
	fifth := w.commit(t, project, "main", "no .env", map[string]string{".env": ""})
	w.run(t, "update").exits(t, 3).says(t, "service queue: other settings, which are not shown here: environment\n", "variable QUEUE_KEY has no value, and deploys will fail: give it one in the inventory, as env or version\n")
	w.sh(t, "web1", "echo mine >>/home/deploy-user/frobnicator/site.conf")
	w.run(t, "update", "--yes").exits(t, 1).says(t, "has local changes, which would be lost: site.conf\n", "hint: as deploy-user: git -C frobnicator diff ")
	if got := w.read(t, "/home/deploy-user/frobnicator/site.conf"); got != "three\nmine\n" {
		t.Errorf("the file is %q", got)
	}
	w.sh(t, "web1", "runuser -u deploy-user -- git -C /home/deploy-user/frobnicator checkout --quiet site.conf")
	if now, env := w.at(t, "app"), w.read(t, "/home/deploy-user/frobnicator/.env"); now != third || env != "TOKEN="+secret+"\n" {
		t.Errorf("the clone is at %s, with %q", now, env)
	}

	// Another branch of the inventory is switched to.
	release := w.commit(t, project, "release", "release", map[string]string{"compose.yaml": compose(updatedCompose)})
	d := w.deployment(t, "app")
	d.Branch = "release"
	w.run(t, "verify", "--as", "admin").exits(t, 3).says(t, "~deploy-user/frobnicator is at the branch main, and not at release\n", "hint: provision update --limit app ")
	w.run(t, "update", "--yes").exits(t, 0).says(t, "web1: update app: done: switch ~deploy-user/frobnicator to the branch release, at "+release[:8])
	if j := w.ci(t, d, ""); j.code != 0 {
		t.Fatalf("%+v", j)
	}
	w.converged(t)
	w.run(t, "verify", "--as", "admin").exits(t, 0)

	// A branch that was rewritten. The hints lead out of it.
	repository := w.GitLab.Repository(project)
	if out, err := exec.Command("git", "--git-dir", repository, "update-ref", "refs/heads/release", first).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	w.run(t, "plan").exits(t, 0).says(t, "which is not among the newest 1 commits of release")
	w.run(t, "update", "--yes").exits(t, 1).says(t, "has commits of release that GitLab does not have", "hint: as deploy-user: git -C frobnicator log --oneline origin/release..release ", "hint: to give that up, as deploy-user: git -C frobnicator reset --keep origin/release")
	w.sh(t, "web1", "cd /home/deploy-user && runuser -u deploy-user -- git -C frobnicator reset --quiet --keep origin/release")
	w.run(t, "update", "--yes").exits(t, 0).says(t, "web1: nothing to do")
	if left := w.sh(t, "web1", "ls -A /home/deploy-user/.provision/app/update"); left != "" {
		t.Errorf("it leaves %s", left)
	}
	if now := w.at(t, "app"); now != first || fifth == first {
		t.Errorf("the clone is at %s", now)
	}
}

// Submodules of the same GitLab are read with the key of the deploy user, where
// their projects allow that.
func TestSubmodules(t *testing.T) {
	t.Parallel()
	const project = "transmogrify/frobnicator"
	text := ""
	w := newWorld(t, head+web1+app, func(o *rehearsal.Options) {
		o.Files = func(_, image string) map[string]string {
			text = fmt.Sprintf("include: [lib/web.yaml]\nservices:\n  app: {image: %q}\n", image)
			return map[string]string{"compose.yaml": strings.Replace(text, "include: [lib/web.yaml]\n", "", 1)}
		}
	})
	w.GitLab.AddProject("transmogrify/lib", "main")
	web := func(motto string) map[string]string {
		return map[string]string{"web.yaml": fmt.Sprintf("services:\n  web: {image: %q, labels: {motto: %s}}\n", strings.TrimSuffix(strings.SplitN(text, `"`, 3)[1], `"`), motto)}
	}
	lib := w.commit(t, "transmogrify/lib", "main", "one", web("one"))
	w.commit(t, project, "main", "use lib", map[string]string{"compose.yaml": text, "lib": "submodule ../lib.git " + lib})

	// The clone stays, though a submodule cannot be had, and it is said which and why.
	w.run(t, "apply").exits(t, 1).says(t, "provision: web1: checkout app: clone ", "the clone is there, but not its submodule lib, from ssh://git@git.", "/transmogrify/lib.git: ", "The project you were looking for could not be found")
	w.run(t, "apply").exits(t, 1).says(t, "note: ~deploy-user/frobnicator has 1 submodule that is not cloned: lib\n", "hint: a submodule is not cloned; provision update --limit app ", " clones it")
	w.run(t, "update", "--yes").exits(t, 1).says(t, "update app: clone the submodules of ~deploy-user/frobnicator (lib): ", "hint: the key of deploy-user has to be a deploy key of ")
	var keys []struct{ ID int64 }
	if err := json.Unmarshal(w.api(t, "GET", "/projects/transmogrify%2Ffrobnicator/deploy_keys", ""), &keys); err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	enable := fmt.Sprintf("/projects/transmogrify%%2Flib/deploy_keys/%d/enable", keys[0].ID)
	w.api(t, "POST", enable, "")
	w.run(t, "update", "--yes").exits(t, 0).says(t, "web1: update app: done: clone the submodules of ~deploy-user/frobnicator (lib)")
	w.apply(t)
	w.converged(t)

	// With the project goes the submodule.
	newer := w.commit(t, "transmogrify/lib", "main", "two", web("two"))
	w.commit(t, project, "main", "newer lib", map[string]string{"lib": "submodule ../lib.git " + newer})
	w.run(t, "update", "--yes").exits(t, 0).says(t, "service web: other settings, which are not shown here: ")
	if got := w.read(t, "/home/deploy-user/frobnicator/lib/web.yaml"); !strings.Contains(got, "two") {
		t.Errorf("the submodule has %s", got)
	}

	// A first clone has it at once.
	w.sh(t, "web1", "rm -r /home/deploy-user/frobnicator")
	w.apply(t)
	w.converged(t)

	// Where it cannot be had any more, nothing is moved.
	third := w.commit(t, "transmogrify/lib", "main", "three", web("three"))
	before := w.at(t, "app")
	w.commit(t, project, "main", "another lib", map[string]string{"lib": "submodule ../lib.git " + third})
	w.api(t, "DELETE", fmt.Sprintf("/projects/transmogrify%%2Flib/deploy_keys/%d", keys[0].ID), "")
	w.run(t, "update", "--yes").exits(t, 1).says(t, "update app: the submodule lib cannot be had from ssh://git@git.", "The project you were looking for could not be found", "hint: the key of deploy-user ")
	if now := w.at(t, "app"); now != before {
		t.Errorf("the clone is at %s", now)
	}

	// Files of Git LFS.
	w.api(t, "POST", enable, "")
	w.commit(t, project, "main", "large files", map[string]string{".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n"})
	w.run(t, "update", "--yes").exits(t, 1).says(t, "the project keeps files in Git LFS, and git-lfs is not installed", "hint: apt-get install git-lfs")
}
