package gitlabtest

import (
	"slices"
	"strings"
	"time"
)

// A user is a person, or the bot that belongs to a group or project access
// token.
type user struct {
	id, namespace int64
	username      string
	name, email   string
	admin         bool
	bot           bool
	blocked       bool
	created       time.Time
	by            *user
}

func (g *GitLab) newUser(username, name, email string) *user {
	u := &user{
		id: g.nextID("user"), namespace: g.nextID("namespace"),
		username: username, name: name, email: email, created: g.now(),
	}
	g.users = append(g.users, u)
	return u
}

func (g *GitLab) userWith(id int64) *user {
	i := slices.IndexFunc(g.users, func(u *user) bool { return u.id == id })
	if i < 0 {
		return nil
	}
	return g.users[i]
}

func (g *GitLab) userNamed(username string) *user {
	i := slices.IndexFunc(g.users, func(u *user) bool { return strings.EqualFold(u.username, username) })
	if i < 0 {
		return nil
	}
	return g.users[i]
}

func showMe(c *call) (any, error) {
	body := c.g.ownUser(c.user)
	if c.user.admin {
		set(body, c.g.adminUser(c.user))
	}
	return body, nil
}

func createUser(c *call) (any, error) {
	if !c.user.admin {
		return nil, forbidden()
	}
	c.require("email", "name", "username")
	email, name, username := c.text("email"), c.text("name"), c.text("username")
	if err := c.err(); err != nil {
		return nil, err
	}
	if c.g.userNamed(username) != nil {
		return nil, message(409, "Username has already been taken")
	}
	u := c.g.newUser(username, name, email)
	u.by = c.user
	c.changed()
	return set(c.g.ownUser(u), c.g.adminUser(u), object{
		"followers": 0, "following": 0, "is_followed": false, "last_activity_on": nil,
	}), nil
}

// basicUser is what others see of a user.
func (g *GitLab) basicUser(u *user) object {
	state := "active"
	if u.blocked {
		state = "blocked"
	}
	return object{
		"id": u.id, "username": u.username, "public_email": nil, "name": u.name, "state": state, "locked": false,
		"avatar_url": nil, "web_url": g.url() + "/" + u.username,
	}
}

// ownUser is what users see of themselves.
func (g *GitLab) ownUser(u *user) object {
	body := set(g.basicUser(u), object{
		"created_at": stamp(u.created), "confirmed_at": stamp(u.created), "last_activity_on": date(g.now()),
		"last_sign_in_at": nil, "current_sign_in_at": nil, "bot": u.bot, "email": u.email, "commit_email": u.email,
		"pronouns": nil, "work_information": nil, "local_time": nil, "theme_id": 3, "color_scheme_id": 1,
		"projects_limit": 100000, "identities": []any{}, "can_create_group": true, "can_create_project": true,
		"two_factor_enabled": false, "external": false, "private_profile": false, "preferred_language": "en",
	}, g.ee(object{"shared_runners_minutes_limit": nil, "extra_shared_runners_minutes_limit": nil, "scim_identities": []any{}}))
	for _, name := range []string{
		"bio", "location", "linkedin", "twitter", "discord", "website_url", "github", "job_title", "organization",
	} {
		body[name] = ""
	}
	return body
}

// adminUser is what administrators see besides.
func (g *GitLab) adminUser(u *user) object {
	var by any
	if u.by != nil {
		by = g.basicUser(u.by)
	}
	return set(object{"is_admin": u.admin, "note": nil, "namespace_id": u.namespace, "created_by": by},
		g.ee(object{"using_license_seat": false}))
}
