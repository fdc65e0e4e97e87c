package gitlabtest

import (
	"slices"
	"time"

	"provision/provision/secret"
)

// A Variable is one of CI/CD, with its value even where GitLab hides that.
type Variable struct {
	Key         string
	Value       secret.Value
	File        bool // variable_type file
	Protected   bool
	Masked      bool
	Hidden      bool
	Raw         bool
	Scope       string
	Description string
}

// Variables returns those of a group or project, oldest first.
func (g *GitLab) Variables(path string) []Variable {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []Variable
	for _, v := range g.mustOwner(path).variables {
		all = append(all, Variable{
			Key: v.key, Value: secret.New(deref(v.value)), File: v.kind == "file", Protected: v.protected, Masked: v.masked,
			Hidden: v.hidden, Raw: v.raw, Scope: v.scope, Description: deref(v.description),
		})
	}
	return all
}

// Variable returns the one with a key and exactly that scope.
func (g *GitLab) Variable(path, key, scope string) (Variable, bool) {
	all := g.Variables(path)
	i := slices.IndexFunc(all, func(v Variable) bool { return v.Key == key && v.Scope == scope })
	if i < 0 {
		return Variable{}, false
	}
	return all[i], true
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// A DeployKey is a public key as one project sees it.
type DeployKey struct {
	ID      int64
	Title   string
	Key     string // type, blob, comment
	CanPush bool
	Expires time.Time // zero: never
	Used    time.Time // when git last used it; zero: never
	User    string    // who registered it
}

// DeployKeys returns those of a project, oldest first.
func (g *GitLab) DeployKeys(project string) []DeployKey {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.mustOwner(project)
	var all []DeployKey
	for _, k := range g.deployKeysOf(o) {
		all = append(all, DeployKey{
			ID: k.id, Title: k.title, Key: k.text, CanPush: k.in(o).canPush, Expires: k.expires, Used: k.used,
			User: k.user.username,
		})
	}
	return all
}

// A Token is an access token or a deploy token, without its value.
type Token struct {
	ID       int64
	Name     string
	Username string // of deploy tokens, and of the bots of the others
	Scopes   []string
	Level    int // of access tokens of groups and projects
	Expires  time.Time
	Used     time.Time // zero: never, or a deploy token
	Revoked  bool
	Active   bool // neither revoked nor expired
}

// Tokens returns the access tokens of a group or project, oldest first, dead
// ones too.
func (g *GitLab) Tokens(path string) []Token {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []Token
	for _, t := range g.tokensOf(g.mustOwner(path)) {
		all = append(all, Token{
			ID: t.id, Name: t.name, Username: t.user.username, Scopes: slices.Clone(t.scopes), Level: t.level,
			Expires: t.expires, Used: t.used, Revoked: t.revoked, Active: t.active(g.now()),
		})
	}
	return all
}

// DeployTokens returns those of a group or project, oldest first, dead ones
// too.
func (g *GitLab) DeployTokens(path string) []Token {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.mustOwner(path)
	var all []Token
	for _, t := range g.deploys {
		if t.owner == o {
			all = append(all, Token{
				ID: t.id, Name: t.name, Username: t.username, Scopes: slices.Clone(t.scopes), Expires: t.expires,
				Revoked: t.revoked, Active: !t.revoked && alive(t.expires, g.now()),
			})
		}
	}
	return all
}

// ProtectedBranches returns the names and wildcards of a project.
func (g *GitLab) ProtectedBranches(project string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var names []string
	for _, b := range g.mustOwner(project).branches {
		names = append(names, b.name)
	}
	return names
}

// Repository returns the directory of a project's bare repository, which is
// for the caller to fill.
func (g *GitLab) Repository(project string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mustOwner(project).repository
}
