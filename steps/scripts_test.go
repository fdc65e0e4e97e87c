package steps

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"provision/e2e/needs"
	"provision/provision"
)

const theUser = "deploy-frobnicator"

// gitServer makes a repository, and an ssh that serves it in place of GitLab
// to everybody.
func (s *sandbox) gitServer(t *testing.T) {
	t.Helper()
	repo := filepath.Join(s.dir, "repo")
	command(t, "git", "init", "-q", "-b", "main", repo)
	if err := os.WriteFile(filepath.Join(repo, "compose.yaml"), []byte("services: {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, "git", "-C", repo, "add", ".")
	command(t, "git", "-C", repo, "commit", "-q", "-m", "first")
	command(t, "git", "-C", repo, "branch", "release/1")
	s.stub(t, "ssh", `printf '%s\n' "$*" >>`+s.dir+`/ssh-called
case "$*" in
*"-o StrictHostKeyChecking=yes"*"git@git.example.com git-upload-pack '/transmogrify/"*) exec git -c safe.directory='*' upload-pack `+repo+` ;;
esac
echo "refused" >&2
exit 255`)
}

func (s *sandbox) stubDocker(t *testing.T) {
	t.Helper()
	s.stub(t, "docker", `case "$1 $2" in
"login --username") cat >/dev/null; echo 'Login Succeeded' ;;
"compose config") echo '{"name":"frobnicator","services":{"web":{"image":"registry.example.com/web:1"}}}' ;;
"compose up" | "compose pull") echo "$PWD $*" >>`+s.dir+`/up ;;
"ps --all")
	case "$* $(cat `+s.dir+`/up 2>/dev/null)" in
	*" ") ;;
	*"{{.ID}} "*) echo "one `+s.path("frobnicator")+`" ;;
	*"project=frobnicator"*) echo "- `+s.path("frobnicator")+`" ;;
	*oneoff=False*) echo "frobnicator `+s.path("frobnicator")+`" ;;
	esac
	;;
"inspect --type") printf '%s\t' one running 0 0 2026-01-01T00:00:00Z healthy always sha256:aa web frobnicator-web-1 frobnicator registry.example.com/web:1 && echo null ;;
"inspect --format") echo "`+s.path("frobnicator")+`/compose.yaml" ;;
"image inspect" | "info --format" | "tag sha256:aa") echo sha256:aa ;;
*) echo "docker $*?" >&2; exit 1 ;;
esac`)
}

// TestApplyInASandbox makes all that a deployment needs of its user, from bare,
// and once more: the scripts leave behind what their probes look for.
func TestApplyInASandbox(t *testing.T) {
	needs.Root(t)
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		s.gitServer(t)
		s.stubDocker(t)
		hostKey := filepath.Join(s.dir, "etc/ssh/ssh_host_ed25519_key.pub")
		if err := os.WriteFile(hostKey, []byte(key2.public+" root@web1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		var steps []provision.Step
		for _, name := range []string{"registry-ca", "override"} { // the rest of these inventories is the plain one
			for _, step := range stepsOf(t, name, "") {
				switch kind, _, _ := strings.Cut(step.Name(), " "); kind {
				case name:
					steps = append(steps, step)
				case "deploy-settings", "unmanaged", "repo-key", "deploy-key", "repo-key-switch", "registry-login", "known-hosts", "checkout", "ci-variables", "ci-key", "containers":
					if name == "override" {
						steps = append(steps, step)
					}
				}
			}
		}
		f := newFake()
		done, err := s.apply(t, f, steps...)
		if err != nil {
			t.Fatalf("after %q: %v", done, err)
		}
		if n := s.trips.Load(); n > 4 {
			t.Errorf("%d trips, at most 4", n)
		}
		if up, _ := os.ReadFile(filepath.Join(s.dir, "up")); string(up) != s.path("frobnicator")+" compose pull web\n"+s.path("frobnicator")+" compose up --detach --remove-orphans\n" {
			t.Errorf("compose up ran in %q", up)
		}
		if got := s.names(t, "."); got != ".docker .provision .ssh frobnicator" {
			t.Errorf("the home has %s", got)
		}
		if got := s.names(t, ".ssh"); got != "authorized_keys id_ed25519 id_ed25519.pub known_hosts" {
			t.Errorf(".ssh has %s", got)
		}
		if got := s.names(t, "frobnicator"); got != ".git compose.override.yaml compose.yaml" {
			t.Errorf("the clone has %s", got)
		}

		s.trips.Store(0)
		if done, err := s.apply(t, f, steps...); err != nil || done != nil || s.trips.Load() != 1 {
			t.Errorf("the second time %q was done in %d trips, error %v", done, s.trips.Load(), err)
		}
		if calls := f.Calls(); len(calls) != 5 {
			t.Errorf("GitLab was changed %d times: %q", len(calls), calls)
		}
	})
}

// Every probe of a host that has nothing at all succeeds.
func TestLooksOfABareHost(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		for inventory := range inventories {
			if _, err := provision.Look(t.Context(), s.target(newFake()), stepsOf(t, inventory, "")); err != nil {
				t.Errorf("%s: %v", inventory, err)
			}
		}
	})
}

