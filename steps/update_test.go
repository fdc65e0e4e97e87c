package steps

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"provision/inventory"
	"provision/provision"
	"provision/provision/hint"
)

// An originOf a sandbox is a GitLab of a few repositories, and a clone of one of them.
type originOf struct {
	*sandbox
	t *testing.T
}

func newOrigin(t *testing.T, s *sandbox) originOf {
	o := originOf{s, t}
	for _, name := range []string{"frobnicator", "lib"} {
		command(t, "git", "init", "-q", "-b", "main", o.repo(name))
	}
	s.stub(t, "ssh", `printf '%s\n' "$*" >>`+s.dir+`/ssh-called
for name in frobnicator lib; do
	case "$*" in
	*"-o StrictHostKeyChecking=yes"*"git@git.example.com git-upload-pack '/transmogrify/$name.git'")
		[ -e "`+s.dir+`/$name.refused" ] || exec git -c safe.directory='*' upload-pack "`+s.dir+`/$name" ;;
	esac
done
echo "ERROR: The project you were looking for could not be found or you don't have permission to view it." >&2
exit 1`)
	// A compose.yaml here is what Compose makes of it.
	s.stub(t, "docker", `case "$*" in
"compose version") ;;
"compose config --format json") grep -q services compose.yaml || { echo "yaml: it is broken in $PWD" >&2; exit 1; }; sed "s|HERE/[.][.]|${PWD%/*}|g; s|HERE|$PWD|g" compose.yaml ;;
"compose --project-directory . --file - config --images") cat >/dev/null ;;
*) exit 1 ;;
esac`)
	return o
}

func (o originOf) repo(name string) string { return filepath.Join(o.dir, name) }

// commit writes files into a repository, "" removes one, and returns the new commit.
func (o originOf) commit(name, message string, files map[string]string) string {
	o.t.Helper()
	for file, text := range files {
		path := filepath.Join(o.repo(name), file)
		if text == "" {
			if err := os.Remove(path); err != nil {
				o.t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			o.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			o.t.Fatal(err)
		}
	}
	o.git(name, "add", "--all", "--force")
	o.git(name, "commit", "-q", "--allow-empty", "-m", message)
	return o.git(name, "rev-parse", "HEAD")
}

func (o originOf) git(name string, args ...string) string {
	o.t.Helper()
	return strings.TrimSpace(command(o.t, "git", append([]string{"-c", "protocol.file.allow=always", "-C", o.repo(name)}, args...)...))
}

func (o originOf) inClone(args ...string) string {
	o.t.Helper()
	return strings.TrimSpace(command(o.t, "git", append([]string{"-c", "safe.directory=*", "-C", o.path("frobnicator")}, args...)...))
}

func composeJSON(services ...string) string {
	return "{\n  \"name\": \"frobnicator\",\n  \"services\": {\n" + strings.Join(services, ",\n") + "\n  }\n}\n"
}

func serviceJSON(name, image, motto, more string) string {
	return fmt.Sprintf("    %q: {\n      \"environment\": {\n        \"MOTTO\": %q\n      },\n      \"image\": %q%s\n    }", name, motto, image, more)
}

const mountJSON = ",\n      \"volumes\": [\n        {\n          \"type\": \"bind\",\n          \"source\": \"HERE/site.conf\"\n        },\n        {\n          \"type\": \"bind\",\n          \"source\": \"HERE/../shared\"\n        }\n      ]"

// An updating is the clone of an origin that is brought forward.
type updating struct {
	originOf
	d     *inventory.Deployment
	inv   *inventory.Inventory
	first string // commit
}

// eachUpdating runs a test with a clone that is at the first commit of its branch.
func eachUpdating(t *testing.T, f func(t *testing.T, u updating)) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		inv, _ := inventoryOf(t, "")
		u := updating{originOf: newOrigin(t, s), inv: inv, d: inv.Deployments[0]}
		u.first = u.commit("frobnicator", "first", map[string]string{
			"compose.yaml": composeJSON(serviceJSON("web", "web:1", "S3CR3T", mountJSON), serviceJSON("old", "old:1", "", "")), "site.conf": "one\n", ".gitignore": ".env\ndata\n",
		})
		if _, err := s.one(t, stepOf(t, "", "", "checkout "+u.d.Name)); err != nil {
			t.Fatal(err)
		}
		for _, folder := range []string{"../shared", ".provision/" + u.d.Name + "/update"} {
			if err := os.MkdirAll(s.path(folder), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		f(t, u)
	})
}

