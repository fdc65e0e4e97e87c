package steps

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
)

// TestRemovals reads testdata/remove, as TestPlans reads testdata/plan: what was
// seen of a deployment that is to go, and what is planned then. Further lines
// of the head are "volumes: yes", "as: NAME" for the first deployment of the inventory
// under another name, and "recall: NAME" for a deployment that the
// inventory does not name, with its facts in a section of their own.
func TestRemovals(t *testing.T) {
	files, err := filepath.Glob("testdata/remove/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			c, section := readRemoval(t, file)
			got := describe(c.plan(t))
			if *update {
				section.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(c.archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(section.Data); got != want {
				t.Errorf("planned:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func readRemoval(t *testing.T, file string) (c planCase, plan *txtar.File) {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head := headOf(archive)
	sections := map[string]*txtar.File{}
	for i := range archive.Files {
		sections[archive.Files[i].Name] = &archive.Files[i]
	}
	inv, given := inventoryOf(t, head["inventory"])
	given.Volumes = head["volumes"] == "yes"
	d := inv.Deployments[0]
	if name := head["as"]; name != "" { // the same under another name
		other := *d
		other.Name = name
		d = &other
	}
	if name := head["recall"]; name != "" {
		d = Recalled(inv, inv.Hosts[0], name, factsOf(t, sections["recalled"]))
		inv.Deployments = nil
	}
	return planCase{archive, removalOf(t, inv, d, given, head["step"]), factsOf(t, sections["facts"])}, sections["plan"]
}

func factsOf(t *testing.T, section *txtar.File) provision.Facts {
	t.Helper()
	facts := provision.Facts{}
	for line := range strings.Lines(string(section.Data)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok {
			t.Fatalf("no fact: %q", line)
		}
		facts.Add(expand(nil, key), expand(nil, escapes.Replace(value)))
	}
	return facts
}

func removalOf(t *testing.T, inv *inventory.Inventory, d *inventory.Deployment, given Given, name string) provision.Step {
	t.Helper()
	return named(t, Remove(inv, inv.Hosts[0], d, given), name)
}

// A host that does not carry the deployment knows nothing of it.
func TestRecalledNothing(t *testing.T) {
	inv, _ := inventoryOf(t, "")
	if d := Recalled(inv, inv.Hosts[0], "gone", provision.Facts{"carried": {"another"}}); d != nil {
		t.Errorf("it is %+v", d)
	}
}

// The order is part of what a removal promises: CI is let in no longer before
// anything else, what GitLab shows comes before what the host would need to
// find it, and the settings are forgotten when the user is gone.
func TestRemoveOrder(t *testing.T) {
	inv, given := inventoryOf(t, "")
	var names []string
	const want = "ci-key ci-variables containers deploys registry-login deploy-key checkout repo-key known-hosts user verify-script registry-ca deploy-settings gate"
	for _, s := range Remove(inv, inv.Hosts[0], inv.Deployments[0], given) {
		if kind := kindOf(s); slices.Contains(strings.Fields(want), kind) {
			names = append(names, kind)
		}
	}
	if got := strings.Join(names, " "); got != want {
		t.Errorf("the order is\n%s, not\n%s", got, want)
	}
}

// Of a host that is gone everything goes that it has in GitLab, whatever its
// users have in common, and no host is asked.
func TestForget(t *testing.T) {
	inv, given := inventoryOf(t, "two-deployments")
	f := newFake()
	const name = "deploy-frobnicator@web1"
	key := forge.DeployKey{Title: name, Key: "ssh-ed25519 AAAA " + name}
	for _, project := range []string{"transmogrify/frobnicator", "transmogrify/other"} {
		if err := f.AddDeployKey(t.Context(), project, key); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range inv.Deployments {
		for _, base := range []string{inventory.CIKeyVariable, inventory.DeployTargetVariable} {
			f.Vars[group] = append(f.Vars[group], forge.Variable{Key: base, Scope: d.Scope, Description: ciOf(d).description()})
		}
	}
	f.Vars[group] = append(f.Vars[group], forge.Variable{Key: inventory.CIKeyVariable, Scope: "production/web2", Description: "Set by provision for frobnicator-production on web2."})
	if _, err := f.CreateToken(t.Context(), group, forge.AccessToken, forge.Token{Name: name, Description: "Made by provision for " + name + "."}); err != nil {
		t.Fatal(err)
	}
	var done []string
	for _, s := range Forget(inv, inv.Hosts[0], inv.Deployments, given) {
		if s.Probe().Script.Text != "" {
			t.Errorf("%s asks the host", s.Name())
		}
		calls, err := converge(t, s, f, &host{})
		if err != nil {
			t.Fatal(err)
		}
		done = append(done, calls...)
	}
	checkDone(t, done, nil,
		"RemoveVariable group transmogrify SSH_AUTH production", "RemoveVariable group transmogrify SSH_DEPLOY_TARGET production",
		"RemoveVariable group transmogrify SSH_AUTH staging", "RemoveVariable group transmogrify SSH_DEPLOY_TARGET staging",
		"RevokeToken group transmogrify access token 107", "RemoveDeployKey transmogrify/frobnicator 105", "RemoveDeployKey transmogrify/other 106")
}

// A clone goes only if nothing in it would be lost.
func TestRemoveCheckoutScripts(t *testing.T) {
	inv, given := inventoryOf(t, "override")
	d := inv.Deployments[0]
	removal := removalOf(t, inv, d, given, "checkout "+d.Name)
	const home = "~deploy-frobnicator/frobnicator"
	changes := map[string]func(t *testing.T, s *sandbox, git func(args ...string)){
		"compose.yaml": func(t *testing.T, s *sandbox, _ func(...string)) {
			s.write(t, "frobnicator/compose.yaml", "changed", 0o644)
		},
		"notes.txt": func(t *testing.T, s *sandbox, _ func(...string)) { s.write(t, "frobnicator/notes.txt", "", 0o644) },
		".env": func(t *testing.T, s *sandbox, _ func(...string)) {
			s.write(t, "frobnicator/.git/info/exclude", ".env\n", 0o644)
			s.write(t, "frobnicator/.env", "", 0o600)
		},
		"commit ": func(_ *testing.T, _ *sandbox, git func(...string)) {
			git("checkout", "-q", "-b", "mine")
			git("commit", "-q", "--allow-empty", "-m", "mine")
			git("checkout", "-q", "main")
		},
		"stash@{0}": func(t *testing.T, s *sandbox, git func(...string)) {
			s.write(t, "frobnicator/compose.yaml", "changed", 0o644)
			git("stash", "-q")
		},
		"compose.override.yaml": func(t *testing.T, s *sandbox, _ func(...string)) {
			s.write(t, "frobnicator/compose.override.yaml", "changed", 0o644)
		},
	}
	if os.Getuid() == 0 {
		changes["data"] = func(t *testing.T, s *sandbox, _ func(...string)) {
			if err := os.Mkdir(s.path("frobnicator/data"), 0o700); err != nil { // git says nothing of an empty folder
				t.Fatal(err)
			}
			if err := os.Chown(s.path("frobnicator/data"), 12345, 12345); err != nil {
				t.Fatal(err)
			}
		}
	}
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		s.gitServer(t)
		make := func() {
			t.Helper()
			for _, name := range []string{"checkout " + d.Name, "override " + d.Name} {
				if _, err := s.one(t, stepOf(t, "override", "", name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for what, change := range changes {
			make()
			change(t, s, func(args ...string) {
				command(t, "git", append([]string{"-c", "safe.directory=*", "-C", s.path("frobnicator")}, args...)...)
			})
			plan, err := provision.Check(t.Context(), s.target(newFake()), []provision.Step{removal})
			if err != nil || len(plan) != 1 || len(plan[0].Notes) != 1 || !strings.HasPrefix(plan[0].Notes[0].Text, home+" stays, as it has what is nowhere else: "+what) {
				t.Errorf("%s: plan %+v, error %v", what, plan, err)
			}
			if err := os.RemoveAll(s.path("frobnicator")); err != nil {
				t.Fatal(err)
			}
		}
		make()
		done, err := s.one(t, removal)
		checkDone(t, done, err, "remove "+home)
		if got := s.names(t, "."); got != "" {
			t.Errorf("the home has %s", got)
		}

		// Interrupted, and cloned again.
		make()
		s.write(t, ".frobnicator.removed/.git/HEAD", "", 0o644)
		done, err = s.one(t, removal)
		checkDone(t, done, err, "remove ~deploy-frobnicator/.frobnicator.removed (left by an interrupted removal)", "remove "+home)

		// Of a clone that somebody else has made, only the override goes.
		make()
		git := []string{"-c", "safe.directory=*", "-C", s.path("frobnicator"), "config"}
		command(t, "git", append(git, "--unset", "provision.deployment")...)
		done, err = s.one(t, removal)
		checkDone(t, done, err, "remove "+home+"/compose.override.yaml")
		if got := s.names(t, "frobnicator"); got != ".git compose.yaml" {
			t.Errorf("the clone has %s", got)
		}
		if got := s.read(t, "frobnicator/.git/config"); strings.Contains(got, "provision") {
			t.Errorf("its configuration is %s", got)
		}
	})
}
