package gitlab

import (
	"errors"

	"provision/provision/forge"
	"provision/provision/hint"
)

// advise adds to a refusal of what belongs to an owner who may have that, unless a hint
// stands there already. GitLab says 404, too, where a token may not even know that something
// is there. See https://docs.gitlab.com/user/permissions/.
func advise(err error, owner forge.Owner) error {
	who := "an Owner"
	if owner.Kind == forge.ProjectOwner {
		who = "a Maintainer"
	}
	switch {
	case len(hint.Of(err)) > 0:
		return err
	case errors.Is(err, forge.ErrForbidden):
		return hint.Add(err, "let %s of the %s make the token", who, owner.Kind)
	case errors.Is(err, forge.ErrNotFound):
		return hint.Add(err, "check the path of the %s, and that the token's user is %s of it", owner.Kind, who)
	}
	return err
}

// ofProject is the owner of what a project has.
func ofProject(path string) forge.Owner { return forge.Owner{Kind: forge.ProjectOwner, Path: path} }