// A seenUpdate is what a look for an update has seen.
type seenUpdate struct {
	steps []provision.Step
	seen  provision.Seen
	plan  provision.Plan
	err   error
}

func (u updating) look(commit string) seenUpdate {
	u.t.Helper()
	l := seenUpdate{steps: Update(u.inv, u.d.Host, u.inv.Deployments, commit)}
	var err error
	if l.seen, err = provision.Look(u.t.Context(), u.target(newFake()), l.steps); err != nil {
		u.t.Fatal(err)
	}
	l.plan, l.err = provision.PlanFor(l.steps, l.seen)
	if got := u.names(u.t, ".provision/"+u.d.Name+"/update"); got != "" {
		u.t.Errorf("the look leaves %s", got)
	}
	return l
}

// make makes what was seen, and returns what is done.
func (u updating) make(l seenUpdate) (done []string, err error) {
	err = provision.ApplySeen(u.t.Context(), u.target(newFake()), Confirmed(l.steps, l.seen), l.seen, func(e provision.Event) {
		if e.Kind == provision.Done {
			done = append(done, e.Change.String())
		}
	})
	return done, err
}

// update updates, and returns what it has shown.
func (u updating) update(commit, want string) string {
	u.t.Helper()
	l := u.look(commit)
	if l.err != nil || l.plan.Missing() != 1 {
		u.t.Fatalf("plan %v, error %v", l.plan, l.err)
	}
	done, err := u.make(l)
	checkDone(u.t, done, err, want)
	if l := u.look(commit); l.err != nil || l.plan.Missing() != 0 {
		u.t.Errorf("and then: plan %v, error %v", l.plan, l.err)
	}
	return l.plan[0].Changes[0].Detail
}

// refused fails the test unless nothing is planned, and it is said why.
func (u updating) refused(commit string, says ...string) {
	u.t.Helper()
	state := func() string {
		return u.inClone("status", "--porcelain", "--untracked-files=all") + u.inClone("rev-parse", "HEAD") + u.inClone("stash", "list")
	}
	before := state()
	l := u.look(commit)
	if l.err == nil || l.plan.Missing() != 0 {
		u.t.Fatalf("it is not refused: %v", l.plan)
	}
	text := l.err.Error() + "\n" + strings.Join(hint.Of(l.err), "\n")
	for _, want := range says {
		if !strings.Contains(text, want) {
			u.t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	if now := state(); now != before {
		u.t.Errorf("the clone was\n%s\nand is\n%s", before, now)
	}
}

// has makes an empty file in the folder of the sandbox, and lacks removes it.
func (u updating) has(name string) {
	u.t.Helper()
	if err := os.WriteFile(filepath.Join(u.dir, name), nil, 0o644); err != nil {
		u.t.Fatal(err)
	}
}

func (u updating) lacks(names ...string) {
	u.t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(u.dir, name)); err != nil {
			u.t.Fatal(err)
		}
	}
}

func abbreviated(commit string) string { return commit[:8] }

