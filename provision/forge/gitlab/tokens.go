package gitlab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go/v2"

	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/secret"
)

func tokensOf(owner forge.Owner, kind forge.TokenKind) string {
	return fmt.Sprintf("%ss of %s", kind, owner)
}

// Tokens implements [forge.Forge]. Whether a token is active is what GitLab
// says, by GitLab's clock.
func (c *Client) Tokens(ctx context.Context, owner forge.Owner, kind forge.TokenKind) ([]forge.Token, error) {
	question := tokensOf(owner, kind)
	tokens, err := remember(ctx, &c.memo, question, func(ctx context.Context) ([]forge.Token, error) {
		found, err := pages(c, question, func(o gl.ListOptions) ([]forge.Token, *gl.Response, error) {
			return c.tokenPage(ctx, owner, kind, o)
		})
		return each(found, c.withDaysLeft), err
	})
	tokens = slices.Clone(tokens)
	for i := range tokens {
		tokens[i].Scopes = slices.Clone(tokens[i].Scopes)
	}
	return tokens, advise(c.orForbidden(ctx, question, err), owner)
}

func (c *Client) tokenPage(ctx context.Context, owner forge.Owner, kind forge.TokenKind, o gl.ListOptions) ([]forge.Token, *gl.Response, error) {
	ofProject := owner.Kind == forge.ProjectOwner
	switch {
	case kind == forge.DeployToken && ofProject:
		found, resp, err := c.lib.DeployTokens.ListProjectDeployTokens(owner.Path, &gl.ListProjectDeployTokensOptions{ListOptions: o}, gl.WithContext(ctx))
		return each(found, fromDeploy), resp, err
	case kind == forge.DeployToken:
		found, resp, err := c.lib.DeployTokens.ListGroupDeployTokens(owner.Path, &gl.ListGroupDeployTokensOptions{ListOptions: o}, gl.WithContext(ctx))
		return each(found, fromDeploy), resp, err
	case ofProject:
		found, resp, err := c.lib.ProjectAccessTokens.ListProjectAccessTokens(owner.Path, &gl.ListProjectAccessTokensOptions{ListOptions: o}, gl.WithContext(ctx))
		return each(found, fromAccess), resp, err
	default:
		found, resp, err := c.lib.GroupAccessTokens.ListGroupAccessTokens(owner.Path, &gl.ListGroupAccessTokensOptions{ListOptions: o}, gl.WithContext(ctx))
		return each(found, func(t *gl.GroupAccessToken) forge.Token { return fromAccess((*gl.ProjectAccessToken)(t)) }), resp, err
	}
}

// longest is how many days a token may live: GitLab allows 365, counted in
// days of a calendar that may be one ahead of ours.
const longest = 364

// CreateToken implements [forge.Forge]. An access token needs a Level; of
// Expires GitLab keeps the date, in UTC. A deploy token without Username gets
// one from GitLab.
func (c *Client) CreateToken(ctx context.Context, owner forge.Owner, kind forge.TokenKind, t forge.Token) (forge.Token, error) {
	asked := fmt.Sprintf("create %s %q of %s", kind, t.Name, owner)
	if kind == forge.AccessToken && t.Level == 0 {
		// GitLab's own choice would be a Maintainer.
		return forge.Token{}, failed(asked, "an access token needs an access level", nil)
	}
	if t.Expires.IsZero() {
		t.Expires = c.now().UTC().AddDate(0, 0, longest)
	}
	defer c.memo.forget(tokensOf(owner, kind))
	got, resp, err := c.createToken(ctx, owner, kind, t)
	if err := advise(c.orForbidden(ctx, asked, c.explain(asked, resp, err)), owner); err != nil {
		return forge.Token{}, err
	}
	if got.Value.IsZero() {
		return forge.Token{}, failed(asked, fmt.Sprintf("GitLab has made token %d and not shown its value: revoke it", got.ID), nil)
	}
	return c.withDaysLeft(got), nil
}

