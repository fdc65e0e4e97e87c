package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/secret"
	"provision/provision/visible"
)

// ciVariables wants CI variables that say where a deployment is, and which keys
// its host has. The CI key is a step of its own, after this one: where
// GitLab cannot keep a variable to one environment, that shows before any
// secret is there.
type ciVariables struct {
	ci      ci
	project string
}

// takenHint is for a deployment whose variables belong to another one, or to
// itself on another host.
const takenHint = "if it is on another host yet, provision move brings it here; else give it another environment or a variables.prefix, or delete the variable"

func ciVariablesOf(t target) ciVariables {
	return ciVariables{movingCI(t), t.deployment.Project}
}

func (s ciVariables) Name() string { return "ci-variables " + s.ci.deployment }

func (s ciVariables) Scope() provision.Scope {
	return provision.Scope{User: s.ci.user, Deployment: s.ci.deployment}
}

func (s ciVariables) Probe() provision.Probe {
	return provision.Probe{
		Script: provision.Script{Text: `
for file in /etc/ssh/ssh_host_*_key.pub; do
	! [ -r "$file" ] || cut -d ' ' -f 1,2 "$file" | facts host-key
done
`},
		Ask: func(ctx context.Context, f forge.Forge) (provision.Facts, error) {
			facts := provision.Facts{}
			for _, owner := range s.ci.owners {
				variables, err := f.Variables(ctx, owner)
				if err != nil {
					return nil, whereNow(ctx, f, s.project, err)
				}
				for _, base := range []string{inventory.DeployTargetVariable, inventory.KnownHostsVariable} {
					v, ok := s.ci.find(variables, base)
					if !ok {
						continue
					}
					text, err := v.Value.Reveal() // neither of the two is a secret
					if err != nil {
						return nil, fmt.Errorf("%s is hidden and cannot be compared; delete it", s.ci.where(base, owner))
					}
					facts.Add(base+" "+owner.String(), text)
					switch moved := s.ci.moved(v) && !s.ci.leads(variables, s.ci.variables.Prefix, s.ci.scope); {
					case moved: // it is described anew once it leads here
						facts.Add("ours "+base, owner.String())
					case s.ci.owns(variables, v):
						facts.Add("ours "+base, owner.String())
						if v.Description != s.ci.description() {
							facts.Add("renamed "+base, owner.String())
						}
					}
					if v.File {
						facts.Add("file "+base, owner.String())
					}
				}
			}
			return facts, nil
		},
	}
}

func (s ciVariables) Plan(f provision.Facts) ([]provision.Change, error) {
	if len(f["host-key"]) == 0 {
		return nil, errors.New("the host has no SSH host keys in /etc/ssh")
	}
	var known []string
	for _, key := range f["host-key"] {
		known = append(known, s.ci.known+" "+key)
	}
	slices.Sort(known)

	var changes []provision.Change
	set := func(base, remark, text string, owner forge.Owner, there, ours bool) {
		verb, description := provision.Set, s.ci.description()
		if there {
			verb = provision.Update
		}
		if !ours {
			description = "" // stays as it is
		}
		changes = append(changes, provision.Change{
			Verb: verb, Object: s.ci.where(base, owner), Remark: remark,
			Do: provision.Call(func(ctx context.Context, g forge.Forge) error {
				return s.ci.scoped(g.SetVariable(ctx, owner, forge.Variable{
					Key: s.ci.variables.Key(base), Value: secret.New(text), Raw: true, Scope: s.ci.scope, Description: description,
				}))
			}),
		})
	}
	for _, owner := range s.ci.owners {
		targetIsFile, knownIsFile := f.Has("file "+inventory.DeployTargetVariable, owner.String()), f.Has("file "+inventory.KnownHostsVariable, owner.String())
		target, ours := f.Get(inventory.DeployTargetVariable+" "+owner.String()), f.Has("ours "+inventory.DeployTargetVariable, owner.String())
		there := f.Get(inventory.KnownHostsVariable + " " + owner.String())
		lines := knownLines(there)
		missing := slices.DeleteFunc(slices.Clone(known), func(line string) bool { return slices.Contains(lines, line) })
		if s.ci.from != nil && target == s.ci.from.target && ours { // a job reads both, at any moment
			if len(missing) > 0 {
				changes = append(changes, s.addKnown(owner, there, missing))
			}
			set(inventory.DeployTargetVariable, "", s.ci.target, owner, true, true)
			continue
		}
		switch {
		case target == s.ci.target && targetIsFile:
			set(inventory.DeployTargetVariable, "", target, owner, true, ours)
		case target == s.ci.target:
			if f.Has("renamed "+inventory.DeployTargetVariable, owner.String()) {
				set(inventory.DeployTargetVariable, forItsName, target, owner, true, true)
			}
		case target == "" || ours:
			set(inventory.DeployTargetVariable, "", s.ci.target, owner, target != "", true)
		default:
			return nil, hint.Add(fmt.Errorf("%s is %s: another deployment uses it", s.ci.where(inventory.DeployTargetVariable, owner), visible.String(target)), takenHint)
		}

		switch ours := there == "" || f.Has("ours "+inventory.KnownHostsVariable, owner.String()); {
		case ours && (!slices.Equal(lines, known) || knownIsFile):
			set(inventory.KnownHostsVariable, "", strings.Join(known, "\n")+"\n", owner, there != "", true)
		case f.Has("renamed "+inventory.KnownHostsVariable, owner.String()):
			set(inventory.KnownHostsVariable, forItsName, there, owner, true, true)
		case !ours && (len(missing) > 0 || knownIsFile): // somebody's own lines stay
			set(inventory.KnownHostsVariable, "", strings.TrimRight(strings.TrimRight(there, "\n")+"\n"+strings.Join(missing, "\n"), "\n")+"\n", owner, true, false)
		}
	}
	return changes, nil
}

