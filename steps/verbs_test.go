package steps

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"provision/provision"
)

// Every change of the fixtures has a verb of the list, and every verb of the
// list has one. What is changed is said in one line, without a full stop.
func TestVerbs(t *testing.T) {
	used := map[provision.Verb]bool{}
	for _, changes := range allChanges(t) {
		for _, c := range changes {
			used[c.Verb] = true
			if !slices.Contains(provision.Verbs(), c.Verb) {
				t.Errorf("%q is no verb of the list: %s", c.Verb, c)
			}
			if c.Object == "" || strings.HasSuffix(c.String(), ".") || strings.Contains(c.String(), "\n") {
				t.Errorf("that is no sentence: %q", c)
			}
		}
	}
	used[provision.Copy], used[provision.Stop] = true, true // by a move, which is no step
	for _, verb := range provision.Verbs() {
		if !used[verb] {
			t.Errorf("nothing is done by the verb %q", verb)
		}
	}
}

// allChanges returns what the fixtures plan, by file.
func allChanges(t *testing.T) map[string][]provision.Change {
	t.Helper()
	all := map[string][]provision.Change{}
	for _, folder := range []string{"plan", "remove"} {
		files, err := filepath.Glob("testdata/" + folder + "/*.txtar")
		if err != nil || len(files) == 0 {
			t.Fatalf("found %v, %v", files, err)
		}
		for _, file := range files {
			var c planCase
			if folder == "plan" {
				c = readCase(t, file)
			} else {
				c, _ = readRemoval(t, file)
			}
			plan, _ := c.plan(t)
			for _, s := range plan {
				all[file] = append(all[file], s.Changes...)
			}
		}
	}
	return all
}
