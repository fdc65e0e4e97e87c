package gitlabtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// noon is the time at which the tests begin.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// A cast is a GitLab with the group acme, the projects acme/app, acme/web and
// other/app, and tokens of users by name.
type cast struct {
	*testing.T
	*GitLab
	tokens map[string]string
}

func newCast(t *testing.T, edition Edition) *cast {
	c := &cast{t, New(Config{
		Edition: edition, URL: "https://git.example.com", Registry: "registry.example.com", Repositories: t.TempDir(),
		Now: func() time.Time { return noon },
	}), map[string]string{}}
	c.AddProject("acme/app", "main")
	c.AddProject("acme/web", "main")
	c.AddProject("other/app", "main")
	for name, level := range map[string]int{"owner": Owner, "maint": Maintainer, "dev": Developer, "guest": Guest, "stranger": 0} {
		c.AddUser(name)
		if level > 0 {
			c.AddMember("acme", name, level)
		}
		c.token(name, "api")
	}
	c.AddMember("other", "stranger", Owner)
	c.tokens["reader"] = reveal(t, c.AddPersonalToken("owner", time.Time{}, "read_api"))
	c.tokens["root"] = reveal(t, c.AddPersonalToken("root", time.Time{}, "api"))
	return c
}

func reveal(t *testing.T, v interface{ Reveal() (string, error) }) string {
	t.Helper()
	s, err := v.Reveal()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (c *cast) token(user string, scopes ...string) {
	c.tokens[user] = reveal(c.T, c.AddPersonalToken(user, noon.AddDate(0, 0, 30), scopes...))
}

// A step is a call and what has to come of it: want is a part of the answer.
type step struct {
	as, method, path, body string
	status                 int
	want                   string
}

func (c *cast) do(s step) any {
	c.Helper()
	r := httptest.NewRequest(s.method, "/api/v4"+s.path, strings.NewReader(s.body))
	r.Header.Set("Content-Type", "application/json")
	if s.as != "" {
		r.Header.Set("PRIVATE-TOKEN", c.tokens[s.as])
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	var got any
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			c.Fatalf("%s %s: %v: %s", s.method, s.path, err, w.Body)
		}
	}
	if w.Code != s.status {
		c.Errorf("%s %s %s as %s: %d %v, want %d", s.method, s.path, s.body, s.as, w.Code, got, s.status)
	}
	if s.want != "" {
		var want any
		if err := json.Unmarshal([]byte(s.want), &want); err != nil {
			c.Fatal(err)
		}
		if !contains(got, want) {
			c.Errorf("%s %s %s as %s: %v, want %s in it", s.method, s.path, s.body, s.as, got, s.want)
		}
	}
	return got
}

// contains reports whether got has all that want has: of objects the fields,
// of lists the elements in order and nothing else.
func contains(got, want any) bool {
	switch want := want.(type) {
	case object:
		o, ok := got.(object)
		for name, e := range want {
			v, there := o[name]
			ok = ok && there && contains(v, e)
		}
		return ok
	case []any:
		l, ok := got.([]any)
		return ok && slices.EqualFunc(l, want, contains)
	}
	return reflect.DeepEqual(got, want)
}

const (
	keyA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS"
	keyB = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFAG2nx9QYdLnGvUCUzEdHkNXZRhkDdxdJ9SARjHL2Rh"
)

const (
	vars     = "/groups/acme/variables"
	appVars  = "/projects/acme%2Fapp/variables"
	appKeys  = "/projects/acme%2Fapp/deploy_keys"
	webKeys  = "/projects/acme%2Fweb/deploy_keys"
	filter   = "?filter%5Benvironment_scope%5D="
	tokensOf = "/groups/acme/access_tokens"
	taken    = `{"message":{"deploy_key.fingerprint_sha256":["has already been taken"]}}`
)

