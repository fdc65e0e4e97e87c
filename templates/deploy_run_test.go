package templates

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	firstGood = "db: registry/db:1@" + id2 + "\nweb: registry/web:1@" + id1 + "\nprovision: deployed 2 of 2 services in N s\n"
	same      = "provision: nothing new: what was deployed at TIME runs\n"
)

// A deploy that ends well is recorded, with names of its own for its images; the
// next one has nothing to do until something is new.
func TestDeploy(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		d.check(t, 0, firstGood, "deploy")
		if got, want := d.calls(t), "compose pull\ncompose up --detach --remove-orphans\ntag "+id2+" "+keptName(id2)+"\ntag "+id1+" "+keptName(id1)+"\n"; got != want {
			t.Errorf("docker was asked to\n%swant\n%s", got, want)
		}
		good := timeForm.ReplaceAllString(strings.ReplaceAll(d.read(t, d.state+"/good"), d.home, "~"), "TIME")
		if want := "time TIME\nproject shop\nfiles ~/web dir/compose.yaml\nservice db 1 runs " + id2 + " registry/db:1\nservice web 1 runs " + id1 + " registry/web:1\n"; good != want {
			t.Errorf("the record is\n%swant\n%s", good, want)
		}

		d.check(t, 0, same, "deploy")
		if got := d.calls(t); got != "compose pull\n" {
			t.Errorf("with nothing new docker was asked to\n%s", got)
		}

		// A new image behind the same name.
		d.set(t, "remote", "registry/web:1 "+id3+"\nregistry/db:1 "+id2+"\n")
		d.check(t, 0, "db: registry/db:1@"+id2+" (unchanged)\nweb: registry/web:1@"+id3+"\nprovision: deployed 1 of 2 services in N s\n", "deploy")
		if got := d.get(t, "images"); !strings.Contains(got, keptName(id1)+" "+id1+"\n") || !strings.Contains(got, keptName(id3)+" "+id3+"\n") {
			t.Errorf("the images are\n%s", got)
		}
		// Something was stopped by hand.
		d.set(t, "containers", strings.Replace(d.get(t, "containers"), "running", "exited", 1))
		d.calls(t)
		d.check(t, 0, "db: registry/db:1@"+id2+" (unchanged)\nweb: registry/web:1@"+id3+"\nprovision: deployed 1 of 2 services in N s\n", "deploy")
		if got := d.calls(t); !strings.HasPrefix(got, "compose pull\ncompose up --detach --remove-orphans\n") {
			t.Errorf("docker was asked to\n%s", got)
		}
		if log := d.read(t, "../log"); strings.Count(log, "\n") != 4 || strings.Count(log, "-t provision -p auth.info web: provision: deployed ") != 0 ||
			!strings.Contains(log, "-p auth.info web: deployed 2 of 2 services in ") || !strings.Contains(log, "key SHA256:key, from 192.0.2.7)\n") {
			t.Errorf("the log has\n%s", log)
		}
	})
}

// What is not well goes back to the last good deploy, where the inventory wants
// so; and what was tried is removed.
func TestDeployGoesBack(t *testing.T) {
	eachDeploy(t, "rollback=yes\nkeep=1\n", func(t *testing.T, d *deployBox) {
		d.check(t, 0, firstGood, "deploy")
		good := d.read(t, d.state+"/good")
		d.set(t, "remote", "registry/web:1 "+id3+"\nregistry/db:1 "+id2+"\n")
		d.set(t, "state-web-"+id3, "running 0 0 2020-01-01T00:00:00Z unhealthy always")
		d.set(t, "health", `"first"`+"\n"+`"no \"db\"\n"`+"\n")
		d.calls(t)
		status, outcome, said := d.ask(t, "deploy")
		const why = `web is unhealthy: no \"db\"`
		want := why + "\nnow db: registry/db:1@" + id2 + "\nnow web: registry/web:1@" + id1 + "\nprovision: deploy failed after N s: " + why + "; went back to the deploy of TIME, which runs\n"
		if outcome = strings.ReplaceAll(outcome, " (unchanged)", ""); status != 1 || outcome != want {
			t.Errorf("status %d, outcome\n%swant\n%ssaid\n%s", status, outcome, want, said)
		}
		if got := d.calls(t); got != "compose pull\ncompose up --detach --remove-orphans\ncompose PINNED up --detach --pull never --remove-orphans\n" {
			t.Errorf("docker was asked to\n%s", got)
		}
		if got := d.get(t, "containers"); !strings.Contains(got, id1) || strings.Contains(got, id3) || !strings.Contains(got, keptName(id1)) {
			t.Errorf("the containers are\n%s", got)
		}
		if d.read(t, d.state+"/good") != good {
			t.Error("the record of the last good deploy was changed")
		}

		// The same once more changes nothing but does the same; then it is mended.
		if status, outcome, _ := d.ask(t, "deploy"); status != 1 || !strings.HasSuffix(outcome, "went back to the deploy of TIME, which runs\n") {
			t.Errorf("status %d, outcome\n%s", status, outcome)
		}
		os.Remove(filepath.Join(d.dir, "state-web-"+id3))
		if status, outcome, _ := d.ask(t, "deploy"); status != 0 || !strings.HasSuffix(outcome, "provision: deployed 1 of 2 services in N s\n") {
			t.Errorf("status %d, outcome\n%s", status, outcome)
		}
		if images := d.get(t, "images"); strings.Contains(images, keptName(id1)) || !strings.Contains(images, keptName(id3)+" "+id3) {
			t.Errorf("with one to keep the images are\n%s", images)
		}
	})
}

