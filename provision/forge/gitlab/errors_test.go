package gitlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"provision/provision/forge"
	"provision/provision/secret"
)

func html(status int) http.HandlerFunc {
	return reply(status, "<html><body>Sign in</body></html>", "Content-Type", "text/html; charset=utf-8")
}

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		method string
		answer http.HandlerFunc
		kind   error
		text   string
	}{
		{"GET", reply(401, `{"message":"401 Unauthorized"}`), forge.ErrUnauthorized,
			"ask: the token is unknown, revoked or expired (401 Unauthorized)"},
		{"GET", reply(401, `{"error":"invalid_token","error_description":"Token was revoked. You have to re-authorize from the user."}`), forge.ErrUnauthorized,
			"ask: the token is unknown, revoked or expired (Token was revoked. You have to re-authorize from the user.)"},
		{"GET", reply(403, `{"message":"403 Forbidden"}`), forge.ErrForbidden,
			"ask: this token may not do that (403 Forbidden)"},
		{"GET", reply(403, `{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"ai_workflows api read_api"}`), forge.ErrForbidden,
			"ask: this token may not do that (it needs one of the scopes ai_workflows api read_api)"},
		{"POST", reply(403, `{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"api read_api"}`), forge.ErrForbidden,
			"ask: this token may not do that (it needs the scope api)"},
		{"GET", reply(404, `{"message":"404 Project Not Found"}`), forge.ErrNotFound,
			"ask: not found, or not visible to this token (404 Project Not Found)"},
		{"GET", reply(404, ``), forge.ErrNotFound,
			"ask: not found, or not visible to this token (404 Not Found)"},
		{"POST", reply(400, `{"message":{"key":["(PLAIN) has already been taken"]}}`), forge.ErrTaken,
			"ask: key (PLAIN) has already been taken"},
		{"POST", reply(400, `{"message":{"key":["can't be blank","can contain only letters, digits and '_'."],"base":["no"]}}`), nil,
			"ask: base no; key can't be blank, can contain only letters, digits and '_'."},
		{"POST", reply(400, `{"error":"name is missing"}`), nil, "ask: name is missing"},
		{"POST", reply(400, `{"message":"400 Bad request - User does not have permission to create group access token"}`), forge.ErrForbidden,
			"ask: this token may not do that (400 Bad request - User does not have permission to create group access token)"},
		{"PUT", reply(405, `{"message":"405 Method Not Allowed - Non GET methods are not allowed for moved projects"}`), nil,
			"ask: 405 Method Not Allowed - Non GET methods are not allowed for moved projects: write its new path in the inventory"},
		{"POST", reply(422, `no JSON`), nil, "ask: no JSON"},
		{"POST", reply(418, `["a",1]`), nil, `ask: ["a",1]`},
		{"POST", reply(418, `{}`), nil, "ask: 418 I'm a teapot"},
		{"POST", reply(400, `{"message":"two\nlines \u001b[31mred\u202e `+strings.Repeat("x", 400)+`"}`), nil,
			`ask: two; lines \x1b[31mred\u202e ` + strings.Repeat("x", 300-len(`two; lines \x1b[31mred\u202e `)) + "…"},
		{"POST", html(502), nil, "ask: GitLab failed (502 Bad Gateway); it may or may not be done: run again to see"},
		{"GET", html(200), nil, "ask: URL answered with a web page, not the API: check gitlab.url"},
		{"DELETE", html(200), nil, "ask: URL answered with a web page, not the API: check gitlab.url"},
		{"GET", html(404), nil, "ask: URL answered with a web page, not the API: check gitlab.url"},
		{"GET", html(403), nil, "ask: URL answered with a web page, not the API: check gitlab.url"},
	} {
		s := newStub(t)
		s.on(test.method+" /thing", test.answer)
		c, _ := s.client()
		err := ask(t.Context(), c, test.method)
		wantError(t, err, test.kind)
		if want := strings.ReplaceAll(test.text, "URL", s.URL); err.Error() != want {
			t.Errorf("got  %s\nwant %s", err, want)
		}
		var change forge.ChangeError
		want := err.Error()
		if test.method != "GET" {
			want = strings.TrimPrefix(want, "ask: ")
		}
		if !errors.As(err, &change) || change.Reason() != want {
			t.Errorf("%s: the reason is %q, want %q", test.method, change.Reason(), want)
		}
		if test.kind == nil {
			for _, kind := range []error{forge.ErrUnauthorized, forge.ErrForbidden, forge.ErrNotFound, forge.ErrTaken, forge.ErrScope} {
				if strings.Contains(err.Error(), kind.Error()) {
					t.Errorf("%v: is none of the kinds of forge, and says %v", err, kind)
				}
			}
		}
	}
}

