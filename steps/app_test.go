package steps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"provision/inventory"
	"provision/provision"
	"provision/provision/secret"
)

// appSteps returns the steps of an app after a change of it.
func appSteps(t *testing.T, change func(d *inventory.Deployment, given *Given)) []provision.Step {
	t.Helper()
	inv, given := inventoryOf(t, "app")
	change(inv.Deployments[0], &given)
	var steps []provision.Step
	for _, s := range For(inv, inv.Hosts[0], inv.Deployments, given) {
		if kind := kindOf(s); kind == "app-env" || kind == "app-files" {
			steps = append(steps, s)
		}
	}
	return steps
}

func unchanged(*inventory.Deployment, *Given) {}

const ourEnv = `# provision begin
# From the inventory of "provision", which writes over what is changed here. Don't.
COMPOSE_PROJECT_NAME='frobnicator'
COMPOSE_FILE='deploy/compose.yaml:deploy/prod.yaml'
COMPOSE_PROFILES='web,jobs'
DB_PASSWORD="it's \"\$HOME\" #1\nand \\ more"
LOG_LEVEL='info'
# provision end
`

// appClone makes a clone with a file of its own in the sandbox.
func (s *sandbox) appClone(t *testing.T) {
	t.Helper()
	command(t, "git", "init", "-q", s.path("frobnicator"))
	s.write(t, "frobnicator/README", "", 0o644)
	for _, file := range []string{"compose.yaml", "prod.yaml"} { // as the inventory has them
		s.write(t, "frobnicator/deploy/"+file, "services: {}\n", 0o644)
	}
	command(t, "git", "-C", s.path("frobnicator"), "add", ".")
	command(t, "git", "-C", s.path("frobnicator"), "commit", "-q", "-m", "first")
}

// gone removes all that the steps of an app have written.
func (s *sandbox) gone(t *testing.T) []string {
	t.Helper()
	inv, given := inventoryOf(t, "app")
	var all []string
	for _, name := range []string{"app-files frobnicator-production", "app-env frobnicator-production"} {
		done, err := s.one(t, removalOf(t, inv, inv.Deployments[0], given, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, done...)
	}
	return all
}

func (s *sandbox) exists(name string) bool {
	_, err := os.Lstat(s.path(name))
	return err == nil
}

// What is written is found again, changed where it differs, and gone without a
// trace; and what is somebody else's stays to the byte.
func TestAppScripts(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		s.appClone(t)
		steps := appSteps(t, unchanged)
		done, err := s.apply(t, newFake(), steps...)
		checkDone(t, done, err,
			"write .env of frobnicator-production (COMPOSE_PROJECT_NAME, COMPOSE_FILE, COMPOSE_PROFILES, DB_PASSWORD and LOG_LEVEL; for the next deploy)",
			"write secrets/key.p12 of frobnicator-production (for the next deploy)", "write secrets/tls.key of frobnicator-production (for the next deploy)")
		if got := s.read(t, "frobnicator/.env"); got != ourEnv {
			t.Errorf("the .env is\n%s", got)
		}
		if got := s.read(t, "frobnicator/secrets/key.p12"); got != "\x00\x01\xff\n" {
			t.Errorf("the file is %q", got)
		}
		for name, want := range map[string]os.FileMode{".env": 0o600, "secrets": 0o700, "secrets/key.p12": 0o600, "secrets/tls.key": 0o600, ".git/provision-files": 0o600} {
			if got := s.mode(t, "frobnicator/"+name); got != want {
				t.Errorf("the mode of %s is %o", name, got)
			}
		}
		if got := command(t, "git", "-C", s.path("frobnicator"), "status", "--porcelain"); got != "" {
			t.Errorf("git sees %s", got)
		}
		done, err = s.apply(t, newFake(), steps...)
		checkDone(t, done, err)

		// What stands behind a line of ours would be read in its place.
		s.write(t, "frobnicator/.env", ourEnv+" export LOG_LEVEL = debug\nTAG=1\n#DB_PASSWORD=x\n", 0o600)
		done, err = s.apply(t, newFake(), steps...)
		checkDone(t, done, err, "update .env of frobnicator-production (LOG_LEVEL; the next deploy uses it)")
		if got, want := s.read(t, "frobnicator/.env"), " export LOG_LEVEL = debug\nTAG=1\n#DB_PASSWORD=x\n"+ourEnv; got != want {
			t.Errorf("the .env is\n%s", got)
		}

		// Others write there, too.
		s.write(t, "frobnicator/.env", "# mine\nA='x\n y'\n"+ourEnv+"TAG=1", 0o640)
		s.write(t, "frobnicator/compose.override.yaml", "", 0o644)
		steps = appSteps(t, func(d *inventory.Deployment, given *Given) {
			d.Env = d.Env[:1]
			d.Files = append(d.Files[:1], inventory.SecretFile{Path: "a/b/c", Secret: inventory.Secret{Env: "C"}})
			given.Files[inventory.Secret{Env: "C"}.Key()] = secret.New("c")
		})
		done, err = s.apply(t, newFake(), steps...)
		checkDone(t, done, err, "update .env of frobnicator-production (COMPOSE_FILE; without LOG_LEVEL; the next deploy uses it)",
			"write a/b/c of frobnicator-production (for the next deploy)", "remove secrets/tls.key of frobnicator-production (not in the inventory)")
		want := "# mine\nA='x\n y'\nTAG=1\n" + strings.Replace(strings.Replace(ourEnv, "LOG_LEVEL='info'\n", "", 1), "prod.yaml'", "prod.yaml:compose.override.yaml'", 1)
		if got := s.read(t, "frobnicator/.env"); got != want || s.mode(t, "frobnicator/.env") != 0o600 {
			t.Errorf("the .env is\n%s", got)
		}
		if got := s.names(t, "frobnicator"); got != ".env .git README a compose.override.yaml deploy secrets" {
			t.Errorf("the clone has %s", got)
		}

		s.write(t, "frobnicator/a/mine", "", 0o644)
		if got := strings.Join(s.gone(t), "; "); got != "remove a/b/c of frobnicator-production; remove secrets/key.p12 of frobnicator-production; remove the lines of the inventory from .env of frobnicator-production" {
			t.Errorf("removed: %s", got)
		}
		if got := s.read(t, "frobnicator/.env"); got != "# mine\nA='x\n y'\nTAG=1\n" {
			t.Errorf("the .env is\n%s", got)
		}
		if got := s.names(t, "frobnicator"); got != ".env .git README a compose.override.yaml deploy" || s.names(t, "frobnicator/a") != "mine" {
			t.Errorf("the clone has %s", got)
		}
		if again := s.gone(t); again != nil {
			t.Errorf("again removed: %s", again)
		}
	})
}

