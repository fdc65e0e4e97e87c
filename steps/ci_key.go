package steps

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/secret"
	"provision/templates"
)

// ciKey wants one key to open the gate of a deployment and nothing else: its
// public half in authorized_keys, its private half in GitLab, and nowhere
// else. The pair is made in memory, when there is none that both know.
type ciKey struct {
	ci              ci
	project, branch string
	directory       string
	former          former
	others          []string // the other deployments of the user on this host
	finish          bool     // whoever still uses a former key does so no longer

	retire []string                                  // public halves of keys not to be used any more
	login  func(context.Context, secret.Value) error // see [Given]
}

func ciKeyOf(t target) ciKey {
	d := t.deployment
	s := ciKey{ci: movingCI(t), project: d.Project, branch: d.Branch, directory: d.Directory, former: formerOf(t), finish: t.given.Finish}
	s.retire = t.given.Retire[s.Name()]
	for _, other := range t.ofUser()[1:] {
		s.others = append(s.others, other.Name)
	}
	if t.given.Login != nil {
		s.login = func(ctx context.Context, key secret.Value) error { return t.given.Login(ctx, d, key) }
	}
	return s
}

func (s ciKey) Name() string { return "ci-key " + s.ci.deployment }

func (s ciKey) Scope() provision.Scope {
	return provision.Scope{User: s.ci.user, Deployment: s.ci.deployment}
}

func (s ciKey) Probe() provision.Probe {
	return provision.Probe{
		Script: s.look(),
		Ask:    s.ask,
	}
}

// look reports authorized_keys, and the keys that have deployed.
func (s ciKey) look() provision.Script {
	return provision.Script{User: s.ci.user, Args: []string{s.ci.deployment, s.directory}, Text: lookAtNames + `formerly "$1" "$2"` + lookAtKeys + lookWhoCame}
}

// What CI needs of the variable: a file, only for protected branches, taken
// as it is, and with the newline at the end without which OpenSSH refuses a
// private key. GitLab cannot mask a value that has line breaks.
const (
	wantsFile      = "a file"
	wantsProtected = "protected"
	wantsRaw       = "raw"
	wantsNewline   = "ended by a newline"
)

