package gitlab

import (
	"context"
	"errors"

	gl "gitlab.com/gitlab-org/api/client-go/v2"

	"provision/provision/forge"
)

// Newest implements [forge.Branches].
func (c *Client) Newest(ctx context.Context, project, branch string) ([]forge.Commit, error) {
	question := "commits of " + branch + " of project " + project
	return remember(ctx, &c.memo, question, func(ctx context.Context) ([]forge.Commit, error) {
		options := &gl.ListCommitsOptions{RefName: gl.Ptr(branch), ListOptions: gl.ListOptions{PerPage: perPage}}
		list, resp, err := c.lib.Commits.ListCommits(project, options, gl.WithContext(ctx))
		err = c.explain(question, resp, err)
		if errors.Is(err, forge.ErrNotFound) || errors.Is(err, forge.ErrForbidden) {
			return nil, nil // remembered, for it is asked for each host
		}
		if err != nil {
			return nil, err
		}
		var commits []forge.Commit
		for _, l := range list {
			commits = append(commits, forge.Commit{ID: l.ID, Parents: l.ParentIDs})
		}
		return commits, nil
	})
}
