package gitlabtest

import (
	"slices"
	"strings"
	"time"

	"provision/provision/secret"
)

// The methods in this file change a GitLab from Go. They need no rights, are
// not in the log of requests, and panic where what they speak of does not
// exist: a test that gets that wrong cannot go on.

// Seed adds the projects with these full paths, the groups above them, and a
// user "owner" who owns the groups. It returns a personal token of that user
// with the scope api, good for 90 days.
func (g *GitLab) Seed(projects ...string) secret.Value {
	g.AddUser("owner")
	for _, path := range projects {
		g.AddProject(path, "main")
		top, _, _ := strings.Cut(path, "/")
		g.AddMember(top, "owner", Owner)
	}
	g.mu.Lock()
	expires := g.today().AddDate(0, 0, 90)
	g.mu.Unlock()
	return g.AddPersonalToken("owner", expires, "api")
}

// AddUser adds a user, unless there is one of that name.
func (g *GitLab) AddUser(username string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.userNamed(username) == nil {
		g.newUser(username, username, username+"@example.com")
	}
}

// AddGroup adds the group with a full path and the groups above it, unless
// they are there. It is private.
func (g *GitLab) AddGroup(path string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.addGroup(path)
}

func (g *GitLab) addGroup(path string) *owner {
	if o := g.find("group", path); o != nil {
		return o
	}
	above, name, nested := cutLast(path)
	var parent *owner
	if nested {
		parent = g.addGroup(above)
	}
	return g.newGroup(parent, name, name)
}

func cutLast(path string) (above, name string, nested bool) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:], true
	}
	return "", path, false
}

// AddProject adds the private project with a full path, which needs at least
// one group above it, unless it is there. Its default branch is protected, as
// it is after a first push.
func (g *GitLab) AddProject(path, defaultBranch string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.find("project", path) != nil {
		return
	}
	above, name, nested := cutLast(path)
	if !nested {
		panic("gitlabtest: project " + path + ": write group/project")
	}
	o := g.newProject(g.addGroup(above), name, name)
	o.defaultBranch, o.empty = defaultBranch, false
	g.protect(o, branch{name: defaultBranch, push: Maintainer, merge: Maintainer})
}

// AddMember gives a user an access level in a group or project, instead of the
// one that the user has there.
func (g *GitLab) AddMember(path, username string, level int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o, u := g.mustOwner(path), g.mustUser(username)
	if m := o.member(u); m != nil {
		m.level = level
		return
	}
	o.members = append(o.members, &member{user: u, level: level, created: g.now()})
}

// RemoveMember takes a user out of a group or project.
func (g *GitLab) RemoveMember(path, username string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o, u := g.mustOwner(path), g.mustUser(username)
	o.members = slices.DeleteFunc(o.members, func(m *member) bool { return m.user == u })
}

// Block locks a user out, with all tokens and deploy keys.
func (g *GitLab) Block(username string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mustUser(username).blocked = true
}

// AddPersonalToken returns a new personal token of a user, which dies at the
// beginning of the day of expires, or never if that is zero.
func (g *GitLab) AddPersonalToken(username string, expires time.Time, scopes ...string) secret.Value {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := &token{name: username, user: g.mustUser(username), scopes: scopes, expires: day(expires)}
	return secret.New(g.issue(t))
}

// AddAccessToken adds a token of a group or project, as AddPersonalToken does
// of a user, and returns its id and its value.
func (g *GitLab) AddAccessToken(path, name string, level int, expires time.Time, scopes ...string) (int64, secret.Value) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.mustOwner(path)
	t := &token{name: name, user: g.newBot(o, name, level), owner: o, level: level, scopes: scopes, expires: day(expires)}
	value := g.issue(t)
	return t.id, secret.New(value)
}

// AddDeployToken adds a deploy token of a group or project, and returns its id
// and its value. An empty username becomes the usual one.
func (g *GitLab) AddDeployToken(path, name, username string, expires time.Time, scopes ...string) (int64, secret.Value) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := &deployToken{name: name, username: username, owner: g.mustOwner(path), scopes: scopes, expires: expires}
	value := g.issueDeploy(t)
	return t.id, secret.New(value)
}

