package gitlab

import (
	"context"
	"errors"
	"fmt"

	gl "gitlab.com/gitlab-org/api/client-go/v2"

	"provision/provision/forge"
	"provision/provision/hint"
)

// CommitsAfter implements [forge.Forge]. GitLab compares commits: the list of them
// is complete, even where that of what they change is not; and it is an error there
// that a commit or a branch is unknown, while in a list of commits it is none.
func (c *Client) CommitsAfter(ctx context.Context, project, commit, branch string) (int, error) {
	p, err := c.Project(ctx, project) // which has another path by now, perhaps
	if err != nil {
		return 0, err
	}
	question := fmt.Sprintf("commits of project %s from %.12s to %s", project, commit, branch)
	return remember(ctx, &c.memo, question, func(ctx context.Context) (int, error) {
		compared, resp, err := c.lib.Repositories.Compare(p.ID, &gl.CompareOptions{From: &commit, To: &branch}, gl.WithContext(ctx))
		err = c.explain(question, resp, err)
		if errors.Is(err, forge.ErrNotFound) {
			err = hint.Add(err, "GitLab has no such commit or no such branch: see whether the branch was deleted, or the clone has commits of its own")
		}
		if err != nil {
			return 0, err
		}
		return len(compared.Commits), nil
	})
}