func TestUnreadableAnswer(t *testing.T) {
	project := forge.Owner{Kind: forge.ProjectOwner, Path: "a/b"}
	s := newStub(t)
	s.on("GET /projects/a%2Fb/deploy_keys", reply(200, `{"a":1}`))
	s.on("POST /projects/a%2Fb/deploy_tokens", reply(201, `{"id":`))
	c, _ := s.client()
	_, err := c.DeployKeys(t.Context(), "a/b")
	wantError(t, err, nil, "deploy keys of project a/b: the answer cannot be read", "check gitlab.url")
	_, err = c.CreateToken(t.Context(), project, forge.DeployToken, forge.Token{Name: "n"})
	wantError(t, err, nil, `create deploy token "n" of project a/b: the answer cannot be read`, "may or may not be done")
}

// A server that repeats the whole request in its error must not make us print
// the token, nor the value of a variable, in whatever way it writes it.
func TestNoSecretInErrors(t *testing.T) {
	const key = "-----BEGIN KEY-----\nb3BlbnNzaC1rZXktcmVkLWhlcnJpbmc\nAAAABG5vbmUAAAAEbm9uZQ\n-----END KEY-----\n"
	owner := forge.Owner{Kind: forge.GroupOwner, Path: "g"}
	for _, contentType := range []string{"application/json", "text/plain", "text/html"} {
		for _, status := range []int{400, 401, 403, 409, 500} {
			s := newStub(t)
			echo := func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				text := fmt.Sprintf("%s %s", r.Header.Get("PRIVATE-TOKEN"), body)
				if contentType == "application/json" {
					text = fmt.Sprintf(`{"message":{"value":[%q]}}`, text)
				}
				reply(status, text, "Content-Type", contentType)(w, r)
			}
			s.on("GET /groups/g/variables", list(`{"key":"OLD","environment_scope":"*","value":"x"}`))
			s.on("POST /groups/g/variables", echo)
			s.on("PUT /groups/g/variables/OLD", echo)
			c, _ := s.client()
			for _, name := range []string{"OLD", "NEW"} {
				err := c.SetVariable(t.Context(), owner, forge.Variable{Key: name, Value: secret.New(key)})
				wantError(t, err, nil, "set variable "+name)
				for line := range strings.Lines(key) {
					if strings.Contains(err.Error(), strings.TrimSpace(line)) {
						t.Errorf("%s %d: the error shows the value: %v", contentType, status, err)
					}
				}
			}
		}
	}
}

func TestNoSecretInClient(t *testing.T) {
	s := newStub(t)
	s.on("GET /thing", reply(200, "{}"))
	c, _ := s.client()
	if err := ask(t.Context(), c, "GET"); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, v := range []any{c, c.lib, c.token} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, canary) {
				t.Errorf("%s of %T shows the token", verb, v)
			}
		}
	}
}

func TestTokenOfTheOptions(t *testing.T) {
	for _, test := range []struct {
		token secret.Value
		says  string
	}{
		{secret.Value{}, "GitLab: read the token: the secret is not there yet"},
		{secret.Born(func() (string, error) { return "", fmt.Errorf("pass: no such entry") }), "read the token: pass: no such entry"},
		{secret.New(" \n"), "the GitLab token is empty"},
		{secret.New(canary + "\nsecond line"), "the GitLab token has spaces, line breaks or foreign characters in it"},
	} {
		s := newStub(t)
		c, err := New(Options{URL: s.URL, Token: test.token})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Self(t.Context())
		wantError(t, err, nil, test.says)
		if len(s.asked()) != 0 {
			t.Error("asked without a token")
		}
	}
	s := newStub(t)
	s.on("GET /personal_access_tokens/self", reply(200, `{"id":1}`))
	c, err := New(Options{URL: s.URL, Token: secret.New(canary + "\n")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Self(t.Context()); err != nil {
		t.Errorf("a token from a file, with its line end: %v", err)
	}
}

func TestUnanswered(t *testing.T) {
	c, _ := newStub(t).client()
	timeout := &net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded} // what net makes of its own timeout
	for _, test := range []struct {
		err  error
		text string
	}{
		{&url.Error{Op: "Get", URL: "https://git.example.com", Err: timeout}, "ask: dial tcp: context deadline exceeded"},
		{&url.Error{Op: "Get", URL: "https://git.example.com", Err: context.DeadlineExceeded}, "ask: stopped (context deadline exceeded)"},
		{fmt.Errorf("an answer with \x1b[31m\ncolours"), "ask: an answer with \\x1b[31m; colours"},
	} {
		if got := c.unanswered("ask", test.err); got.Error() != test.text {
			t.Errorf("got %q, want %q", got, test.text)
		}
	}
}
