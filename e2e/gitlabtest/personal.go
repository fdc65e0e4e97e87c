package gitlabtest

import (
	"net/http"
	"strconv"
)

func createTokenOf(c *call) (any, error) {
	if !c.user.admin {
		return nil, forbidden()
	}
	id, _ := strconv.ParseInt(c.r.PathValue("id"), 10, 64)
	u := c.g.userWith(id)
	if u == nil {
		return nil, notFound("User")
	}
	return c.createPersonal(u, personalScopes)
}

func createMyToken(c *call) (any, error) { return c.createPersonal(c.user, ownScopes) }

func (c *call) createPersonal(u *user, allowed []string) (any, error) {
	c.require("name", "scopes")
	name, scopes := c.text("name"), c.scopes(allowed)
	expires, tooFar := c.expiry(maxDays)
	if err := c.err(); err != nil {
		return nil, err
	}
	if tooFar != "" {
		return nil, message(http.StatusUnprocessableEntity, tooFar)
	}
	t := &token{name: name, description: c.optional("description"), scopes: scopes, expires: expires, user: u}
	value := c.g.issue(t)
	c.changed()
	return set(t.fields(c.g.now()), object{"token": value}), nil
}

func listTokens(c *call) (any, error) {
	var all []*token
	for _, t := range c.g.tokens {
		if !c.user.admin && t.user != c.user || c.has("user_id") && c.text("user_id") != strconv.FormatInt(t.user.id, 10) {
			continue
		}
		all = append(all, t)
	}
	return page(c, c.filterTokens(all), func(t *token) object { return t.personal(c.g.now()) })
}

func showSelf(c *call) (any, error) { return c.token.personal(c.g.now()), nil }

func revokeSelf(c *call) (any, error) {
	c.revoke(c.token)
	return nil, nil
}

// personalToken finds the token that the path names, which has to be one of
// the caller unless that is an administrator.
func (c *call) personalToken(missing error) (*token, error) {
	for _, t := range c.g.tokens {
		if t.isSelf(c.r.PathValue("id")) && (c.user.admin || t.user == c.user) {
			return t, nil
		}
	}
	if c.user.admin {
		return nil, missing
	}
	return nil, unauthorized()
}

func showToken(c *call) (any, error) {
	t, err := c.personalToken(notFound(""))
	if err != nil {
		return nil, err
	}
	return t.personal(c.g.now()), nil
}

func revokeToken(c *call) (any, error) {
	t, err := c.personalToken(recordNotFound())
	if err != nil {
		return nil, err
	}
	c.revoke(t)
	return nil, nil
}

func rotateToken(c *call) (any, error) {
	t, err := c.personalToken(notFound(""))
	if err != nil {
		return nil, err
	}
	return c.rotate(t)
}

// listAssociations tells what the caller's token reaches.
func listAssociations(c *call) (any, error) {
	groups, projects := []object{}, []object{}
	for _, o := range newestFirst(c.g.groups) {
		if level := o.role(c.user); level > 0 {
			groups = append(groups, object{
				"id": o.id, "web_url": c.g.url() + "/groups/" + o.fullPath(), "name": o.name, "parent_id": parentID(o),
				"organization_id": 1, "access_levels": level, "visibility": o.visibility,
			})
		}
	}
	for _, o := range newestFirst(c.g.projects) {
		if o.role(c.user) == 0 {
			continue
		}
		levels := object{"project_access_level": nil, "group_access_level": nil}
		if m := o.member(c.user); m != nil {
			levels["project_access_level"] = m.level
		}
		if level := o.parent.role(c.user); level > 0 {
			levels["group_access_level"] = level
		}
		projects = append(projects, set(identity(o), object{
			"access_levels": levels, "visibility": o.visibility, "web_url": c.g.url() + "/" + o.fullPath(),
			"namespace": c.namespace(o.parent),
		}))
	}
	// The headers of the pages speak of the projects.
	if _, err := page(c, projects, func(o object) object { return o }); err != nil {
		return nil, err
	}
	return object{"groups": groups, "projects": projects}, nil
}
