package gitlab

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"provision/provision/forge"
	"provision/provision/secret"
)

func TestProject(t *testing.T) {
	want := forge.Project{ID: 42, Path: "new/name.git-x", DefaultBranch: "main", SSHURL: "git@git.example.com:new/name.git"}
	answer := reply(200, `{"id":42,"path_with_namespace":"new/name.git-x","default_branch":"main","ssh_url_to_repo":"git@git.example.com:new/name.git"}`)

	t.Run("by its old path, answered", func(t *testing.T) {
		s := newStub(t)
		s.on("GET /projects/old%2Fna%2Eme", answer)
		c, _ := s.client()
		for range 2 {
			got, err := c.Project(t.Context(), "old/na.me")
			if err != nil || got != want {
				t.Errorf("%+v, %v", got, err)
			}
		}
		if len(s.asked()) != 1 {
			t.Errorf("asked twice: %q", s.asked())
		}
	})
	t.Run("by its old path, redirected", func(t *testing.T) {
		s := newStub(t)
		s.on("GET /projects/old%2Fname", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/api/v4/projects/42?x=y", http.StatusMovedPermanently)
		})
		s.on("GET /projects/42", answer)
		c, _ := s.client()
		if got, err := c.Project(t.Context(), "old/name"); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("unknown", func(t *testing.T) {
		s := newStub(t)
		s.on("GET /projects/a%2Fb", reply(404, `{"message":"404 Project Not Found"}`), answer)
		s.on("GET /groups/a/projects", reply(200, `[]`))
		s.on("GET /projects", reply(200, `[]`))
		c, _ := s.client()
		_, err := c.Project(t.Context(), "a/b")
		wantError(t, err, forge.ErrNotFound, "project a/b: not found, or not visible to this token (404 Project Not Found)\nhint: check the path")
		if got, err := c.Project(t.Context(), "a/b"); err != nil || got != want {
			t.Errorf("an error was kept: %+v, %v", got, err)
		}
	})
}

// Where a project is not found, the one that is meant is named, and none that is
// only something else.
func TestNear(t *testing.T) {
	const there = "hint: there is a project "
	for _, test := range []struct{ asked, inGroup, anywhere, says string }{
		{"a/frobnicater", `[{"path_with_namespace":"a/tool"},{"path_with_namespace":"a/frobnicator"}]`, `[]`, there + "a/frobnicator"},
		{"a/Frobnicator2", `[{"path_with_namespace":"a/frobnicator"}]`, `[]`, there + "a/frobnicator"},
		{"a/tool", `[{"path_with_namespace":"a/frobnicator"}]`, `[{"path_with_namespace":"elsewhere/entirely/tool"}]`, there + "elsewhere/entirely/tool"},
		{"a/tool", `[{"path_with_namespace":"a/frobnicator"}]`, `[]`, "hint: check the path"},
		{"a/tool", `no JSON`, `{}`, "hint: check the path"},
		{"a/tool", `[{"path_with_namespace":"a/tool;id"},{"path_with_namespace":"b\nhint: x/tool"}]`, `[]`, "hint: check the path"},
	} {
		s := newStub(t)
		s.on("GET /projects/"+url.PathEscape(test.asked), reply(404, `{"message":"404 Project Not Found"}`))
		s.on("GET /groups/a/projects", reply(200, test.inGroup))
		s.on("GET /projects", reply(200, test.anywhere))
		c, _ := s.client()
		_, err := c.Project(t.Context(), test.asked)
		wantError(t, err, forge.ErrNotFound, test.says)
	}
}

func TestGroup(t *testing.T) {
	s := newStub(t)
	s.on("GET /groups/a%2Fb", func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("with_projects"); got != "false" {
			t.Errorf("with_projects=%q", got)
		}
		reply(200, `{"id":7,"full_path":"A/b"}`)(w, r)
	})
	c, _ := s.client()
	got, err := c.Group(t.Context(), "a/b")
	if want := (forge.Group{ID: 7, Path: "A/b"}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestProtectedBranches(t *testing.T) {
	s := newStub(t)
	s.on("GET /projects/a%2Fb/protected_branches", list(`{"id":1,"name":"main"}`, `{"id":2,"name":"release/*"}`))
	c, _ := s.client()
	got, err := c.ProtectedBranches(t.Context(), "a/b")
	if want := []string{"main", "release/*"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestPages(t *testing.T) {
	var names []string
	for i := range 250 {
		names = append(names, fmt.Sprintf(`{"name":"b%d"}`, i))
	}
	full := list(names...)
	for name, answer := range map[string]http.HandlerFunc{
		"with X-Next-Page": full,
		"without": func(w http.ResponseWriter, r *http.Request) {
			full(dropHeader{w}, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t)
			s.on("GET /projects/a%2Fb/protected_branches", answer)
			c, _ := s.client()
			got, err := c.ProtectedBranches(t.Context(), "a/b")
			if err != nil || len(got) != 250 || got[249] != "b249" {
				t.Errorf("%d branches, %v", len(got), err)
			}
			if len(s.asked()) != 3 {
				t.Errorf("%d requests", len(s.asked()))
			}
		})
	}
}

// dropHeader is a proxy that keeps X-Next-Page to itself.
type dropHeader struct{ http.ResponseWriter }

func (d dropHeader) WriteHeader(status int) {
	d.Header().Del("X-Next-Page")
	d.ResponseWriter.WriteHeader(status)
}

func TestListsAreFetchedOnce(t *testing.T) {
	s := newStub(t)
	s.on("GET /projects/a%2Fb/deploy_keys", list(`{"id":1,"title":"one"}`))
	s.on("GET /projects/a%2Fb/variables", list(`{"key":"K"}`))
	s.on("GET /projects/a%2Fb/access_tokens", list(`{"id":1,"scopes":["api"]}`))
	s.on("GET /projects/a%2Fb/deploy_tokens", list(`{"id":2,"scopes":["read_registry"]}`))
	s.on("GET /projects/a%2Fb/protected_branches", list(`{"name":"main"}`))
	c, _ := s.client()
	owner := forge.Owner{Kind: forge.ProjectOwner, Path: "a/b"}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			keys, err := c.DeployKeys(t.Context(), "a/b")
			if err != nil || len(keys) != 1 || keys[0].Title != "one" {
				t.Errorf("%+v, %v", keys, err)
				return
			}
			keys[0].Title = "mine" // what one caller does with its list is not seen by others
			variables, err := c.Variables(t.Context(), owner)
			if err != nil || len(variables) != 1 || variables[0].Key != "K" {
				t.Errorf("%+v, %v", variables, err)
				return
			}
			variables[0].Key = "MINE"
			for kind, scope := range map[forge.TokenKind]string{forge.AccessToken: "api", forge.DeployToken: "read_registry"} {
				tokens, err := c.Tokens(t.Context(), owner, kind)
				if err != nil || len(tokens) != 1 || tokens[0].Scopes[0] != scope {
					t.Errorf("%+v, %v", tokens, err)
					return
				}
				tokens[0].Scopes[0] = "mine"
			}
			if _, err := c.ProtectedBranches(t.Context(), "a/b"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := s.asked(); len(got) != 5 {
		t.Errorf("%d requests: %q", len(got), got)
	}
}

func TestCheckToken(t *testing.T) {
	const dead = `{"error":"invalid_token","error_description":"Token is expired. You can either do re-authorization or token refresh."}`
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		scopes []string
		kind   error
		says   string
	}{
		{"api", reply(200, `{"name":"n","active":true,"scopes":["api"]}`), []string{"api"}, nil, ""},
		{"read_api for looking", reply(200, `{"name":"n","active":true,"scopes":["read_api"]}`), []string{"api", "read_api"}, nil, ""},
		{"alive will do", reply(200, `{"name":"n","active":true,"scopes":[]}`), nil, nil, ""},
		{"read_api for changing", reply(200, `{"name":"n","active":true,"scopes":["read_api","read_user"],"expires_at":"2027-01-21"}`), []string{"api"}, forge.ErrForbidden,
			`GitLab token "n": it needs the scope api, and has read_api, read_user until 2027-01-21
hint: make a new one with the scope api at URL/-/user_settings/personal_access_tokens`},
		{"not active", reply(200, `{"name":"n","active":false,"scopes":["api"]}`), []string{"api"}, forge.ErrUnauthorized,
			`GitLab token "n": it is revoked or expired
hint: make a new one with the scope api at URL/-/user_settings/personal_access_tokens`},
		{"dead", reply(401, dead), []string{"api"}, forge.ErrUnauthorized,
			`GitLab: the token is unknown, revoked or expired (Token is expired. You can either do re-authorization or token refresh.)
hint: make a new one with the scope api at URL/-/user_settings/personal_access_tokens`},
		{"no API", html(404), []string{"api"}, nil, `GitLab: URL answered with a web page, not the API: check gitlab.url`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStub(t)
			s.on("GET /personal_access_tokens/self", test.answer)
			c, _ := s.client()
			err := c.CheckToken(t.Context(), test.scopes...)
			if test.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, test.kind, strings.ReplaceAll(test.says, "URL", s.URL))
		})
	}
}

func TestSelf(t *testing.T) {
	s := newStub(t)
	s.on("GET /personal_access_tokens/self", reply(200, `{"id":10,"name":"dflt","revoked":false,"description":"d","scopes":["api"],"user_id":7,"active":true,"expires_at":"2027-01-21"}`))
	c, _ := s.client()
	got, err := c.Self(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != 10 || got.Name != "dflt" || got.Description != "d" || !slices.Equal(got.Scopes, []string{"api"}) || !got.Active ||
		got.DaysLeft != 59 || !got.Expires.Equal(time.Date(2027, 1, 21, 0, 0, 0, 0, time.UTC)) || !got.Value.IsZero() {
		t.Errorf("%+v", got)
	}
}

// What GitLab has moved is read and changed where it is now, and nothing is sent elsewhere.
func TestMovedProject(t *testing.T) {
	s := newStub(t)
	s.on("GET /projects/old%2Fname/variables", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/api/v4/projects/42/variables?"+r.URL.RawQuery, http.StatusMovedPermanently)
	})
	s.on("GET /projects/42/variables", list(`{"key":"A","environment_scope":"*","value":"1"}`))
	s.on("PUT /projects/42/variables/A", reply(200, `{"key":"A","environment_scope":"*","value":"2"}`))
	c, _ := s.client()
	owner := forge.Owner{Kind: forge.ProjectOwner, Path: "old/name"}
	if err := c.SetVariable(t.Context(), owner, forge.Variable{Key: "A", Value: secret.New("2")}); err != nil {
		t.Fatal(err)
	}
	if got := s.asked("PUT"); len(got) != 1 {
		t.Errorf("%q", got)
	}

	elsewhere := newStub(t)
	s.on("GET /projects/old%2Fname/deploy_keys", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+"/api/v4/projects/42/deploy_keys", http.StatusMovedPermanently)
	})
	if _, err := c.DeployKeys(t.Context(), "old/name"); err == nil || len(elsewhere.asked()) > 0 {
		t.Errorf("it was followed elsewhere: %v", err)
	}
}
