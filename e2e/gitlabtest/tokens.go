package gitlabtest

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A token is a personal access token, or one of a group or project, which is
// the personal token of a bot. Its value is not kept.
type token struct {
	id          int64
	name        string
	description *string
	scopes      []string
	user        *user
	owner       *owner // nil for a personal one
	level       int    // in the owner
	created     time.Time
	expires     time.Time // the day at whose beginning it dies; zero: never
	used        time.Time
	revoked     bool
	rotated     *token // what it came from
	sum         [sha256.Size]byte
}

func (t *token) has(scope string) bool { return slices.Contains(t.scopes, scope) }

func (t *token) active(now time.Time) bool { return !t.revoked && alive(t.expires, now) }

func alive(expires, now time.Time) bool { return expires.IsZero() || now.Before(expires) }

func (t *token) isSelf(id string) bool { return strconv.FormatInt(t.id, 10) == id }

// Lifetimes: what a token gets at most and if nothing is asked for, and what
// rotation gives.
const (
	maxDays    = 365
	rotateDays = 7
)

var (
	tokenScopes = []string{
		"api", "read_api", "create_runner", "manage_runner", "k8s_proxy", "self_rotate", "mcp",
		"read_repository", "write_repository", "read_registry", "write_registry",
		"read_virtual_registry", "write_virtual_registry", "ai_features", "read_observability", "write_observability",
	}
	personalScopes = append([]string{"read_user", "sudo", "admin_mode", "read_service_ping"}, tokenScopes...)
	ownScopes      = []string{"k8s_proxy", "self_rotate"} // what users may give themselves by the API
)

func newValue(prefix string) string { return prefix + rand.Text()[:20] }

// issue adds a token and returns its value, which nobody can read again.
func (g *GitLab) issue(t *token) string {
	value := newValue("glpat-")
	t.id, t.created, t.sum = g.nextID("token"), g.now(), sha256.Sum256([]byte(value))
	g.tokens = append(g.tokens, t)
	return value
}

func (g *GitLab) tokenOf(value string) *token {
	sum := sha256.Sum256([]byte(value))
	for _, t := range g.tokens {
		if t.sum == sum {
			return t
		}
	}
	return nil
}

func (g *GitLab) tokensOf(o *owner) []*token {
	var found []*token
	for _, t := range g.tokens {
		if t.owner == o {
			found = append(found, t)
		}
	}
	return found
}

func (g *GitLab) revokeSuccessors(t *token) {
	for _, next := range g.tokens {
		if next.rotated == t {
			next.revoked = true
			g.revokeSuccessors(next)
		}
	}
}

// expiry reads expires_at and checks it against the longest life.
func (c *call) expiry(fallbackDays int) (expires time.Time, tooFar string) {
	expires = c.date("expires_at")
	if c.text("expires_at") == "" {
		expires = c.g.today().AddDate(0, 0, fallbackDays)
	}
	limit := c.g.today().AddDate(0, 0, maxDays)
	if expires.After(limit) {
		tooFar = "Expiration date must be before " + limit.Format(time.DateOnly)
	}
	return expires, tooFar
}

func (c *call) filterTokens(all []*token) []*token {
	state := c.oneOf("state", "", "active", "inactive")
	search := strings.ToLower(c.text("search"))
	var found []*token
	for _, t := range all {
		active := t.active(c.g.now())
		if state == "active" && !active || state == "inactive" && active ||
			!c.null("revoked") && t.revoked != c.boolean("revoked", false) ||
			!strings.Contains(strings.ToLower(t.name), search) {
			continue
		}
		found = append(found, t)
	}
	by, down := strings.CutSuffix(c.text("sort"), "_desc")
	slices.SortStableFunc(found, func(a, b *token) int {
		order := cmp.Compare(a.id, b.id)
		switch strings.TrimSuffix(by, "_asc") {
		case "name":
			order = cmp.Compare(a.name, b.name)
		case "expires":
			order = a.expires.Compare(b.expires)
		}
		if down {
			return -order
		}
		return order
	})
	return found
}

// fields are what every view of a token has.
func (t *token) fields(now time.Time) object {
	body := object{
		"id": t.id, "name": t.name, "revoked": t.revoked, "created_at": stamp(t.created), "description": t.description,
		"scopes": t.scopes, "user_id": t.user.id, "last_used_at": stamp(t.used), "active": t.active(now),
		"expires_at": date(t.expires),
	}
	if t.owner != nil {
		set(body, object{"access_level": t.level, "resource_type": t.owner.kind, "resource_id": t.owner.id})
	}
	return body
}

// personal is a token as one of its user, with what it was used from.
func (t *token) personal(now time.Time) object {
	ips := []string{}
	if !t.used.IsZero() {
		ips = append(ips, "127.0.0.1")
	}
	body := set(t.fields(now), object{"last_used_ips": ips})
	for _, name := range []string{"access_level", "resource_type", "resource_id"} {
		delete(body, name)
	}
	return body
}

// accessTokens finds the owner that the path names, and whether the caller
// may administer its tokens. A bot never may.
func (c *call) accessTokens(kind string) (o *owner, allowed bool, err error) {
	if o, err = c.ownerFor(kind, 0, 0); err != nil {
		return nil, false, err
	}
	need := Owner
	if kind == "project" {
		need = Maintainer
	}
	return o, c.level(o) >= need && !c.user.bot, nil
}

