package gitlabtest

import (
	"net/http"
	"slices"
)

// A branch is a protected branch, or a wildcard for some.
type branch struct {
	id    int64
	name  string
	push  int // who may: the levels
	merge int
	force bool
}

var branchLevels = map[int]string{0: "No one", Developer: "Developers + Maintainers", Maintainer: "Maintainers", 60: "Administrators"}

func (g *GitLab) protect(o *owner, b branch) *branch {
	b.id = g.nextID("protected branch")
	o.branches = append(o.branches, &b)
	return &b
}

func (o *owner) branch(name string) *branch {
	i := slices.IndexFunc(o.branches, func(b *branch) bool { return b.name == name })
	if i < 0 {
		return nil
	}
	return o.branches[i]
}

func listBranches(c *call) (any, error) {
	o, err := c.ownerFor("project", 0, Maintainer)
	if err != nil {
		return nil, err
	}
	return page(c, o.branches, (*branch).fields)
}

func protectBranch(c *call) (any, error) {
	o, err := c.ownerFor("project", 0, Maintainer)
	if err != nil {
		return nil, err
	}
	c.require("name")
	b := branch{
		name: c.text("name"), push: c.integer("push_access_level", Maintainer),
		merge: c.integer("merge_access_level", Maintainer), force: c.boolean("allow_force_push", false),
	}
	for _, level := range []int{b.push, b.merge} {
		if branchLevels[level] == "" {
			c.fail("push_access_level does not have a valid value")
		}
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	if o.branch(b.name) != nil {
		return nil, message(http.StatusConflict, "Protected branch '"+b.name+"' already exists")
	}
	c.changed()
	return c.g.protect(o, b).fields(), nil
}

func showBranch(c *call) (any, error) {
	_, b, err := c.branch()
	if err != nil {
		return nil, err
	}
	return b.fields(), nil
}

func unprotectBranch(c *call) (any, error) {
	o, b, err := c.branch()
	if err != nil {
		return nil, err
	}
	o.branches = slices.DeleteFunc(o.branches, func(e *branch) bool { return e == b })
	c.changed()
	return nil, nil
}

func (c *call) branch() (*owner, *branch, error) {
	o, err := c.ownerFor("project", 0, Maintainer)
	if err != nil {
		return nil, nil, err
	}
	b := o.branch(c.r.PathValue("name"))
	if b == nil {
		return nil, nil, recordNotFound()
	}
	return o, b, nil
}

func (b *branch) fields() object {
	return object{
		"id": b.id, "name": b.name, "allow_force_push": b.force,
		"push_access_levels": []object{{
			"id": b.id, "access_level": b.push, "access_level_description": branchLevels[b.push], "deploy_key_id": nil}},
		"merge_access_levels": []object{{
			"id": b.id, "access_level": b.merge, "access_level_description": branchLevels[b.merge]}},
	}
}