func TestRules(t *testing.T) {
	for _, rule := range []struct {
		name    string
		edition Edition
		steps   []step
	}{
		{"a group without a fitting scope changes another variable", CE, []step{
			{"owner", "POST", vars, `{"key":"K","value":"all"}`, 201, `{"environment_scope":"*"}`},
			{"owner", "POST", vars, `{"key":"K","value":"prod","environment_scope":"production"}`, 201, `{"environment_scope":"production"}`},
			{"owner", "PUT", vars + "/K" + filter + "staging", `{"value":"oops"}`, 200, `{"environment_scope":"*","value":"oops"}`},
			{"owner", "PUT", vars + "/K", `{"value":"again"}`, 200, `{"environment_scope":"*","value":"again"}`},
			{"owner", "PUT", vars + "/K" + filter + "production", `{"value":"new"}`, 200, `{"environment_scope":"production","value":"new"}`},
			{"owner", "DELETE", vars + "/K" + filter + "*", ``, 204, ``},
			{"owner", "PUT", vars + "/K" + filter + "staging", `{"value":"oops"}`, 200, `{"environment_scope":"production"}`},
			{"owner", "PUT", vars + "/L" + filter + "staging", `{"value":"x"}`, 404, `{"message":"404 GroupVariable Not Found"}`},
		}},
		{"a group without a filter prefers the scope of all", CE, []step{
			{"owner", "POST", vars, `{"key":"K","value":"prod","environment_scope":"production"}`, 201, ``},
			{"owner", "POST", vars, `{"key":"K","value":"all"}`, 201, ``},
			{"owner", "PUT", vars + "/K", `{"value":"new"}`, 200, `{"environment_scope":"*","value":"new"}`},
		}},
		{"a project without a fitting scope changes nothing", CE, []step{
			{"maint", "POST", appVars, `{"key":"K","value":"prod","environment_scope":"production/web1"}`, 201, ``},
			{"maint", "PUT", appVars + "/K" + filter + "staging", `{"value":"x"}`, 404, `{"message":"404 Variable Not Found"}`},
			{"maint", "GET", appVars + "/K" + filter + "production%2Fweb1", ``, 200, `{"value":"prod"}`},
		}},
		{"many scopes need a filter", CE, []step{
			{"owner", "POST", vars, `{"key":"K","value":"1"}`, 201, ``},
			{"owner", "POST", vars, `{"key":"K","value":"2","environment_scope":"a"}`, 201, ``},
			{"owner", "GET", vars + "/K", ``, 409, ``},
			{"owner", "DELETE", vars + "/K", ``, 409, ``},
			{"maint", "POST", appVars, `{"key":"K","value":"1"}`, 201, ``},
			{"maint", "POST", appVars, `{"key":"K","value":"2","environment_scope":"a"}`, 201, ``},
			{"maint", "GET", appVars + "/K", ``, 409, ``},
			{"maint", "PUT", appVars + "/K", `{"value":"3"}`, 409, ``},
			{"maint", "DELETE", appVars + "/K", ``, 409, ``},
			{"maint", "DELETE", appVars + "/K" + filter + "a", ``, 204, ``},
			{"maint", "GET", appVars + "/K", ``, 200, `{"value":"1"}`},
		}},
		{"without a licence the scopes of a group are dropped", EEFree, []step{
			{"owner", "POST", vars, `{"key":"K","value":"1","environment_scope":"production"}`, 201, `{"environment_scope":"*"}`},
			{"owner", "POST", vars, `{"key":"K","value":"2","environment_scope":"staging"}`, 400, `{"message":{"key":["(K) has already been taken"]}}`},
			{"owner", "PUT", vars + "/K", `{"environment_scope":"staging"}`, 200, `{"environment_scope":"*"}`},
			{"maint", "POST", appVars, `{"key":"K","value":"1","environment_scope":"production"}`, 201, `{"environment_scope":"production"}`},
		}},
		{"masked values", CE, []step{
			{"maint", "POST", appVars, `{"key":"PEM","value":"-----BEGIN KEY-----\nabc\n","masked":true,"raw":true}`, 400, `{"message":{"value":["is invalid"]}}`},
			{"maint", "POST", appVars, `{"key":"RAW","value":"a$b{c}!!","masked":true,"raw":true}`, 201, `{"masked":true}`},
			{"maint", "POST", appVars, `{"key":"HID","value":"12345678","masked_and_hidden":true}`, 201, `{"hidden":true,"value":null}`},
			{"maint", "GET", appVars + "/HID", ``, 200, `{"value":null}`},
			{"maint", "PUT", appVars + "/HID", `{"masked":false}`, 400, ``},
		}},
		{"who may see and change variables", CE, []step{
			{"", "GET", appVars, ``, 401, `{"message":"401 Unauthorized"}`},
			{"dev", "GET", appVars, ``, 403, `{"message":"403 Forbidden"}`},
			{"stranger", "GET", appVars, ``, 404, `{"message":"404 Project Not Found"}`},
			{"maint", "GET", vars, ``, 403, ``},
			{"stranger", "GET", vars, ``, 404, `{"message":"404 Group Not Found"}`},
			{"reader", "GET", vars, ``, 200, `[]`},
			{"reader", "POST", vars, `{"key":"K","value":"1"}`, 403, `{"error":"insufficient_scope"}`},
			{"dev", "POST", appVars, `{}`, 403, ``},
			{"maint", "POST", appVars, `{}`, 400, `{"error":"key is missing, value is missing"}`},
		}},
		{"the same deploy key again", CE, []step{
			{"maint", "POST", appKeys, `{"title":"a","key":"` + keyA + ` host"}`, 201, `{"id":1,"can_push":false}`},
			{"maint", "POST", appKeys, `{"title":"b","key":"` + keyA + ` host\n","can_push":true}`, 201, `{"id":1,"title":"a","can_push":false}`},
			{"maint", "POST", appKeys, `{"title":"b","key":"` + keyA + ` other"}`, 400, taken},
			{"maint", "POST", webKeys, `{"title":"b","key":"` + keyA + ` host","can_push":true}`, 201, `{"id":1,"title":"a","can_push":true}`},
			{"maint", "GET", appKeys, ``, 200, `[{"id":1,"can_push":false}]`},
			{"stranger", "POST", "/projects/other%2Fapp/deploy_keys", `{"title":"c","key":"` + keyA + ` host"}`, 400, taken},
			{"stranger", "POST", "/projects/other%2Fapp/deploy_keys/1/enable", ``, 404, ``},
			{"maint", "DELETE", appKeys + "/1", ``, 204, ``},
			{"maint", "GET", webKeys, ``, 200, `[{"id":1}]`},
			{"maint", "POST", appKeys + "/1/enable", ``, 201, `{"id":1}`},
			{"maint", "DELETE", appKeys + "/1", ``, 204, ``},
			{"maint", "DELETE", webKeys + "/1", ``, 204, ``},
			{"stranger", "POST", "/projects/other%2Fapp/deploy_keys", `{"title":"c","key":"` + keyA + ` host"}`, 201, `{"id":2}`},
			{"dev", "GET", appKeys, ``, 403, ``},
		}},
		{"a user's key is no deploy key", CE, []step{
			{"stranger", "POST", "/user/keys", `{"title":"mine","key":"` + keyB + `"}`, 201, ``},
			{"maint", "POST", appKeys, `{"title":"a","key":"` + keyB + `"}`, 400, taken},
		}},
		{"deploy keys that are no good", CE, []step{
			{"maint", "POST", appKeys, `{"title":"a","key":"` + keyA + `","expires_at":"2026-03-03"}`, 400, `{"message":{"deploy_key.key":["has expired"]}}`},
			{"maint", "POST", appKeys, `{"title":"a"}`, 400, `{"error":"key is missing"}`},
			{"maint", "POST", appKeys, `{"title":"a","key":"ssh-rsa AAAA"}`, 400, `{"message":{"deploy_key.fingerprint_sha256":["cannot be generated"]}}`},
		}},
		{"the life of access tokens", CE, []step{
			{"owner", "POST", tokensOf, `{"name":"t","scopes":["read_registry"],"access_level":20,"expires_at":"2026-03-04"}`, 201, `{"active":false,"revoked":false}`},
			{"owner", "POST", tokensOf, `{"name":"t","scopes":["read_registry"],"access_level":20,"expires_at":"2025-01-01"}`, 201, `{"active":false}`},
			{"owner", "POST", tokensOf, `{"name":"t","scopes":["read_registry"],"expires_at":"2026-03-05"}`, 201, `{"active":true,"access_level":40}`},
			{"owner", "POST", tokensOf, `{"name":"t","scopes":["read_registry"]}`, 400, `{"message":"400 Bad request - expires_at is missing"}`},
			{"owner", "POST", tokensOf, `{"name":"t","scopes":["read_registry"],"expires_at":null}`, 201, `{"expires_at":"2027-03-04"}`},
			{"owner", "POST", tokensOf, `{"name":"t","scopes":["read_registry"],"expires_at":"2027-03-05"}`, 400, `{"message":"400 Bad request - Expiration date must be before 2027-03-04"}`},
			{"maint", "POST", tokensOf, `{"name":"t","scopes":["read_registry"],"expires_at":"2026-04-01","access_level":20}`, 400, ``},
			{"maint", "GET", tokensOf, ``, 401, ``},
			{"maint", "POST", "/projects/acme%2Fapp/access_tokens", `{"name":"t","scopes":["api"],"expires_at":"2026-04-01","access_level":40}`, 201, ``},
			{"maint", "POST", "/projects/acme%2Fapp/access_tokens", `{"name":"t","scopes":["api"],"expires_at":"2026-04-01","access_level":50}`, 400, ``},
			{"owner", "GET", tokensOf + "?state=inactive", ``, 200, `[{"active":false},{"active":false}]`},
			{"", "GET", "/personal_access_tokens/self", ``, 401, ``},
			{"reader", "GET", "/personal_access_tokens/self", ``, 200, `{"scopes":["read_api"],"active":true,"expires_at":null}`},
		}},
		{"protected branches", CE, []step{
			{"maint", "GET", "/projects/acme%2Fapp/protected_branches", ``, 200, `[{"name":"main"}]`},
			{"maint", "POST", "/projects/acme%2Fapp/protected_branches", `{"name":"release/*"}`, 201, ``},
			{"maint", "POST", "/projects/acme%2Fapp/protected_branches", `{"name":"release/*"}`, 409, ``},
			{"maint", "GET", "/projects/acme%2Fapp/protected_branches/release%2F*", ``, 200, `{"name":"release/*"}`},
			{"maint", "DELETE", "/projects/acme%2Fapp/protected_branches/release%2F*", ``, 204, ``},
		}},
		{"looking things up", CE, []step{
			{"dev", "GET", "/projects/acme%2Fapp", ``, 200, `{"path_with_namespace":"acme/app","default_branch":"main","ssh_url_to_repo":"git@git.example.com:acme/app.git"}`},
			{"dev", "GET", "/projects/1", ``, 200, `{"path_with_namespace":"acme/app"}`},
			{"dev", "GET", "/projects/acme/app", ``, 404, `{"error":"404 Not Found"}`},
			{"dev", "GET", "/groups/ACME", ``, 200, `{"full_path":"acme"}`},
			{"stranger", "GET", "/projects/1", ``, 404, ``},
			{"dev", "PATCH", "/projects/1", `{}`, 404, `{"error":"404 Not Found"}`},
			{"dev", "GET", "/user", ``, 200, `{"username":"dev"}`},
		}},
	} {
		t.Run(rule.name, func(t *testing.T) {
			c := newCast(t, rule.edition)
			for _, s := range rule.steps {
				c.do(s)
			}
		})
	}
}

