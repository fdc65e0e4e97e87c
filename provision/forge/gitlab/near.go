package gitlab

import (
	"context"
	"errors"
	"path"
	"regexp"
	"strings"

	gl "gitlab.com/gitlab-org/api/client-go/v2"

	"provision/provision/forge"
	"provision/provision/hint"
)

// near adds to the error about a project that was not found the name of the one
// that is meant, if one is like it. That is looked for in the group that the
// path names, and among all projects that have the same last name.
func (c *Client) near(ctx context.Context, project string, err error) error {
	if !errors.Is(err, forge.ErrNotFound) {
		return advise(err, ofProject(project))
	}
	paths, _ := remember(ctx, &c.memo, "look for projects like "+project, func(ctx context.Context) ([]string, error) {
		var paths []string
		add := func(found []*gl.Project, _ *gl.Response, err error) {
			if err == nil {
				for _, p := range found {
					paths = append(paths, p.PathWithNamespace)
				}
			}
		}
		page := gl.ListOptions{PerPage: perPage}
		add(c.lib.Groups.ListGroupProjects(path.Dir(project), &gl.ListGroupProjectsOptions{ListOptions: page, Simple: gl.Ptr(true)}, gl.WithContext(ctx)))
		add(c.lib.Projects.ListProjects(&gl.ListProjectsOptions{ListOptions: page, Simple: gl.Ptr(true), Search: gl.Ptr(path.Base(project))}, gl.WithContext(ctx)))
		return paths, nil
	})
	nearest, least := "", len(project)/3+1
	for _, p := range paths {
		if !projectPath.MatchString(p) {
			continue // no GitLab has a project of that name
		}
		n := distance(strings.ToLower(p), strings.ToLower(project))
		if path.Base(p) == path.Base(project) {
			n = min(n, least-1) // in another group
		}
		if n < least {
			nearest, least = p, n
		}
	}
	if nearest == "" {
		return hint.Add(err, "check the path of the project, and that the token's user is a member of it")
	}
	return hint.Add(err, "there is a project %s", nearest)
}

var projectPath = regexp.MustCompile(`^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+$`)

// distance is how many letters have to be changed, added or left out to make one
// text of another.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		above := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := above
			if a[i] != b[j] {
				cost++
			}
			above = row[j+1]
			row[j+1] = min(cost, above+1, row[j]+1)
		}
	}
	return row[len(b)]
}