func (c *Client) createToken(ctx context.Context, owner forge.Owner, kind forge.TokenKind, t forge.Token) (forge.Token, *gl.Response, error) {
	ofProject := owner.Kind == forge.ProjectOwner
	if kind == forge.DeployToken {
		o := &gl.CreateProjectDeployTokenOptions{Name: &t.Name, Scopes: &t.Scopes}
		if !t.Expires.IsZero() {
			o.ExpiresAt = &t.Expires
		}
		if t.Username != "" {
			o.Username = &t.Username
		}
		if ofProject {
			got, resp, err := c.lib.DeployTokens.CreateProjectDeployToken(owner.Path, o, gl.WithContext(ctx))
			return made(got, fromDeploy, err), resp, err
		}
		got, resp, err := c.lib.DeployTokens.CreateGroupDeployToken(owner.Path, (*gl.CreateGroupDeployTokenOptions)(o), gl.WithContext(ctx))
		return made(got, fromDeploy, err), resp, err
	}
	o := &gl.CreateProjectAccessTokenOptions{
		Name:        &t.Name,
		Description: &t.Description,
		Scopes:      &t.Scopes,
		AccessLevel: gl.Ptr(gl.AccessLevelValue(t.Level)),
		ExpiresAt:   gl.Ptr(gl.ISOTime(t.Expires.UTC())),
	}
	if ofProject {
		got, resp, err := c.lib.ProjectAccessTokens.CreateProjectAccessToken(owner.Path, o, gl.WithContext(ctx))
		return made(got, fromAccess, err), resp, err
	}
	got, resp, err := c.lib.GroupAccessTokens.CreateGroupAccessToken(owner.Path, (*gl.CreateGroupAccessTokenOptions)(o), gl.WithContext(ctx))
	return made((*gl.ProjectAccessToken)(got), fromAccess, err), resp, err
}

// RevokeToken implements [forge.Forge]. GitLab keeps a revoked access token
// in its list, and forgets a revoked deploy token.
func (c *Client) RevokeToken(ctx context.Context, owner forge.Owner, kind forge.TokenKind, id int64) error {
	asked := fmt.Sprintf("revoke %s %d of %s", kind, id, owner)
	defer c.memo.forget(tokensOf(owner, kind))
	ofProject := owner.Kind == forge.ProjectOwner
	var resp *gl.Response
	var err error
	switch {
	case kind == forge.DeployToken && ofProject:
		resp, err = c.lib.DeployTokens.DeleteProjectDeployToken(owner.Path, id, gl.WithContext(ctx))
	case kind == forge.DeployToken:
		resp, err = c.lib.DeployTokens.DeleteGroupDeployToken(owner.Path, id, gl.WithContext(ctx))
	case ofProject:
		resp, err = c.lib.ProjectAccessTokens.RevokeProjectAccessToken(owner.Path, id, gl.WithContext(ctx))
	default:
		resp, err = c.lib.GroupAccessTokens.RevokeGroupAccessToken(owner.Path, id, gl.WithContext(ctx))
	}
	return advise(c.orForbidden(ctx, asked, c.explain(asked, resp, err)), owner)
}

// orForbidden corrects GitLab, which answers 401 about access tokens to a
// token that is alive and lacks the right.
func (c *Client) orForbidden(ctx context.Context, asked string, err error) error {
	if !errors.Is(err, forge.ErrUnauthorized) {
		return err
	}
	c.memo.forget(lookAtToken)
	if _, dead := c.self(ctx); dead != nil {
		return err
	}
	return hint.Add(failed(asked, forge.ErrForbidden.Error(), forge.ErrForbidden), "the tokens of a group are for its Owners, those of a project for its Maintainers: let one of them make the token")
}

func (c *Client) withDaysLeft(t forge.Token) forge.Token {
	t.DaysLeft = c.daysUntil(t.Expires)
	return t
}

// daysUntil counts whole days; zero, which is no end, is none.
func (c *Client) daysUntil(end time.Time) int {
	if end.IsZero() {
		return 0
	}
	return max(0, int(end.Sub(c.now())/(24*time.Hour)))
}

func each[S any](found []S, from func(S) forge.Token) []forge.Token {
	var tokens []forge.Token
	for _, t := range found {
		tokens = append(tokens, from(t))
	}
	return tokens
}

// made converts a new token; the library has none to convert beside an error.
func made[S any](t *S, from func(*S) forge.Token, err error) forge.Token {
	if err != nil || t == nil {
		return forge.Token{}
	}
	return from(t)
}

func fromPersonal(t gl.PersonalAccessToken) forge.Token {
	token := forge.Token{
		ID:          t.ID,
		Name:        t.Name,
		Description: t.Description,
		Scopes:      slices.Clone(t.Scopes),
		Active:      t.Active && !t.Revoked,
		NeverUsed:   t.LastUsedAt == nil,
	}
	if t.ExpiresAt != nil {
		token.Expires = time.Time(*t.ExpiresAt).UTC()
	}
	if t.Token != "" {
		token.Value = secret.New(t.Token)
	}
	return token
}

func fromAccess(t *gl.ProjectAccessToken) forge.Token {
	token := fromPersonal(t.PersonalAccessToken)
	token.Level = int(t.AccessLevel)
	return token
}

func fromDeploy(t *gl.DeployToken) forge.Token {
	token := forge.Token{
		ID:       t.ID,
		Name:     t.Name,
		Username: t.Username,
		Scopes:   slices.Clone(t.Scopes),
		Active:   !t.Revoked && !t.Expired,
	}
	if t.ExpiresAt != nil {
		token.Expires = t.ExpiresAt.UTC()
	}
	if t.Token != "" {
		token.Value = secret.New(t.Token)
	}
	return token
}
