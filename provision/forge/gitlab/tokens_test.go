package gitlab

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"provision/provision/forge"
)

func TestTokens(t *testing.T) {
	day := time.Date(2027, 1, 21, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		owner forge.Owner
		kind  forge.TokenKind
		route string
	}{
		{group, forge.AccessToken, "/groups/acme%2Fplatform/access_tokens"},
		{project, forge.AccessToken, "/projects/acme%2Fapp/access_tokens"},
		{group, forge.DeployToken, "/groups/acme%2Fplatform/deploy_tokens"},
		{project, forge.DeployToken, "/projects/acme%2Fapp/deploy_tokens"},
	} {
		t.Run(string(test.kind)+" of "+test.owner.String(), func(t *testing.T) {
			s := newStub(t)
			if test.kind == forge.AccessToken {
				s.on("GET "+test.route, list(
					`{"id":8,"name":"n","revoked":false,"description":"d","scopes":["read_registry"],"user_id":5,"active":true,"expires_at":"2027-01-21","access_level":20}`,
					`{"id":9,"name":"n","revoked":true,"description":null,"scopes":["api"],"active":false,"expires_at":"2027-01-21","access_level":40,"last_used_at":"2026-11-20T08:00:00.000Z"}`,
					`{"id":10,"name":"n","revoked":false,"description":null,"scopes":["api"],"active":false,"expires_at":"2026-11-22","access_level":40}`))
			} else {
				s.on("GET "+test.route, list(
					`{"id":8,"name":"n","username":"u","expires_at":"2027-01-21T00:00:00.000Z","scopes":["read_registry"],"revoked":false,"expired":false}`,
					`{"id":9,"name":"n","username":"u","expires_at":null,"scopes":["read_registry"],"revoked":true,"expired":false}`,
					`{"id":10,"name":"n","username":"u","expires_at":"2026-11-19T00:00:00.000Z","scopes":["read_registry"],"revoked":false,"expired":true}`))
			}
			c, _ := s.client()
			got, err := c.Tokens(t.Context(), test.owner, test.kind)
			if err != nil || len(got) != 3 {
				t.Fatalf("%+v, %v", got, err)
			}
			if got[1].Active || got[2].Active || got[2].DaysLeft != 0 {
				t.Errorf("%+v", got)
			}
			want := forge.Token{ID: 8, Name: "n", Scopes: []string{"read_registry"}, Expires: day, DaysLeft: 59, Active: true}
			if test.kind == forge.AccessToken {
				want.Level, want.Description, want.NeverUsed = forge.Reporter, "d", true
				if got[1].NeverUsed {
					t.Error("a token that was used was never used")
				}
			} else {
				want.Username = "u"
				if !got[1].Expires.IsZero() || got[1].DaysLeft != 0 {
					t.Errorf("expires %v, want never", got[1].Expires)
				}
			}
			if fmt.Sprintf("%+v", got[0]) != fmt.Sprintf("%+v", want) || !got[0].Value.IsZero() {
				t.Errorf("got  %+v\nwant %+v", got[0], want)
			}

			// Revoked: gone from memory, and told to GitLab.
			s.on("GET "+test.route, list())
			s.on("DELETE "+test.route+"/8", reply(204, ""), reply(404, `{"message":"404 Not found"}`))
			if err := c.RevokeToken(t.Context(), test.owner, test.kind, 8); err != nil {
				t.Fatal(err)
			}
			if got, err := c.Tokens(t.Context(), test.owner, test.kind); err != nil || len(got) != 0 {
				t.Errorf("%+v, %v", got, err)
			}
			err = c.RevokeToken(t.Context(), test.owner, test.kind, 8)
			wantError(t, err, forge.ErrNotFound, fmt.Sprintf("revoke %s 8 of %s: ", test.kind, test.owner))
		})
	}
}