func (s *sandbox) one(t *testing.T, step provision.Step) (done []string, err error) {
	t.Helper()
	return s.apply(t, newFake(), step)
}

func TestRepoKeyScripts(t *testing.T) {
	pair := repoKey{user: theUser, comment: "who@where"}
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		done, err := s.one(t, pair)
		checkDone(t, done, err, "generate an SSH key pair for deploy-frobnicator")
		private := s.read(t, ".ssh/id_ed25519")
		if !strings.HasPrefix(s.read(t, ".ssh/id_ed25519.pub"), "ssh-ed25519 ") || !strings.HasSuffix(s.read(t, ".ssh/id_ed25519.pub"), " who@where\n") {
			t.Errorf("the public half is %q", s.read(t, ".ssh/id_ed25519.pub"))
		}
		if s.mode(t, ".ssh") != 0o700 || s.mode(t, ".ssh/id_ed25519") != 0o600 || s.names(t, ".ssh") != "id_ed25519 id_ed25519.pub" {
			t.Errorf("modes %o and %o, .ssh has %s", s.mode(t, ".ssh"), s.mode(t, ".ssh/id_ed25519"), s.names(t, ".ssh"))
		}
		public, err := publicHalf(private)
		if err != nil {
			t.Fatal(err)
		}

		// The private half counts, whatever the file beside it says.
		s.write(t, ".ssh/id_ed25519.pub", key2.public+"\n", 0o644)
		seen, err := provision.Look(t.Context(), s.target(newFake()), []provision.Step{pair})
		if err != nil || fmt.Sprint(seen.Of(pair.Name())) != "map[public:["+public+"]]" {
			t.Errorf("saw %v, %v, want %s", seen, err, public)
		}

		// To be retired: the next pair comes, and the one in use stays.
		retire := pair
		retire.retire = []string{public}
		done, err = s.one(t, retire)
		checkDone(t, done, err, "generate a new SSH key pair for deploy-frobnicator (the old one stays active)")
		if s.read(t, ".ssh/id_ed25519") != private || s.names(t, ".ssh") != "id_ed25519 id_ed25519.next id_ed25519.next.pub id_ed25519.pub" {
			t.Errorf(".ssh has %s", s.names(t, ".ssh"))
		}
		next, err := publicHalf(s.read(t, ".ssh/id_ed25519.next"))
		if err != nil || next == public {
			t.Errorf("the next key is %s, %v", next, err)
		}

		// The next pair is tried, and takes its place.
		s.gitServer(t)
		f := newFake()
		switching := repoKeySwitch{user: theUser, projects: []string{"transmogrify/frobnicator"}, urls: []string{"ssh://git@git.example.com/transmogrify/frobnicator.git"}}
		key := stepOf(t, "", "", "deploy-key deploy-frobnicator transmogrify/frobnicator")
		done, err = s.apply(t, f, key, switching)
		checkDone(t, done, err, "add deploy-frobnicator's public key to transmogrify/frobnicator as a read-only deploy key", "add deploy-frobnicator's new public key to transmogrify/frobnicator as a read-only deploy key",
			"switch deploy-frobnicator to the new SSH key (tested with git ls-remote)",
			"remove deploy-frobnicator's old deploy key from transmogrify/frobnicator", "delete deploy-frobnicator's old public key")
		if now, err := publicHalf(s.read(t, ".ssh/id_ed25519")); now != next || err != nil || s.names(t, ".ssh") != "id_ed25519 id_ed25519.pub" {
			t.Errorf("the key is %s, %v, want %s; .ssh has %s", now, err, next, s.names(t, ".ssh"))
		}
		if called, _ := os.ReadFile(filepath.Join(s.dir, "ssh-called")); !strings.HasPrefix(string(called), "-i .ssh/id_ed25519.next -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes") {
			t.Errorf("ssh was called with %s", called)
		}
		if len(f.Keys["transmogrify/frobnicator"]) != 1 {
			t.Errorf("GitLab has %v", f.Keys)
		}

		// A next pair that GitLab refuses stays where it is.
		retire.retire = []string{next}
		if _, err := s.one(t, retire); err != nil {
			t.Fatal(err)
		}
		switching.urls = []string{"ssh://git@elsewhere.example.com/x.git"}
		if _, err := s.apply(t, f, key, switching); err == nil || !strings.Contains(err.Error(), "switch deploy-frobnicator to the new SSH key") {
			t.Errorf("got %v", err)
		}
		if now, err := publicHalf(s.read(t, ".ssh/id_ed25519")); now != next || err != nil {
			t.Errorf("the key is %s, %v, want %s", now, err, next)
		}
	})
}

