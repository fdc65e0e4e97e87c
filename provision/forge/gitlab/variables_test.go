package gitlab

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"provision/provision/forge"
	"provision/provision/secret"
)

var (
	group   = forge.Owner{Kind: forge.GroupOwner, Path: "acme/platform"}
	project = forge.Owner{Kind: forge.ProjectOwner, Path: "acme/app"}
)

const (
	groupVariables   = "/groups/acme%2Fplatform/variables"
	projectVariables = "/projects/acme%2Fapp/variables"
)

func TestVariables(t *testing.T) {
	for owner, route := range map[forge.Owner]string{group: groupVariables, project: projectVariables} {
		s := newStub(t)
		s.on("GET "+route, list(
			`{"variable_type":"file","key":"SSH_AUTH","value":"line\n","hidden":false,"protected":true,"masked":false,"raw":true,"environment_scope":"production","description":"d"}`,
			`{"variable_type":"env_var","key":"HID","value":null,"hidden":true,"protected":false,"masked":true,"raw":false,"environment_scope":"*","description":null}`,
			`{"variable_type":"env_var","key":"EMPTY","value":"","hidden":false,"protected":false,"masked":false,"raw":false,"environment_scope":"*","description":null}`))
		c, _ := s.client()
		got, err := c.Variables(t.Context(), owner)
		if err != nil || len(got) != 3 {
			t.Fatalf("%+v, %v", got, err)
		}
		if text, err := got[0].Value.Reveal(); text != "line\n" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		if !got[1].Value.IsZero() || got[2].Value.IsZero() {
			t.Error("a hidden value is zero, an empty one is not")
		}
		for i := range got {
			got[i].Value = secret.Value{}
		}
		want := []forge.Variable{
			{Key: "SSH_AUTH", File: true, Protected: true, Raw: true, Scope: "production", Description: "d"},
			{Key: "HID", Masked: true, Hidden: true, Scope: "*"},
			{Key: "EMPTY", Scope: "*"},
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", owner, got, want)
		}
	}
}

func wantBody(t *testing.T, line string, want map[string]any) {
	t.Helper()
	got := decode(t, line)
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s is %v, want %v", name, got[name], w)
		}
		delete(got, name)
	}
	if len(got) != 0 {
		t.Errorf("also sent: %v", got)
	}
}

func TestSetVariableCreates(t *testing.T) {
	for owner, route := range map[forge.Owner]string{group: groupVariables, project: projectVariables} {
		s := newStub(t)
		// The same key for other scopes, and another key for this one.
		before := []string{`{"key":"SSH_AUTH","environment_scope":"*"}`, `{"key":"SSH_AUTH","environment_scope":"production/*"}`, `{"key":"OTHER","environment_scope":"production"}`}
		s.on("GET "+route, list(before...), list(before...), list())
		s.on("POST "+route, reply(201, `{"key":"SSH_AUTH","environment_scope":"production"}`))
		c, _ := s.client()
		if got, err := c.Variables(t.Context(), owner); err != nil || len(got) != 3 {
			t.Fatalf("%+v, %v", got, err)
		}
		err := c.SetVariable(t.Context(), owner, forge.Variable{
			Key: "SSH_AUTH", Value: secret.New("key\n"), File: true, Protected: true, Raw: true, Scope: "production", Description: "d"})
		if err != nil {
			t.Fatal(err)
		}
		wantBody(t, s.asked("POST")[0], map[string]any{"key": "SSH_AUTH", "value": "key\n", "variable_type": "file", "protected": true,
			"masked": false, "raw": true, "environment_scope": "production", "description": "d"})
		if got, err := c.Variables(t.Context(), owner); err != nil || len(got) != 0 {
			t.Errorf("the list was not read again after the change: %+v, %v", got, err)
		}
		if got := s.asked("PUT", "DELETE"); len(got) != 0 {
			t.Errorf("%q", got)
		}
	}
}

func TestSetVariableHidden(t *testing.T) {
	s := newStub(t)
	s.on("GET "+projectVariables, list())
	s.on("POST "+projectVariables, reply(201, `{"key":"K","environment_scope":"*","hidden":true}`))
	c, _ := s.client()
	if err := c.SetVariable(t.Context(), project, forge.Variable{Key: "K", Value: secret.New("v"), Masked: true, Hidden: true}); err != nil {
		t.Fatal(err)
	}
	wantBody(t, s.asked("POST")[0], map[string]any{"key": "K", "value": "v", "variable_type": "env_var", "protected": false,
		"masked_and_hidden": true, "raw": false, "environment_scope": "*", "description": ""})
}