// RevokeToken revokes a personal, group or project access token.
func (g *GitLab) RevokeToken(id int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.tokens, func(t *token) bool { return t.id == id })
	if i < 0 {
		panic("gitlabtest: no such token")
	}
	g.tokens[i].revoked = true
}

// AddDeployKey lets a public key read a project, as if username had added it.
// The key may be in other projects already.
func (g *GitLab) AddDeployKey(project, username, title, line string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.mustOwner(project)
	k := &key{title: title, text: strings.TrimSpace(line), user: g.mustUser(username), deploy: true, created: g.now()}
	for _, old := range g.keys {
		if old.text == k.text && old.in(o) == nil {
			old.projects = append(old.projects, &keyProject{project: o})
			return
		}
	}
	if err := g.addKey(k).err(); err != nil {
		panic("gitlabtest: deploy key " + title + ": " + err.Error())
	}
	k.projects = []*keyProject{{project: o}}
}

// RemoveDeployKey detaches the deploy key with an id from a project.
func (g *GitLab) RemoveDeployKey(project string, id int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.mustOwner(project)
	i := slices.IndexFunc(g.deployKeysOf(o), func(k *key) bool { return k.id == id })
	if i < 0 {
		panic("gitlabtest: " + project + " has no such deploy key")
	}
	g.detach(g.deployKeysOf(o)[i], o)
}

// AddVariable adds a variable to a group or project, or replaces the one with
// the same key and scope. An empty scope means "*".
func (g *GitLab) AddVariable(path string, v Variable) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.mustOwner(path)
	value, err := v.Value.Reveal()
	if err != nil {
		panic("gitlabtest: variable " + v.Key + ": " + err.Error())
	}
	n := &variable{
		key: v.Key, value: &value, kind: "env_var", scope: v.Scope,
		protected: v.Protected, masked: v.Masked || v.Hidden, hidden: v.Hidden, raw: v.Raw,
	}
	if v.File {
		n.kind = "file"
	}
	if v.Scope == "" {
		n.scope = anyScope
	}
	if v.Description != "" {
		n.description = &v.Description
	}
	o.variables = slices.DeleteFunc(o.variables, func(e *variable) bool { return e.key == n.key && e.scope == n.scope })
	if err := n.check(o).err(); err != nil {
		panic("gitlabtest: variable " + v.Key + ": " + err.Error())
	}
	o.variables = append(o.variables, n)
}

// RemoveVariable removes the variable with a key and exactly that scope.
func (g *GitLab) RemoveVariable(path, key, scope string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.mustOwner(path)
	o.variables = slices.DeleteFunc(o.variables, func(v *variable) bool { return v.key == key && v.scope == scope })
}

// Protect protects the branch of a project with a name, or those that a
// wildcard matches.
func (g *GitLab) Protect(project, name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.protect(g.mustOwner(project), branch{name: name, push: Maintainer, merge: Maintainer})
}

// Unprotect takes the protection of a name or wildcard away.
func (g *GitLab) Unprotect(project, name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.mustOwner(project)
	o.branches = slices.DeleteFunc(o.branches, func(b *branch) bool { return b.name == name })
}

// Rename gives a group or project another last element of its path. Its old
// path leads projects on, but not groups.
func (g *GitLab) Rename(path, name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rename(g.mustOwner(path), name)
}

func (g *GitLab) mustOwner(path string) *owner {
	o := g.at(path)
	if o == nil {
		panic("gitlabtest: no group or project " + path)
	}
	return o
}

func (g *GitLab) mustUser(username string) *user {
	u := g.userNamed(username)
	if u == nil {
		panic("gitlabtest: no user " + username)
	}
	return u
}

func day(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(24 * time.Hour)
}

// SetEdition makes the GitLab another edition from now on.
func (g *GitLab) SetEdition(e Edition) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.config.Edition = e
}
