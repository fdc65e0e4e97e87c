package job

import (
	"errors"
	"testing"

	"provision/provision/forge"
)

func TestJob(t *testing.T) {
	owner := forge.Owner{Kind: forge.GroupOwner, Path: "transmogrify"}
	given := []forge.Variable{{Key: "SSH_AUTH"}}
	for name, c := range map[string]struct {
		forge  forge.Forge
		given  int
		unseen bool
	}{
		"all variables":  {Job{Given: given}, 1, false},
		"some variables": {Job{Given: given, Incomplete: true}, 1, true},
		"nothing":        {Nothing, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			variables, err := c.forge.Variables(t.Context(), owner)
			if len(variables) != c.given || errors.Is(err, forge.ErrUnseen) != c.unseen {
				t.Errorf("variables %v, error %v", variables, err)
			}
			if _, err := c.forge.Self(t.Context()); !errors.Is(err, forge.ErrUnseen) {
				t.Errorf("its token: %v", err)
			}
			if err := c.forge.SetVariable(t.Context(), owner, given[0]); !errors.Is(err, forge.ErrUnseen) {
				t.Errorf("a change: %v", err)
			}
		})
	}
}
