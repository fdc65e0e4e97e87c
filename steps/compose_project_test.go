package steps

import (
	"fmt"
	"testing"

	"provision/provision"
	"provision/provision/forge"
)

// Where there is no clone yet, GitLab tells whether Compose will find its files;
// what it does not show is not told.
func TestBeforeClone(t *testing.T) {
	const project = "transmogrify/frobnicator"
	for _, tt := range []struct {
		name         string
		root, deploy []string
		compose      []string
		override     string
		want         string
	}{
		{name: "nobody can tell", want: "map[]"},
		{name: "there", root: []string{"compose.yml", "x"}, want: "map[]"},
		{name: "an old name", root: []string{"docker-compose.yml"}, want: "map[]"},
		{name: "none", root: []string{"README.md", "deploy"}, want: "map[lacks:[compose.yaml]]"},
		{name: "perhaps by .env", root: []string{".env", "deploy"}, want: "map[]"},
		{name: "files in a folder", root: []string{"deploy"}, deploy: []string{"a.yaml", "b.yaml"}, compose: []string{"deploy/a.yaml", "deploy/b.yaml"}, want: "map[]"},
		{name: "one is not there", root: []string{"deploy", "c.yaml"}, deploy: []string{"a.yaml"}, compose: []string{"deploy/a.yaml", "deploy/b.yaml", "c.yaml"}, want: "map[lacks:[deploy/b.yaml]]"},
		{name: "the folder is not there", root: []string{"compose.yaml"}, compose: []string{"deploy/a.yaml"}, want: "map[lacks:[deploy/a.yaml]]"},
		{name: "an override of its own", root: []string{"compose.yaml", "compose.override.yml"}, override: "x", want: "map[instead:[compose.override.yml]]"},
		{name: "and none of ours", root: []string{"compose.yaml", "compose.override.yml"}, want: "map[]"},
	} {
		f := newFake()
		if tt.root != nil {
			f.Names[project+":"] = tt.root
		}
		if tt.deploy != nil {
			f.Names[project+":deploy"] = tt.deploy
		}
		s := containers{deployment: "app", project: project, compose: tt.compose, override: tt.override}
		facts, err := s.beforeClone(provision.Facts{})(t.Context(), f)
		if facts == nil {
			facts = provision.Facts{}
		}
		if got := fmt.Sprint(map[string][]string(facts)); err != nil || got != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.name, got, err, tt.want)
		}
		if s.beforeClone(provision.Facts{"clone": {"yes"}}) != nil {
			t.Error("a clone tells more")
		}
		s.asUser = true
		if s.beforeClone(provision.Facts{}) != nil {
			t.Error("CI asks nothing of this")
		}
	}
	f := newFake()
	f.Fail["Files"] = fmt.Errorf("GitLab is ill: %w", forge.ErrTaken)
	if _, err := (containers{project: project}).beforeClone(nil)(t.Context(), f); err == nil {
		t.Error("an error of GitLab is one")
	}
}
