package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Flags work before and after the argument; a slip of the pen is exit code 2,
// and nothing is done then.
func TestUsage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, two)
	file, err := w.Write()
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.toml")
	if err := os.WriteFile(broken, []byte("[gitlab]\ntoken = \"glpat-inline-secret\"\nurll = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"no inventory", []string{"apply"}, 2, []string{"there is no inventory.toml here or in a folder above"}},
		{"two inventories", []string{"apply", file, file}, 2, []string{"unexpected argument "}},
		{"no such inventory", []string{"plan", "/nowhere.toml"}, 2, []string{"/nowhere.toml: there is no such file"}},
		{"an inventory with errors", []string{"apply", broken}, 2, []string{broken + ":2:", broken + ":3:", "a secret never stands in the inventory"}},
		{"no such command", []string{"aply", file}, 2, []string{`there is no command "aply"`}},
		{"no such flag", []string{"apply", file, "--limits", "web1"}, 2, []string{"-limits"}},
		{"a flag without its value", []string{"apply", file, "--limit"}, 2, []string{"--limit"}},
		{"no such output", []string{"apply", file, "--output", "yaml"}, 2, []string{`--output is text or json, not "yaml"`}},
		{"no such host", []string{"apply", file, "--limit", "web3"}, 2, []string{`no host or deployment is called "web3"; did you mean web1?`}},
		{"one of two limits", []string{"apply", "--limit", "web1", file, "--limit", "nobody"}, 2, []string{"nobody"}},
		{"no hosts at a time", []string{"apply", "-p", "0", file}, 2, []string{"--parallel wants"}},
		{"a bare host", []string{"plan", file, "--exit-code"}, 3, nil},
		{"a bare host, without being asked", []string{"plan", file}, 0, nil},
		{"help", []string{"apply", "--help"}, 0, []string{"create or update whatever differs from the inventory"}},
		{"version", []string{"version"}, 0, []string{"provision "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t.Context(), append([]string{"provision"}, c.args...)...).exits(t, c.code)
			r.says(t, c.says...)
			r.saysNot(t, "glpat-inline-secret", "panic")
			ofFile := c.args[len(c.args)-1] + ":" // where problems of an inventory begin
			if c.code == 2 && (r.out != "" || !strings.HasPrefix(r.errors, "provision: ") && !strings.HasPrefix(r.errors, ofFile)) {
				t.Errorf("an error of usage belongs to standard error: %v", r)
			}
		})
	}
	for _, r := range w.GitLab.Requests() {
		if r.Changed {
			t.Errorf("something was changed: %+v", r)
		}
	}

	t.Run("limit", func(t *testing.T) {
		for _, c := range []struct {
			limit []string
			want  []string // hosts and deployments
		}{
			{nil, []string{"web1 app", "web1 tool", "web2 tool"}},
			{[]string{"--limit", "web1"}, []string{"web1 app", "web1 tool"}},
			{[]string{"--limit=web2"}, []string{"web2 tool"}},
			{[]string{"-l", "app"}, []string{"web1 app"}},
			{[]string{"--limit", "too?"}, []string{"web1 tool", "web2 tool"}},
			{[]string{"--limit", "w*"}, []string{"web1 app", "web1 tool", "web2 tool"}},
			{[]string{"--limit", "app,web2"}, []string{"web1 app", "web2 tool"}},
			{[]string{"--limit", "app", "--limit", "web2"}, []string{"web1 app", "web2 tool"}},
		} {
			for _, args := range [][]string{
				slices.Concat([]string{"provision", "plan", "--output", "json"}, c.limit, []string{file}),
				slices.Concat([]string{"provision", "plan", file, "--output", "json"}, c.limit),
			} {
				r := run(t.Context(), args...).exits(t, 0)
				var got []string
				for _, l := range r.lines(t) {
					if name, ok := strings.CutPrefix(l.Step, "deploy-settings "); ok {
						got = append(got, l.Host+" "+name)
					}
				}
				slices.Sort(got)
				if !slices.Equal(got, c.want) {
					t.Errorf("%v: the plan is about %v, want %v", args, got, c.want)
				}
			}
		}
	})
	t.Run("apply", func(t *testing.T) {
		run(t.Context(), "provision", "apply", file, "--limit", "app").exits(t, 0)
		if got := w.sh(t, "web1", "getent passwd deploy-tool || :"); got != "" {
			t.Errorf("an apply to one deployment made the user of another: %s", got)
		}
		run(t.Context(), "provision", "plan", "--exit-code", file, "-l", "app").exits(t, 0)
		run(t.Context(), "provision", "plan", "--exit-code", file).exits(t, 3)
	})
}
