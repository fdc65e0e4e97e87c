package gitlabtest

import (
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The access levels of members.
const (
	Guest      = 10
	Reporter   = 20
	Developer  = 30
	Maintainer = 40
	Owner      = 50
)

// An owner is a group or a project: what variables, tokens and members belong
// to.
type owner struct {
	kind        string // "group", "project" or "instance"
	id          int64
	name, path  string // path is the last element
	parent      *owner // the group above; nil at the top
	description *string
	visibility  string
	created     time.Time
	members     []*member
	variables   []*variable

	creation string // groups: who may make projects

	creator       *user // projects, like all that follows
	defaultBranch string
	empty         bool
	repository    string // a directory
	branches      []*branch
	flags         object // switches that are not as usual
}

// A member has a level in one group or project.
type member struct {
	user    *user
	level   int
	by      *user // nil where nobody added it
	created time.Time
}

func (o *owner) fullPath() string {
	if o.parent == nil {
		return o.path
	}
	return o.parent.fullPath() + "/" + o.path
}

func (o *owner) fullName() string {
	if o.parent == nil {
		return o.name
	}
	return o.parent.fullName() + " / " + o.name
}

// role is the highest level that u has in o or in a group above.
func (o *owner) role(u *user) int {
	level := 0
	for ; o != nil; o = o.parent {
		if m := o.member(u); m != nil {
			level = max(level, m.level)
		}
	}
	return level
}

func (o *owner) member(u *user) *member {
	for _, m := range o.members {
		if m.user == u {
			return m
		}
	}
	return nil
}

// within reports whether o is group or stands below it.
func (o *owner) within(group *owner) bool {
	for ; o != nil; o = o.parent {
		if o == group {
			return true
		}
	}
	return false
}

func (g *GitLab) owners(kind string) []*owner {
	if kind == "group" {
		return g.groups
	}
	return g.projects
}

// find looks an owner up by its id or its full path.
func (g *GitLab) find(kind, id string) *owner {
	number, err := strconv.ParseInt(id, 10, 64)
	for _, o := range g.owners(kind) {
		if err == nil && o.id == number || err != nil && strings.EqualFold(o.fullPath(), id) {
			return o
		}
	}
	return nil
}

// at returns the group or project with a full path, or nil.
func (g *GitLab) at(path string) *owner {
	if o := g.find("group", path); o != nil {
		return o
	}
	return g.find("project", path)
}

func (g *GitLab) newGroup(parent *owner, path, name string) *owner {
	o := &owner{
		kind: "group", id: g.nextID("namespace"), name: name, path: path, parent: parent,
		visibility: "private", created: g.now(), creation: "developer",
	}
	g.groups = append(g.groups, o)
	return o
}

func (g *GitLab) newProject(parent *owner, path, name string) *owner {
	g.nextID("namespace") // projects have one of their own
	o := &owner{
		kind: "project", id: g.nextID("project"), name: name, path: path, parent: parent,
		visibility: "private", created: g.now(), defaultBranch: "main", empty: true,
	}
	o.repository = filepath.Join(g.config.Repositories, filepath.FromSlash(o.fullPath())+".git")
	g.projects = append(g.projects, o)
	return o
}

// rename gives an owner another last element. Projects are still found at the
// paths that they had.
func (g *GitLab) rename(o *owner, path string) {
	for _, p := range g.projects {
		if p.within(o) {
			g.moved[strings.ToLower(p.fullPath())] = p
		}
	}
	o.path = path
}

// below are the groups or projects under a group, itself left out.
func (g *GitLab) below(kind string, group *owner, deep bool) []*owner {
	var found []*owner
	for _, o := range g.owners(kind) {
		if o.parent == group || deep && o != group && o.within(group) {
			found = append(found, o)
		}
	}
	return found
}

// set adds fields to an object and returns it.
func set(o object, more ...object) object {
	for _, m := range more {
		maps.Copy(o, m)
	}
	return o
}

// ee are fields that only the Enterprise Edition has.
func (g *GitLab) ee(fields object) object {
	if g.config.Edition == EEFree {
		return fields
	}
	return nil
}

func byName(list []*owner) []*owner {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b *owner) int { return strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) })
	return list
}

func newestFirst(list []*owner) []*owner {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}
