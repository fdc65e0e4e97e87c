package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"provision/cmd"
	"provision/e2e/gitlabtest"
	"provision/e2e/sample"
)

const (
	toTokens    = "/api/v4/groups/*/access_tokens"
	toKeys      = "/api/v4/projects/*/deploy_keys"
	toVariables = "/api/v4/groups/*/variables"
)

const doubt = "it may or may not be done: run again to see"

// An illness is a way in which GitLab fails.
type illness struct {
	name, method, path string
	times              int // 0: for ever
	fault              gitlabtest.Fault
	code               int
	says               []string
}

var illnesses = []illness{
	{"429 with Retry-After", "", "", 2, gitlabtest.TooManyRequests(1), 0, nil},
	{"429 with Retry-After, to a POST", "POST", toTokens, 1, gitlabtest.TooManyRequests(1), 0, nil},
	{"429 without", "", "", 2, gitlabtest.TooManyRequests(0), 0, nil},
	{"429 for an hour", "", "", 0, gitlabtest.TooManyRequests(3600), 1, []string{"wants a wait of 3600 s: run again later"}},
	{"500 once, to each GET", "GET", toVariables, 1, gitlabtest.Failure(500), 0, nil},
	{"502 once", "GET", "", 1, gitlabtest.Failure(502), 0, nil},
	{"503 once", "GET", toKeys, 1, gitlabtest.Failure(503), 0, nil},
	{"500 for ever", "", "", 0, gitlabtest.Failure(500), 1, []string{"GitLab failed (500", "try again later"}},
	{"502 for ever, to GET", "GET", toVariables, 0, gitlabtest.Failure(502), 1, []string{"GitLab failed (502", "try again later"}},
	{"503 for ever, to POST", "POST", toVariables, 0, gitlabtest.Failure(503), 1, []string{"GitLab failed (503", doubt}},
	{"silence", "GET", toKeys, 0, gitlabtest.Slow(nil), 1, []string{"deploy keys of project", "no answer within 500ms"}},
	{"silence once", "GET", toKeys, 1, gitlabtest.Slow(nil), 0, nil},
	{"a web page", "GET", toVariables, 0, gitlabtest.HTML(200), 1, []string{"answered with a web page, not the API: check gitlab.url"}},
	{"a web page of a proxy", "", "", 0, gitlabtest.HTML(502), 1, []string{"GitLab failed (502 Bad Gateway)"}},
	{"half an answer", "GET", toVariables, 0, gitlabtest.Truncated(), 1, []string{"the answer cannot be read"}},
	{"a redirect", "", "", 0, gitlabtest.Redirect("https://elsewhere.example.com", 302), 1, []string{"it redirects to https://elsewhere.example.com"}},
}

// losses are what may come instead of the answer to a request that makes
// something.
var losses = []illness{
	{"500", "POST", "", 1, gitlabtest.Failure(500), 1, []string{"GitLab failed (500", doubt}},
	{"lost before", "POST", "", 1, gitlabtest.LostBefore(), 1, []string{doubt}},
	{"lost after", "POST", "", 1, gitlabtest.LostAfter(), 1, []string{doubt}},
	{"half an answer", "POST", "", 1, gitlabtest.Truncated(), 1, []string{"the answer cannot be read", doubt}},
	{"a web page", "POST", "", 1, gitlabtest.HTML(200), 1, []string{"web page"}},
	{"silence", "POST", "", 1, gitlabtest.Slow(nil), 1, []string{"no answer within 500ms", doubt}},
}

// However GitLab fails: what it has made without saying so is found by the next
// apply, or taken away, and nothing is there twice.
func TestGitLabFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lodger)
	s := moveIn(t, w)
	s.complete(t, w)
	all := slices.Clone(illnesses)
	for _, made := range []struct{ name, path string }{{"a token", toTokens}, {"a deploy key", toKeys}, {"a variable", toVariables}} {
		for _, i := range losses {
			i.name, i.path = made.name+": "+i.name, made.path
			all = append(all, i)
		}
	}
	for _, i := range sample.Some(t, all, 4) {
		t.Run(i.name, func(t *testing.T) {
			w.emptyGitLab()
			trap := w.GitLab.Fail(i.method, i.path, i.times, i.fault)
			r := w.hasty(t)
			trap.Remove()
			if trap.Count() == 0 {
				t.Error("nobody asked for it")
			}
			if r.code != i.code {
				t.Errorf("the exit code is not %d: %v", i.code, r)
			}
			r.says(t, i.says...)
			s.complete(t, w)
		})
	}

	t.Run("a token revoked meanwhile", func(t *testing.T) {
		w.emptyGitLab()
		var self struct{ ID int64 }
		if err := json.Unmarshal(w.api(t, "GET", "/personal_access_tokens/self", ""), &self); err != nil {
			t.Fatal(err)
		}
		w.GitLab.Fail("POST", toVariables, 1, func(answer http.ResponseWriter, r *http.Request, gitlab http.Handler) {
			w.GitLab.RevokeToken(self.ID)
			gitlab.ServeHTTP(answer, r)
		})
		w.hasty(t).exits(t, 1).says(t, "the token is unknown, revoked or expired")
		w.hasty(t).exits(t, 1).says(t, "the token is unknown, revoked or expired")
		text, err := w.GitLab.AddPersonalToken("owner", time.Time{}, "api").Reveal()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(w.Inventory.GitLab.Token.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.complete(t, w)
	})
}

// hasty applies with little patience for GitLab.
func (w *world) hasty(t *testing.T) result {
	t.Helper()
	var out, errors bytes.Buffer
	code := cmd.Run(t.Context(), cmd.Env{Args: w.typed(t, "apply"), Stdout: &out, Stderr: &errors, Timeout: 500 * time.Millisecond})
	return result{code, out.String(), strings.TrimSpace(errors.String())}
}