// Where nothing else is there, nothing is left.
func TestAppScriptsLeaveNothing(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		s.appClone(t)
		before := s.read(t, "frobnicator/.git/info/exclude")
		if _, err := s.apply(t, newFake(), appSteps(t, unchanged)...); err != nil {
			t.Fatal(err)
		}
		s.gone(t)
		if got := s.names(t, "frobnicator"); got != ".git README deploy" {
			t.Errorf("the clone has %s", got)
		}
		if s.exists("frobnicator/.git/provision-files") || s.read(t, "frobnicator/.git/info/exclude") != before {
			t.Errorf("git has %s and\n%s", s.names(t, "frobnicator/.git"), s.read(t, "frobnicator/.git/info/exclude"))
		}
	})
}

// What somebody has edited is kept beside what takes its place.
func TestAppScriptsKeepEdited(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		s.appClone(t)
		steps := appSteps(t, unchanged)
		if _, err := s.apply(t, newFake(), steps...); err != nil {
			t.Fatal(err)
		}
		edited := strings.Replace(ourEnv, "info", "debug", 1)
		s.write(t, "frobnicator/.env", edited, 0o644)
		s.write(t, "frobnicator/secrets/tls.key", "edited", 0o644)
		for _, name := range []string{".env", "secrets/tls.key"} { // as an editor may leave it
			if err := os.Chmod(s.path("frobnicator/"+name), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		done, err := s.apply(t, newFake(), steps...)
		checkDone(t, done, err, "update .env of frobnicator-production (LOG_LEVEL; the next deploy uses it; the edited file is kept beside it as a backup, secrets and all)",
			"update secrets/tls.key of frobnicator-production (for containers that are made from now on; the file that is there is kept beside it as a backup, secrets and all)")
		for pattern, want := range map[string]string{".env.before-*": edited, "secrets/tls.key.before-*": "edited"} {
			kept, _ := filepath.Glob(s.path("frobnicator/" + pattern))
			if len(kept) != 1 {
				t.Fatalf("kept: %s", kept)
			}
			if text, _ := os.ReadFile(kept[0]); string(text) != want {
				t.Errorf("%s is %q", pattern, text)
			}
			if info, _ := os.Stat(kept[0]); info.Mode().Perm() != 0o600 {
				t.Errorf("%s has the mode %v", pattern, info.Mode())
			}
		}
		// A newer one of ours needs no backup.
		newer := appSteps(t, func(d *inventory.Deployment, given *Given) {
			d.Env[1].Text = "warn"
			given.Files[d.Files[1].Secret.Key()] = secret.New("newer")
		})
		done, err = s.apply(t, newFake(), newer...)
		checkDone(t, done, err, "update .env of frobnicator-production (LOG_LEVEL; the next deploy uses it)",
			"update secrets/tls.key of frobnicator-production (for containers that are made from now on)")
		if kept, _ := filepath.Glob(s.path("frobnicator/.env.before-*")); len(kept) != 1 {
			t.Errorf("kept: %s", kept)
		}
		// And what is edited is not removed.
		s.write(t, "frobnicator/secrets/tls.key", "edited again", 0o600)
		s.gone(t)
		if s.read(t, "frobnicator/secrets/tls.key") != "edited again" || s.exists("frobnicator/secrets/key.p12") {
			t.Errorf("there are %s", s.names(t, "frobnicator/secrets"))
		}
	})
}

