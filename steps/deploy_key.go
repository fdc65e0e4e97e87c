package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
)

// deployKey wants the public key of a user as a read-only deploy key of a project.
type deployKey struct {
	user, project, title string
}

func deployKeyOf(t target) deployKey {
	d := t.deployment
	return deployKey{d.User, d.Project, d.User + "@" + t.host.Name}
}

func (s deployKey) Name() string { return "deploy-key " + s.user + " " + s.project }

func (s deployKey) Scope() provision.Scope { return provision.Scope{User: s.user} }

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

func (s deployKey) asDeployKey() string { return "to " + s.project + " as a read-only deploy key" }

func (s deployKey) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("public") == "" {
		return []provision.Change{provision.Later(provision.Add, s.user+"'s public key", s.asDeployKey())}, nil
	}
	var changes []provision.Change
	register := func(verb provision.Verb, object, remark, public string) {
		changes = append(changes, provision.Change{Verb: verb, Object: object, Remark: remark, Do: provision.Call(func(ctx context.Context, g forge.Forge) error {
			err := g.AddDeployKey(ctx, s.project, forge.DeployKey{Title: s.title, Key: public + " " + s.title})
			if errors.Is(err, forge.ErrTaken) {
				err = hint.Add(err, "remove it there, or move the key pair in ~%s/.ssh away: apply generates another", s.user)
			}
			return err
		})})
	}
	for _, key := range []struct{ fact, name string }{{"public", ""}, {"next", "new "}} {
		switch public := f.Get(key.fact); {
		case public == "":
		case !f.Has("registered", public):
			register(provision.Add, s.user+"'s "+key.name+"public key", s.asDeployKey(), public)
		case f.Has("can-push", public):
			register(provision.Set, s.user+"'s "+key.name+"deploy key of "+s.project, "to read-only", public)
		}
	}
	if public := f.Get("public"); f.Has("registered", public) {
		days, err := strconv.Atoi(f.Get("days " + public))
		changes = append(changes, provision.Lasts(provision.Credential{Name: "deploy key " + s.title + " of project " + s.project, Ends: err == nil, Days: days}))
	}
	if retired := f.Get("retired"); f.Has("registered", retired) && retired != f.Get("public") {
		changes = append(changes, provision.Change{
			Verb:   provision.Remove,
			Object: s.user + "'s old deploy key from " + s.project,
			Do:     provision.Call(func(ctx context.Context, g forge.Forge) error { return s.remove(ctx, g, retired) }),
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

// undo removes the deploy key of the host from the project.
func (s deployKey) undo(t target) undo {
	probe := provision.Probe{Script: provision.Script{User: s.user, Text: lookAtOthers + lookAtRepoKeys}}
	if s.project != "" {
		probe.Ask = func(ctx context.Context, g forge.Forge) (provision.Facts, error) {
			facts := provision.Facts{}
			keys, err := g.DeployKeys(ctx, s.project)
			if notThere(err) {
				facts.Add("hidden", "project "+s.project)
				return facts, nil
			}
			for _, k := range keys {
				if k.Title == s.title {
					facts.Add("ours", keyOf(k.Key))
				} else {
					facts.Add("foreign", keyOf(k.Key))
				}
			}
			return facts, err
		}
	}
	return undo{s.Name(), probe, func(f provision.Facts) ([]provision.Change, error) {
		for _, d := range t.inv.On(t.host) {
			if d.Name != t.deployment.Name && d.User == s.user && d.Project == s.project && f.Has("carried", d.Name) {
				return nil, nil
			}
		}
		for _, name := range f["carried"] {
			if name != t.deployment.Name && sameOrigin(f.Get("origin "+name), gitURL(t.inv.GitLab.SSH, s.project)) {
				return nil, nil
			}
		}
		var changes []provision.Change
		held := []string{f.Get("public"), f.Get("next"), f.Get("retired")}
		for i, public := range f["ours"] {
			// A host that has no key any more cannot tell which was its own.
			if f.Get("public") != "" && !slices.Contains(held, public) {
				changes = append(changes, provision.Note("%s has another key named %s, which is not the one of this host", s.project, s.title))
				continue
			}
			object := s.user + "'s deploy key from " + s.project
			if i > 0 {
				object += fmt.Sprintf(" (%d)", i+1)
			}
			changes = append(changes, provision.Change{
				Verb:   provision.Remove,
				Object: object,
				Do:     provision.Call(func(ctx context.Context, g forge.Forge) error { return s.remove(ctx, g, public) }),
			})
		}
		for _, public := range f["foreign"] {
			if slices.Contains(held, public) {
				changes = append(changes, provision.Note("%s's key stays a deploy key of %s: somebody else has added it", s.user, s.project))
			}
		}
		return append(changes, hidden(f, "a deploy key named %s", s.title)...), nil
	}}
}
