package gitlab

import (
	"net/http"
	"reflect"
	"testing"

	"provision/provision/forge"
)

func TestNewest(t *testing.T) {
	const route = "GET /projects/a%2Fb/repository/commits"
	t.Run("some", func(t *testing.T) {
		s := newStub(t)
		s.on(route, func(w http.ResponseWriter, r *http.Request) {
			if got := r.URL.Query().Encode(); got != "per_page=100&ref_name=release%2F1" {
				t.Errorf("asked with %s", got)
			}
			reply(200, `[{"id":"ccc","parent_ids":["bbb","aaa"]},{"id":"bbb","parent_ids":[]}]`)(w, r)
		})
		c, _ := s.client()
		got, err := c.Newest(t.Context(), "a/b", "release/1")
		if want := []forge.Commit{{ID: "ccc", Parents: []string{"bbb", "aaa"}}, {ID: "bbb", Parents: []string{}}}; err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	})
	for name, answer := range map[string]http.HandlerFunc{
		"no branch": reply(200, `[]`), "no repository": reply(404, `{"message":"404 Repository Not Found"}`), "no rights": reply(403, `{"message":"403 Forbidden"}`),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t)
			s.on(route, answer)
			c, _ := s.client()
			for range 2 {
				if got, err := c.Newest(t.Context(), "a/b", "main"); err != nil || len(got) != 0 {
					t.Errorf("%+v, %v", got, err)
				}
			}
			if len(s.asked()) != 1 {
				t.Errorf("asked twice: %q", s.asked())
			}
		})
	}
	t.Run("GitLab fails", func(t *testing.T) {
		s := newStub(t)
		s.on(route, reply(400, `{"error":"x"}`))
		c, _ := s.client()
		if got, err := c.Newest(t.Context(), "a/b", "main"); err == nil {
			t.Errorf("no error: %+v", got)
		}
	})
}
