package steps

import (
	"context"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
)

// staleVariables wants no variables of a deployment at former places that nobody needs any
// more: see former. It comes after ci-key: CI has the new ones by then.
type staleVariables struct{ key ciKey }

func staleVariablesOf(t target) staleVariables { return staleVariables{ciKeyOf(t)} }

func (s staleVariables) Name() string { return "stale-variables " + s.key.ci.deployment }

func (s staleVariables) Scope() provision.Scope { return s.key.Scope() }

func (s staleVariables) Probe() provision.Probe {
	return provision.Probe{Script: s.key.look(), Ask: func(ctx context.Context, f forge.Forge) (provision.Facts, error) {
		facts, err := s.ask(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, owner := range s.key.ci.owners {
			variables, err := f.Variables(ctx, owner)
			if err != nil {
				return nil, err
			}
			v, _ := s.key.ci.find(variables, inventory.CIKeyVariable)
			if public := publicOf(v); public != "" {
				facts.Add("public "+owner.String(), public)
			}
		}
		return facts, nil
	}}
}

// ask reports what is left at former places, and the keys there.
func (s staleVariables) ask(ctx context.Context, f forge.Forge) (provision.Facts, error) {
	facts := provision.Facts{}
	sets, err := s.key.former.ask(ctx, f)
	for _, set := range sets {
		for _, v := range set.variables {
			facts.Add("left "+set.owner.String(), keyed(v))
		}
		s.key.former.add(facts, set)
	}
	return facts, err
}

// left chooses what an owner has at former places.
func (s staleVariables) left(owner forge.Owner) func([]forge.Variable) []forge.Variable {
	return func(variables []forge.Variable) (left []forge.Variable) {
		for _, set := range s.key.former.sets(owner, variables) {
			left = append(left, set.variables...)
		}
		return left
	}
}

func (s staleVariables) Plan(f provision.Facts) ([]provision.Change, error) {
	var changes, notes []provision.Change
	current := s.key.current(f)
	came := cameIn(f, current)
	outdated := false
	for _, owner := range s.key.former.owners {
		var told []place
		for _, what := range f["left "+owner.String()] {
			p := placeOf(owner, what)
			if !s.key.formerly(f, p) {
				continue
			}
			if s.waits(f, p, current, came) {
				if !slices.Contains(told, p) {
					told = append(told, p)
					notes = append(notes, s.waiting(p))
				}
				continue
			}
			outdated = outdated || !came && s.changesJobs(p)
			changes = append(changes, unset(owner, what, s.left(owner)))
		}
	}
	if outdated {
		notes = append(notes, provision.Note("the jobs of %s use an old environment or prefix, and fail until they are what provision render ci prints now, and with --verify", s.key.ci.deployment).
			WithHint("%s", s.key.former.renderHint()))
	}
	return append(notes, changes...), nil
}

// placeOf returns the place of a variable that is a fact, see keyed.
func placeOf(owner forge.Owner, what string) place {
	key, scope, _ := strings.Cut(what, " ")
	for _, base := range ciBases {
		if prefix, ok := strings.CutSuffix(key, base); ok {
			return place{owner, prefix, scope}
		}
	}
	return place{owner, "", scope}
}

// waits tells whether the variables of a former place go on working.
func (s staleVariables) waits(f provision.Facts, p place, current string, came bool) bool {
	if s.key.finish || came {
		return false
	}
	for _, mine := range s.key.former.own() {
		if p.hides(mine) {
			return false
		}
	}
	return slices.ContainsFunc(s.key.formerKeys(f), func(k formerKey) bool {
		return k.place == p && k.public != current && slices.ContainsFunc(s.key.lines(f), func(line homeLine) bool { return line.mine && hasKey(line.text, k.public) })
	})
}

// changesJobs tells whether jobs that use a former place have to be rendered anew.
func (s staleVariables) changesJobs(p place) bool {
	return !slices.ContainsFunc(s.key.former.own(), func(mine place) bool { return mine.prefix == p.prefix && mine.scope == p.scope })
}

func (s staleVariables) waiting(p place) provision.Change {
	note := provision.Note("CI may go on with the former variables of %s (%s) until a deploy has come in by the new ones; apply removes them then", s.key.ci.deployment, p)
	if s.changesJobs(p) {
		return note.WithHint("%s; %s", s.key.former.renderHint(), s.key.former.finishHint())
	}
	return note.WithHint("%s", s.key.former.finishHint())
}

// unset removes what an owner has at former places of this deployment, but for others that
// are removed already.
func (s staleVariables) unset(f provision.Facts, owner forge.Owner, others []string) (changes []provision.Change) {
	for _, what := range f["left "+owner.String()] {
		if s.key.formerly(f, placeOf(owner, what)) && !slices.Contains(others, what) {
			changes = append(changes, unset(owner, what, s.left(owner)))
		}
	}
	return changes
}

// undo removes what is left at former places.
func (s staleVariables) undo(target) undo {
	ask := func(ctx context.Context, g forge.Forge) (provision.Facts, error) {
		facts := provision.Facts{}
		if s.key.ci.scope == "" { // the inventory does not name it: see ci-variables
			return facts, nil
		}
		for _, owner := range s.key.former.owners {
			variables, err := g.Variables(ctx, owner)
			if notThere(err) {
				continue // ci-variables tells of it
			}
			if err != nil {
				return nil, err
			}
			s.key.former.addSets(facts, owner, variables)
		}
		return facts, nil
	}
	return undo{s.Name(), provision.Probe{Script: s.key.look(), Ask: ask}, func(f provision.Facts) ([]provision.Change, error) {
		var changes []provision.Change
		for _, owner := range s.key.former.owners {
			changes = append(changes, s.unset(f, owner, nil)...)
		}
		return changes, nil
	}}
}
