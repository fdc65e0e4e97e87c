package forge

import (
	"context"
	"fmt"
)

// Unseen is GitLab without a token: whatever is asked for, the answer is
// ErrUnseen. What can see a part of GitLab embeds it, and has methods of its own
// for that part.
type Unseen struct{}

var _ Forge = Unseen{}

func unseen(what string) error { return fmt.Errorf("%s %w without a token of GitLab", what, ErrUnseen) }

// Forget implements [Forge]. There is nothing to forget.
func (Unseen) Forget() {}

// Self implements [Forge].
func (Unseen) Self(context.Context) (Token, error) { return Token{}, unseen("the token") }

// Variables implements [Variables].
func (Unseen) Variables(context.Context, Owner) ([]Variable, error) {
	return nil, unseen("the variables")
}

// SetVariable implements [Variables].
func (Unseen) SetVariable(context.Context, Owner, Variable) error { return unseen("a variable") }

// RemoveVariable implements [Variables].
func (Unseen) RemoveVariable(context.Context, Owner, string, string) error {
	return unseen("a variable")
}

// DeployKeys implements [DeployKeys].
func (Unseen) DeployKeys(context.Context, string) ([]DeployKey, error) {
	return nil, unseen("the deploy keys")
}

// AddDeployKey implements [DeployKeys].
func (Unseen) AddDeployKey(context.Context, string, DeployKey) error { return unseen("a deploy key") }

// RenameDeployKey implements [DeployKeys].
func (Unseen) RenameDeployKey(context.Context, string, int64, string) error {
	return unseen("a deploy key")
}

// RemoveDeployKey implements [DeployKeys].
func (Unseen) RemoveDeployKey(context.Context, string, int64) error { return unseen("a deploy key") }

// Tokens implements [Tokens].
func (Unseen) Tokens(context.Context, Owner, TokenKind) ([]Token, error) {
	return nil, unseen("the token of the registry")
}

// CreateToken implements [Tokens].
func (Unseen) CreateToken(context.Context, Owner, TokenKind, Token) (Token, error) {
	return Token{}, unseen("a token")
}

// RevokeToken implements [Tokens].
func (Unseen) RevokeToken(context.Context, Owner, TokenKind, int64) error { return unseen("a token") }

// Project implements [Projects].
func (Unseen) Project(context.Context, string) (Project, error) {
	return Project{}, unseen("the project")
}

// ProtectedBranches implements [Projects].
func (Unseen) ProtectedBranches(context.Context, string) ([]string, error) {
	return nil, unseen("the branch that deploys")
}

// Files implements [Files].
func (Unseen) Files(context.Context, string, string, string) ([]string, error) {
	return nil, unseen("the files of the project")
}

// Newest implements [Branches].
func (Unseen) Newest(context.Context, string, string) ([]Commit, error) {
	return nil, unseen("the commits")
}
