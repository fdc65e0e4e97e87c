package gitlabtest

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// A deployToken reads a group or project without a user.
type deployToken struct {
	id       int64
	name     string
	username string
	scopes   []string
	owner    *owner
	expires  time.Time // zero: never
	revoked  bool
	sum      [sha256.Size]byte
}

var (
	deployScopes = []string{
		"read_repository", "read_registry", "write_registry", "read_package_registry", "write_package_registry",
		"read_virtual_registry", "write_virtual_registry",
	}
	usernamePattern = regexp.MustCompile(`^[a-zA-Z0-9.+_-]+$`)
)

// deployTokens are those of o that are not revoked.
func (g *GitLab) deployTokens(o *owner) []*deployToken {
	var found []*deployToken
	for _, t := range g.deploys {
		if t.owner == o && !t.revoked {
			found = append(found, t)
		}
	}
	return found
}

// issueDeploy adds a token and returns its value.
func (g *GitLab) issueDeploy(t *deployToken) string {
	value := newValue("gldt-")
	t.id, t.sum = g.nextID("deploy token"), sha256.Sum256([]byte(value))
	if t.username == "" {
		t.username = fmt.Sprintf("gitlab+deploy-token-%d", t.id)
	}
	g.deploys = append(g.deploys, t)
	return value
}

func listDeployTokens(kind string) endpoint {
	return func(c *call) (any, error) {
		o, err := c.ownerFor(kind, Maintainer, Maintainer)
		if err != nil {
			return nil, err
		}
		return c.pageDeployTokens(c.g.deployTokens(o))
	}
}

func listAllDeployTokens(c *call) (any, error) {
	if !c.user.admin {
		return nil, forbidden()
	}
	return c.pageDeployTokens(slices.DeleteFunc(slices.Clone(c.g.deploys), func(t *deployToken) bool { return t.revoked }))
}

func (c *call) pageDeployTokens(all []*deployToken) (any, error) {
	if c.boolean("active", false) {
		all = slices.DeleteFunc(slices.Clone(all), func(t *deployToken) bool { return !alive(t.expires, c.g.now()) })
	}
	return page(c, all, c.deployFields)
}

func createDeployToken(kind string) endpoint {
	return func(c *call) (any, error) {
		o, err := c.ownerFor(kind, 0, 0)
		if err != nil {
			return nil, err
		}
		c.require("name", "scopes")
		t := &deployToken{
			name: c.text("name"), username: c.text("username"), scopes: c.scopes(deployScopes),
			expires: c.time("expires_at"), owner: o,
		}
		if err := c.err(); err != nil {
			return nil, err
		}
		if _, err := c.ownerFor(kind, Owner, Maintainer); err != nil {
			return nil, err
		}
		if len(t.scopes) == 0 {
			return nil, message(http.StatusBadRequest, "Scopes can't be blank")
		}
		if t.username != "" && !usernamePattern.MatchString(t.username) {
			return nil, message(http.StatusBadRequest, "Username can contain only letters, digits, '_', '-', '+', and '.'")
		}
		value := c.g.issueDeploy(t)
		c.changed()
		return set(c.deployFields(t), object{"token": value}), nil
	}
}

func showDeployToken(kind string) endpoint {
	return func(c *call) (any, error) {
		t, err := c.deployToken(kind, Maintainer)
		if err != nil {
			return nil, err
		}
		return c.deployFields(t), nil
	}
}

func deleteDeployToken(kind string) endpoint {
	return func(c *call) (any, error) {
		t, err := c.deployToken(kind, Owner)
		if err != nil {
			return nil, err
		}
		t.revoked = true
		c.changed()
		return nil, nil
	}
}

func (c *call) deployToken(kind string, groupLevel int) (*deployToken, error) {
	o, err := c.ownerFor(kind, groupLevel, Maintainer)
	if err != nil {
		return nil, err
	}
	for _, t := range c.g.deployTokens(o) {
		if strconv.FormatInt(t.id, 10) == c.r.PathValue("token") {
			return t, nil
		}
	}
	return nil, recordNotFound()
}

func (c *call) deployFields(t *deployToken) object {
	return object{
		"id": t.id, "name": t.name, "username": t.username, "expires_at": stamp(t.expires), "scopes": t.scopes,
		"revoked": t.revoked, "expired": !alive(t.expires, c.g.now()),
	}
}