// Nothing is written over what git tracks, nor through a link.
func TestAppScriptsRefuse(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		for name, make := range map[string]func(){
			"git tracks .env": func() {
				s.write(t, "frobnicator/.env", "A=1\n", 0o644)
				command(t, "git", "-C", s.path("frobnicator"), "add", ".env")
			},
			".env is a link": func() {
				if err := os.Symlink("README", s.path("frobnicator/.env")); err != nil {
					t.Fatal(err)
				}
			},
			".env is no file that can be read": func() {
				if err := os.Mkdir(s.path("frobnicator/.env"), 0o755); err != nil {
					t.Fatal(err)
				}
			},
			"git tracks secrets/tls.key": func() {
				s.write(t, "frobnicator/secrets/tls.key", "", 0o644)
				command(t, "git", "-C", s.path("frobnicator"), "add", "secrets")
			},
			"secrets is a link": func() {
				if err := os.Symlink("../elsewhere", s.path("frobnicator/secrets")); err != nil {
					t.Fatal(err)
				}
			},
			"secrets is no folder": func() { s.write(t, "frobnicator/secrets", "", 0o644) },
		} {
			if err := os.RemoveAll(s.path("frobnicator")); err != nil {
				t.Fatal(err)
			}
			s.appClone(t)
			make()
			before := command(t, "sh", "-c", `cd "$1" && find . -path ./.git -prune -o -print -exec ls -ld --time-style=+ {} +`, "sh", s.path("frobnicator"))
			var step provision.Step
			for _, step = range appSteps(t, func(d *inventory.Deployment, _ *Given) { d.Files = d.Files[1:] }) {
				if strings.Contains(name, ".env") == (kindOf(step) == "app-env") {
					break
				}
			}
			if _, err := s.one(t, step); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
			// As at the first apply, where nobody has looked yet.
			changes, err := step.Plan(nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.one(t, blind{step, changes}); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s, unseen: %v", name, err)
			}
			if now := command(t, "sh", "-c", `cd "$1" && find . -path ./.git -prune -o -print -exec ls -ld --time-style=+ {} +`, "sh", s.path("frobnicator")); now != before {
				t.Errorf("%s: there was\n%sand is\n%s", name, before, now)
			}
		}
	})
}

// blind is a step that plans the same whatever is seen.
type blind struct {
	provision.Step
	changes []provision.Change
}

func (b blind) Plan(provision.Facts) ([]provision.Change, error) { return b.changes, nil }

// Without a salt no digest of a secret is reported, nor with one the secret itself:
// who knows the digest of a short secret can find it.
func TestAppProbesTellNoSecret(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		s.appClone(t)
		steps := appSteps(t, unchanged)
		if _, err := s.apply(t, newFake(), steps...); err != nil {
			t.Fatal(err)
		}
		s.write(t, "frobnicator/.env", strings.Replace(ourEnv, "LOG_LEVEL=", "half of a secret\nLOG_LEVEL=", 1), 0o600)
		inv, given := inventoryOf(t, "app-as-ci")
		for _, name := range []string{"app-env frobnicator-production", "app-files frobnicator-production"} {
			f := s.look(t, named(t, For(inv, inv.Hosts[0], inv.Deployments, given), name))
			for _, fact := range f["digest"] {
				if !strings.HasPrefix(fact, "COMPOSE_") {
					t.Errorf("%s tells %q", name, fact)
				}
			}
			if len(f["name"])+len(f["there"]) == 0 {
				t.Errorf("%s sees nothing: it proves nothing", name)
			}
		}
		for _, step := range steps {
			for key, facts := range s.look(t, step) {
				if text := strings.Join(facts, " "); strings.Contains(text, "HOME") || strings.Contains(text, "half") || strings.Contains(text, "info") {
					t.Errorf("%s tells %s=%s", step.Name(), key, text)
				}
			}
		}
	})
}
