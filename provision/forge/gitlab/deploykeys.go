package gitlab

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go/v2"

	"provision/provision/forge"
	"provision/provision/hint"
)

func deployKeysOf(project string) string { return "deploy keys of project " + project }

// DeployKeys implements [forge.Forge].
func (c *Client) DeployKeys(ctx context.Context, project string) ([]forge.DeployKey, error) {
	question := deployKeysOf(project)
	keys, err := remember(ctx, &c.memo, question, func(ctx context.Context) ([]forge.DeployKey, error) {
		found, err := pages(c, question, func(o gl.ListOptions) ([]*gl.ProjectDeployKey, *gl.Response, error) {
			return c.lib.DeployKeys.ListProjectDeployKeys(project, &gl.ListProjectDeployKeysOptions{ListOptions: o}, gl.WithContext(ctx))
		})
		var keys []forge.DeployKey
		for _, k := range found {
			key := fromDeployKey(k)
			key.DaysLeft = c.daysUntil(key.ExpiresAt)
			keys = append(keys, key)
		}
		return keys, c.near(ctx, project, err)
	})
	return slices.Clone(keys), err
}

func fromDeployKey(k *gl.ProjectDeployKey) forge.DeployKey {
	key := forge.DeployKey{ID: k.ID, Title: k.Title, Key: k.Key, CanPush: k.CanPush}
	if k.ExpiresAt != nil {
		key.ExpiresAt = *k.ExpiresAt
	}
	return key
}

// AddDeployKey implements [forge.Forge]. Keys are the same when their blobs
// are: GitLab allows a blob once, whatever the comments and the titles say.
// The title and the expiry of a key that exists already stay as they are.
func (c *Client) AddDeployKey(ctx context.Context, project string, key forge.DeployKey) error {
	asked := fmt.Sprintf("add deploy key %q to project %s", key.Title, project)
	fingerprint, err := fingerprint(key.Key)
	if err != nil {
		return failed(asked, err.Error(), nil)
	}
	c.memo.forget(deployKeysOf(project))
	there, err := c.DeployKeys(ctx, project)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(there, func(k forge.DeployKey) bool { return blob(k.Key) == blob(key.Key) })
	if i >= 0 {
		return c.settleDeployKey(ctx, asked, project, there[i], key)
	}

	defer c.memo.forget(deployKeysOf(project))
	o := &gl.AddDeployKeyOptions{Title: &key.Title, Key: gl.Ptr(strings.TrimSpace(key.Key)), CanPush: &key.CanPush}
	if !key.ExpiresAt.IsZero() {
		o.ExpiresAt = &key.ExpiresAt
	}
	got, resp, err := c.lib.DeployKeys.AddDeployKey(c.moved.project(project), o, gl.WithContext(ctx))
	err = advise(c.explain(asked, resp, err), ofProject(project))
	if errors.Is(err, forge.ErrTaken) {
		got, err = c.enableDeployKey(ctx, asked, project, key, fingerprint)
	}
	if err != nil {
		return err
	}
	return c.settleDeployKey(ctx, asked, project, fromDeployKey(got), key)
}

// settleDeployKey makes a key that is in the project push or not, as wanted.
func (c *Client) settleDeployKey(ctx context.Context, asked, project string, there, want forge.DeployKey) error {
	if !there.ExpiresAt.IsZero() && !there.ExpiresAt.After(c.now()) {
		return failed(asked, fmt.Sprintf("GitLab has this key already, as %q, and it expired on %s: remove it there first", clean(there.Title), there.ExpiresAt.Format(time.DateOnly)), nil)
	}
	if there.CanPush == want.CanPush {
		return nil
	}
	defer c.memo.forget(deployKeysOf(project))
	got, resp, err := c.lib.DeployKeys.UpdateDeployKey(c.moved.project(project), there.ID, &gl.UpdateDeployKeyOptions{CanPush: &want.CanPush}, gl.WithContext(ctx))
	if err := c.explain(asked, resp, err); err != nil {
		return advise(err, ofProject(project))
	}
	if got.CanPush != want.CanPush {
		return failed(asked, fmt.Sprintf("the key is there as %q, and GitLab keeps can_push at %t", clean(there.Title), got.CanPush), nil)
	}
	return nil
}

