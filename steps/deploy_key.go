package steps

import (
	"context"
	"fmt"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
)

// deployKey wants the key of a user to read a project, and no more than read.
type deployKey struct {
	user, project, title string
}

func deployKeySteps(w wish) []provision.Step {
	return each(w, func(d *inventory.Deployment) deployKey {
		return deployKey{d.User, d.Project, d.User + "@" + w.host.Name}
	})
}

func (s deployKey) Name() string { return "deploy-key " + s.user + " " + s.project }

func (s deployKey) Probe() provision.Probe {
	return provision.Probe{
		Script: provision.Script{User: s.user, Text: lookAtRepoKey},
		Ask: func(ctx context.Context, f forge.Forge) (provision.Facts, error) {
			keys, err := f.DeployKeys(ctx, s.project)
			if err != nil {
				return nil, err
			}
			facts := provision.Facts{}
			for _, k := range keys {
				words := strings.Fields(k.Key)
				if len(words) < 2 {
					continue
				}
				facts.Add("registered", words[0]+" "+words[1])
				if k.CanPush {
					facts.Add("can-push", words[0]+" "+words[1])
				}
			}
			return facts, nil
		},
	}
}

func (s deployKey) Plan(f provision.Facts) ([]provision.Change, error) {
	public := f.Get("public")
	add := func(ctx context.Context, g forge.Forge) error {
		return g.AddDeployKey(ctx, s.project, forge.DeployKey{Title: s.title, Key: public + " " + s.title})
	}
	switch {
	case public == "":
		return []provision.Change{provision.Later("let the key of %s read %s", s.user, s.project)}, nil
	case !f.Has("registered", public):
		return []provision.Change{{Summary: fmt.Sprintf("let the key of %s read %s", s.user, s.project), Do: provision.Call(add)}}, nil
	case f.Has("can-push", public):
		return []provision.Change{{Summary: fmt.Sprintf("take the right to push to %s from the key of %s", s.project, s.user), Do: provision.Call(add)}}, nil
	}
	return nil, nil
}
