package gitlab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go/v2"

	"provision/provision/forge"
	"provision/provision/hint"
)

// Project implements [forge.Forge].
func (c *Client) Project(ctx context.Context, fullPath string) (forge.Project, error) {
	question := "project " + fullPath
	return remember(ctx, &c.memo, question, func(ctx context.Context) (forge.Project, error) {
		p, resp, err := c.lib.Projects.GetProject(fullPath, nil, gl.WithContext(ctx))
		if err := c.explain(question, resp, err); err != nil {
			return forge.Project{}, c.near(ctx, fullPath, err)
		}
		project := forge.Project{ID: p.ID, Path: p.PathWithNamespace, DefaultBranch: p.DefaultBranch, SSHURL: p.SSHURLToRepo}
		project.Registry, _, _ = strings.Cut(p.ContainerRegistryImagePrefix, "/")
		if p.Namespace != nil && p.Namespace.Kind == "group" {
			project.Group = p.Namespace.FullPath
		}
		if own := p.Permissions; own != nil {
			if own.ProjectAccess != nil {
				project.Level = int(own.ProjectAccess.AccessLevel)
			}
			if own.GroupAccess != nil {
				project.Level = max(project.Level, int(own.GroupAccess.AccessLevel))
			}
		}
		return project, nil
	})
}

// Group implements [forge.Forge].
func (c *Client) Group(ctx context.Context, fullPath string) (forge.Group, error) {
	question := "group " + fullPath
	return remember(ctx, &c.memo, question, func(ctx context.Context) (forge.Group, error) {
		//lint:ignore SA1019 without it GitLab sends the group's projects along
		without := &gl.GetGroupOptions{WithProjects: gl.Ptr(false)}
		g, resp, err := c.lib.Groups.GetGroup(fullPath, without, gl.WithContext(ctx))
		if err := c.explain(question, resp, err); err != nil {
			return forge.Group{}, err
		}
		return forge.Group{ID: g.ID, Path: g.FullPath}, nil
	})
}

// ProtectedBranches implements [forge.Forge].
func (c *Client) ProtectedBranches(ctx context.Context, project string) ([]string, error) {
	question := "protected branches of project " + project
	branches, err := remember(ctx, &c.memo, question, func(ctx context.Context) ([]*gl.ProtectedBranch, error) {
		branches, err := pages(c, question, func(o gl.ListOptions) ([]*gl.ProtectedBranch, *gl.Response, error) {
			return c.lib.ProtectedBranches.ListProtectedBranches(project, &gl.ListProtectedBranchesOptions{ListOptions: o}, gl.WithContext(ctx))
		})
		return branches, c.near(ctx, project, err)
	})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, b := range branches {
		names = append(names, b.Name)
	}
	return names, nil
}

// Self implements [forge.Forge].
func (c *Client) Self(ctx context.Context) (forge.Token, error) {
	t, err := c.self(ctx)
	if err != nil {
		return forge.Token{}, err
	}
	return c.withDaysLeft(fromPersonal(*t)), nil
}

const lookAtToken = "GitLab"

func (c *Client) self(ctx context.Context) (*gl.PersonalAccessToken, error) {

	return remember(ctx, &c.memo, lookAtToken, func(ctx context.Context) (*gl.PersonalAccessToken, error) {
		t, resp, err := c.lib.PersonalAccessTokens.GetSinglePersonalAccessToken(gl.WithContext(ctx))
		return t, c.explain(lookAtToken, resp, err)
	})
}

// CheckToken asks GitLab about the token in use. It returns an error unless
// the token is alive and has one of the scopes, if any are named: "api" to
// change things, "api" or "read_api" to look at them.
func (c *Client) CheckToken(ctx context.Context, scopes ...string) error {
	page := c.url + "/-/user_settings/personal_access_tokens"
	scope := "read_api"
	if len(scopes) > 0 {
		scope = scopes[0]
	}
	if len(scopes) > 1 {
		scope += fmt.Sprintf(" (%s is enough to look)", scopes[1])
	}
	t, err := c.Self(ctx)
	switch {
	case errors.Is(err, forge.ErrUnauthorized):
		return hint.Add(err, "make a new one with the scope %s at %s", scope, page)
	case errors.Is(err, forge.ErrForbidden):
		return hint.Add(err, "its user may be blocked, or has to do something first: log in to %s as that user", c.url)
	case errors.Is(err, forge.ErrNotFound):
		return hint.Add(err, "check gitlab.url: the API of a GitLab is below it")
	case err != nil:
		return err
	case !t.Active:
		return hint.Add(failed(fmt.Sprintf("GitLab token %q", t.Name), "it is revoked or expired", forge.ErrUnauthorized), "make a new one with the scope %s at %s", scope, page)
	case len(scopes) > 0 && !slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(t.Scopes, s) }):
		return hint.Add(failed(fmt.Sprintf("GitLab token %q", t.Name), fmt.Sprintf("it needs the scope %s, and has %s%s",
			strings.Join(scopes, " or "), strings.Join(t.Scopes, ", "), until(t.Expires)), forge.ErrForbidden), "make a new one with the scope %s at %s", scope, page)
	}
	return nil
}

func until(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " until " + t.Format(time.DateOnly)
}

const perPage = 100 // the most that GitLab gives

// pages reads a list to its end.
func pages[T any](c *Client, question string, page func(gl.ListOptions) ([]T, *gl.Response, error)) ([]T, error) {
	var all []T
	for n := int64(1); ; n++ {
		items, resp, err := page(gl.ListOptions{Page: n, PerPage: perPage})
		if err := c.explain(question, resp, err); err != nil {
			return nil, err
		}
		all = append(all, items...)
		more := resp.NextPage > n
		if resp.Header.Values("X-Next-Page") == nil {
			more = len(items) == perPage // something between us and GitLab has dropped the header
		}
		if !more {
			return all, nil
		}
	}
}