// enableDeployKey lends a key of another project to this one. GitLab finds it
// by itself only where the whole line is the same, comment included.
func (c *Client) enableDeployKey(ctx context.Context, asked, project string, key forge.DeployKey, fingerprint string) (*gl.ProjectDeployKey, error) {
	elsewhere := "where this token cannot see it; an admin can look in Admin > Deploy keys"
	for _, list := range []func(context.Context) ([]foundKey, error){c.ownDeployKeys, c.allDeployKeys} {
		found, err := list(ctx)
		if errors.Is(err, forge.ErrForbidden) || errors.Is(err, forge.ErrNotFound) {
			continue // the list of all keys is for admins
		}
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(found, func(k foundKey) bool { return blob(k.line) == blob(key.Key) })
		if i < 0 {
			continue
		}
		got, resp, err := c.lib.DeployKeys.EnableDeployKey(c.moved.project(project), found[i].id, gl.WithContext(ctx))
		err = c.explain(asked, resp, err)
		if err == nil {
			return got, nil
		}
		if !errors.Is(err, forge.ErrNotFound) {
			return nil, advise(err, ofProject(project))
		}
		if found[i].where != "" {
			elsewhere = "in " + found[i].where + ", where the token's user is no Maintainer"
		}
	}
	return nil, failed(asked, fmt.Sprintf("its fingerprint %s %v, by a deploy key or a user's key %s", fingerprint, forge.ErrTaken, elsewhere), forge.ErrTaken)
}

type foundKey struct {
	id    int64
	line  string
	where string // projects, if known
}

// ownDeployKeys lists the deploy keys of all projects that the token's user
// maintains.
func (c *Client) ownDeployKeys(ctx context.Context) ([]foundKey, error) {
	self, err := c.self(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := pages(c, "deploy keys of one's own projects", func(o gl.ListOptions) ([]*gl.ProjectDeployKey, *gl.Response, error) {
		return c.lib.DeployKeys.ListUserProjectDeployKeys(self.UserID, &gl.ListUserProjectDeployKeysOptions{ListOptions: o}, gl.WithContext(ctx))
	})
	var found []foundKey
	for _, k := range keys {
		found = append(found, foundKey{id: k.ID, line: k.Key})
	}
	return found, err
}

// allDeployKeys lists the deploy keys of the instance, which admins may.
func (c *Client) allDeployKeys(ctx context.Context) ([]foundKey, error) {
	keys, err := pages(c, "all deploy keys", func(o gl.ListOptions) ([]*gl.InstanceDeployKey, *gl.Response, error) {
		return c.lib.DeployKeys.ListAllDeployKeys(&gl.ListInstanceDeployKeysOptions{ListOptions: o}, gl.WithContext(ctx))
	})
	var found []foundKey
	for _, k := range keys {
		var projects []string
		for _, p := range slices.Concat(k.ProjectsWithWriteAccess, k.ProjectsWithReadonlyAccess) {
			projects = append(projects, p.PathWithNamespace)
		}
		found = append(found, foundKey{id: k.ID, line: k.Key, where: clean(strings.Join(projects, ", "))})
	}
	return found, err
}

// RenameDeployKey implements [forge.Forge].
func (c *Client) RenameDeployKey(ctx context.Context, project string, id int64, title string) error {
	asked := fmt.Sprintf("rename deploy key %d of project %s to %q", id, project, title)
	defer c.memo.forget(deployKeysOf(project))
	got, resp, err := c.lib.DeployKeys.UpdateDeployKey(c.moved.project(project), id, &gl.UpdateDeployKeyOptions{Title: &title}, gl.WithContext(ctx))
	if err := c.explain(asked, resp, err); err != nil {
		return advise(err, ofProject(project))
	}
	if got.Title != title {
		return hint.Add(failed(asked, fmt.Sprintf("GitLab keeps the title %q, as another project has the key too", clean(got.Title)), forge.ErrForbidden),
			"remove the key from projects that nobody deploys from any more, or let an administrator of GitLab rename it")
	}
	return nil
}

// RemoveDeployKey implements [forge.Forge].
func (c *Client) RemoveDeployKey(ctx context.Context, project string, id int64) error {
	defer c.memo.forget(deployKeysOf(project))
	resp, err := c.lib.DeployKeys.DeleteDeployKey(c.moved.project(project), id, gl.WithContext(ctx))
	return advise(c.explain(fmt.Sprintf("remove deploy key %d from project %s", id, project), resp, err), ofProject(project))
}

// blob returns the middle one of the three parts of a public key.
func blob(line string) string {
	if parts := strings.Fields(line); len(parts) >= 2 {
		return parts[1]
	}
	return ""
}

// fingerprint returns what ssh-keygen -l and GitLab call a public key.
func fingerprint(line string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(blob(line))
	if err != nil || len(raw) == 0 {
		return "", errors.New("it is no public key: one line with type, blob and comment")
	}
	sum := sha256.Sum256(raw)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]), nil
}
