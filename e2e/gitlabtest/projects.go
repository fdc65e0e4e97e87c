package gitlabtest

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The rules for the paths and names of groups and projects.
var (
	pathPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	namePattern = regexp.MustCompile(`^[\p{L}\p{N}_][\p{L}\p{N}_.+ -]*$`)
)

const (
	namespacePathRule = "can only include non-accented letters, digits, '_', '-' and '.'. It must not start with '-', '_', or '.', nor end with '-', '_', '.', '.git', or '.atom'."
	groupPathRule     = "can contain only letters, digits, '_', '-' and '.'. Cannot start with '-' or end in '.', '.git' or '.atom'."
	projectPathRule   = "can contain only letters, digits, '_', '-' and '.'. Cannot start with '-', end in '.git' or end in '.atom'"
	projectNameRule   = "can contain only letters, digits, emoji, '_', '.', '+', dashes, or spaces. It must start with a letter, digit, emoji, or '_'."
)

func listProjects(c *call) (any, error) {
	var seen []*owner
	for _, o := range c.g.projects {
		if c.sees(o) {
			seen = append(seen, o)
		}
	}
	show := c.projectFields
	if c.boolean("simple", false) {
		show = c.simpleProject
	}
	if c.text("pagination") == "keyset" {
		return keyset(c, seen, show)
	}
	return page(c, newestFirst(seen), show)
}

func showProject(c *call) (any, error) {
	o, err := c.project()
	if err != nil {
		return nil, err
	}
	body := c.projectFields(o)
	if c.user != nil {
		body["permissions"] = object{"project_access": access(o, c.user), "group_access": access(o.parent, c.user)}
	}
	return body, nil
}

func access(o *owner, u *user) any {
	level := 0
	switch {
	case o == nil:
	case o.kind == "group":
		level = o.role(u)
	default:
		if m := o.member(u); m != nil {
			level = m.level
		}
	}
	if level == 0 {
		return nil
	}
	return object{"access_level": level, "notification_level": 3}
}

