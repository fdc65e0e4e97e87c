package steps

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"provision/e2e/needs"
	"provision/provision"
)

func (s *sandbox) look(t *testing.T, step provision.Step) provision.Facts {
	t.Helper()
	seen, err := provision.Look(t.Context(), s.target(newFake()), []provision.Step{step})
	if err != nil {
		t.Fatal(err)
	}
	return seen.Of(step.Name())
}

// What verify sees of containers is what a deploy sees, and the record of the
// last good one; while a deploy runs it is told apart.
func TestContainersProbe(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		step := containers{"app", theUser, "app dir", "TAG"}
		check := func(want string) {
			t.Helper()
			if got := fmt.Sprint(s.look(t, step)); got != "map["+want+"]" {
				t.Errorf("saw %s, want %s", got, want)
			}
		}
		s.stub(t, "systemctl", "echo active")
		s.stub(t, "docker", `cd `+s.dir+`
case "$*" in
ps*"--filter label=com.docker.compose.project.working_dir=`+s.path("app dir")+`"*) cat ids 2>/dev/null || : ;;
inspect*) cat containers ;;
*) echo "docker $*?" >&2; exit 1 ;;
esac`)
		check("unversioned:[yes]") // no folder
		s.write(t, "app dir/compose.yaml", "", 0o644)
		check("unversioned:[yes]")
		s.write(t, "app dir/.env", "XTAG=1\n#TAG=2\nTAG2=x\n", 0o600)
		check("unversioned:[yes]")
		s.write(t, "app dir/.env", "A=b\nTAG=2\n", 0o600)
		check("")

		s.write(t, "../../ids", "one\ntwo\n", 0o600)
		line := func(words ...string) string { return strings.Join(words, "\t") + "\n" }
		s.write(t, "../../containers", line("two", "exited", "3", "0", "2026-01-01T00:00:00Z", "none", "always", "sha256:aa", "web", "app-web-1", "app", "web:1", "null")+
			line("one", "running", "0", "0", "2026-01-01T00:00:00Z", "healthy", "always", "sha256:aa", "db", "app-db-1", "app", "db:1", "null"), 0o600)
		s.write(t, ".provision/app/good", "time now\nproject app\nfiles /x y\nservice web 2 runs sha256:aa web:1\nservice db 1 ended sha256:aa db:1\n", 0o600)
		const all = "service:[ok db running is healthy bad web exited is stopped, exit code 3]"
		check("good:[web 2 runs db 1 ended] " + all)

		s.write(t, ".provision/app/lock", "", 0o600)
		check("good:[web 2 runs db 1 ended] " + all)
		held := exec.Command("flock", s.path(".provision/app/lock"), "sh", "-c", "echo held; cat")
		in, err := held.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := held.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := held.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fscanln(out, new(string)); err != nil {
			t.Fatal(err)
		}
		check("deploying:[yes] good:[web 2 runs db 1 ended] " + all)
		in.Close()
		if err := held.Wait(); err != nil {
			t.Fatal(err)
		}
		check("good:[web 2 runs db 1 ended] " + all)
	})
}

// Of the images that deployments have kept, those of one go, whatever the
// others are called.
func TestRemoveKeptImages(t *testing.T) {
	needs.Root(t)
	digest := strings.Repeat("0123456789abcdef", 4)
	tags := []string{"a.b_" + digest, "aXb_" + digest, "a.b_c_" + digest, "x.a.b_" + digest, "a.b_" + digest[1:], "a.b_" + digest + "0", "a.b_" + digest[:63] + "g",
		"a.b", "a.bb_" + digest, "A.B_" + digest, "a.b_" + digest[:63] + "0", "latest"}
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		inv, given := inventoryOf(t, "")
		d := inv.Deployments[0]
		d.Name = "a.b"
		s.stub(t, "systemctl", "echo active")
		s.stub(t, "docker", `cd `+s.dir+`
case "$*" in
"image ls --filter reference=provision/kept --format {{.Tag}}") cat tags ;;
"image rm "*)
	echo "$*" >>removed
	grep -vxF -e "${3#provision/kept:}" tags >left || :
	mv left tags
	;;
ps* | "network ls"* | "volume ls"*) ;;
*) echo "docker $*?" >&2; exit 1 ;;
esac`)
		s.write(t, "../../tags", strings.Join(tags, "\n")+"\n", 0o600)
		removal := removalOf(t, inv, d, given, "containers a.b")
		done, err := s.one(t, removal)
		checkDone(t, done, err, "remove 2 kept images of a.b")
		if got, want := s.read(t, "../../removed"), "image rm provision/kept:"+tags[0]+"\nimage rm provision/kept:"+tags[10]+"\n"; got != want {
			t.Errorf("it ran\n%swant\n%s", got, want)
		}
		if done, err := s.one(t, removal); err != nil || done != nil {
			t.Errorf("done %q, error %v", done, err)
		}
	})
}

// What the deploys of a deployment have noted goes, and nothing of others.
func TestRemoveDeploysScripts(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		inv, given := inventoryOf(t, "")
		d := inv.Deployments[0]
		removal := removalOf(t, inv, d, given, "deploys "+d.Name)
		if done, err := s.one(t, removal); err != nil || done != nil {
			t.Errorf("done %q, error %v", done, err)
		}
		s.write(t, ".provision/"+d.Name+"/good", "", 0o600)
		s.write(t, ".provision/other/good", "", 0o600)
		const summary = "remove ~deploy-frobnicator/.provision/frobnicator-production"
		done, err := s.one(t, removal)
		checkDone(t, done, err, summary)
		if got := s.names(t, ".provision"); got != "other" {
			t.Errorf("there is %s", got)
		}
		s.write(t, ".provision/"+d.Name+"/good", "", 0o600)
		if err := os.RemoveAll(s.path(".provision/other")); err != nil {
			t.Fatal(err)
		}
		done, err = s.one(t, removal)
		checkDone(t, done, err, summary)
		if got := s.names(t, "."); got != "" {
			t.Errorf("the home has %s", got)
		}
	})
}

// Both programs go with the last deployment, and with them their folder.
func TestRemoveGateScripts(t *testing.T) {
	needs.Root(t)
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		for _, file := range []string{gateFile, deployFile} {
			if err := os.WriteFile(s.dir+file, nil, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		inv, given := inventoryOf(t, "")
		removal := removalOf(t, inv, inv.Deployments[0], given, "gate")
		gone := inSandbox{removal, s}
		done, err := s.one(t, gone)
		checkDone(t, done, err, "remove "+s.dir+gateFile, "remove "+s.dir+deployFile)
		if entries, err := os.ReadDir(filepath.Dir(s.dir + gateFile)); !os.IsNotExist(err) {
			t.Errorf("left are %v, %v", entries, err)
		}
	})
}

// inSandbox is a step that finds the programs of the gate in the sandbox.
type inSandbox struct {
	provision.Step
	s *sandbox
}

func (i inSandbox) Probe() provision.Probe {
	p := i.Step.Probe()
	p.Script.Text = strings.ReplaceAll(p.Script.Text, "/usr/local/lib/", i.s.dir+"/usr/local/lib/")
	return p
}

func (i inSandbox) Plan(f provision.Facts) ([]provision.Change, error) {
	changes, err := i.Step.Plan(f)
	for n := range changes {
		do := changes[n].Do.(provision.Script)
		for a := range do.Args {
			if strings.HasPrefix(do.Args[a], "/usr/") {
				do.Args[a] = i.s.dir + do.Args[a]
			}
		}
		changes[n].Do = do
	}
	return changes, err
}