// addKnown adds the keys of the host to those of the one that the deployment moves
// away from, so that a job knows whichever it reaches.
func (s ciVariables) addKnown(owner forge.Owner, there string, lines []string) provision.Change {
	return provision.Change{
		Verb: provision.Add, Object: s.ci.host + "'s host keys to " + s.ci.where(inventory.KnownHostsVariable, owner),
		Do: provision.Call(func(ctx context.Context, g forge.Forge) error {
			return s.ci.scoped(g.SetVariable(ctx, owner, forge.Variable{
				Key: s.ci.variables.Key(inventory.KnownHostsVariable), Raw: true, Scope: s.ci.scope,
				Value: secret.New(strings.TrimLeft(strings.TrimRight(there, "\n")+"\n", "\n") + strings.Join(lines, "\n") + "\n"),
			}))
		}),
	}
}

// knownLines returns the lines of a known_hosts file without comments, each
// cut to address, type and key, sorted.
func knownLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) >= 3 && !strings.HasPrefix(words[0], "#") {
			lines = append(lines, strings.Join(words[:3], " "))
		}
	}
	slices.Sort(lines)
	return lines
}

// undo removes the CI variables that were set by us.
func (s ciVariables) undo(t target) undo {
	c := s.ci
	// Without a scope it is a deployment that the inventory does not name:
	// then what GitLab has to say about a variable is all there is to go by, and
	// what the host has to say about its key.
	stale, script := staleVariablesOf(t), provision.Script{}
	if c.scope == "" {
		script = stale.key.look()
	}
	index := indexOf(t.inv)
	ours := func(variables []forge.Variable, v forge.Variable) bool {
		if c.scope == "" { // the host that had this name before may be in the inventory under another one
			to := index.leadsTo(variables, v)
			return v.Description == c.description() && (to == nil || to == t.host)
		}
		return v.Scope == c.scope && c.isBase(v.Key) && c.owns(variables, v)
	}
	// The target is last: by it the others are known.
	choose := func(variables []forge.Variable) (chosen []forge.Variable) {
		for _, v := range variables {
			if ours(variables, v) {
				chosen = append(chosen, v)
			}
		}
		slices.SortStableFunc(chosen, func(a, b forge.Variable) int { return cmp.Compare(targetLast(a), targetLast(b)) })
		return chosen
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
				facts.Add("ours "+owner.String(), keyed(v))
			}
			if c.scope == "" {
				stale.key.former.addSets(facts, owner, variables)
			}
			for _, base := range ciBases {
				if v, ok := c.find(variables, base); ok && !ours(variables, v) {
					facts.Add("foreign "+owner.String(), keyed(v))
				}
			}
		}
		return facts, nil
	}
	return undo{s.Name(), provision.Probe{Script: script, Ask: ask}, func(f provision.Facts) ([]provision.Change, error) {
		var changes []provision.Change
		for _, owner := range c.owners {
			for _, what := range f["ours "+owner.String()] {
				changes = append(changes, unset(owner, what, choose))
			}
			changes = append(changes, stale.unset(f, owner, f["ours "+owner.String()])...)
		}
		for _, owner := range c.owners {
			for _, what := range f["foreign "+owner.String()] {
				key, scope, _ := strings.Cut(what, " ")
				note := "%s stays, as somebody else has set it"
				if key == c.variables.Key(inventory.CIKeyVariable) {
					note += "; its key is revoked for " + c.deployment + " on " + c.host
				}
				changes = append(changes, provision.Note(note, variableName(owner, key, scope)))
			}
		}
		return append(changes, hidden(f, "variables that say %q", c.description())...), nil
	}}
}

// targetLast orders the variables of a deployment.
func targetLast(v forge.Variable) int {
	if strings.HasSuffix(v.Key, inventory.DeployTargetVariable) {
		return 1
	}
	return 0
}
