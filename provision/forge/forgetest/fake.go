// Package forgetest has a GitLab in memory, for tests of what uses a
// [forge.Forge].
package forgetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"provision/provision/forge"
	"provision/provision/secret"
)

// A Fake is a GitLab in memory. It keeps the rules of [forge.Forge] and no
// others, and a test holds it against the client of a whole one; the fields are for tests to fill and to look at, while no call is
// under way. Groups and projects exist when they are named in Groups and
// Projects, and then have whatever the other fields say.
type Fake struct {
	Token     forge.Token // what Self answers
	Groups    []string
	Projects  map[string]forge.Project // by path
	Protected map[string][]string      // branches, by project
	Names     map[string][]string      // of files, by PROJECT:FOLDER, in each branch
	Keys      map[string][]forge.DeployKey
	Vars      map[forge.Owner][]forge.Variable
	Made      map[forge.Owner]map[forge.TokenKind][]forge.Token
	Branches  map[string][]forge.Commit // by project and branch, as "a/b main"

	// NoScopes is a GitLab without environment scopes for groups.
	NoScopes bool

	// Fail has an error for a method, such as "SetVariable".
	Fail map[string]error

	mu     sync.Mutex
	calls  []string
	nextID int64
}

// New returns a Fake with some projects, and the groups that they are in. The
// default branch of each is main, and protected.
func New(projects ...string) *Fake {
	f := &Fake{
		Projects: map[string]forge.Project{}, Protected: map[string][]string{}, Names: map[string][]string{}, Branches: map[string][]forge.Commit{}, Keys: map[string][]forge.DeployKey{},
		Vars: map[forge.Owner][]forge.Variable{}, Made: map[forge.Owner]map[forge.TokenKind][]forge.Token{}, Fail: map[string]error{},
	}
	for _, path := range projects {
		f.Projects[path] = forge.Project{ID: f.id(), Path: path, DefaultBranch: "main"}
		f.Protected[path] = []string{"main"}
		for group := path; strings.Contains(group, "/"); {
			group = group[:strings.LastIndexByte(group, '/')]
			if !slices.Contains(f.Groups, group) {
				f.Groups = append(f.Groups, group)
			}
		}
	}
	return f
}

// Calls returns the calls that changed something or tried to, in order, as
// "SetVariable group a SSH_AUTH production"; and forgets them.
func (f *Fake) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

func (f *Fake) id() int64 { f.nextID++; return f.nextID + 100 }

// begin locks f. It notes a call that has details.
func (f *Fake) begin(method string, details ...any) (end func(), err error) {
	f.mu.Lock()
	if len(details) > 0 {
		f.calls = append(f.calls, strings.TrimSpace(method+" "+fmt.Sprintln(details...)))
	}
	return f.mu.Unlock, f.Fail[method]
}

func (f *Fake) exists(o forge.Owner) error {
	if _, ok := f.Projects[o.Path]; ok && o.Kind == forge.ProjectOwner || o.Kind == forge.GroupOwner && slices.Contains(f.Groups, o.Path) {
		return nil
	}
	return fmt.Errorf("%s: %w", o, forge.ErrNotFound)
}

func (f *Fake) project(path string) error {
	return f.exists(forge.Owner{Kind: forge.ProjectOwner, Path: path})
}

// Self implements [forge.Forge].
func (f *Fake) Self(context.Context) (forge.Token, error) {
	end, err := f.begin("Self")
	defer end()
	return f.Token, err
}

// Project implements [forge.Forge].
func (f *Fake) Project(_ context.Context, path string) (forge.Project, error) {
	end, err := f.begin("Project")
	defer end()
	if err == nil {
		err = f.project(path)
	}
	return f.Projects[path], err
}

// Files implements [forge.Forge].
func (f *Fake) Files(_ context.Context, project, _, folder string) ([]string, error) {
	end, err := f.begin("Files")
	defer end()
	return slices.Clone(f.Names[project+":"+folder]), err
}

// Newest implements [forge.Forge].
func (f *Fake) Newest(_ context.Context, project, branch string) ([]forge.Commit, error) {
	end, err := f.begin("Newest")
	defer end()
	return f.Branches[project+" "+branch], err
}

// DeployKeys implements [forge.Forge].
func (f *Fake) DeployKeys(_ context.Context, project string) ([]forge.DeployKey, error) {
	end, err := f.begin("DeployKeys")
	defer end()
	if err == nil {
		err = f.project(project)
	}
	return slices.Clone(f.Keys[project]), err
}

// AddDeployKey implements [forge.Forge].
func (f *Fake) AddDeployKey(_ context.Context, project string, key forge.DeployKey) error {
	end, err := f.begin("AddDeployKey", project, key.Key, key.CanPush)
	defer end()
	if err == nil {
		err = f.project(project)
	}
	if err != nil {
		return err
	}
	keys := f.Keys[project]
	if i := slices.IndexFunc(keys, func(k forge.DeployKey) bool { return blob(k.Key) == blob(key.Key) }); i >= 0 {
		keys[i].CanPush = key.CanPush
		return nil
	}
	key.ID = f.id()
	f.Keys[project] = append(keys, key)
	return nil
}

func blob(key string) string {
	if words := strings.Fields(key); len(words) > 1 {
		return words[1]
	}
	return key
}