func (s ciKey) ask(ctx context.Context, f forge.Forge) (provision.Facts, error) {
	facts := provision.Facts{}
	for _, owner := range s.ci.owners {
		variables, err := f.Variables(ctx, owner)
		if _, ok := s.ci.find(variables, inventory.CIKeyVariable); err != nil && !(ok && errors.Is(err, forge.ErrUnseen)) {
			return nil, err
		}
		name := owner.String()
		leadsHere := s.ci.leads(variables, s.ci.variables.Prefix, s.ci.scope)
		if leadsHere {
			facts.Add("ours", name)
		}
		v, ok := s.ci.find(variables, inventory.CIKeyVariable)
		if !ok {
			continue
		}
		facts.Add("there", name)
		switch {
		case s.ci.moved(v) && !leadsHere: // it is described anew once it leads here
			facts.Add("ours", name)
		case !s.ci.owns(variables, v):
			facts.Add("foreign", name)
		case v.Description != s.ci.description():
			facts.Add("renamed", name)
			fallthrough
		default:
			facts.Add("ours", name)
		}
		text, err := v.Value.Reveal()
		if err != nil {
			continue
		}
		if public := publicOf(v); public != "" {
			facts.Add("public "+name, public)
		}
		for wants, has := range map[string]bool{
			wantsFile: v.File, wantsProtected: v.Protected, wantsRaw: v.Raw,
			wantsNewline: strings.HasSuffix(text, "\n") && !strings.Contains(text, "\r"),
		} {
			if !has {
				facts.Add("wants "+name, wants)
			}
		}
		slices.Sort(facts["wants "+name])
	}
	if _, err := f.Self(ctx); errors.Is(err, forge.ErrUnseen) {
		facts.Add("partial", "yes") // there may be former variables, and nobody sees them
	} else {
		former, err := s.former.ask(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, set := range former {
			s.former.add(facts, set)
		}
	}
	err := s.askBranch(ctx, f, facts)
	if errors.Is(err, forge.ErrUnseen) || errors.Is(err, forge.ErrForbidden) {
		facts.Add("unseen", "whether the branch that deploys is protected")
		err = nil
	}
	return facts, err
}

// askBranch reports where the branch that deploys is not protected: jobs
// there would not see a protected variable.
func (s ciKey) askBranch(ctx context.Context, f forge.Forge, facts provision.Facts) error {
	projects := s.ci.variables.Projects
	if len(projects) == 0 {
		projects = []string{s.project}
	}
	for _, path := range projects {
		branch := s.branch
		if branch == "" {
			p, err := f.Project(ctx, path)
			if err != nil {
				return err
			}
			branch = p.DefaultBranch
		}
		protected, err := f.ProtectedBranches(ctx, path)
		if err != nil {
			return err
		}
		if branch != "" && !slices.ContainsFunc(protected, func(pattern string) bool { return matchBranch(pattern, branch) }) {
			facts.Add("unprotected", branch+" of "+path)
		}
	}
	return nil
}

// matchBranch matches as GitLab does: "*" is any text, slashes included.
func matchBranch(pattern, branch string) bool {
	const slash = "\x01"
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", slash), strings.ReplaceAll(branch, "/", slash))
	return ok && err == nil
}

func (s ciKey) Plan(f provision.Facts) ([]provision.Change, error) {
	lines := f["line"]
	var notes []provision.Change
	for _, branch := range f["unprotected"] {
		notes = append(notes, provision.Note("the branch %s is not protected, or not there: its jobs will not see %s", branch, s.ci.variables.Key(inventory.CIKeyVariable)).WithHint("Settings > Repository > Protected branches"))
	}

	// Which key: one that GitLab holds and the host lets in, else one that
	// GitLab holds, else a new one.
	var public string
	var from forge.Owner
	known := false
	for _, owner := range s.ci.owners {
		p := f.Get("public " + owner.String())
		letIn := p != "" && slices.ContainsFunc(lines, func(line string) bool { return hasKey(line, p) })
		if f.Has("there", owner.String()) && !f.Has("ours", owner.String()) && !letIn {
			return nil, hint.Add(fmt.Errorf("%s holds a key that this host does not know: another deployment uses it", s.ci.where(inventory.CIKeyVariable, owner)), takenHint)
		}
		if p != "" && !slices.Contains(s.retire, p) && !known && (public == "" || letIn) {
			public, from, known = p, owner, letIn
		}
	}
	if old, err := s.oldLine(public); f.Get("partial") != "" && err == nil && slices.Contains(lines, old) {
		return []provision.Change{provision.Note("this job has an old key of %s, which is to go", s.ci.deployment).WithHint("%s", s.former.renderHint())}, nil
	}
	want, err := s.oldLines(f, public)
	if err != nil {
		return nil, err
	}
	var changes []provision.Change
	if public == "" {
		changes = s.planNew(f, want)
	} else {
		line, err := s.line(public)
		if err != nil {
			return nil, err
		}
		changes = s.planHeld(f, public, append([]string{line}, want...), from)
	}
	if len(want) > 0 && len(s.formerKeys(f)) == 0 { // else stale-variables tells of it
		notes = append(notes, provision.Note("an old CI key of %s opens its gate until a deploy has come in by the new one; apply revokes it then", s.ci.deployment).
			WithHint("%s", s.former.finishHint()))
	}
	if loose := f["loose"]; len(loose) > 0 {
		changes = append([]provision.Change{{
			Verb:   provision.Chmod,
			Object: "go-w " + strings.Join(s.paths(loose), " "),
			Remark: "(sshd StrictModes)",
			Do:     provision.Script{User: s.ci.user, Args: loose, Text: `chmod go-w -- "$@"`},
		}}, changes...)
	}
	return append(changes, notes...), nil
}

// paths names files of the home of the user.
func (s ciKey) paths(files []string) []string {
	var paths []string
	for _, file := range files {
		paths = append(paths, path.Join("~"+s.ci.user, file))
	}
	return paths
}

// planNew plans a new key. Where CI has one that works, that one works until
// CI has the new one; and that is tried before CI has it, and once more before
// the old one goes. So it is with former keys that are to be retired.
func (s ciKey) planNew(f provision.Facts, old []string) []provision.Change {
	private, line := s.newPair(s.line)
	born := func(context.Context, forge.Forge) (secret.Value, error) { return private, nil }
	lines := []secret.Value{line}
	for _, line := range old {
		lines = append(lines, secret.New(line))
	}
	var hand []provision.Change
	for _, owner := range s.ci.owners {
		hand = append(hand, s.set(f, provision.Set, "to the new key", owner, born))
	}
	for _, k := range s.formerKeys(f) {
		if !slices.Contains(s.retire, k.public) || s.finish || cameIn(f, s.current(f)) || !slices.ContainsFunc(f["line"], func(line string) bool { return hasKey(line, k.public) }) {
			continue
		}
		private, line := s.newPair(s.oldLine)
		lines = append(lines, line)
		there := s
		there.ci.scope, there.ci.variables.Prefix = k.scope, k.prefix
		hand = append(hand, there.set(f, provision.Set, "to a new key of its own", k.owner, func(context.Context, forge.Forge) (secret.Value, error) { return private, nil }))
	}
	all := joinLines(lines)
	if len(f["there"]) == 0 {
		if len(old) > 0 { // jobs may get the new one at once, where its variable hides that of the old one
			return append([]provision.Change{s.allow(f, provision.Authorize, "the new CI key for ", "(the old one stays active)", all, "only")}, hand...)
		}
		return append(hand, s.allow(f, provision.Authorize, "the new CI key for ", "", all, "only"))
	}
	changes := []provision.Change{s.allow(f, provision.Authorize, "the new CI key for ", "(the old one stays active)", all, "keep")}
	if s.login == nil {
		changes = append(changes, hand...)
	} else {
		var held []keyFrom
		for _, owner := range s.ci.owners {
			held = append(held, s.heldBy(owner))
		}
		changes = append(changes, s.try("the new CI key for "+s.ci.deployment, "(SSH login)", born))
		changes = append(changes, hand...)
		changes = append(changes, s.try("the CI key in GitLab for "+s.ci.deployment, "(SSH login)", held...))
	}
	return append(changes, s.allow(f, provision.Revoke, "the old CI key of ", "", all, "only"))
}

// A keyFrom says where the private half of a key comes from.
type keyFrom func(context.Context, forge.Forge) (secret.Value, error)

// planHeld plans for a key that GitLab holds: what CI lacks comes before
// another key goes, and what the host lacks before CI gets it.
func (s ciKey) planHeld(f provision.Facts, public string, lines []string, from forge.Owner) []provision.Change {
	var hand []provision.Change
	for _, owner := range s.ci.owners {
		wants := f["wants "+owner.String()]
		switch p := f.Get("public " + owner.String()); {
		case p != public:
			hand = append(hand, s.set(f, provision.Set, "to the current CI key", owner, s.heldBy(from)))
		case len(wants) > 0:
			hand = append(hand, s.set(f, provision.Update, "to be "+joinAnd(wants), owner, s.heldBy(owner)))
		case f.Has("renamed", owner.String()):
			hand = append(hand, s.set(f, provision.Update, forItsName, owner, s.heldBy(owner)))
		}
	}
	first, others := s.standing(f, lines)
	value := secret.New(strings.Join(lines, "\n"))
	authorize := func(others string) provision.Change {
		return s.allow(f, provision.Authorize, "the current CI key for ", "", value, others)
	}
	revoke := s.allow(f, provision.Revoke, "other CI keys of ", "", value, "only")
	switch {
	case first && !others:
		return hand
	case first:
		return append(hand, revoke)
	case len(hand) == 0 || !others:
		return append([]provision.Change{authorize("only")}, hand...)
	}
	return append(append([]provision.Change{authorize("keep")}, hand...), revoke)
}

// set gives CI the private half, as it needs it. What somebody else has made
// keeps its description, and so is theirs when the deployment is removed.
func (s ciKey) set(f provision.Facts, verb provision.Verb, remark string, owner forge.Owner, value keyFrom) provision.Change {
	return provision.Change{Verb: verb, Object: s.ci.where(inventory.CIKeyVariable, owner), Remark: remark, Do: provision.Call(func(ctx context.Context, g forge.Forge) error {
		v, err := value(ctx, g)
		if err != nil {
			return err
		}
		description := s.ci.description()
		if f.Has("foreign", owner.String()) {
			description = ""
		}
		return s.ci.scoped(g.SetVariable(ctx, owner, forge.Variable{
			Key: s.ci.variables.Key(inventory.CIKeyVariable), Value: v, File: true, Protected: true, Raw: true,
			Scope: s.ci.scope, Description: description,
		}))
	})}
}

// heldBy returns what GitLab holds now, with the line ends that OpenSSH wants.
func (s ciKey) heldBy(owner forge.Owner) keyFrom {
	return func(ctx context.Context, g forge.Forge) (secret.Value, error) {
		variables, err := g.Variables(ctx, owner)
		if err != nil {
			return secret.Value{}, err
		}
		v, _ := s.ci.find(variables, inventory.CIKeyVariable)
		text, err := v.Value.Reveal()
		if err != nil {
			return secret.Value{}, err
		}
		return secret.New(strings.TrimRight(strings.ReplaceAll(text, "\r", ""), "\n") + "\n"), nil
	}
}

func (s ciKey) allow(f provision.Facts, verb provision.Verb, object, remark string, line secret.Value, others string) provision.Change {
	return provision.Change{Verb: verb, Object: object + s.ci.deployment, Remark: remark, Do: provision.Script{
		User: s.ci.user, Args: []string{strings.Join(s.names(f), " "), others}, Secret: line, Text: templates.Authorize,
	}}
}

// inUse returns the keys that GitLab holds, those of former variables among them.
func (s ciKey) inUse(f provision.Facts) []string {
	var publics []string
	for _, k := range s.formerKeys(f) {
		publics = append(publics, k.public)
	}
	for _, owner := range s.ci.owners {
		publics = append(publics, f["public "+owner.String()]...)
	}
	return publics
}

// undo revokes every CI key of the deployment.
func (s ciKey) undo(target) undo {
	return undo{s.Name(), provision.Probe{Script: s.look()}, func(f provision.Facts) ([]provision.Change, error) {
		if !slices.ContainsFunc(f["line"], func(line string) bool { return s.named(f, line) }) {
			return nil, nil
		}
		return []provision.Change{asUser(s.ci.user, provision.Change{Verb: provision.Revoke, Object: "the CI key of " + s.ci.deployment}, templates.Authorize, strings.Join(s.names(f), " "), "none")}, nil
	}}
}
