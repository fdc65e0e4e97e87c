package steps

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"provision/e2e/needs"
	"provision/e2e/sample"
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

// Whatever names and places deployments have had, and get: each has its name afterwards,
// what nobody wants is left behind, each key stays with what it was for, and so does
// what is called by the label. A second plan is empty.
func TestNamesOfAnyPair(t *testing.T) {
	needs.Root(t)
	r := sample.Rand(t)
	pairs := 30
	if testing.Short() {
		pairs = 5
	}
	s := newSandbox(t, needs.Program(t, "dash"))
	places := []string{"one", "two", "three", "four"}
	for _, place := range places {
		s.write(t, place+"/x", "", 0o644)
	}
	s.write(t, ".ssh/authorized_keys", "", 0o600)
	key := func(place string) string { return "SHA256:" + place }
	line := func(name, place string) string {
		return `restrict,command="/usr/local/lib/provision/gate ` + name + " " + key(place) + `" ssh-ed25519 AAAA` + place + " provision:" + name
	}
	labels := map[string]string{} // by place
	for n := range pairs {
		var on []*inventory.Deployment
		list := []string{"a", "b", "c", "d"}
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		for i, at := range r.Perm(len(places))[:1+r.IntN(len(places))] {
			on = append(on, &inventory.Deployment{Name: list[i], User: theUser, Directory: places[at]})
		}
		inv := &inventory.Inventory{Deployments: on, Hosts: []*inventory.Host{{Name: "web1"}}}
		var steps []provision.Step
		for _, d := range on {
			d.Host = inv.Hosts[0]
			steps = append(steps, deploySettingsOf(target{inv: inv, host: d.Host, deployment: d}))
		}
		for _, d := range on {
			steps = append(steps, names{deployment: d, on: on, script: verifyScript{called: func(string) string { return "" }}})
		}
		if _, err := s.apply(t, newFake(), steps...); err != nil {
			t.Fatalf("pair %d: %v", n, err)
		}
		if done, err := s.apply(t, newFake(), steps...); err != nil || len(done) > 0 {
			t.Fatalf("pair %d: then %q is done, %v", n, done, err)
		}
		wanted := map[string]string{} // names by place
		for _, d := range on {
			wanted[d.Directory] = d.Name
		}
		var keys string
		seen := map[string]bool{}
		entries, err := os.ReadDir(filepath.Join(s.dir, "etc/provision/deployments"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			text, _ := os.ReadFile(filepath.Join(s.dir, "etc/provision/deployments", e.Name()))
			value := func(of string) string {
				_, rest, _ := strings.Cut(string(text), "\n"+of+"=")
				rest, _, _ = strings.Cut(rest, "\n")
				return rest
			}
			place, label := value("directory"), cmp.Or(value("state"), e.Name())
			if name := wanted[place]; name != "" && name != e.Name() || name == "" && !strings.Contains(e.Name(), ".OLD") && slices.ContainsFunc(on, func(d *inventory.Deployment) bool { return d.Name == e.Name() }) {
				t.Errorf("pair %d: %s is called %s", n, place, e.Name())
			}
			if had := labels[place]; had != "" && had != label {
				t.Errorf("pair %d: the label of %s was %s and is %s", n, place, had, label)
			}
			labels[place], seen[place] = label, true
			if !strings.Contains(s.read(t, ".ssh/authorized_keys"), key(place)+`"`) {
				keys += line(e.Name(), place) + "\n"
			} else if !strings.Contains(s.read(t, ".ssh/authorized_keys"), line(e.Name(), place)+"\n") {
				t.Errorf("pair %d: the key of %s, which is %s, has the line\n%s", n, place, e.Name(), s.read(t, ".ssh/authorized_keys"))
			}
		}
		s.write(t, ".ssh/authorized_keys", s.read(t, ".ssh/authorized_keys")+keys, 0o600)
		for place := range wanted {
			if !seen[place] {
				t.Errorf("pair %d: %s is not there", n, place)
			}
		}
		has := map[string]string{}
		for place, label := range labels {
			if other := has[label]; other != "" {
				t.Errorf("pair %d: %s and %s have the label %s", n, place, other, label)
			}
			has[label] = place
		}
		if t.Failed() {
			t.Fatalf("the inventory was %v", wanted)
		}
	}
}