// An update shows what it brings, and does just that.
func TestUpdateScripts(t *testing.T) {
	eachUpdating(t, func(t *testing.T, u updating) {
		if l := u.look(""); l.err != nil || len(l.plan) != 0 {
			t.Fatalf("plan %v, error %v", l.plan, l.err)
		}

		// What was left by a look that was killed is in nobody's way. What the host has
		// beside the project stays.
		u.write(t, ".provision/"+u.d.Name+"/update/frobnicator/.git/HEAD", "", 0o600)
		u.write(t, "frobnicator/.env", "A=b\n", 0o600)
		u.write(t, "frobnicator/compose.override.yaml", "x\n", 0o644)
		u.write(t, "frobnicator/data/file", "x\n", 0o644)
		second := u.commit("frobnicator", "another\x1b[31m image", map[string]string{"compose.yaml": composeJSON(serviceJSON("web", "web:2", "other", mountJSON), serviceJSON("queue", "queue:1", "", "")), "site.conf": "two\n"})
		if detail, want := u.update("", "update ~deploy-frobnicator/frobnicator to "+abbreviated(second)+" of main (1 commit)"), `new commits:
  `+abbreviated(second)+` another\x1b[31m image
what changes for Compose:
  + service queue: image queue:1
  + service queue: other settings, which are not shown here: environment
  - service old: image old:1
  service web: image web:2 instead of web:1
  service web: other settings, which are not shown here: environment
`; detail != want {
			t.Errorf("it shows\n%s\nwant\n%s", detail, want)
		}
		if got := u.inClone("rev-parse", "HEAD", "origin/main", "@{upstream}"); got != second+"\n"+second+"\n"+second {
			t.Errorf("the clone is at %s", got)
		}
		if u.read(t, "frobnicator/.env")+u.read(t, "frobnicator/data/file") != "A=b\nx\n" || u.read(t, "frobnicator/site.conf") != "two\n" {
			t.Error("the files are others")
		}
		called, _ := os.ReadFile(filepath.Join(u.dir, "ssh-called"))
		if want := "-i " + u.path(".ssh/id_ed25519") + " -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes -o StrictHostKeyChecking=yes"; strings.Count(string(called), want) != strings.Count(string(called), "\n") {
			t.Errorf("ssh was called with %s", called)
		}

		// Only a mounted file.
		third := u.commit("frobnicator", "site", map[string]string{"site.conf": "three\n"})
		l := u.look("")
		if l.err != nil || len(l.plan) != 1 || len(l.plan[0].Notes) != 1 || !strings.Contains(l.plan[0].Notes[0].Text, "frobnicator/site.conf changes, and service web") || !strings.HasSuffix(l.plan[0].Changes[0].Detail, "\nnothing changes for Compose\n") {
			t.Errorf("plan %v, error %v", l.plan, l.err)
		}

		// What is confirmed is what was shown, and not what is newer; nor is it done to
		// another clone than that.
		fourth := u.commit("frobnicator", "fourth", map[string]string{"compose.yaml": "broken\n"})
		u.inClone("fetch", "-q", u.repo("frobnicator"), "+refs/heads/main:refs/remotes/origin/main")
		if done, err := u.make(l); err != nil || len(done) != 1 || u.inClone("rev-parse", "HEAD") != third {
			t.Errorf("it is at %s, done %q, %v; want %s", u.inClone("rev-parse", "HEAD"), done, err, third)
		}
		if _, err := u.make(l); err == nil || !strings.Contains(err.Error(), "somebody else moved it meanwhile") {
			t.Errorf("got %v", err)
		}
		if l := u.look(""); l.err != nil || !strings.Contains(l.plan[0].Changes[0].Detail, "docker compose cannot read the new project, and deploys will fail: yaml: it is broken in "+u.path("frobnicator")+"\n") {
			t.Errorf("plan %v, error %v", l.plan, l.err)
		}

		// There, and back again.
		u.update(abbreviated(fourth), "update ~deploy-frobnicator/frobnicator to "+abbreviated(fourth)+" of main (1 commit)")
		u.update(u.first, "update ~deploy-frobnicator/frobnicator to "+abbreviated(u.first)+" of main: goes back by 3 commits")
		if u.read(t, "frobnicator/site.conf") != "one\n" || u.inClone("branch", "--show-current") != "main" {
			t.Error("it is not back")
		}
	})
}

