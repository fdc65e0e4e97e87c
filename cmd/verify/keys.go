package verify

import (
	"context"
	"errors"
	"fmt"
	"os"

	"provision/cmd/fleet"
	"provision/cmd/usage"
	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/forge/job"
	"provision/provision/hint"
	"provision/provision/secret"
)

// readKey reads the key of a file.
func readKey(m Mode) (secret.Value, error) {
	text, err := os.ReadFile(m.File)
	if err != nil {
		return secret.Value{}, usage.Error{Err: noKeyFile(m.From, err)}
	}
	return secret.New(string(text)), nil
}

// noKeyFile says why a file with a CI key cannot be read. Its name may be
// the key itself, and is left out.
func noKeyFile(from string, err error) error {
	var path *os.PathError
	switch {
	case errors.Is(err, os.ErrNotExist):
		err = errors.New("there is no such file")
	case errors.As(err, &path):
		err = path.Err
	}
	return hint.Add(fmt.Errorf("the CI key of %s: %w", from, err), "GitLab makes a file of a variable of the type File")
}

// keyOf returns the key that a deployment is looked at with.
func (v *Verification) keyOf(ctx context.Context, f *fleet.Fleet, d *inventory.Deployment) (secret.Value, error) {
	if v.mode.Key == KeyInFile {
		return v.key, nil
	}
	return keyFromGitLab(ctx, f.Forge, d)
}

// keyFromGitLab returns the key that GitLab holds.
func keyFromGitLab(ctx context.Context, gitlab forge.Forge, d *inventory.Deployment) (secret.Value, error) {
	owner := forge.Owner{Kind: forge.GroupOwner, Path: d.Variables.Group}
	if owner.Path == "" {
		owner = forge.Owner{Kind: forge.ProjectOwner, Path: d.Variables.Projects[0]}
	}
	variables, err := gitlab.Variables(ctx, owner)
	if err != nil {
		return secret.Value{}, err
	}
	for _, v := range variables {
		if v.Key == d.Variables.Key(inventory.CIKeyVariable) && v.Scope == d.Scope {
			return v.Value, nil
		}
	}
	return secret.Value{}, hint.Add(fmt.Errorf("%s has no variable %s for %s", owner, d.Variables.Key(inventory.CIKeyVariable), d.Scope), "apply makes the key")
}

// asSeen makes a target one that is looked at as the mode sees GitLab: with the
// token, else with what a job of CI is given. What may not be seen is no error.
func (v *Verification) asSeen(t *provision.Target, given job.Job) {
	t.Partial = true
	if !v.mode.Token {
		t.Forge = given
	}
}

// jobOf is what a job of CI knows of GitLab, besides the key.
func jobOf(d *inventory.Deployment, key secret.Value) job.Job {
	j := job.Job{Given: []forge.Variable{{
		Key: d.Variables.Key(inventory.CIKeyVariable), Value: key, File: true, Protected: true, Raw: true, Scope: d.Scope,
	}}}
	for _, base := range []string{inventory.KnownHostsVariable, inventory.DeployTargetVariable} {
		text := os.Getenv(d.Variables.Key(base))
		if text == "" {
			j.Incomplete = true
			continue
		}
		j.Given = append(j.Given, forge.Variable{Key: d.Variables.Key(base), Value: secret.New(text), Scope: d.Scope})
	}
	return j
}

// ownToken is the token that GitLab was asked with, if there is one.
func (m Mode) ownToken(ctx context.Context, gitlab forge.Forge) []provision.Credential {
	if !m.Token {
		return nil
	}
	token, err := gitlab.Self(ctx)
	if err != nil {
		return nil
	}
	return []provision.Credential{{Name: fmt.Sprintf("the token %q that GitLab was asked with", token.Name), Ends: !token.Expires.IsZero(), Days: token.DaysLeft}}
}
