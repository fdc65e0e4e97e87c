package steps

import (
	"fmt"
	"testing"

	"provision/inventory"
)

// Which scopes count for an environment, as GitLab has it:
// https://docs.gitlab.com/ci/environments/#limit-the-environment-scope-of-a-cicd-variable
func TestInScope(t *testing.T) {
	for _, tt := range []struct {
		environment, scope string
		want               bool
	}{
		{"production", "production", true},
		{"production", "*", true},
		{"production", "prod*", true},
		{"production", "*tion", true},
		{"production", "p*d*n", true},
		{"production", "staging", false},
		{"production", "production/*", false},
		{"production", "p*x*n", false},
		{"production/web1", "production", false},
		{"production/web1", "production/*", true},
		{"aba", "ab*ba", false},
		{"production", "Production", false},
		{"*", "*", true},
		{"*", "production", false},
	} {
		if got := inScope(tt.environment, tt.scope); got != tt.want {
			t.Errorf("%s in scope %s: %v", tt.environment, tt.scope, got)
		}
	}
}

// Between a group and a job there are the project and the groups that it is in.
func TestNearer(t *testing.T) {
	for _, tt := range []struct{ project, group, want string }{
		{"transmogrify/frobnicator", "transmogrify", "[project transmogrify/frobnicator]"},
		{"transmogrify/a/b/frobnicator", "transmogrify", "[project transmogrify/a/b/frobnicator group transmogrify/a/b group transmogrify/a]"},
		{"Transmogrify/a/frobnicator", "transmogrify", "[project Transmogrify/a/frobnicator group Transmogrify/a]"},
		{"elsewhere/frobnicator", "transmogrify", "[]"},
		{"transmogrifying/frobnicator", "transmogrify", "[]"},
		{"transmogrify/frobnicator", "", "[]"},
	} {
		d := &inventory.Deployment{Project: tt.project, Host: &inventory.Host{}, Variables: inventory.Variables{Group: tt.group}}
		s := overriddenVariablesOf(target{deployment: d})
		if got := fmt.Sprint(s.nearer); got != tt.want || s.wanted() != (tt.want != "[]") {
			t.Errorf("%s and group %q: %s", tt.project, tt.group, got)
		}
	}
}