// An update stops before anything is lost.
func TestUpdateRefusals(t *testing.T) {
	eachUpdating(t, func(t *testing.T, u updating) {
		u.refused("0123456789", "transmogrify/frobnicator has no commit 0123456789")
		u.commit("frobnicator", "new", map[string]string{"site.conf": "two\n", "data/file": "theirs\n", "more/deep/file": "theirs\n"})
		u.write(t, "frobnicator/site.conf", "mine\n", 0o644)
		u.refused("", "has local changes, which would be lost: site.conf", "git -C frobnicator diff")
		u.inClone("checkout", "-q", "site.conf")

		u.write(t, "frobnicator/data/file", "mine\n", 0o644)
		u.write(t, "frobnicator/more", "mine\n", 0o644)
		u.refused("", "would overwrite: data/file and more", "move them away")
		u.lacks("home/deploy-frobnicator/frobnicator/data", "home/deploy-frobnicator/frobnicator/more")

		l := u.look("")
		u.write(t, "frobnicator/more", "mine\n", 0o644)
		if _, err := u.make(l); err == nil || !strings.Contains(err.Error(), "somebody else made more meanwhile") || u.inClone("rev-parse", "HEAD") != u.first {
			t.Errorf("got %v", err)
		}
		u.lacks("home/deploy-frobnicator/frobnicator/more")

		u.inClone("switch", "-q", "--detach")
		u.refused("", "is at no branch (detached HEAD)", "git -C frobnicator switch BRANCH")
		u.inClone("switch", "-q", "main")
		u.inClone("commit", "-q", "--allow-empty", "-m", "mine")
		u.refused("", "has commits of main that GitLab does not have")
		u.inClone("reset", "-q", "--keep", u.first)

		// A branch that was rewritten. The hint leads out of it.
		u.make(u.look(""))
		u.git("frobnicator", "reset", "-q", "--hard", u.first)
		rewritten := u.commit("frobnicator", "rewritten", nil)
		u.refused("", "has commits of main that GitLab does not have", "git -C frobnicator log --oneline origin/main..main", "git -C frobnicator reset --keep origin/main")
		u.inClone("reset", "-q", "--keep", "origin/main")
		if u.inClone("rev-parse", "HEAD") != rewritten {
			t.Error("the hint does not help")
		}
	})
}

// A clone is switched to the branch that the inventory names.
func TestUpdateSwitches(t *testing.T) {
	eachUpdating(t, func(t *testing.T, u updating) {
		u.git("frobnicator", "switch", "-q", "-c", "release")
		released := u.commit("frobnicator", "release", map[string]string{"released": "yes\n"})
		u.git("frobnicator", "switch", "-q", "main")
		second := u.commit("frobnicator", "second", map[string]string{"site.conf": "two\n"})
		u.inClone("fetch", "-q", u.repo("frobnicator"), "release:refs/remotes/origin/release")
		u.refused(released, "the commit "+abbreviated(released)+" is not on the branch main")

		u.d.Branch = "gone"
		u.refused("", "the branch gone of transmogrify/frobnicator cannot be fetched", "the project has no such branch")
		u.d.Branch = "release"
		u.update("", "switch ~deploy-frobnicator/frobnicator to the branch release, at "+abbreviated(released)+" (1 commit more than main, 0 fewer)")
		if got := u.inClone("rev-parse", "--abbrev-ref", "HEAD", "@{upstream}"); got != "release\norigin/release" {
			t.Errorf("it is at %s", got)
		}
		u.inClone("commit", "-q", "--allow-empty", "-m", "mine")
		for _, branch := range []string{"", "main"} {
			u.d.Branch = branch
			u.refused("", "has commits of release that GitLab does not have", "git -C frobnicator log --oneline origin/release..release", "git -C frobnicator reset --keep origin/release")
		}
		u.inClone("reset", "-q", "--keep", "origin/release")
		u.update("", "switch ~deploy-frobnicator/frobnicator to the branch main, at "+abbreviated(second)+" (1 commit more than release, 1 fewer)")

		// So are commits of a branch that it is not at.
		u.inClone("branch", "-q", "--force", "release", u.inClone("commit-tree", "-m", "mine", "HEAD^{tree}"))
		u.d.Branch = "release"
		u.refused("", "has commits of release that GitLab does not have", "git -C frobnicator branch --force release origin/release")
	})
}