func TestCreateToken(t *testing.T) {
	const value = "gl-born-canary-91ac"
	expires := time.Date(2027, 1, 21, 23, 30, 0, 0, time.FixedZone("", -3600)) // the 22nd in UTC
	for _, test := range []struct {
		owner  forge.Owner
		kind   forge.TokenKind
		route  string
		token  forge.Token
		answer string
		body   map[string]any
	}{
		{group, forge.AccessToken, "/groups/acme%2Fplatform/access_tokens",
			forge.Token{Name: "u@h", Description: "d", Level: forge.Reporter, Expires: expires},
			`{"id":8,"name":"u@h","scopes":["read_registry"],"active":true,"expires_at":"2027-01-22","access_level":20,"token":"` + value + `"}`,
			map[string]any{"name": "u@h", "description": "d", "access_level": 20.0, "expires_at": "2027-01-22"}},
		{project, forge.AccessToken, "/projects/acme%2Fapp/access_tokens",
			forge.Token{Name: "u@h", Level: forge.Reporter, Expires: expires},
			`{"id":8,"name":"u@h","scopes":["read_registry"],"active":true,"expires_at":"2027-01-22","access_level":20,"token":"` + value + `"}`,
			map[string]any{"name": "u@h", "description": "", "access_level": 20.0, "expires_at": "2027-01-22"}},
		{group, forge.DeployToken, "/groups/acme%2Fplatform/deploy_tokens",
			forge.Token{Name: "u@h"},
			`{"id":8,"name":"u@h","username":"gitlab+deploy-token-8","expires_at":null,"scopes":["read_registry"],"token":"` + value + `"}`,
			map[string]any{"name": "u@h", "expires_at": "2027-11-21T12:00:00Z"}}, // a year, when none is asked for
		{project, forge.DeployToken, "/projects/acme%2Fapp/deploy_tokens",
			forge.Token{Name: "u@h", Username: "u", Expires: expires.UTC()},
			`{"id":8,"name":"u@h","username":"u","expires_at":"2027-01-22T00:30:00.000Z","scopes":["read_registry"],"token":"` + value + `"}`,
			map[string]any{"name": "u@h", "username": "u", "expires_at": "2027-01-22T00:30:00Z"}},
	} {
		t.Run(string(test.kind)+" of "+test.owner.String(), func(t *testing.T) {
			s := newStub(t)
			s.on("GET "+test.route, list(), list(`{"id":8}`))
			s.on("POST "+test.route, reply(201, test.answer))
			c, _ := s.client()
			if _, err := c.Tokens(t.Context(), test.owner, test.kind); err != nil {
				t.Fatal(err)
			}
			test.token.Scopes = []string{"read_registry"}
			got, err := c.CreateToken(t.Context(), test.owner, test.kind, test.token)
			if err != nil {
				t.Fatal(err)
			}
			if text, err := got.Value.Reveal(); text != value || err != nil || got.ID != 8 || !got.Active || got.Expires.IsZero() != (got.DaysLeft != 60) {
				t.Errorf("%+v, %v", got, err)
			}
			for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
				if strings.Contains(fmt.Sprintf(verb, got), value) {
					t.Errorf("%s shows the value", verb)
				}
			}
			line := s.asked("POST")[0]
			if scopes := decode(t, line)["scopes"]; fmt.Sprint(scopes) != "[read_registry]" {
				t.Errorf("scopes %v", scopes)
			}
			wantBody(t, strings.Replace(line, `"scopes":["read_registry"]`, `"scopes":1`, 1), with(test.body, "scopes", 1.0))
			if got, err := c.Tokens(t.Context(), test.owner, test.kind); err != nil || len(got) != 1 {
				t.Errorf("the list was not read again after the change: %+v, %v", got, err)
			}
		})
	}
}

func with(m map[string]any, name string, v any) map[string]any {
	m[name] = v
	return m
}

func TestCreateTokenRefusals(t *testing.T) {
	whole := forge.Token{Name: "n", Scopes: []string{"api"}, Level: forge.Reporter, Expires: time.Date(2027, 1, 21, 0, 0, 0, 0, time.UTC)}
	levelless := whole
	levelless.Level = 0
	c, _ := newStub(t).client()
	_, err := c.CreateToken(t.Context(), group, forge.AccessToken, levelless)
	wantError(t, err, nil, `create access token "n" of group acme/platform: an access token needs an access level`)

	const route = "/groups/acme%2Fplatform/access_tokens"
	s := newStub(t)
	s.on("POST "+route, reply(400, `{"message":"400 Bad request - User does not have permission to create group access token"}`))
	c, _ = s.client()
	_, err = c.CreateToken(t.Context(), group, forge.AccessToken, whole)
	wantError(t, err, forge.ErrForbidden, "does not have permission")

	s = newStub(t)
	s.on("POST "+route, reply(201, `{"id":8,"name":"n"}`))
	c, _ = s.client()
	_, err = c.CreateToken(t.Context(), group, forge.AccessToken, whole)
	wantError(t, err, nil, "GitLab has made token 8 and not shown its value: revoke it")

	s = newStub(t)
	s.on("GET "+route, list(), list(`{"id":9}`))
	s.on("POST "+route, lost)
	c, _ = s.client()
	if _, err := c.Tokens(t.Context(), group, forge.AccessToken); err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateToken(t.Context(), group, forge.AccessToken, whole)
	wantError(t, err, nil, "it may or may not be done: run again to see")
	if got := s.asked("POST"); len(got) != 1 {
		t.Errorf("%d POSTs, each may have made a token", len(got))
	}
	if got, err := c.Tokens(t.Context(), group, forge.AccessToken); err != nil || len(got) != 1 {
		t.Errorf("the next look is not fresh: %+v, %v", got, err)
	}
}

// GitLab answers 401 when a token that is alive may not list access tokens.
func TestTokensWithoutTheRight(t *testing.T) {
	const route, self = "GET /groups/acme%2Fplatform/access_tokens", "GET /personal_access_tokens/self"
	unauthorized := reply(401, `{"message":"401 Unauthorized"}`)

	s := newStub(t)
	s.on(route, unauthorized)
	s.on(self, reply(200, `{"id":1,"active":true}`))
	c, _ := s.client()
	_, err := c.Tokens(t.Context(), group, forge.AccessToken)
	wantError(t, err, forge.ErrForbidden, "access tokens of group acme/platform: this token may not do that\nhint: the tokens of a group are for its Owners")

	s = newStub(t)
	s.on(route, unauthorized)
	s.on(self, reply(200, `{"id":1,"active":true}`), unauthorized) // revoked since the first look
	c, _ = s.client()
	if _, err := c.Self(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = c.Tokens(t.Context(), group, forge.AccessToken)
	wantError(t, err, forge.ErrUnauthorized, "access tokens of group acme/platform: ")
	if got := s.asked("GET"); !slices.Equal(got, []string{self, route, self}) {
		t.Errorf("%q", got)
	}
}
