package gitlabtest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

func listGroups(c *call) (any, error) {
	var seen []*owner
	for _, o := range byName(c.g.groups) {
		if c.sees(o) && strings.Contains(strings.ToLower(o.fullPath()+" "+o.name), strings.ToLower(c.text("search"))) {
			seen = append(seen, o)
		}
	}
	return page(c, seen, c.groupFields)
}

func listSubgroups(c *call) (any, error) {
	o, err := c.group()
	if err != nil {
		return nil, err
	}
	deep := strings.HasSuffix(c.r.URL.Path, "/descendant_groups")
	return page(c, byName(c.g.below("group", o, deep)), c.groupFields)
}

func listGroupProjects(c *call) (any, error) {
	o, err := c.group()
	if err != nil {
		return nil, err
	}
	return page(c, newestFirst(c.g.below("project", o, c.boolean("include_subgroups", false))), c.simpleProject)
}

func showGroup(c *call) (any, error) {
	o, err := c.group()
	if err != nil {
		return nil, err
	}
	return c.groupDetail(o), nil
}

var visibilities = []string{"private", "internal", "public"}
var creationLevels = []string{"noone", "owner", "maintainer", "developer", "administrator"}

func createGroup(c *call) (any, error) {
	c.require("name", "path")
	name, path := c.text("name"), c.text("path")
	visibility := c.oneOf("visibility", "private", visibilities...)
	creation := c.oneOf("project_creation_level", "developer", creationLevels...)
	if err := c.err(); err != nil {
		return nil, err
	}
	var parent *owner
	if !c.null("parent_id") {
		var err error
		if parent, err = c.visible("group", c.text("parent_id")); err != nil {
			return nil, err
		}
		if c.level(parent) < Maintainer {
			return nil, forbidden()
		}
	}
	wrong := problems{}
	for _, o := range c.g.groups {
		if o.parent != parent {
			continue
		}
		if parent != nil && o.name == name {
			wrong.add("name", "has already been taken")
		}
		if strings.EqualFold(o.path, path) {
			wrong.add("path", "has already been taken")
		}
	}
	if !pathPattern.MatchString(path) {
		wrong["path"] = []string{namespacePathRule, groupPathRule}
	}
	if parent != nil && slices.Index(visibilities, visibility) > slices.Index(visibilities, parent.visibility) {
		wrong.add("visibility_level", visibilityRule(visibility, parent))
	}
	if len(wrong) > 0 {
		return nil, message(http.StatusBadRequest, "Failed to save group "+inspect(wrong))
	}
	o := c.g.newGroup(parent, path, name)
	o.visibility, o.creation, o.description = visibility, creation, c.optional("description")
	if parent == nil || parent.role(c.user) < Owner {
		o.members = []*member{{user: c.user, level: Owner, created: c.g.now()}}
	}
	c.changed()
	return c.newGroupFields(o), nil
}

func visibilityRule(visibility string, parent *owner) string {
	return fmt.Sprintf("%s is not allowed since the parent group has a %s visibility.", visibility, parent.visibility)
}

