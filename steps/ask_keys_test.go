package steps

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"provision/provision"
)

// reportsAs finds the names of facts in a script. One that is a variable it does not
// find, and a fact of that name would be refused when the script has run.
var reportsAs = regexp.MustCompile(`\bfacts?\s+["']?([a-z][a-z-]*)`)

// What a step asks of GitLab it keeps for GitLab, see [provision.Probe]: no script of a host
// reports such a fact, and what is asked is nothing that one could report.
func TestAsksKeepTheirKeys(t *testing.T) {
	some := 0
	for name, change := range inventories {
		inv, given := plainInventory()
		change(inv, &given)
		all := For(inv, inv.Hosts[0], inv.Deployments, given)
		for _, d := range inv.Deployments {
			all = append(all, Remove(inv, inv.Hosts[0], d, given)...)
		}
		for _, s := range all {
			p := s.Probe()
			if p.Script.Text == "" {
				continue
			}
			if (p.Ask != nil || p.Next != nil) && len(p.Keys) == 0 {
				t.Errorf("%s: %s asks GitLab, and keeps nothing for it", name, s.Name())
			}
			for _, m := range reportsAs.FindAllStringSubmatch(p.Script.Text, -1) {
				some++
				if slices.Contains(p.Keys, m[1]) {
					t.Errorf("%s: the script of %s reports %q, which is for GitLab to tell", name, s.Name(), m[1])
				}
			}
		}
	}
	if some == 0 {
		t.Error("no script reports anything")
	}
	for _, file := range askFixtures(t) {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		step := asking(t, headOf(archive))
		f := newFake()
		for line := range strings.Lines(string(archive.Files[0].Data)) {
			has(t, f, strings.TrimSpace(line))
		}
		p := step.Probe()
		facts, err := p.Ask(t.Context(), f)
		if err != nil || p.Script.Text == "" {
			continue
		}
		for key := range facts {
			word, _, _ := strings.Cut(key, " ")
			if word != "unseen" && !slices.Contains(p.Keys, word) {
				t.Errorf("%s: %s asks for %q, which a host could report", filepath.Base(file), step.Name(), word)
			}
			host := forging{key + "=forged"}
			if _, err := provision.Check(t.Context(), provision.Target{Name: "web1", Host: host, Forge: f}, []provision.Step{step}); word != "unseen" && (err == nil || !strings.Contains(err.Error(), "for GitLab to tell")) {
				t.Errorf("%s: a host that says %q is believed: %v", filepath.Base(file), host[0], err)
			}
		}
	}
}

func askFixtures(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/ask/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %v, %v", files, err)
	}
	return files
}
