package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"provision/e2e/gitlabtest"
	"provision/e2e/lab"
)

// kept are the places whose files a plan must leave alone.
var kept = []string{"/boot", "/etc", "/home", "/media", "/mnt", "/opt", "/root", "/run/provision.lock", "/srv", "/tmp", "/usr/local", "/var"}

// volatile is what changes there although nobody wants it to, and why: files
// whose names begin so.
var volatile = map[string]string{
	"/var/log/":          "logins are logged",
	"/var/lib/sudo/":     "sudo notes whom it has lectured",
	"/home/admin/.sudo_": "sudo notes who has used it",
	"/tmp/runc-process":  "health checks come and go",
}

// snapshot looks at every file of a host that has to stay.
func (w *world) snapshot(t *testing.T, host string) map[string]lab.File {
	t.Helper()
	files, err := w.Hosts[host].Snapshot(t.Context(), kept...)
	if err != nil {
		t.Fatal(err)
	}
	for name := range files {
		for prefix := range volatile {
			if strings.HasPrefix(name, prefix) {
				delete(files, name)
			}
		}
	}
	if len(files) < 1000 {
		t.Fatalf("the snapshot has only %d files", len(files))
	}
	return files
}

// compare reports every file that differs.
func compare(t *testing.T, before, after map[string]lab.File) {
	t.Helper()
	for name, file := range before {
		switch now, ok := after[name]; {
		case !ok:
			t.Errorf("%s is gone", name)
		case now != file:
			t.Errorf("%s was %+v and is %+v", name, file, now)
		}
	}
	for name, file := range after {
		if _, ok := before[name]; !ok {
			t.Errorf("%s is new: %+v", name, file)
		}
	}
}

// A plan writes nothing, neither on a host nor in GitLab; on a bare host and
// on one that has everything.
func TestPlanWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, two)
	plan := func(t *testing.T, wants int) {
		files := map[string]map[string]lab.File{}
		for host := range w.Hosts {
			files[host] = w.snapshot(t, host)
		}
		asked := len(w.GitLab.Requests())
		w.run(t, "plan").exits(t, 0)
		w.run(t, "plan", "--exit-code", "--output", "json").exits(t, wants)
		for host, before := range files {
			compare(t, before, w.snapshot(t, host))
		}
		requests := w.GitLab.Requests()[asked:]
		if len(requests) < 10 {
			t.Errorf("two plans made only %d requests", len(requests))
		}
		for _, r := range requests {
			if r.Method != http.MethodGet || r.Changed {
				t.Errorf("a plan asked GitLab for %s %s", r.Method, r.Path)
			}
		}
	}
	t.Run("bare", func(t *testing.T) { plan(t, 3) })
	w.apply(t)
	t.Run("applied", func(t *testing.T) { plan(t, 0) })
	if !slices.ContainsFunc(w.GitLab.Requests(), func(r gitlabtest.Request) bool { return r.Changed }) {
		t.Error("the log of requests does not tell what an apply changed")
	}
}
