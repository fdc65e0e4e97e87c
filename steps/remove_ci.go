package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"provision/provision"
	"provision/provision/forge"
	"provision/templates"
)

// key lets the key of CI in no longer.
func (l leaving) key() provision.Step {
	s := ciKey{ci: ciOf(l.Deployment)}
	return undo{"ci-key " + l.Name, provision.Probe{Script: s.Probe().Script}, func(f provision.Facts) ([]provision.Change, error) {
		if !slices.ContainsFunc(f["line"], s.named) {
			return nil, nil
		}
		return []provision.Change{l.asUser("let no key open the gate of "+l.Name+" any more", templates.Authorize, l.Name, "none")}, nil
	}}
}

// variables takes away what CI knows, as far as it was set by us.
func (l leaving) variables() provision.Step {
	c := ciOf(l.Deployment)
	keys := []string{keyVariable, targetVariable, knownHostsVariable}
	// Without a scope it is a deployment that the inventory does not name:
	// then what GitLab has to say about a variable is all there is to go by.
	ours := func(v forge.Variable) bool {
		named := c.scope == "" || v.Scope == c.scope && slices.ContainsFunc(keys, func(base string) bool { return v.Key == c.variables.Key(base) })
		return named && v.Description == c.description()
	}
	choose := func(variables []forge.Variable) []forge.Variable {
		return slices.DeleteFunc(slices.Clone(variables), func(v forge.Variable) bool { return !ours(v) })
	}
	ask := func(ctx context.Context, g forge.Forge) (provision.Facts, error) {
		facts := provision.Facts{}
		for _, owner := range c.owners {
			variables, err := g.Variables(ctx, owner)
			if notThere(err) {
				facts.Add("hidden", owner.String())
				continue
			}
			if err != nil {
				return nil, err
			}
			for _, v := range choose(variables) {
				facts.Add("ours "+owner.String(), called(v, owner))
			}
			for _, base := range keys {
				if v, ok := c.find(variables, base); ok && !ours(v) {
					facts.Add("foreign", called(v, owner))
				}
			}
		}
		return facts, nil
	}
	return undo{"ci-variables " + l.Name, provision.Probe{Ask: ask}, func(f provision.Facts) ([]provision.Change, error) {
		var changes []provision.Change
		for _, owner := range c.owners {
			for _, what := range f["ours "+owner.String()] {
				changes = append(changes, unset(owner, what, choose))
			}
		}
		for _, what := range f["foreign"] {
			note := "%s stays, as somebody else has set it"
			if strings.HasPrefix(what, c.variables.Key(keyVariable)+" ") {
				note += "; its key opens no gate of " + l.Name + " on " + l.host.Name + " any more"
			}
			changes = append(changes, provision.Note(note, what))
		}
		return append(changes, hidden(f, "variables that say %q", c.description())...), nil
	}}
}

// deployKey lets the key of the host read the project no longer.
func (l leaving) deployKey() provision.Step {
	s := deployKey{l.User, l.Project, l.User + "@" + l.host.Name}
	probe := provision.Probe{Script: provision.Script{User: l.User, Text: lookAtOthers + lookAtRepoKeys}}
	if l.Project != "" {
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
	return undo{"deploy-key " + l.User + " " + l.Project, probe, func(f provision.Facts) ([]provision.Change, error) {
		for _, d := range l.inv.On(l.host) {
			if d.Name != l.Name && d.User == l.User && d.Project == l.Project && f.Has("carried", d.Name) {
				return nil, nil
			}
		}
		for _, name := range f["carried"] {
			if name != l.Name && sameOrigin(f.Get("origin "+name), gitURL(l.inv.GitLab.SSH, l.Project)) {
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
			summary := fmt.Sprintf("let the key of %s read %s no longer", s.user, s.project)
			if i > 0 {
				summary += fmt.Sprintf(" (%d)", i+1)
			}
			changes = append(changes, call(func(ctx context.Context, g forge.Forge) error { return s.remove(ctx, g, public) }, "%s", summary))
		}
		for _, public := range f["foreign"] {
			if slices.Contains(held, public) {
				changes = append(changes, provision.Note("the key of %s can still read %s, as somebody else has registered it", s.user, s.project))
			}
		}
		return append(changes, hidden(f, "a deploy key named %s", s.title)...), nil
	}}
}
