package gitlab

import (
	"context"
	"errors"
	"fmt"

	gl "gitlab.com/gitlab-org/api/client-go/v2"

	"provision/provision/forge"
)

// Files implements [forge.Forge].
func (c *Client) Files(ctx context.Context, project, branch, folder string) ([]string, error) {
	question := "the files of project " + project
	return remember(ctx, &c.memo, fmt.Sprintf("%s in %x:%x", question, branch, folder), func(ctx context.Context) ([]string, error) {
		options := &gl.ListTreeOptions{}
		if branch != "" {
			options.Ref = gl.Ptr(branch)
		}
		if folder != "" {
			options.Path = gl.Ptr(folder)
		}
		nodes, err := pages(c, question, func(o gl.ListOptions) ([]*gl.TreeNode, *gl.Response, error) {
			options.ListOptions = o
			return c.lib.Repositories.ListTree(project, options, gl.WithContext(ctx))
		})
		if errors.Is(err, forge.ErrNotFound) || errors.Is(err, forge.ErrForbidden) {
			return nil, nil // remembered, for it is asked for each host
		}
		var names []string
		for _, n := range nodes {
			names = append(names, n.Name)
		}
		return names, err
	})
}
