package steps

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"provision/provision"
	"provision/provision/hint"
)

// An origin is a GitLab of a few repositories, and a clone of one of them.
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

// An update shows what it brings, does just that, and stops before anything is
// lost.
func TestUpdateScripts(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		if testing.Short() && filepath.Base(s.shell) != "dash" {
			t.Skip("one shell is enough of a sample")
		}
		o := newOrigin(t, s)
		inv, _ := inventoryOf(t, "")
		d := inv.Deployments[0]
		updates := func(commit string) []provision.Step { return Update(inv, d.Host, inv.Deployments, commit) }
		look := func(commit string) ([]provision.Step, provision.Seen, provision.Plan, error) {
			t.Helper()
			steps := updates(commit)
			seen, err := provision.Look(t.Context(), s.target(newFake()), steps)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := provision.PlanFor(steps, seen)
			if got := s.names(t, ".provision/"+d.Name+"/update"); got != "" {
				t.Errorf("the look leaves %s", got)
			}
			return steps, seen, plan, err
		}
		update := func(commit, want string) string {
			t.Helper()
			steps, seen, plan, err := look(commit)
			if err != nil || plan.Missing() != 1 {
				t.Fatalf("plan %v, error %v", plan, err)
			}
			var done []string
			err = provision.ApplySeen(t.Context(), s.target(newFake()), Confirmed(steps, seen), seen, func(e provision.Event) {
				if e.Kind == provision.Done {
					done = append(done, e.Change.String())
				}
			})
			checkDone(t, done, err, want)
			if _, _, plan, err := look(commit); err != nil || plan.Missing() != 0 {
				t.Errorf("and then: plan %v, error %v", plan, err)
			}
			return plan[0].Changes[0].Detail
		}
		refused := func(commit string, says ...string) {
			t.Helper()
			before := o.inClone("status", "--porcelain", "--branch", "--untracked-files=all") + o.inClone("rev-parse", "HEAD")
			_, _, plan, err := look(commit)
			if err == nil || plan.Missing() != 0 {
				t.Fatalf("it is not refused: %v", plan)
			}
			text := err.Error() + "\n" + strings.Join(hint.Of(err), "\n")
			for _, want := range says {
				if !strings.Contains(text, want) {
					t.Errorf("it does not say %q:\n%s", want, text)
				}
			}
			now := o.inClone("status", "--porcelain", "--branch", "--untracked-files=all") + o.inClone("rev-parse", "HEAD")
			if strings.SplitN(now, "\n", 2)[1:] != nil && before[strings.Index(before, "\n")+1:] != now[strings.Index(now, "\n")+1:] {
				t.Errorf("the clone was\n%s\nand is\n%s", before, now)
			}
		}
		sum := func(commit string) string { return commit[:8] }

		first := o.commit("frobnicator", "first", map[string]string{"compose.yaml": composeJSON(serviceJSON("web", "web:1", "S3CR3T", mountJSON), serviceJSON("old", "old:1", "", "")), "site.conf": "one\n", ".gitignore": ".env\ndata\n"})
		if _, err := s.one(t, stepOf(t, "", "", "checkout "+d.Name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(s.path("../shared"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(s.path(".provision/"+d.Name+"/update"), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, _, plan, err := look(""); err != nil || len(plan) != 0 {
			t.Fatalf("plan %v, error %v", plan, err)
		}

		// What was left by a look that was killed is in nobody's way. What the host has
		// beside the project stays.
		s.write(t, ".provision/"+d.Name+"/update/frobnicator/.git/HEAD", "", 0o600)
		s.write(t, "frobnicator/.env", "A=b\n", 0o600)
		s.write(t, "frobnicator/compose.override.yaml", "x\n", 0o644)
		s.write(t, "frobnicator/data/file", "x\n", 0o644)
		second := o.commit("frobnicator", "another\x1b[31m image", map[string]string{"compose.yaml": composeJSON(serviceJSON("web", "web:2", "other", mountJSON), serviceJSON("queue", "queue:1", "", "")), "site.conf": "two\n"})
		if detail, want := update("", "update ~deploy-frobnicator/frobnicator to "+sum(second)+" of main (1 commit)"), `new commits:
  `+sum(second)+` another\x1b[31m image
what changes for Compose:
  + service queue: image queue:1
  - service old: image old:1
  service web: image web:2 instead of web:1
  service web: settings that are not shown here
`; detail != want {
			t.Errorf("it shows\n%s\nwant\n%s", detail, want)
		}
		if got := o.inClone("rev-parse", "HEAD", "origin/main", "@{upstream}"); got != second+"\n"+second+"\n"+second {
			t.Errorf("the clone is at %s", got)
		}
		if s.read(t, "frobnicator/.env")+s.read(t, "frobnicator/data/file") != "A=b\nx\n" || s.read(t, "frobnicator/site.conf") != "two\n" {
			t.Error("the files are others")
		}
		called, _ := os.ReadFile(filepath.Join(s.dir, "ssh-called"))
		if want := "-i " + s.path(".ssh/id_ed25519") + " -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes -o StrictHostKeyChecking=yes"; strings.Count(string(called), want) != strings.Count(string(called), "\n") {
			t.Errorf("ssh was called with %s", called)
		}

		// Only a mounted file.
		third := o.commit("frobnicator", "site", map[string]string{"site.conf": "three\n"})
		steps, seen, plan, err := look("")
		if err != nil || len(plan) != 1 || len(plan[0].Notes) != 1 || !strings.Contains(plan[0].Notes[0].Text, "frobnicator/site.conf changes, and service web") || !strings.HasSuffix(plan[0].Changes[0].Detail, "\nnothing changes for Compose\n") {
			t.Errorf("plan %v, error %v", plan, err)
		}

		// What is confirmed is what was shown, and not what is newer; nor is it done to
		// another clone than that.
		fourth := o.commit("frobnicator", "fourth", map[string]string{"compose.yaml": "broken\n"})
		o.inClone("fetch", "-q", o.repo("frobnicator"), "+refs/heads/main:refs/remotes/origin/main")
		done := 0
		err = provision.ApplySeen(t.Context(), s.target(newFake()), Confirmed(steps, seen), seen, func(e provision.Event) {
			if e.Kind == provision.Done {
				done++
			}
		})
		if now := o.inClone("rev-parse", "HEAD"); err != nil || done != 1 || now != third {
			t.Errorf("it is at %s, %d changes, %v; want %s", now, done, err, third)
		}
		err = provision.ApplySeen(t.Context(), s.target(newFake()), Confirmed(steps, seen), seen, func(provision.Event) {})
		if err == nil || !strings.Contains(err.Error(), "somebody else moved it meanwhile") {
			t.Errorf("got %v", err)
		}
		if _, _, plan, err := look(""); err != nil || !strings.Contains(plan[0].Changes[0].Detail, "docker compose cannot read the new project, and deploys will fail: yaml: it is broken in "+s.path("frobnicator")+"\n") {
			t.Errorf("plan %v, error %v", plan, err)
		}

		// There, and back again.
		update(sum(fourth), "update ~deploy-frobnicator/frobnicator to "+sum(fourth)+" of main (1 commit)")
		update(first, "update ~deploy-frobnicator/frobnicator to "+sum(first)+" of main: goes back by 3 commits")
		if s.read(t, "frobnicator/site.conf") != "one\n" || o.inClone("branch", "--show-current") != "main" {
			t.Error("it is not back")
		}
		refused("0123456789", "transmogrify/frobnicator has no commit 0123456789")
		o.git("frobnicator", "switch", "-q", "-c", "release", third)
		released := o.commit("frobnicator", "release", map[string]string{"released": "yes\n"})
		o.inClone("fetch", "-q", o.repo("frobnicator"), "release:refs/remotes/origin/release")
		refused(released, "the commit "+sum(released)+" is not on the branch main")

		// What would be lost.
		s.write(t, "frobnicator/site.conf", "mine\n", 0o644)
		refused("", "has local changes, which would be lost: site.conf", "git -C frobnicator diff")
		o.inClone("checkout", "-q", "site.conf")
		o.git("frobnicator", "switch", "-q", "main")
		fifth := o.commit("frobnicator", "fifth", map[string]string{"compose.yaml": composeJSON(serviceJSON("web", "web:2", "", "")), "data/file": "theirs\n", "more/deep/file": "theirs\n"})
		s.write(t, "frobnicator/more", "mine\n", 0o644)
		refused("", "would overwrite: data/file and more", "move them away")
		for _, file := range []string{"more", "data/file"} {
			if err := os.Remove(s.path("frobnicator/" + file)); err != nil {
				t.Fatal(err)
			}
		}
		d.Branch = "release"
		o.inClone("switch", "-q", "--detach")
		refused("", "is at no branch (detached HEAD)", "git -C frobnicator switch release")
		o.inClone("switch", "-q", "main")

		// Another branch, and one that is not there.
		update("", "switch ~deploy-frobnicator/frobnicator to the branch release, at "+sum(released)+" (3 commits more than main, 0 fewer)")
		if got := o.inClone("rev-parse", "--abbrev-ref", "HEAD", "@{upstream}"); got != "release\norigin/release" {
			t.Errorf("it is at %s", got)
		}
		o.inClone("commit", "-q", "--allow-empty", "-m", "mine")
		refused("", "has commits of release that GitLab does not have", "git -C frobnicator log --oneline origin/release..release", "git -C frobnicator reset --keep origin/release")
		d.Branch = ""
		refused("", "has commits of release that GitLab does not have")
		d.Branch = "main"
		refused("", "has commits of release that GitLab does not have")
		o.inClone("reset", "-q", "--keep", "origin/release")
		d.Branch = "gone"
		refused("", "the branch gone of transmogrify/frobnicator cannot be fetched", "the project has no such branch")
		d.Branch = "main"
		update("", "switch ~deploy-frobnicator/frobnicator to the branch main, at "+sum(fifth)+" (2 commits more than release, 1 fewer)")

		// A branch that was rewritten.
		o.git("frobnicator", "reset", "-q", "--hard", second)
		rewritten := o.commit("frobnicator", "rewritten", nil)
		refused("", "has commits of main that GitLab does not have")
		o.inClone("reset", "-q", "--keep", "origin/main")
		if o.inClone("rev-parse", "HEAD") != rewritten {
			t.Error("the hint does not help")
		}

		// Submodules, of this GitLab, however their addresses are written.
		o.commit("lib", "lib", map[string]string{"lib.txt": "lib\n"})
		o.git("frobnicator", "submodule", "--quiet", "add", o.repo("lib"), "lib")
		for _, url := range []string{"../lib.git", "https://git.example.com/transmogrify/lib.git", "git@git.example.com:transmogrify/lib.git"} {
			o.git("frobnicator", "config", "--file", ".gitmodules", "submodule.lib.url", url)
			o.commit("frobnicator", "lib from "+url, nil)
			if err := os.WriteFile(filepath.Join(s.dir, "lib.refused"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			refused("", "the submodule lib cannot be had from ", "The project you were looking for could not be found", "has to be a deploy key of")
			if err := os.Remove(filepath.Join(s.dir, "lib.refused")); err != nil {
				t.Fatal(err)
			}
			_, seen, plan, err := look("")
			if err != nil || plan.Missing() != 1 {
				t.Fatal(plan, err)
			}
			if err := provision.ApplySeen(t.Context(), s.target(newFake()), Confirmed(updates(""), seen), seen, func(provision.Event) {}); err != nil {
				t.Fatal(err)
			}
			if s.read(t, "frobnicator/lib/lib.txt") != "lib\n" {
				t.Error("the submodule is not there")
			}
			o.inClone("submodule", "--quiet", "deinit", "--force", "lib")
			if err := os.RemoveAll(s.path("frobnicator/.git/modules")); err != nil {
				t.Fatal(err)
			}
			update("", "clone the submodules of ~deploy-frobnicator/frobnicator (lib)")
			o.inClone("reset", "-q", "--hard", rewritten)
			o.inClone("config", "--remove-section", "submodule.lib")
			if err := os.RemoveAll(s.path("frobnicator/.git/modules")); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(s.path("frobnicator/lib")); err != nil {
				t.Fatal(err)
			}
		}

		// Without Git LFS nothing is begun, and without its files neither.
		large := o.commit("frobnicator", "lfs", map[string]string{"assets/.gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n"})
		if _, err := exec.LookPath("git-lfs"); err != nil {
			refused("", "git-lfs is not installed", "apt-get install git-lfs")
		}
		s.stub(t, "git-lfs", `printf '%s\n' "$*" >>"`+s.dir+`/lfs-called"
[ "$1" != fetch ] || [ ! -e "`+s.dir+`/lfs.refused" ] || { echo "batch response: Not found"; exit 2; }`)
		if err := os.WriteFile(filepath.Join(s.dir, "lfs.refused"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		steps, seen, _, err = look("")
		if err != nil {
			t.Fatal(err)
		}
		before := o.inClone("rev-parse", "HEAD")
		err = provision.ApplySeen(t.Context(), s.target(newFake()), Confirmed(steps, seen), seen, func(provision.Event) {})
		if err == nil || !strings.Contains(err.Error(), "nothing was changed, as Git LFS gives no files: batch response: Not found") || o.inClone("rev-parse", "HEAD") != before {
			t.Errorf("got %v, and it is at %s", err, o.inClone("rev-parse", "HEAD"))
		}
		if err := os.Remove(filepath.Join(s.dir, "lfs.refused")); err != nil {
			t.Fatal(err)
		}
		err = provision.ApplySeen(t.Context(), s.target(newFake()), Confirmed(steps, seen), seen, func(provision.Event) {})
		asked, _ := os.ReadFile(filepath.Join(s.dir, "lfs-called"))
		if err != nil || o.inClone("rev-parse", "HEAD") != large || !strings.HasSuffix(string(asked), "\nfetch origin "+large+"\n") {
			t.Errorf("got %v, and it is at %s, with %s", err, o.inClone("rev-parse", "HEAD"), asked)
		}
	})
}