// Where nothing is to be put back, nothing is.
func TestDeployStays(t *testing.T) {
	eachDeploy(t, "logs=3\n", func(t *testing.T, d *deployBox) {
		d.set(t, "state-web", "exited 3 0 2020-01-01T00:00:00Z none always")
		failed := "web is stopped, exit code 3\n  | a log\nprovision: deploy failed after N s: web is stopped, exit code 3\n"
		d.check(t, 1, failed, "deploy")
		if _, err := os.Stat(filepath.Join(d.home, d.state, "good")); err == nil {
			t.Error("it is recorded as good")
		}
		os.Remove(filepath.Join(d.dir, "state-web"))
		d.check(t, 0, "db: registry/db:1@"+id2+" (unchanged)\nweb: registry/web:1@"+id1+"\nprovision: deployed 1 of 2 services in N s\n", "deploy")
		d.set(t, "remote", "registry/web:1 "+id3+"\nregistry/db:1 "+id2+"\n")
		d.set(t, "state-web", "exited 3 0 2020-01-01T00:00:00Z none always")
		d.calls(t)
		d.check(t, 1, failed, "deploy")
		if got := d.calls(t); strings.Contains(got, "--pull never") {
			t.Errorf("docker was asked to\n%s", got)
		}
		if got := d.get(t, "containers"); !strings.Contains(got, id3) {
			t.Errorf("the containers are\n%s", got)
		}
	})
}

