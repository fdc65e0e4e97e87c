package steps

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"provision/e2e/needs"
	"provision/inventory"
	"provision/provision"
)

// keyLineOf is the line of a key of a deployment.
func keyLineOf(t *testing.T, name string, key testKey) string {
	t.Helper()
	line, err := ciKey{ci: ci{deployment: name}}.line(key.public)
	if err != nil {
		t.Fatal(err)
	}
	return line + "\n"
}

// Names go from one deployment to the other with the keys, and what is not ours stays.
func TestRenameScripts(t *testing.T) {
	needs.Root(t)
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		folder := filepath.Join(s.dir, "etc/provision/deployments")
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		settings := func(name, text string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		check := func(want map[string]string) {
			t.Helper()
			entries, err := os.ReadDir(folder)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				text, _ := os.ReadFile(filepath.Join(folder, e.Name()))
				if got := string(text); got != want[e.Name()] {
					t.Errorf("the settings of %s are\n%swant\n%s", e.Name(), got, want[e.Name()])
				}
			}
			if len(entries) != len(want) {
				t.Errorf("there are settings of %v", entries)
			}
		}
		var on []*inventory.Deployment
		for _, name := range []string{"a", "b"} {
			on = append(on, &inventory.Deployment{Name: name, User: theUser, Directory: "in-" + name})
			s.write(t, "in-"+name+"/x", "", 0o644)
		}
		apply := func(want ...string) {
			t.Helper()
			var steps []provision.Step
			for _, d := range on {
				steps = append(steps, names{deployment: d, on: on, script: verifyScript{called: func(string) string { return "" }}})
			}
			done, err := s.apply(t, newFake(), steps...)
			if err != nil || !slices.Equal(done, want) {
				t.Errorf("done is %q, %v, want %q", done, err, want)
			}
		}
		keys := func(first, second string) string {
			return "# provision begin\n" + keyLineOf(t, first, key1) + keyLineOf(t, second, key2) + "# provision end\n# people provision:a\ncommand=\"/usr/local/lib/provision/gate a\" x provision:z"
		}
		const text = "\nregistry=r\nwait=5\n"
		base := func(d string) string { return "user=" + theUser + "\ndirectory=in-" + d + text }
		fingerprint := strings.NewReplacer("1", key1.fingerprint, "2", key2.fingerprint)
		settings("old", base("a"))
		settings("b", base("b"))
		s.write(t, ".ssh/authorized_keys", keys("old", "b"), 0o600)

		apply("rename old to a")
		a := base("a") + fingerprint.Replace("state=old\nwas=old\nwas=a\nkey=a 1\nkey=old 1\n")
		check(map[string]string{"a": a, "b": base("b")})
		if got := s.read(t, ".ssh/authorized_keys"); got != keys("a", "b") {
			t.Errorf("the keys are\n%s", got)
		}
		apply()

		on[0].Name, on[1].Name = "b", "a"
		apply("rename a to b", "rename b to a")
		if got := s.read(t, ".ssh/authorized_keys"); got != keys("b", "a") || s.mode(t, ".ssh/authorized_keys") != 0o600 {
			t.Errorf("the keys are\n%s", got)
		}
		apply()

		// Cut off before the settings have the name: the line of the key has it already.
		on[0].Name = "c"
		s.write(t, ".ssh/authorized_keys", keys("c", "a"), 0o600)
		apply("rename b to c")
		apply()
		if got := s.read(t, ".ssh/authorized_keys"); got != keys("c", "a") {
			t.Errorf("the keys are\n%s", got)
		}

		// Another directory: what was there is left behind, with its key.
		on[0].Directory = "in-d"
		settings("c.NEXT", base("d"))
		apply("rename c to c.OLD (~"+theUser+"/in-a is left behind)", "rename c.NEXT to c")
		apply()
		if got := s.read(t, ".ssh/authorized_keys"); got != keys("c.OLD", "a") {
			t.Errorf("the keys are\n%s", got)
		}
		if got := s.names(t, "../../etc/provision/deployments"); got != "a c c.OLD" {
			t.Errorf("there are %s", got)
		}
	})
}