func TestRotation(t *testing.T) {
	c := newCast(t, CE)
	first := c.do(step{"owner", "POST", tokensOf, `{"name":"t","scopes":["api"],"expires_at":"2026-06-01"}`, 201, ``}).(object)
	c.tokens["first"] = first["token"].(string)
	second := c.do(step{"owner", "POST", fmt.Sprintf("%s/%v/rotate", tokensOf, first["id"]), ``, 200, `{"expires_at":"2026-03-11"}`}).(object)
	c.tokens["second"] = second["token"].(string)
	if first["user_id"] != second["user_id"] || first["id"] == second["id"] {
		t.Errorf("rotated %v to %v; want the same bot and another id", first, second)
	}
	c.do(step{"first", "GET", "/user", ``, 401, `{"error":"invalid_token"}`})
	c.do(step{"second", "GET", "/user", ``, 200, `{"bot":true}`})
	c.do(step{"owner", "POST", fmt.Sprintf("%s/%v/rotate", tokensOf, first["id"]), ``, 400, ``})
	c.do(step{"second", "GET", "/user", ``, 200, ``})
	// A bot makes no tokens, although this one is a Maintainer.
	c.do(step{"second", "POST", "/projects/1/access_tokens", `{"name":"t","scopes":["api"],"expires_at":"2026-06-01","access_level":10}`, 400, ``})
	// Rotating oneself with an old value costs the new one its life.
	c.do(step{"first", "POST", tokensOf + "/self/rotate", ``, 401, ``})
	c.do(step{"second", "GET", "/user", ``, 401, ``})
}