func TestSetVariableUpdatesInPlace(t *testing.T) {
	for owner, route := range map[forge.Owner]string{group: groupVariables, project: projectVariables} {
		s := newStub(t)
		s.on("GET "+route, list(`{"key":"K","environment_scope":"*"}`, `{"key":"K","environment_scope":"production","description":"theirs"}`))
		s.on("PUT "+route+"/K", reply(200, `{"key":"K","environment_scope":"production"}`))
		c, _ := s.client()
		if err := c.SetVariable(t.Context(), owner, forge.Variable{Key: "K", Value: secret.New("v"), Masked: true, Scope: "production"}); err != nil {
			t.Fatal(err)
		}
		sent := decode(t, s.asked("PUT")[0])
		if filter, _ := sent["filter"].(map[string]any); len(filter) != 1 || filter["environment_scope"] != "production" {
			t.Errorf("filter is %v", filter)
		}
		delete(sent, "filter")
		want := map[string]any{"value": "v", "variable_type": "env_var", "protected": false, "masked": true, "raw": false}
		for name, w := range want {
			if sent[name] != w {
				t.Errorf("%s is %v, want %v", name, sent[name], w)
			}
			delete(sent, name)
		}
		if len(sent) != 0 {
			t.Errorf("also sent, and so reset: %v", sent)
		}
		if got := s.asked("POST", "DELETE"); len(got) != 0 {
			t.Errorf("%q", got)
		}
	}
}

func TestSetVariableWithoutValue(t *testing.T) {
	s := newStub(t)
	s.on("GET "+projectVariables, list(`{"key":"K","environment_scope":"*"}`))
	s.on("PUT "+projectVariables+"/K", reply(200, `{"key":"K","environment_scope":"*"}`))
	c, _ := s.client()
	if err := c.SetVariable(t.Context(), project, forge.Variable{Key: "K", Description: "new"}); err != nil {
		t.Fatal(err)
	}
	sent := decode(t, s.asked("PUT")[0])
	if _, ok := sent["value"]; ok || sent["description"] != "new" {
		t.Errorf("%v", sent)
	}
	err := c.SetVariable(t.Context(), project, forge.Variable{Key: "NEW"})
	wantError(t, err, secret.ErrEmpty, "set variable NEW (*) of project acme/app: ")
}