// RenameDeployKey implements [forge.Forge].
func (f *Fake) RenameDeployKey(_ context.Context, project string, id int64, title string) error {
	end, err := f.begin("RenameDeployKey", project, id, title)
	defer end()
	if err != nil {
		return err
	}
	keys := f.Keys[project]
	i := slices.IndexFunc(keys, func(k forge.DeployKey) bool { return k.ID == id })
	if i < 0 {
		return forge.ErrNotFound
	}
	for other, theirs := range f.Keys {
		if other != project && slices.ContainsFunc(theirs, func(k forge.DeployKey) bool { return blob(k.Key) == blob(keys[i].Key) }) {
			return forge.ErrForbidden
		}
	}
	keys[i].Title = title
	return nil
}

// RemoveDeployKey implements [forge.Forge].
func (f *Fake) RemoveDeployKey(_ context.Context, project string, id int64) error {
	end, err := f.begin("RemoveDeployKey", project, id)
	defer end()
	if err != nil {
		return err
	}
	keys := f.Keys[project]
	i := slices.IndexFunc(keys, func(k forge.DeployKey) bool { return k.ID == id })
	if i < 0 {
		return forge.ErrNotFound
	}
	f.Keys[project] = slices.Delete(keys, i, i+1)
	return nil
}

// Variables implements [forge.Forge].
func (f *Fake) Variables(_ context.Context, owner forge.Owner) ([]forge.Variable, error) {
	end, err := f.begin("Variables")
	defer end()
	if err == nil {
		err = f.exists(owner)
	}
	return slices.Clone(f.Vars[owner]), err
}

// SetVariable implements [forge.Forge].
func (f *Fake) SetVariable(_ context.Context, owner forge.Owner, v forge.Variable) error {
	end, err := f.begin("SetVariable", owner, v.Key, v.Scope)
	defer end()
	if err == nil {
		err = f.exists(owner)
	}
	if err == nil && f.NoScopes && owner.Kind == forge.GroupOwner && v.Scope != "*" {
		err = forge.ErrScope
	}
	if err != nil {
		return err
	}
	text, err := v.Value.Reveal() // what was said once does not change with the Value
	if err != nil {
		return err
	}
	v.Value = secret.New(text)
	variables := f.Vars[owner]
	i := slices.IndexFunc(variables, func(o forge.Variable) bool { return o.Key == v.Key && o.Scope == v.Scope })
	if i < 0 {
		f.Vars[owner] = append(variables, v)
		return nil
	}
	if v.Description == "" {
		v.Description = variables[i].Description
	}
	variables[i] = v
	return nil
}

// RemoveVariable implements [forge.Forge].
func (f *Fake) RemoveVariable(_ context.Context, owner forge.Owner, key, scope string) error {
	end, err := f.begin("RemoveVariable", owner, key, scope)
	defer end()
	if err != nil {
		return err
	}
	variables := f.Vars[owner]
	i := slices.IndexFunc(variables, func(o forge.Variable) bool { return o.Key == key && o.Scope == scope })
	if i < 0 {
		return forge.ErrNotFound
	}
	f.Vars[owner] = slices.Delete(variables, i, i+1)
	return nil
}

// Tokens implements [forge.Forge].
func (f *Fake) Tokens(_ context.Context, owner forge.Owner, kind forge.TokenKind) ([]forge.Token, error) {
	end, err := f.begin("Tokens")
	defer end()
	if err == nil {
		err = f.exists(owner)
	}
	var tokens []forge.Token
	for _, t := range f.Made[owner][kind] {
		t.Value = secret.Value{}
		tokens = append(tokens, t)
	}
	return tokens, err
}

// CreateToken implements [forge.Forge]. A token has 365 days left.
func (f *Fake) CreateToken(_ context.Context, owner forge.Owner, kind forge.TokenKind, t forge.Token) (forge.Token, error) {
	end, err := f.begin("CreateToken", owner, kind, t.Name)
	defer end()
	if err == nil {
		err = f.exists(owner)
	}
	if err != nil {
		return forge.Token{}, err
	}
	t.ID, t.Active = f.id(), true
	t.Value = secret.New(fmt.Sprintf("glpat-%d", t.ID))
	t.Expires, t.DaysLeft = time.Unix(1<<40, 0), 365
	if t.NeverUsed = kind != forge.DeployToken; !t.NeverUsed {
		t.Username = fmt.Sprintf("gitlab+deploy-token-%d", t.ID)
	}
	if f.Made[owner] == nil {
		f.Made[owner] = map[forge.TokenKind][]forge.Token{}
	}
	f.Made[owner][kind] = append(f.Made[owner][kind], t)
	return t, nil
}

// RevokeToken implements [forge.Forge]. GitLab lists revoked access tokens, and no
// revoked deploy tokens.
func (f *Fake) RevokeToken(_ context.Context, owner forge.Owner, kind forge.TokenKind, id int64) error {
	end, err := f.begin("RevokeToken", owner, kind, id)
	defer end()
	if err != nil {
		return err
	}
	tokens := f.Made[owner][kind]
	i := slices.IndexFunc(tokens, func(t forge.Token) bool { return t.ID == id })
	switch {
	case i < 0:
		return forge.ErrNotFound
	case kind == forge.DeployToken:
		f.Made[owner][kind] = slices.Delete(tokens, i, i+1)
	default:
		tokens[i].Active = false
	}
	return nil
}

// ProtectedBranches implements [forge.Forge].
func (f *Fake) ProtectedBranches(_ context.Context, project string) ([]string, error) {
	end, err := f.begin("ProtectedBranches")
	defer end()
	if err == nil {
		err = f.project(project)
	}
	return f.Protected[project], err
}

var _ forge.Forge = (*Fake)(nil)

// Forget does nothing: a Fake remembers nothing.
func (f *Fake) Forget() {}
