package gitlab

import (
	"net/http"
	"testing"

	"provision/provision/forge"
)

func TestCommitsAfter(t *testing.T) {
	const commit = "4d2491d0c1f2a3b4c5d6e7f8091a2b3c4d5e6f70"
	s := newStub(t)
	s.on("GET /projects/a%2Fb", reply(200, `{"id":42,"path_with_namespace":"a/c"}`))
	s.on("GET /projects/42/repository/compare", func(w http.ResponseWriter, r *http.Request) {
		answer := reply(404, `{"message":"404 Ref Not Found"}`)
		if q := r.URL.Query(); q.Get("from") == commit && q.Get("to") == "release/2" {
			answer = reply(200, `{"commit":{"id":"2"},"commits":[{"id":"1"},{"id":"2"}],"diffs":[],"compare_timeout":true,"compare_same_ref":false}`)
		}
		answer(w, r)
	})
	c, _ := s.client()
	for range 2 {
		if n, err := c.CommitsAfter(t.Context(), "a/b", commit, "release/2"); n != 2 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if len(s.asked()) != 2 {
		t.Errorf("asked again: %q", s.asked())
	}
	_, err := c.CommitsAfter(t.Context(), "a/b", commit, "gone")
	wantError(t, err, forge.ErrNotFound, "commits of project a/b from 4d2491d0c1f2 to gone: not found, or not visible to this token (404 Ref Not Found)\nhint: GitLab has no such commit")
}