func TestExpiry(t *testing.T) {
	c := newCast(t, CE)
	c.tokens["short"] = reveal(t, c.AddPersonalToken("owner", noon.AddDate(0, 0, 1), "api"))
	c.do(step{"short", "GET", "/user", ``, 200, ``})
	c.SetNow(func() time.Time { return noon.Add(12*time.Hour - time.Second) })
	c.do(step{"short", "GET", "/user", ``, 200, ``})
	c.SetNow(func() time.Time { return noon.Add(12 * time.Hour) })
	c.do(step{"short", "GET", "/user", ``, 401, `{"error_description":"Token is expired. You can either do re-authorization or token refresh."}`})
	c.Block("dev")
	c.do(step{"dev", "GET", "/user", ``, 403, ``})
}

func TestMovedProject(t *testing.T) {
	c := newCast(t, CE)
	c.Rename("acme/app", "application")
	c.do(step{"maint", "POST", appVars, `{"key":"K","value":"1"}`, 405, ``})
	c.do(step{"maint", "GET", "/projects/acme%2Fapplication", ``, 200, `{"id":1}`})

	r := httptest.NewRequest("GET", "/api/v4/projects/acme%2Fapp/variables?page=2", nil)
	r.Header.Set("PRIVATE-TOKEN", c.tokens["maint"])
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	if got, want := w.Header().Get("Location"), "https://git.example.com/api/v4/projects/1/variables?page=2"; w.Code != http.StatusMovedPermanently || got != want {
		t.Errorf("%d to %q, want 301 to %q", w.Code, got, want)
	}
	c.Rename("acme", "apex")
	c.do(step{"maint", "GET", "/groups/acme", ``, 404, ``})
	c.do(step{"maint", "GET", "/projects/apex%2Fapplication", ``, 200, `{"id":1}`})
}

func TestPages(t *testing.T) {
	c := newCast(t, CE)
	for i := range 45 {
		c.do(step{"maint", "POST", appVars, fmt.Sprintf(`{"key":"K%d","value":"x"}`, i), 201, ``})
	}
	seen := 0
	for page, next := 1, ""; page == 1 || next != ""; page++ {
		r := httptest.NewRequest("GET", fmt.Sprintf("/api/v4%s?page=%d", appVars, page), nil)
		r.Header.Set("Authorization", "Bearer "+c.tokens["maint"])
		w := httptest.NewRecorder()
		c.ServeHTTP(w, r)
		var some []any
		if err := json.Unmarshal(w.Body.Bytes(), &some); err != nil || page > 3 {
			t.Fatalf("page %d: %v", page, err)
		}
		seen += len(some)
		next = w.Header().Get("X-Next-Page")
	}
	if seen != 45 {
		t.Errorf("the pages have %d variables, want 45", seen)
	}
}