// Submodules of this GitLab are read with the key, however their addresses are written.
func TestUpdateSubmodules(t *testing.T) {
	eachUpdating(t, func(t *testing.T, u updating) {
		u.commit("lib", "lib", map[string]string{"lib.txt": "lib\n"})
		u.git("frobnicator", "submodule", "--quiet", "add", u.repo("lib"), "lib")
		for _, url := range []string{"../lib.git", "https://git.example.com/transmogrify/lib.git", "git@git.example.com:transmogrify/lib.git"} {
			u.git("frobnicator", "config", "--file", ".gitmodules", "submodule.lib.url", url)
			u.commit("frobnicator", "lib from "+url, nil)
			u.has("lib.refused")
			u.refused("", "the submodule lib cannot be had from ", "The project you were looking for could not be found", "has to be a deploy key of")
			u.lacks("lib.refused")
			l := u.look("")
			u.has("lib.refused")
			if _, err := u.make(l); err == nil || !strings.Contains(err.Error(), "it goes back to what it was, as a submodule cannot be had: ERROR: The project") || u.inClone("rev-parse", "HEAD") != u.first || u.inClone("status", "--porcelain") != "" {
				t.Errorf("got %v, and it is at %s", err, u.inClone("rev-parse", "HEAD"))
			}
			u.lacks("lib.refused")
			if done, err := u.make(l); err != nil || len(done) != 1 || u.read(t, "frobnicator/lib/lib.txt") != "lib\n" {
				t.Errorf("done %q, error %v", done, err)
			}
			u.inClone("submodule", "--quiet", "deinit", "--force", "lib")
			u.lacks("home/deploy-frobnicator/frobnicator/.git/modules")
			u.update("", "clone the submodules of ~deploy-frobnicator/frobnicator (lib)")
			u.inClone("reset", "-q", "--hard", u.first)
			u.inClone("config", "--remove-section", "submodule.lib")
			u.lacks("home/deploy-frobnicator/frobnicator/.git/modules", "home/deploy-frobnicator/frobnicator/lib")
		}
	})
}

// Without Git LFS nothing is begun, and without its files neither.
func TestUpdateLFS(t *testing.T) {
	eachUpdating(t, func(t *testing.T, u updating) {
		large := u.commit("frobnicator", "large", map[string]string{"assets/.gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n"})
		if _, err := exec.LookPath("git-lfs"); err != nil {
			u.refused("", "git-lfs is not installed", "apt-get install git-lfs")
		}
		u.stub(t, "git-lfs", `printf '%s\n' "$*" >>"`+u.dir+`/lfs-called"
[ "$1" != fetch ] || [ ! -e "`+u.dir+`/lfs.refused" ] || { echo "batch response: Not found"; exit 2; }`)
		u.has("lfs.refused")
		l := u.look("")
		if _, err := u.make(l); err == nil || !strings.Contains(err.Error(), "nothing was changed, as Git LFS gives no files: batch response: Not found") || u.inClone("rev-parse", "HEAD") != u.first {
			t.Errorf("got %v, and it is at %s", err, u.inClone("rev-parse", "HEAD"))
		}
		u.lacks("lfs.refused")
		done, err := u.make(l)
		asked, _ := os.ReadFile(filepath.Join(u.dir, "lfs-called"))
		if err != nil || len(done) != 1 || u.inClone("rev-parse", "HEAD") != large || !strings.HasSuffix(string(asked), "\nfetch origin "+large+"\n") {
			t.Errorf("done %q, error %v, and it is at %s, with %s", done, err, u.inClone("rev-parse", "HEAD"), asked)
		}
	})
}