func TestRepoKeyWithPassphrase(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		s.write(t, ".ssh/x", "", 0o600)
		command(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", s.path(".ssh/id_ed25519"))
		before := s.read(t, ".ssh/id_ed25519")
		if _, err := s.one(t, repoKey{user: theUser}); err == nil || !strings.Contains(err.Error(), "without a passphrase") {
			t.Errorf("got %v", err)
		}
		if s.read(t, ".ssh/id_ed25519") != before {
			t.Error("the key was changed")
		}
	})
}

func TestKnownHostsScripts(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		for _, address := range []string{"git.example.com", "[git.example.com]:2022"} {
			for _, before := range []string{"-", "", "# comment\nother.example.com " + key2.public + "\r\n", "other.example.com " + key2.public} {
				os.RemoveAll(s.path(".ssh"))
				want := ""
				if before != "-" {
					s.write(t, ".ssh/known_hosts", before, 0o600)
					if want = before; before != "" && !strings.HasSuffix(before, "\n") {
						want += "\n"
					}
				}
				step := knownHosts{theUser, address, []string{key1.public, "@cert-authority " + key2.public}}
				done, err := s.one(t, step)
				checkDone(t, done, err, "add "+address+"'s 2 host keys to ~deploy-frobnicator/.ssh/known_hosts")
				if got := s.read(t, ".ssh/known_hosts"); got != want+address+" "+key1.public+" provision\n@cert-authority "+address+" "+key2.public+" provision\n" {
					t.Errorf("%q became %q", before, got)
				}
				if s.names(t, ".ssh") != "known_hosts" {
					t.Errorf(".ssh has %s", s.names(t, ".ssh"))
				}
				// Hashed, it is known as well.
				command(t, "ssh-keygen", "-q", "-H", "-f", s.path(".ssh/known_hosts"))
				if done, err := s.one(t, step); err != nil || done != nil {
					t.Errorf("of a hashed file %q was done, error %v", done, err)
				}
			}
		}
		os.Remove(s.path(".ssh/known_hosts"))
		if err := os.Symlink("elsewhere", s.path(".ssh/known_hosts")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.one(t, knownHosts{theUser, "git.example.com", []string{key1.public}}); err == nil || !strings.HasSuffix(err.Error(), ".ssh/known_hosts is a link; replace it by a file") {
			t.Errorf("got %v", err)
		}
	})
}