// inspect writes problems as Ruby prints a hash with symbols as keys.
func inspect(p problems) string {
	var parts []string
	for _, attribute := range slices.Sorted(maps.Keys(p)) {
		var texts []string
		for _, t := range p[attribute] {
			texts = append(texts, fmt.Sprintf("%q", t))
		}
		parts = append(parts, fmt.Sprintf(":%s=>[%s]", attribute, strings.Join(texts, ", ")))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func updateGroup(c *call) (any, error) {
	o, err := c.group()
	if err != nil {
		return nil, err
	}
	visibility := c.oneOf("visibility", o.visibility, visibilities...)
	creation := c.oneOf("project_creation_level", o.creation, creationLevels...)
	if err := c.err(); err != nil {
		return nil, err
	}
	if c.level(o) < Owner {
		return nil, forbidden()
	}
	if o.parent != nil && slices.Index(visibilities, visibility) > slices.Index(visibilities, o.parent.visibility) {
		return nil, problems{"visibility_level": {visibilityRule(visibility, o.parent)}}.err()
	}
	if c.has("description") {
		o.description = c.optional("description")
	}
	if c.has("name") {
		o.name = c.text("name")
	}
	if c.has("path") {
		c.g.rename(o, c.text("path"))
	}
	o.visibility, o.creation = visibility, creation
	c.changed()
	return c.groupDetail(o), nil
}

// groupFields are what a list shows of a group.
func (c *call) groupFields(o *owner) object {
	body := set(object{
		"id": o.id, "web_url": c.g.url() + "/groups/" + o.fullPath(), "name": o.name, "path": o.path,
		"full_name": o.fullName(), "full_path": o.fullPath(), "description": o.description, "visibility": o.visibility,
		"created_at": stamp(o.created), "parent_id": parentID(o), "organization_id": 1,
		"share_with_group_lock": false, "require_two_factor_authentication": false, "two_factor_grace_period": 48,
		"project_creation_level": o.creation, "subgroup_creation_level": "maintainer",
		"auto_devops_enabled": nil, "emails_disabled": false, "emails_enabled": true, "show_diff_preview_in_email": true,
		"mentions_disabled": nil, "lfs_enabled": true, "archived": false, "math_rendering_limits_enabled": true,
		"lock_math_rendering_limits_enabled": false, "default_branch": nil, "default_branch_protection": 2,
		"default_branch_protection_defaults": object{
			"allowed_to_push": []object{{"access_level": 40}}, "allowed_to_merge": []object{{"access_level": 40}},
			"allow_force_push": false, "developer_can_initial_push": false,
		},
		"avatar_url": nil, "request_access_enabled": true, "shared_runners_setting": "enabled",
		"max_artifacts_size": nil, "marked_for_deletion_on": nil,
	}, c.g.ee(object{"ldap_cn": nil, "ldap_access": nil, "wiki_access_level": "enabled"}))
	if o.parent == nil {
		set(body, c.g.ee(object{"duo_namespace_access_rules": []any{}}))
	}
	return body
}

// noRunners stands where GitLab shows the token for runners: none is served.
const noRunners = "REDACTED"

// newGroupFields are what a new group shows of itself.
func (c *call) newGroupFields(o *owner) object {
	body := set(c.groupFields(o), object{"shared_with_groups": []any{}}, c.g.ee(object{
		"prevent_forking_outside_group": nil, "membership_lock": false,
		"shared_runners_minutes_limit": nil, "extra_shared_runners_minutes_limit": nil,
	}))
	if o.parent == nil {
		body["prevent_sharing_groups_outside_hierarchy"] = false
	}
	return body
}

// groupDetail is what a group shows of itself.
func (c *call) groupDetail(o *owner) object {
	body := c.newGroupFields(o)
	if c.level(o) >= Owner {
		body["runners_token"] = noRunners
	}
	if c.boolean("with_projects", true) {
		projects := []object{}
		for _, p := range c.g.below("project", o, false) {
			fields := c.projectFields(p)
			delete(fields, "import_error")
			projects = append(projects, fields)
		}
		set(body, object{"projects": projects, "shared_projects": []any{}})
	}
	if o.parent == nil {
		body["enabled_git_access_protocol"] = "all"
	}
	return body
}

func parentID(o *owner) any {
	if o.parent == nil {
		return nil
	}
	return o.parent.id
}

func listMembers(kind string) endpoint {
	return func(c *call) (any, error) {
		o, err := c.visible(kind, c.r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		var all []*member
		for ; o != nil; o = o.parent {
			all = append(all, o.members...)
		}
		slices.SortStableFunc(all, func(a, b *member) int { return int(a.user.id - b.user.id) })
		return page(c, all, c.memberFields)
	}
}

func addMember(kind string) endpoint {
	return func(c *call) (any, error) {
		o, err := c.ownerFor(kind, Owner, Maintainer)
		if err != nil {
			return nil, err
		}
		c.require("user_id", "access_level")
		level, id := c.integer("access_level", 0), c.integer("user_id", 0)
		if err := c.err(); err != nil {
			return nil, err
		}
		u := c.g.userWith(int64(id))
		switch {
		case u == nil:
			return nil, notFound("User")
		case o.member(u) != nil:
			return nil, message(http.StatusConflict, "Member already exists")
		case !slices.Contains(accessLevels, level):
			return nil, problems{"access_level": {"is not included in the list"}}.err()
		}
		for above := o.parent; above != nil; above = above.parent {
			if m := above.member(u); m != nil && m.level > level {
				return nil, problems{"access_level": {fmt.Sprintf(
					"should be greater than or equal to %s inherited membership from group %s", levelNames[m.level], above.name)}}.err()
			}
		}
		m := &member{user: u, level: level, by: c.user, created: c.g.now()}
		o.members = append(o.members, m)
		c.changed()
		return c.memberFields(m), nil
	}
}

var accessLevels = []int{Guest, 15, Reporter, Developer, Maintainer, Owner}

var levelNames = map[int]string{
	Guest: "Guest", 15: "Planner", Reporter: "Reporter", Developer: "Developer", Maintainer: "Maintainer", Owner: "Owner",
}

func (c *call) memberFields(m *member) object {
	body := set(c.g.basicUser(m.user), object{"access_level": m.level, "created_at": stamp(m.created), "expires_at": nil},
		c.g.ee(object{"email": m.user.email, "membership_state": "active"}))
	if m.by != nil {
		body["created_by"] = c.g.basicUser(m.by)
	}
	return body
}
