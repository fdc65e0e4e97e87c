// Package job is GitLab as one of its CI jobs sees it, without a token: the
// variables that it was given, and nothing else.
package job

import (
	"context"
	"fmt"

	"provision/provision/forge"
)

// A Job is a [forge.Forge] that has only variables. It changes nothing.
type Job struct {
	// Given are the variables of the job, of whatever owner they are.
	Given []forge.Variable

	// Some says that there may be variables which the job was not given.
	Some bool
}

var _ forge.Forge = Job{}

func unseen(what string) error {
	return fmt.Errorf("%s %w without a token of GitLab", what, forge.ErrUnseen)
}

// Variables returns what the job was given.
func (j Job) Variables(context.Context, forge.Owner) ([]forge.Variable, error) {
	if j.Some {
		return j.Given, unseen("the variables")
	}
	return j.Given, nil
}

// Forget does nothing: what a job was given stays the same.
func (Job) Forget() {}

func (Job) Self(context.Context) (forge.Token, error) { return forge.Token{}, unseen("the token") }

func (Job) Project(context.Context, string) (forge.Project, error) {
	return forge.Project{}, unseen("the project")
}

func (Job) Group(context.Context, string) (forge.Group, error) {
	return forge.Group{}, unseen("the group")
}

func (Job) DeployKeys(context.Context, string) ([]forge.DeployKey, error) {
	return nil, unseen("the deploy keys")
}

func (Job) Tokens(context.Context, forge.Owner, forge.TokenKind) ([]forge.Token, error) {
	return nil, unseen("the token of the registry")
}

func (Job) ProtectedBranches(context.Context, string) ([]string, error) {
	return nil, unseen("the branch that deploys")
}

func (Job) AddDeployKey(context.Context, string, forge.DeployKey) error {
	return unseen("a deploy key")
}
func (Job) RemoveDeployKey(context.Context, string, int64) error { return unseen("a deploy key") }
func (Job) SetVariable(context.Context, forge.Owner, forge.Variable) error {
	return unseen("a variable")
}
func (Job) RemoveVariable(context.Context, forge.Owner, string, string) error {
	return unseen("a variable")
}
func (Job) CreateToken(context.Context, forge.Owner, forge.TokenKind, forge.Token) (forge.Token, error) {
	return forge.Token{}, unseen("a token")
}
func (Job) RevokeToken(context.Context, forge.Owner, forge.TokenKind, int64) error {
	return unseen("a token")
}
