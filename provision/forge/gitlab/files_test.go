package gitlab

import (
	"fmt"
	"net/http"
	"testing"

	"provision/provision/forge"
)

func TestFiles(t *testing.T) {
	const route = "GET /projects/a%2Fb/repository/tree"
	s := newStub(t)
	asked := ""
	s.on(route, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query().Encode()
		reply(200, `[{"name":"compose.yaml","type":"blob"},{"name":"deploy","type":"tree"}]`)(w, r)
	})
	c, _ := s.client()
	for _, tt := range []struct{ branch, folder, want string }{
		{"", "", "page=1&per_page=100"},
		{"Main", "", "page=1&per_page=100&ref=Main"},
		{"main", "", "page=1&per_page=100&ref=main"}, // not the same branch
		{"main", "deploy", "page=1&path=deploy&per_page=100&ref=main"},
	} {
		got, err := c.Files(t.Context(), "a/b", tt.branch, tt.folder)
		if err != nil || fmt.Sprint(got) != "[compose.yaml deploy]" || asked != tt.want {
			t.Errorf("%q, %v; asked %s, want %s", got, err, asked, tt.want)
		}
	}
	s = newStub(t)
	s.on(route, reply(404, `{"message":"404 Tree Not Found"}`))
	c, _ = s.client()
	_, err := c.Files(t.Context(), "a/b", "gone", "")
	wantError(t, err, forge.ErrNotFound, "404 Tree Not Found")
}