func TestCheckoutScripts(t *testing.T) {
	const url = "ssh://git@git.example.com/transmogrify/frobnicator.git"
	step := checkout{deployment: "frobnicator-production", user: theUser, directory: "frobnicator", url: url}
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		s.gitServer(t)
		done, err := s.one(t, step)
		checkDone(t, done, err, "clone "+url+" to ~deploy-frobnicator/frobnicator")
		if s.names(t, ".") != "frobnicator" || s.mode(t, "frobnicator") != 0o755 {
			t.Errorf("the home has %s, mode %o", s.names(t, "."), s.mode(t, "frobnicator"))
		}

		// git would note in its index that the file is the same after all.
		index := s.read(t, "frobnicator/.git/index")
		if err := os.Chtimes(s.path("frobnicator/compose.yaml"), time.Time{}, time.Unix(1_000_000_000, 0)); err != nil {
			t.Fatal(err)
		}
		if done, err := s.one(t, step); err != nil || done != nil || s.read(t, "frobnicator/.git/index") != index {
			t.Errorf("done %q, error %v, or looking wrote the index", done, err)
		}

		// Local changes stay, and are told; what git does not know is not.
		s.write(t, "frobnicator/compose.yaml", "changed", 0o644)
		s.write(t, "frobnicator/compose.override.yaml", "", 0o644)
		plan, err := provision.Check(t.Context(), s.target(newFake()), []provision.Step{step})
		if err != nil || len(plan) != 1 || plan.Missing() != 0 || len(plan[0].Notes) != 1 || plan[0].Notes[0].Text != "~deploy-frobnicator/frobnicator has local changes, left alone: compose.yaml" || plan[0].Notes[0].Hint == "" {
			t.Errorf("plan %v, error %v", plan, err)
		}

		// A password in the origin is not told.
		command(t, "git", "-C", s.path("frobnicator"), "remote", "set-url", "origin", "https://oauth2:hunter2@git.example.com/transmogrify/other.git")
		if _, err := s.one(t, step); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "is a clone of https://git.example.com/transmogrify/other.git, not of") {
			t.Errorf("got %v", err)
		}
		command(t, "git", "-C", s.path("frobnicator"), "remote", "set-url", "origin", "git@git.example.com:transmogrify/frobnicator.git")
		if done, err := s.one(t, step); err != nil || done != nil {
			t.Errorf("done %q, error %v", done, err)
		}

		branch := step
		branch.directory, branch.branch = "other", "release/1"
		if _, err := s.one(t, branch); err != nil {
			t.Fatal(err)
		}
		if got := command(t, "git", "-c", "safe.directory=*", "-C", s.path("other"), "branch", "--show-current"); got != "release/1\n" {
			t.Errorf("the branch is %q", got)
		}

		// A clone that fails leaves nothing.
		branch.directory, branch.branch = "third", "no-such-branch"
		if _, err := s.one(t, branch); err == nil || !strings.Contains(err.Error(), "no-such-branch") {
			t.Errorf("got %v", err)
		}
		if got := s.names(t, "."); got != "frobnicator other" {
			t.Errorf("the home has %s", got)
		}

		// A folder that is no clone.
		if err := os.Mkdir(s.path("fourth"), 0o755); err != nil {
			t.Fatal(err)
		}
		branch.directory = "fourth"
		if _, err := s.one(t, branch); err == nil || !strings.Contains(err.Error(), "is no clone with an origin") {
			t.Errorf("got %v", err)
		}
	})
}

func TestOverrideScripts(t *testing.T) {
	step := override{deployment: "frobnicator-production", user: theUser, directory: "frobnicator", source: "source.yaml", text: "a: 'x'\nb: $HOME `id`\n"}
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		command(t, "git", "init", "-q", s.path("frobnicator"))
		s.write(t, "frobnicator/compose.yaml", "", 0o644)
		done, err := s.one(t, step)
		checkDone(t, done, err, "write ~deploy-frobnicator/frobnicator/compose.override.yaml (for the next deploy)")
		if s.read(t, "frobnicator/compose.override.yaml") != step.text || s.mode(t, "frobnicator/compose.override.yaml") != 0o644 {
			t.Errorf("it is %q", s.read(t, "frobnicator/compose.override.yaml"))
		}
		if got := s.names(t, "frobnicator"); got != ".git compose.override.yaml compose.yaml" {
			t.Errorf("the folder has %s", got)
		}

		// What was written here needs no backup.
		newer := step
		newer.text += "c: 3\n"
		done, err = s.one(t, newer)
		checkDone(t, done, err, "update ~deploy-frobnicator/frobnicator/compose.override.yaml (for the next deploy)")
		if got := s.names(t, "frobnicator"); got != ".git compose.override.yaml compose.yaml" {
			t.Errorf("the folder has %s", got)
		}

		const edited = "a: 'x'\nby: hand"
		s.write(t, "frobnicator/compose.override.yaml", edited, 0o600)
		plan, err := provision.Check(t.Context(), s.target(newFake()), []provision.Step{step})
		if err != nil || plan.Missing() != 1 || !strings.Contains(plan[0].Changes[0].Detail, "\n-by: hand\n+b: $HOME `id`\n") {
			t.Errorf("plan %v, error %v", plan, err)
		}
		if _, err := s.one(t, step); err != nil {
			t.Fatal(err)
		}
		if s.read(t, "frobnicator/compose.override.yaml") != step.text {
			t.Errorf("it is %q", s.read(t, "frobnicator/compose.override.yaml"))
		}
		backups, _ := filepath.Glob(s.path("frobnicator/compose.override.yaml.before-*"))
		if len(backups) != 1 {
			t.Fatalf("the folder has %s", s.names(t, "frobnicator"))
		}
		if text, _ := os.ReadFile(backups[0]); string(text) != edited {
			t.Errorf("the backup is %q", text)
		}
	})
}
