package gitlab

import (
	"fmt"
	"net/http"
	"testing"
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
	for _, answer := range []http.HandlerFunc{reply(404, `{"message":"404 Tree Not Found"}`), reply(403, `{"message":"403 Forbidden"}`)} {
		s := newStub(t)
		s.on(route, answer)
		c, _ := s.client()
		for range 2 {
			if got, err := c.Files(t.Context(), "a/b", "gone", ""); err != nil || got != nil {
				t.Errorf("%q, %v", got, err)
			}
		}
		if n := len(s.asked()); n != 1 {
			t.Errorf("asked %d times", n)
		}
	}
	s = newStub(t)
	s.on(route, reply(400, `{"error":"x"}`))
	c, _ = s.client()
	if got, err := c.Files(t.Context(), "a/b", "main", ""); err == nil {
		t.Errorf("no error: %q", got)
	}
}