// The list of the plan is old: the variable of that scope is gone since. A PUT
// would hit the one of another scope, so the list is read again first.
func TestSetVariableLooksAgain(t *testing.T) {
	s := newStub(t)
	other := `{"key":"K","environment_scope":"staging"}`
	s.on("GET "+groupVariables, list(other, `{"key":"K","environment_scope":"production"}`), list(other))
	s.on("POST "+groupVariables, reply(201, `{"key":"K","environment_scope":"production"}`))
	c, _ := s.client()
	if _, err := c.Variables(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	if err := c.SetVariable(t.Context(), group, forge.Variable{Key: "K", Value: secret.New("v"), Scope: "production"}); err != nil {
		t.Fatal(err)
	}
	if got := s.asked("PUT"); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

func TestSetVariableWrongScopeHit(t *testing.T) {
	s := newStub(t)
	s.on("GET "+groupVariables, list(`{"key":"K","environment_scope":"production"}`))
	s.on("PUT "+groupVariables+"/K", reply(200, `{"key":"K","environment_scope":"staging"}`))
	c, _ := s.client()
	err := c.SetVariable(t.Context(), group, forge.Variable{Key: "K", Value: secret.New("v"), Scope: "production"})
	wantError(t, err, nil, `set variable K (production) of group acme/platform: GitLab has changed the one of scope "staging" instead`)
}

func TestSetVariableHiddenStays(t *testing.T) {
	for _, hidden := range []bool{true, false} {
		s := newStub(t)
		there := `{"key":"K","environment_scope":"*","hidden":true}`
		if hidden {
			there = `{"key":"K","environment_scope":"*","hidden":false}`
		}
		s.on("GET "+projectVariables, list(there))
		c, _ := s.client()
		err := c.SetVariable(t.Context(), project, forge.Variable{Key: "K", Value: secret.New("v"), Hidden: hidden})
		wantError(t, err, nil, "GitLab never changes that: remove the variable first")
	}
	s := newStub(t)
	s.on("GET "+projectVariables, list(`{"key":"K","environment_scope":"*","hidden":true,"masked":true}`))
	s.on("PUT "+projectVariables+"/K", reply(200, `{"key":"K","environment_scope":"*","hidden":true}`))
	c, _ := s.client()
	if err := c.SetVariable(t.Context(), project, forge.Variable{Key: "K", Value: secret.New("v"), Hidden: true}); err != nil {
		t.Fatal(err)
	}
	if _, ok := decode(t, s.asked("PUT")[0])["masked"]; ok {
		t.Error("masked was sent for a hidden variable, which GitLab refuses")
	}
}

func TestFreeTierDropsScope(t *testing.T) {
	want := forge.Variable{Key: "K", Value: secret.New("v"), Scope: "production"}
	t.Run("stored for all: removed again", func(t *testing.T) {
		s := newStub(t)
		s.on("GET "+groupVariables, list())
		s.on("POST "+groupVariables, reply(201, `{"key":"K","environment_scope":"*"}`))
		s.on("DELETE "+groupVariables+"/K", reply(204, ""))
		c, _ := s.client()
		err := c.SetVariable(t.Context(), group, want)
		wantError(t, err, forge.ErrScope, "set variable K (production) of group acme/platform: ", "what it stored was removed again")
		if got := s.asked("DELETE"); len(got) != 1 || got[0] != "DELETE "+groupVariables+"/K *" {
			t.Errorf("%q", got)
		}
	})
	t.Run("stopped meanwhile: removed all the same", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newStub(t)
		s.on("GET "+groupVariables, list())
		s.on("POST "+groupVariables, reply(201, `{"key":"K","environment_scope":"*"}`))
		s.on("DELETE "+groupVariables+"/K", func(w http.ResponseWriter, r *http.Request) {
			cancel()
			reply(500, "{}")(w, r)
		}, reply(204, ""))
		c, _ := s.client()
		wantError(t, c.SetVariable(ctx, group, want), forge.ErrScope)
		if got := s.asked("DELETE"); len(got) != 2 {
			t.Errorf("%q", got)
		}
	})
	t.Run("cannot be removed", func(t *testing.T) {
		s := newStub(t)
		s.on("GET "+groupVariables, list())
		s.on("POST "+groupVariables, reply(201, `{"key":"K","environment_scope":"*"}`))
		s.on("DELETE "+groupVariables+"/K", reply(403, `{"message":"403 Forbidden"}`))
		c, _ := s.client()
		err := c.SetVariable(t.Context(), group, want)
		wantError(t, err, forge.ErrForbidden, `stored it for scope "*"`, "remove it by hand")
		if strings.Contains(err.Error(), forge.ErrScope.Error()) {
			t.Error("ErrScope promises that nothing is left behind")
		}
	})
	t.Run("one for all exists: nothing made, nothing removed", func(t *testing.T) {
		s := newStub(t)
		s.on("GET "+groupVariables, list(`{"key":"K","environment_scope":"*"}`))
		s.on("POST "+groupVariables, reply(400, `{"message":{"key":["(K) has already been taken"]}}`))
		c, _ := s.client()
		wantError(t, c.SetVariable(t.Context(), group, want), forge.ErrScope, "nothing was changed")
		if got := s.asked("DELETE", "PUT"); len(got) != 0 {
			t.Errorf("%q", got)
		}
	})
	t.Run("somebody else made it meanwhile: that is not the tier", func(t *testing.T) {
		s := newStub(t)
		all := `{"key":"K","environment_scope":"*"}`
		s.on("GET "+groupVariables, list(all), list(all, `{"key":"K","environment_scope":"production"}`))
		s.on("POST "+groupVariables, reply(400, `{"message":{"key":["(K) has already been taken"]}}`))
		c, _ := s.client()
		wantError(t, c.SetVariable(t.Context(), group, want), forge.ErrTaken, "(K) has already been taken")
	})
}

func TestLostPostIsLookedAtAgain(t *testing.T) {
	s := newStub(t)
	s.on("GET "+projectVariables, list(), list(`{"key":"K","environment_scope":"*"}`))
	s.on("POST "+projectVariables, lost)
	c, _ := s.client()
	err := c.SetVariable(t.Context(), project, forge.Variable{Key: "K", Value: secret.New("v")})
	wantError(t, err, nil, "set variable K (*) of project acme/app: ", "it may or may not be done: run again to see")
	if got, err := c.Variables(t.Context(), project); err != nil || len(got) != 1 {
		t.Errorf("the next look is not fresh: %+v, %v", got, err)
	}
	if got := s.asked("POST"); len(got) != 1 {
		t.Errorf("%d POSTs", len(got))
	}
}

func TestRemoveVariable(t *testing.T) {
	for owner, route := range map[forge.Owner]string{group: groupVariables, project: projectVariables} {
		s := newStub(t)
		s.on("GET "+route, list(`{"key":"K","environment_scope":"production/web1"}`), list())
		s.on("DELETE "+route+"/K", reply(204, ""), reply(404, `{"message":"404 Variable Not Found"}`))
		c, _ := s.client()
		if _, err := c.Variables(t.Context(), owner); err != nil {
			t.Fatal(err)
		}
		if err := c.RemoveVariable(t.Context(), owner, "K", "production/web1"); err != nil {
			t.Fatal(err)
		}
		if got, want := s.asked("DELETE")[0], "DELETE "+route+"/K production/web1"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got, err := c.Variables(t.Context(), owner); err != nil || len(got) != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		err := c.RemoveVariable(t.Context(), owner, "K", "production/web1")
		wantError(t, err, forge.ErrNotFound, "remove variable K (production/web1) of "+owner.String())
	}
}
