package gitlab

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"testing"

	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/secret"
)

// Whatever GitLab refuses with 403 or 404, a hint says what to do, or nothing is told at
// all. Each method of [forge.Forge] is here.
func TestEachRefusalHasAHint(t *testing.T) {
	const project = "acme/app"
	key := forge.DeployKey{Title: "deploy@web1", Key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEgHWll+choVbi4Hmd5cwMUyTcbn6vHN1GJQho7FMhXd deploy@web1"}
	variable := forge.Variable{Key: "SSH_AUTH", Value: secret.New("text"), Scope: "production"}
	type call = func(ctx context.Context, c *Client, owner forge.Owner) error
	calls := map[string][]call{
		"Variables":   {func(ctx context.Context, c *Client, o forge.Owner) error { _, err := c.Variables(ctx, o); return err }},
		"SetVariable": {func(ctx context.Context, c *Client, o forge.Owner) error { return c.SetVariable(ctx, o, variable) }},
		"RemoveVariable": {func(ctx context.Context, c *Client, o forge.Owner) error {
			return c.RemoveVariable(ctx, o, "SSH_AUTH", "*")
		}},
		"DeployKeys": {func(ctx context.Context, c *Client, _ forge.Owner) error {
			_, err := c.DeployKeys(ctx, project)
			return err
		}},
		"AddDeployKey": {func(ctx context.Context, c *Client, _ forge.Owner) error { return c.AddDeployKey(ctx, project, key) }},
		"RenameDeployKey": {func(ctx context.Context, c *Client, _ forge.Owner) error {
			return c.RenameDeployKey(ctx, project, 7, "x@y")
		}},
		"RemoveDeployKey": {func(ctx context.Context, c *Client, _ forge.Owner) error { return c.RemoveDeployKey(ctx, project, 7) }},
		"Tokens": {func(ctx context.Context, c *Client, o forge.Owner) error {
			_, err := c.Tokens(ctx, o, forge.AccessToken)
			return err
		}, func(ctx context.Context, c *Client, o forge.Owner) error {
			_, err := c.Tokens(ctx, o, forge.DeployToken)
			return err
		}},
		"CreateToken": {func(ctx context.Context, c *Client, o forge.Owner) error {
			_, err := c.CreateToken(ctx, o, forge.AccessToken, forge.Token{Name: "x", Level: 20})
			return err
		}},
		"RevokeToken": {func(ctx context.Context, c *Client, o forge.Owner) error {
			return c.RevokeToken(ctx, o, forge.AccessToken, 7)
		}},
		"Project": {func(ctx context.Context, c *Client, _ forge.Owner) error {
			_, err := c.Project(ctx, project)
			return err
		}},
		"ProtectedBranches": {func(ctx context.Context, c *Client, _ forge.Owner) error {
			_, err := c.ProtectedBranches(ctx, project)
			return err
		}},
		"Files": {func(ctx context.Context, c *Client, _ forge.Owner) error {
			_, err := c.Files(ctx, project, "main", "")
			return err
		}},
		"Newest": {func(ctx context.Context, c *Client, _ forge.Owner) error {
			_, err := c.Newest(ctx, project, "main")
			return err
		}},
		"Self":   {func(ctx context.Context, c *Client, _ forge.Owner) error { return c.CheckToken(ctx) }},
		"Forget": {},
	}
	all := reflect.TypeFor[forge.Forge]()
	for i := range all.NumMethod() {
		if _, ok := calls[all.Method(i).Name]; !ok {
			t.Errorf("%s is not called", all.Method(i).Name)
		}
	}
	// A change is refused on its own, or with the list that is read before it.
	for _, lists := range []bool{true, false} {
		for status, kind := range map[int]error{403: forge.ErrForbidden, 404: forge.ErrNotFound} {
			s := newStub(t)
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if lists && r.Method == http.MethodGet && r.URL.Path != "/api/v4/personal_access_tokens/self" {
					reply(200, "[]")(w, r)
					return
				}
				reply(status, `{"message":"no"}`)(w, r)
			})
			for name, calls := range calls {
				for _, call := range calls {
					for _, owner := range []forge.Owner{{Kind: forge.GroupOwner, Path: "acme"}, ofProject(project)} {
						c, _ := s.client()
						err := call(t.Context(), c, owner)
						if errors.Is(err, kind) && len(hint.Of(err)) != 1 {
							t.Errorf("%s of %s, lists %t: %v has the hints %q", name, owner, lists, err, hint.Of(err))
						}
					}
				}
			}
		}
	}
}