// What fails before anything is changed says so, and changes nothing.
func TestDeployChangesNothing(t *testing.T) {
	eachDeploy(t, "version=TAG\nbefore=migrate\n", func(t *testing.T, d *deployBox) {
		const nothing = "provision: deploy failed after N s: nothing was changed, "
		untouched := func(what string) {
			t.Helper()
			if got := d.calls(t); strings.Contains(got, " up ") || strings.Contains(got, "rmi") || strings.Contains(got, "tag") {
				t.Errorf("%s: docker was asked to\n%s", what, got)
			}
		}
		d.set(t, "warnings", `time="x" level=warning msg="The \"B\" variable is not set. Defaulting to a blank string."
time="x" level=warning msg="The \"A_1\" variable is not set. Defaulting to a blank string."
time="x" level=warning msg="The \"B\" variable is not set. Defaulting to a blank string."
time="x" level=warning msg="something else"
`)
		d.check(t, 1, nothing+"as compose.yaml needs variables that are not set: A_1 B\nhint: set them in the inventory: env = { A_1 = …, B = … }; or give them a default in compose.yaml: ${NAME:-}\n", "deploy")
		untouched("unset")
		const job = "hint: name the version to deploy: PROVISION_VERSION in the deploy job\n"
		d.set(t, "warnings", `time="x" level=warning msg="The \"TAG\" variable is not set. Defaulting to a blank string."`+"\n")
		d.check(t, 1, nothing+"as compose.yaml needs variables that are not set: TAG\n"+job, "deploy")
		if out, _ := d.command("ask", "web", "-", "me", "deploy").Output(); !strings.HasSuffix(string(out), "\nhint: provision deploy --tag VERSION web INVENTORY\n") {
			t.Errorf("an admin is told\n%s", out)
		}
		d.set(t, "warnings", d.get(t, "warnings")+`time="x" level=warning msg="The \"TAG2\" variable is not set. Defaulting to a blank string."`+"\n")
		d.check(t, 1, nothing+"as compose.yaml needs variables that are not set: TAG TAG2\n"+job+"hint: set them in the inventory: env = { TAG2 = … }; or give them a default in compose.yaml: ${NAME:-}\n", "deploy")
		d.set(t, "warnings", "")
		d.set(t, "fail-config", `required variable TAG is missing a value: choose one`+"\n")
		d.check(t, 1, nothing+"as Compose cannot read the project: required variable TAG is missing a value: choose one\n"+job, "deploy")
		untouched("no version")

		d.set(t, "fail-config", "yaml: line 3: no\n")
		d.check(t, 1, nothing+"as Compose cannot read the project: yaml: line 3: no\n", "deploy")
		untouched("no config")
		os.Remove(filepath.Join(d.dir, "fail-config"))

		d.set(t, "fail-pull", "unauthorized\n")
		d.set(t, "fail-pull-web", "denied: no\n")
		d.check(t, 1, nothing+"as web cannot be pulled: denied: no\n", "deploy")
		untouched("no pull")
		if _, _, said := d.ask(t, "deploy"); strings.Contains(said, "denied: no") {
			t.Errorf("the reason is said twice:\n%s", said)
		}
		os.Remove(filepath.Join(d.dir, "fail-pull"))

		d.set(t, "folders", "/srv/shop\n")
		d.check(t, 1, nothing+"as ~/web dir and /srv/shop are one Compose project, shop, and would replace each other's containers\nhint: give each a name of its own: name: in compose.yaml, or another directory\n", "deploy")
		untouched("another's project")
		d.set(t, "folders", "")

		d.set(t, "fail-run", "no such table\n")
		d.check(t, 1, nothing+"as migrate has ended with exit code 1\n", "deploy")
		untouched("before")
		os.Remove(filepath.Join(d.dir, "fail-run"))

		link := filepath.Join(d.folder, ".env")
		if err := os.Symlink("elsewhere", link); err != nil {
			t.Fatal(err)
		}
		d.check(t, 1, nothing+"as .env is a link, and the version is written there\n", "deploy", "1.2")
		untouched("a link")
		os.Remove(link)
		d.write(t, "web dir/.env", "A=b\n", 0o640)
		git := func(args ...string) {
			t.Helper()
			if out, err := exec.Command("git", append([]string{"-C", d.folder, "-c", "safe.directory=*"}, args...)...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		git("init", "-q")
		git("add", ".env")
		d.check(t, 1, nothing+"as git tracks .env, and the version is written there\nhint: take .env out of the project, or choose no version\n", "deploy", "1.2")
		untouched("tracked")
		git("rm", "-q", "--cached", ".env")

		// The version is written when all is well, and not before.
		d.set(t, "state-web", "dead 1 0 2020-01-01T00:00:00Z none always")
		if status, _, _ := d.ask(t, "deploy", "1.2"); status != 1 || d.read(t, "web dir/.env") != "A=b\n" {
			t.Errorf("status %d, .env is %q", status, d.read(t, "web dir/.env"))
		}
		os.Remove(filepath.Join(d.dir, "state-web"))
		if status, _, said := d.ask(t, "deploy", "1.2"); status != 0 || d.read(t, "web dir/.env") != "A=b\nTAG=1.2\n" || d.mode(t, "web dir/.env") != 0o640 {
			t.Errorf("status %d, .env is %q, mode %o, said %s", status, d.read(t, "web dir/.env"), d.mode(t, "web dir/.env"), said)
		}
	})
}

// An image of another registry, or one that is built here, may not be there to pull.
func TestDeployPullsWhatItMust(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		d.config(t, `{"name":"shop","services":{"web":{"image":"registry/web:1"},"db":{"image":"elsewhere/db:1"},"own":{"image":"own","build":"."}}}`)
		d.set(t, "images", "registry/web:1 "+id1+"\nelsewhere/db:1 "+id2+"\nown "+id3+"\n")
		for _, name := range []string{"", "-db", "-own"} {
			d.set(t, "fail-pull"+name, "away\n")
		}
		status, outcome, said := d.ask(t, "deploy")
		if status != 0 || !strings.Contains(said, "provision: db: elsewhere/db:1 could not be pulled, so the one that is here is used: away\n") || !strings.HasSuffix(outcome, "deployed 3 of 3 services in N s\n") {
			t.Errorf("status %d, outcome\n%ssaid\n%s", status, outcome, said)
		}
		d.set(t, "images", "registry/web:1 "+id1+"\nown "+id3+"\n")
		d.check(t, 1, "provision: deploy failed after N s: nothing was changed, as db cannot be pulled: away\n", "deploy")
	})
}