func createProject(c *call) (any, error) {
	c.atLeastOne("name", "path")
	visibility := c.oneOf("visibility", "private", visibilities...)
	name, path := c.text("name"), c.text("path")
	readme := c.boolean("initialize_with_readme", false)
	if err := c.err(); err != nil {
		return nil, err
	}
	group := c.g.find("group", c.text("namespace_id"))
	if group == nil || c.level(group) < createLevel(group) {
		return nil, problems{"namespace": {"is not valid"}}.err()
	}
	if name == "" {
		name = path
	}
	if path == "" {
		path = strings.ReplaceAll(name, " ", "-")
	}
	wrong := problems{}
	if !c.has("path") && !namePattern.MatchString(name) {
		wrong.add("name", projectNameRule)
	} else if !pathPattern.MatchString(path) {
		wrong["project_namespace.path"] = []string{namespacePathRule, projectPathRule}
		wrong["path"] = []string{projectPathRule, namespacePathRule}
	}
	for _, o := range c.g.below("project", group, false) {
		if o.name == name {
			wrong.add("project_namespace.name", "has already been taken")
			wrong.add("name", "has already been taken")
		}
		if strings.EqualFold(o.path, path) {
			wrong.add("path", "has already been taken")
		}
	}
	for _, o := range c.g.below("group", group, false) {
		if strings.EqualFold(o.path, path) {
			wrong.add("path", "has already been taken")
		}
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	o := c.g.newProject(group, path, name)
	o.description, o.creator, o.empty = c.optional("description"), c.user, !readme
	// What would be more visible than its group is made as visible as that.
	o.visibility = visibilities[min(slices.Index(visibilities, visibility), slices.Index(visibilities, group.visibility))]
	c.changed()
	return c.projectFields(o), nil
}

// createLevel is what it takes to make a project in a group.
func createLevel(group *owner) int {
	switch group.creation {
	case "developer":
		return Developer
	case "maintainer":
		return Maintainer
	case "owner":
		return Owner
	}
	return Owner + 1
}

func updateProject(c *call) (any, error) {
	o, err := c.project()
	if err != nil {
		return nil, err
	}
	c.oneOf("merge_method", "", "ff", "rebase_merge", "merge")
	if err := c.err(); err != nil {
		return nil, err
	}
	if c.level(o) < Maintainer {
		return nil, forbidden()
	}
	if c.has("description") {
		o.description = c.optional("description")
	}
	if c.has("default_branch") {
		o.defaultBranch = c.text("default_branch")
	}
	if c.has("path") {
		c.g.rename(o, c.text("path"))
	}
	for name, old := range c.projectFields(o) {
		if _, flag := old.(bool); flag && c.has(name) {
			o.flags = set(object{}, o.flags, object{name: c.boolean(name, false)})
		}
	}
	c.changed()
	return c.projectFields(o), nil
}

// identity is what every view of a project begins with.
func identity(o *owner) object {
	return object{
		"id": o.id, "description": o.description, "name": o.name, "name_with_namespace": o.fullName(),
		"path": o.path, "path_with_namespace": o.fullPath(), "created_at": stamp(o.created),
	}
}

func (g *GitLab) sshURL(o *owner) string {
	host := g.config.SSHHost
	if host == "" {
		host = g.hostname()
	}
	if _, port, err := net.SplitHostPort(host); err == nil && port != "22" {
		return "ssh://git@" + host + "/" + o.fullPath() + ".git"
	}
	return "git@" + strings.TrimSuffix(host, ":22") + ":" + o.fullPath() + ".git"
}

// simpleProject is what lists show with simple=true.
func (c *call) simpleProject(o *owner) object {
	web := c.g.url() + "/" + o.fullPath()
	var readme any
	if !o.empty {
		readme = web + "/-/blob/" + o.defaultBranch + "/README.md"
	}
	body := set(identity(o), object{
		"default_branch": o.defaultBranch, "tag_list": []any{}, "topics": []any{},
		"ssh_url_to_repo": c.g.sshURL(o), "http_url_to_repo": web + ".git", "web_url": web, "readme_url": readme,
		"forks_count": 0, "avatar_url": nil, "star_count": 0, "last_activity_at": stamp(o.created), "visibility": o.visibility,
	})
	if o.parent != nil {
		body["namespace"] = c.namespace(o.parent)
	}
	if c.user != nil && c.user.admin {
		body["repository_storage"] = "default"
	}
	return body
}

func (c *call) namespace(o *owner) object {
	return object{
		"id": o.id, "name": o.name, "path": o.path, "kind": "group", "full_path": o.fullPath(), "parent_id": parentID(o),
		"avatar_url": nil, "web_url": c.g.url() + "/groups/" + o.fullPath(),
	}
}

// Features of a project that are switched on, or open to everybody who may
// see it.
var (
	projectFlags = map[bool][]string{
		true: {
			"packages_enabled", "issues_enabled", "merge_requests_enabled", "wiki_enabled", "jobs_enabled", "snippets_enabled",
			"container_registry_enabled", "can_create_merge_request_in", "emails_enabled", "show_diff_preview_in_email",
			"shared_runners_enabled", "lfs_enabled", "public_jobs", "request_access_enabled", "remove_source_branch_after_merge",
			"printing_merge_request_link_enabled", "enforce_auth_checks_on_uploads", "warn_about_potentially_unwanted_characters",
			"autoclose_referenced_issues",
		},
		false: {
			"archived", "resolve_outdated_diff_discussions", "service_desk_enabled", "emails_disabled",
			"only_allow_merge_if_pipeline_succeeds", "only_allow_merge_if_all_discussions_are_resolved",
		},
	}
	projectAccess = []string{
		"issues", "repository", "merge_requests", "forking", "wiki", "builds", "snippets", "analytics", "container_registry",
		"releases", "environments", "feature_flags", "infrastructure", "monitor", "model_experiments", "model_registry",
		"package_registry",
	}
	projectEmpty = []string{
		"marked_for_deletion_at", "marked_for_deletion_on", "service_desk_address", "ci_config_path",
		"allow_merge_on_skipped_pipeline", "merge_request_title_regex", "merge_request_title_regex_description",
		"suggestion_commit_message", "merge_commit_template", "squash_commit_template", "issue_branch_template",
		"max_artifacts_size",
	}
	// What only those see who may administer the project.
	projectSettings = object{
		"import_url": nil, "import_type": nil, "import_error": nil,
		"ci_default_git_depth": 20, "ci_delete_pipelines_in_seconds": nil, "ci_forward_deployment_enabled": true,
		"ci_forward_deployment_rollback_allowed": true, "ci_job_token_scope_enabled": false, "ci_separated_caches": true,
		"ci_allow_fork_pipelines_to_run_in_parent_project": true,
		"ci_id_token_sub_claim_components":                 []string{"project_path", "ref_type", "ref"},
		"ci_pipeline_variables_minimum_override_role":      "developer", "ci_push_repository_for_job_token_allowed": false,
		"build_git_strategy": "fetch", "build_timeout": 3600, "keep_latest_artifact": true,
		"restrict_user_defined_variables": false, "runner_token_expiration_interval": nil, "group_runners_enabled": true,
		"resource_group_default_process_mode": "unordered", "auto_cancel_pending_pipelines": "enabled",
		"auto_devops_enabled": true, "auto_devops_deploy_strategy": "continuous", "runners_token": noRunners,
	}
)

// projectFields is the whole of a project.
func (c *call) projectFields(o *owner) object {
	body := c.simpleProject(o)
	for value, names := range projectFlags {
		for _, name := range names {
			body[name] = value
		}
	}
	for _, name := range projectAccess {
		body[name+"_access_level"] = "enabled"
	}
	for _, name := range projectEmpty {
		body[name] = nil
	}
	self := fmt.Sprintf("%s/api/v4/projects/%d", c.g.url(), o.id)
	links := object{"self": self, "repo_branches": self + "/repository/branches"}
	for _, name := range []string{"issues", "merge_requests", "labels", "events", "members", "cluster_agents"} {
		links[name] = self + "/" + name
	}
	description := ""
	if o.description != nil && *o.description != "" {
		description = `<p dir="auto">` + *o.description + `</p>`
	}
	set(body, object{
		"container_registry_image_prefix": c.g.config.Registry + "/" + strings.ToLower(o.fullPath()),
		"_links":                          links, "empty_repo": o.empty, "repository_object_format": "sha1",
		"container_expiration_policy": object{
			"cadence": "1d", "enabled": false, "keep_n": 10, "older_than": "90d", "name_regex": ".*", "name_regex_keep": nil,
			"next_run_at": stamp(o.created.Add(24 * time.Hour)),
		},
		"pages_access_level": "private", "security_and_compliance_access_level": "private",
		"creator_id": creatorID(o), "import_status": "none", "open_issues_count": 0, "description_html": description,
		"updated_at": stamp(o.created), "shared_with_groups": []any{}, "merge_method": "merge", "squash_option": "default_off",
	}, c.g.ee(object{
		"requirements_enabled": false, "requirements_access_level": "enabled", "security_and_compliance_enabled": true,
		"compliance_frameworks": []any{},
	}))
	if c.level(o) >= Maintainer {
		set(body, projectSettings)
	}
	for name, value := range o.flags {
		if _, seen := body[name]; seen {
			body[name] = value
		}
	}
	return body
}

func creatorID(o *owner) int64 {
	if o.creator == nil {
		return 1
	}
	return o.creator.id
}
