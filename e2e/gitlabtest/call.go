package gitlabtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A call is one request to the REST API, under the lock of the GitLab.
type call struct {
	*params
	g      *GitLab
	r      *http.Request
	header http.Header // of the answer
	user   *user       // nil for nobody
	token  *token      // nil for nobody
	entry  *Request
}

func (c *call) changed() { c.entry.Changed = true }

// An endpoint returns what is encoded as JSON, nil for an answer without a
// body, or an error, which is a *refusal.
type endpoint func(*call) (any, error)

// A refusal is an answer that is an error.
type refusal struct {
	status int
	body   object
}

func (r *refusal) Error() string { return fmt.Sprint(r.status, r.body) }

// The shapes of errors: of the parameters, of a validation, and plain.
func badParam(text string) error { return &refusal{http.StatusBadRequest, object{"error": text}} }

func message(status int, text any) error { return &refusal{status, object{"message": text}} }

func badRequest(reason string) error {
	return message(http.StatusBadRequest, "400 Bad request - "+reason)
}

func notFound(what string) error {
	return message(http.StatusNotFound, strings.Replace("404 "+what+" Not Found", "  ", " ", 1))
}

func forbidden() error    { return message(http.StatusForbidden, "403 Forbidden") }
func unauthorized() error { return message(http.StatusUnauthorized, "401 Unauthorized") }

// problems are what is wrong with a record, by attribute.
type problems map[string][]string

func (p problems) add(attribute, text string) { p[attribute] = append(p[attribute], text) }

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return message(http.StatusBadRequest, p)
}

// A withStatus is an answer with a status other than the method's usual one.
type withStatus struct {
	status int
	body   any
}

// A route is who may call an endpoint, besides holders of the scope api, and
// of read_api for GET.
type route struct {
	scopes   []string // more scopes that open it
	anyScope bool     // every scope opens it
	public   bool     // without a token, too
}

func (g *GitLab) handle(pattern string, do endpoint, how route) {
	method, path, _ := strings.Cut(pattern, " ")
	g.mux.HandleFunc(method+" /api/v4"+path, func(w http.ResponseWriter, r *http.Request) {
		body, header, err := g.call(r, do, how)
		for name, values := range header {
			w.Header()[name] = values
		}
		var refused *refusal
		if errors.As(err, &refused) {
			writeJSON(w, refused.status, refused.body)
			return
		}
		status := http.StatusOK
		switch s, ok := body.(withStatus); {
		case ok:
			status, body = s.status, s.body
		case r.Method == http.MethodPost:
			status = http.StatusCreated
		case r.Method == http.MethodDelete || r.Method == http.MethodPatch:
			status = http.StatusNoContent
		}
		if body == nil {
			w.WriteHeader(status)
			return
		}
		writeJSON(w, status, body)
	})
}

func (g *GitLab) call(r *http.Request, do endpoint, how route) (any, http.Header, error) {
	params, err := readParams(r)
	if err != nil {
		return nil, nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c := &call{params: params, g: g, r: r, header: http.Header{}, entry: entryOf(r)}
	if err := c.authenticate(how); err != nil {
		return nil, nil, err
	}
	body, err := do(c)
	return body, c.header, err
}

func (g *GitLab) unknownRoute(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusNotFound, object{"error": "404 Not Found"})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// authenticate finds out who calls, and whether the token is good for it.
func (c *call) authenticate(how route) error {
	value := c.r.Header.Get("PRIVATE-TOKEN")
	if value == "" {
		value, _ = strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	}
	if value == "" {
		value = c.r.URL.Query().Get("private_token")
	}
	if value == "" {
		if how.public {
			return nil
		}
		return unauthorized()
	}
	t := c.g.tokenOf(value)
	if t == nil {
		return unauthorized()
	}
	switch {
	case t.revoked:
		// Whoever rotates with an old value may have stolen it: the
		// successors die too.
		if strings.HasSuffix(c.r.URL.Path, "/self/rotate") {
			c.g.revokeSuccessors(t)
			c.changed()
		}
		return invalidToken("Token was revoked. You have to re-authorize from the user.")
	case !t.active(c.g.now()):
		return invalidToken("Token is expired. You can either do re-authorization or token refresh.")
	case t.user.blocked:
		return message(http.StatusForbidden, "403 Forbidden - Your account has been blocked.")
	}
	c.token, c.user = t, t.user
	c.entry.User = t.user.username
	t.used = c.g.now()
	if how.anyScope || t.has("api") || t.has("read_api") && c.reads() || slices.ContainsFunc(how.scopes, t.has) {
		return nil
	}
	return &refusal{http.StatusForbidden, object{
		"error":             "insufficient_scope",
		"error_description": "The request requires higher privileges than provided by the access token.",
		"scope":             strings.Join(append(slices.Clone(how.scopes), "api", "read_api"), " "),
	}}
}

func (c *call) reads() bool {
	return c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
}

func invalidToken(description string) error {
	return &refusal{http.StatusUnauthorized, object{"error": "invalid_token", "error_description": description}}
}

// level is what the caller may do with o: the access level, and that of an
// Owner for administrators everywhere.
func (c *call) level(o *owner) int {
	if c.user == nil {
		return 0
	}
	if c.user.admin {
		return Owner
	}
	return o.role(c.user)
}

// group and project find the owner that the path names. What the caller
// cannot see is not there.
func (c *call) group() (*owner, error) { return c.visible("group", c.r.PathValue("id")) }

func (c *call) project() (*owner, error) {
	id := c.r.PathValue("id")
	o := c.g.moved[strings.ToLower(id)]
	if o == nil || c.g.find("project", id) != nil || !c.sees(o) {
		return c.visible("project", id)
	}
	if !c.reads() {
		return nil, message(http.StatusMethodNotAllowed, "Non GET methods are not allowed for moved projects")
	}
	// The same, with the id in the place of the path: /api/v4/projects/ID/…
	parts := strings.SplitN(c.r.URL.RequestURI(), "/", 6)
	old, _, _ := strings.Cut(parts[4], "?")
	parts[4] = strings.Replace(parts[4], old, fmt.Sprint(o.id), 1)
	c.header.Set("Location", c.g.url()+strings.Join(parts, "/"))
	return nil, message(http.StatusMovedPermanently, "This resource has been moved to "+c.header.Get("Location")+".")
}

func (c *call) visible(kind, id string) (*owner, error) {
	if o := c.g.find(kind, id); o != nil && c.sees(o) {
		return o, nil
	}
	return nil, notFound(strings.ToUpper(kind[:1]) + kind[1:])
}

func (c *call) sees(o *owner) bool {
	return c.level(o) > 0 || o.visibility == "public" || o.visibility == "internal" && c.user != nil
}

// ownerFor finds the owner that the path names, where the caller needs a level
// that depends on its kind.
func (c *call) ownerFor(kind string, groupLevel, projectLevel int) (*owner, error) {
	find, need := c.group, groupLevel
	if kind == "project" {
		find, need = c.project, projectLevel
	}
	o, err := find()
	if err != nil {
		return nil, err
	}
	if c.level(o) < need {
		return nil, forbidden()
	}
	return o, nil
}
