package steps

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
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
		Script: provision.Script{User: s.user, Text: lookAtRepoKeys},
		Ask: func(ctx context.Context, f forge.Forge) (provision.Facts, error) {
			keys, err := f.DeployKeys(ctx, s.project)
			if err != nil {
				return nil, err
			}
			facts := provision.Facts{}
			for _, k := range keys {
				facts.Add("registered", keyOf(k.Key))
				if k.CanPush {
					facts.Add("can-push", keyOf(k.Key))
				}
				if !k.ExpiresAt.IsZero() {
					facts.Add("days "+keyOf(k.Key), strconv.Itoa(k.DaysLeft))
				}
			}
			return facts, nil
		},
	}
}

func (s deployKey) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("public") == "" {
		return []provision.Change{provision.Later("let the key of %s read %s", s.user, s.project)}, nil
	}
	var changes []provision.Change
	let := func(public, summary string) {
		changes = append(changes, provision.Change{Summary: summary, Do: provision.Call(func(ctx context.Context, g forge.Forge) error {
			err := g.AddDeployKey(ctx, s.project, forge.DeployKey{Title: s.title, Key: public + " " + s.title})
			if errors.Is(err, forge.ErrTaken) {
				err = hint.Add(err, "let it be removed there, or move the key pair in ~%s/.ssh away: apply makes another", s.user)
			}
			return err
		})})
	}
	for _, key := range []struct{ fact, name string }{{"public", "the key"}, {"next", "the next key"}} {
		switch public := f.Get(key.fact); {
		case public == "":
		case !f.Has("registered", public):
			let(public, fmt.Sprintf("let %s of %s read %s", key.name, s.user, s.project))
		case f.Has("can-push", public):
			let(public, fmt.Sprintf("take the right to push to %s from %s of %s", s.project, key.name, s.user))
		}
	}
	if public := f.Get("public"); f.Has("registered", public) {
		days, err := strconv.Atoi(f.Get("days " + public))
		changes = append(changes, provision.Lasts(provision.Credential{Name: "deploy key " + s.title + " of project " + s.project, Ends: err == nil, Days: days}))
	}
	if retired := f.Get("retired"); f.Has("registered", retired) && retired != f.Get("public") {
		changes = append(changes, provision.Change{
			Summary: fmt.Sprintf("let the retired key of %s read %s no longer", s.user, s.project),
			Do:      provision.Call(func(ctx context.Context, g forge.Forge) error { return s.remove(ctx, g, retired) }),
		})
	}
	return changes, nil
}

func (s deployKey) remove(ctx context.Context, g forge.Forge, public string) error {
	keys, err := g.DeployKeys(ctx, s.project)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if keyOf(k.Key) == public {
			return g.RemoveDeployKey(ctx, s.project, k.ID)
		}
	}
	return nil
}
