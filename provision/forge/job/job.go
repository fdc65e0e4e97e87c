// Package job is GitLab as one of its CI jobs sees it, without a token: the
// variables that it was given, and nothing else.
package job

import (
	"context"

	"provision/provision/forge"
)

// A Job is a [forge.Forge] that has only variables, and changes nothing.
type Job struct {
	forge.Unseen

	// Given are the variables of the job, of whatever owner they are.
	Given []forge.Variable

	// Incomplete says that there may be variables which the job was not given.
	Incomplete bool
}

// Nothing is what somebody sees who has no token and is in no job.
var Nothing = Job{Incomplete: true}

// Variables returns what the job was given, with [forge.ErrUnseen] where that may
// not be all.
func (j Job) Variables(ctx context.Context, owner forge.Owner) ([]forge.Variable, error) {
	if j.Incomplete {
		_, err := j.Unseen.Variables(ctx, owner)
		return j.Given, err
	}
	return j.Given, nil
}