func listAccessTokens(kind string) endpoint {
	return func(c *call) (any, error) {
		o, allowed, err := c.accessTokens(kind)
		if err != nil {
			return nil, err
		}
		found := c.filterTokens(c.g.tokensOf(o))
		if err := c.err(); err != nil {
			return nil, err
		}
		if !allowed {
			return nil, unauthorized()
		}
		return page(c, found, func(t *token) object { return t.fields(c.g.now()) })
	}
}

func createAccessToken(kind string) endpoint {
	return func(c *call) (any, error) {
		o, allowed, err := c.accessTokens(kind)
		if err != nil {
			return nil, err
		}
		c.require("name", "scopes")
		if !c.has("scopes") {
			c.fail("scopes does not have a valid value")
		}
		name, scopes := c.text("name"), c.scopes(tokenScopes)
		level := c.integer("access_level", Maintainer)
		if !slices.Contains(accessLevels, level) {
			c.fail("access_level does not have a valid value")
		}
		expires, tooFar := c.expiry(maxDays)
		if err := c.err(); err != nil {
			return nil, err
		}
		switch {
		case !c.has("expires_at"):
			return nil, badRequest("expires_at is missing")
		case !allowed:
			return nil, badRequest("User does not have permission to create " + kind + " access token")
		case level > c.level(o):
			return nil, badRequest("Access level of the token contains permissions not held by the creating user")
		case name == "":
			return nil, badRequest("Namespace name can't be blank and Name can't be blank")
		case len(scopes) == 0:
			return nil, badRequest("Scopes can't be blank")
		case tooFar != "":
			return nil, badRequest(tooFar)
		}
		t := &token{
			name: name, description: c.optional("description"), scopes: scopes, expires: expires,
			user: c.g.newBot(o, name, level), owner: o, level: level,
		}
		value := c.g.issue(t)
		c.changed()
		return set(t.fields(c.g.now()), object{"token": value}), nil
	}
}

func (g *GitLab) newBot(o *owner, name string, level int) *user {
	username := o.kind + "_" + strconv.FormatInt(o.id, 10) + "_bot_" + strings.ToLower(rand.Text())
	bot := g.newUser(username, name, username+"@noreply."+g.hostname())
	bot.bot = true
	o.members = append(o.members, &member{user: bot, level: level, created: g.now()})
	return bot
}

// accessToken finds the token that the path names.
func (c *call) accessToken(kind string) (t *token, allowed bool, err error) {
	o, allowed, err := c.accessTokens(kind)
	if err != nil {
		return nil, false, err
	}
	for _, t := range c.g.tokensOf(o) {
		if t.isSelf(c.r.PathValue("token")) {
			return t, allowed, nil
		}
	}
	return nil, allowed, nil
}

func showAccessToken(kind string) endpoint {
	return func(c *call) (any, error) {
		switch t, allowed, err := c.accessToken(kind); {
		case err != nil:
			return nil, err
		case !allowed:
			return nil, unauthorized()
		case t == nil:
			return nil, notFound(kind + " Access Token")
		default:
			return t.fields(c.g.now()), nil
		}
	}
}

func revokeAccessToken(kind string) endpoint {
	return func(c *call) (any, error) {
		switch t, allowed, err := c.accessToken(kind); {
		case err != nil:
			return nil, err
		case t == nil:
			return nil, notFound("Could not find " + kind + " access token with token_id: " + c.r.PathValue("token"))
		case !allowed:
			return nil, badRequest(c.user.name + " cannot delete " + t.user.name)
		default:
			c.revoke(t)
			return nil, nil
		}
	}
}

func (c *call) revoke(t *token) {
	if !t.revoked {
		t.revoked = true
		c.changed()
	}
}

func rotateAccessToken(kind string) endpoint {
	return func(c *call) (any, error) {
		switch t, allowed, err := c.accessToken(kind); {
		case err != nil:
			return nil, err
		case t == nil && c.user.admin:
			return nil, notFound("")
		case t == nil || !allowed:
			return nil, unauthorized()
		default:
			return c.rotate(t)
		}
	}
}

// rotateSelf rotates the token of the caller, which has to be one of a group
// or project, as kind says; an empty kind takes any.
func rotateSelf(kind string) endpoint {
	return func(c *call) (any, error) {
		t := c.token
		if kind == "" {
			return c.rotate(t)
		}
		if t.owner == nil || t.owner != c.g.find(kind, c.r.PathValue("id")) {
			return nil, message(http.StatusMethodNotAllowed, "405 Method Not Allowed")
		}
		return c.rotate(t)
	}
}

// rotate revokes t and returns its successor.
func (c *call) rotate(t *token) (any, error) {
	expires, tooFar := c.expiry(rotateDays)
	if err := c.err(); err != nil {
		return nil, err
	}
	switch {
	case t.revoked:
		return nil, badRequest("Token already revoked")
	case tooFar != "":
		return nil, badRequest(tooFar)
	}
	t.revoked = true
	next := &token{
		name: t.name, description: t.description, scopes: t.scopes, expires: expires,
		user: t.user, owner: t.owner, level: t.level, rotated: t,
	}
	value := c.g.issue(next)
	c.changed()
	return withStatus{http.StatusOK, set(next.fields(c.g.now()), object{"token": value})}, nil
}
