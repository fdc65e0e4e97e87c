package steps

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

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

	retire []string                                  // public halves of keys not to be used any more
	login  func(context.Context, secret.Value) error // see [Given]
}

func ciKeyOf(t target) ciKey {
	d := t.deployment
	s := ciKey{ci: movingCI(t), project: d.Project, branch: d.Branch}
	s.retire = t.given.Retire[s.Name()]
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
		Script: provision.Script{User: s.ci.user, Text: lookAtKeys},
		Ask:    s.ask,
	}
}

// What CI needs of the variable: a file, only for protected branches, taken
// as it is, and with the newline at the end without which OpenSSH refuses a
// private key. GitLab cannot mask a value that has line breaks.
const (
	wantsFile      = "a file"
	wantsProtected = "protected"
	wantsRaw       = "raw"
	wantsNewline   = "ended by a newline"
	wantsHost      = "described anew" // once the target is that of another host
)

func (s ciKey) ask(ctx context.Context, f forge.Forge) (provision.Facts, error) {
	facts := provision.Facts{}
	for _, owner := range s.ci.owners {
		variables, err := f.Variables(ctx, owner)
		if _, ok := s.ci.find(variables, inventory.CIKeyVariable); err != nil && !(ok && errors.Is(err, forge.ErrUnseen)) {
			return nil, err
		}
		name := owner.String()
		leadsHere := false
		if v, ok := s.ci.find(variables, inventory.DeployTargetVariable); ok {
			if text, err := v.Value.Reveal(); err == nil && text == s.ci.target {
				facts.Add("ours", name)
				leadsHere = true
			}
		}
		v, ok := s.ci.find(variables, inventory.CIKeyVariable)
		if !ok {
			continue
		}
		facts.Add("there", name)
		if s.ci.made(v) {
			facts.Add("ours", name)
		} else {
			facts.Add("foreign", name)
		}
		text, err := v.Value.Reveal()
		if err != nil {
			continue
		}
		if public, err := publicHalf(text); err == nil {
			facts.Add("public "+name, public)
		}
		for wants, has := range map[string]bool{
			wantsFile: v.File, wantsProtected: v.Protected, wantsRaw: v.Raw,
			wantsNewline: strings.HasSuffix(text, "\n") && !strings.Contains(text, "\r"),
			wantsHost:    !leadsHere || !s.ci.moved(v),
		} {
			if !has {
				facts.Add("wants "+name, wants)
			}
		}
		slices.Sort(facts["wants "+name])
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
	var changes []provision.Change
	if public == "" {
		changes = s.planNew(f)
	} else {
		line, err := s.line(public)
		if err != nil {
			return nil, err
		}
		changes = s.planHeld(f, public, line, from)
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
// the old one goes.
func (s ciKey) planNew(f provision.Facts) []provision.Change {
	private, line := s.newPair()
	born := func(context.Context, forge.Forge) (secret.Value, error) { return private, nil }
	var hand []provision.Change
	for _, owner := range s.ci.owners {
		hand = append(hand, s.set(f, provision.Set, "to the new key", owner, born))
	}
	if len(f["there"]) == 0 {
		return append(hand, s.allow(provision.Authorize, "the new CI key for ", "", line, "only"))
	}
	changes := []provision.Change{s.allow(provision.Authorize, "the new CI key for ", "(the old one stays active)", line, "keep")}
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
	return append(changes, s.allow(provision.Revoke, "the old CI key of ", "", line, "only"))
}

// A keyFrom says where the private half of a key comes from.
type keyFrom func(context.Context, forge.Forge) (secret.Value, error)

// planHeld plans for a key that GitLab holds: what CI lacks comes before
// another key goes, and what the host lacks before CI gets it.
func (s ciKey) planHeld(f provision.Facts, public, line string, from forge.Owner) []provision.Change {
	var hand []provision.Change
	for _, owner := range s.ci.owners {
		wants := f["wants "+owner.String()]
		switch p := f.Get("public " + owner.String()); {
		case p != public:
			hand = append(hand, s.set(f, provision.Set, "to the current CI key", owner, s.heldBy(from)))
		case len(wants) > 0:
			hand = append(hand, s.set(f, provision.Update, "to be "+joinAnd(wants), owner, s.heldBy(owner)))
		}
	}
	first, others := s.standing(f["line"], line, public)
	value := secret.New(line)
	authorize := func(others string) provision.Change {
		return s.allow(provision.Authorize, "the current CI key for ", "", value, others)
	}
	revoke := s.allow(provision.Revoke, "other CI keys of ", "", value, "only")
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

func (s ciKey) allow(verb provision.Verb, object, remark string, line secret.Value, others string) provision.Change {
	return provision.Change{Verb: verb, Object: object + s.ci.deployment, Remark: remark, Do: provision.Script{
		User: s.ci.user, Args: []string{s.ci.deployment, others}, Secret: line, Text: templates.Authorize,
	}}
}

// newPair returns the private half of a key that is made when one of the two
// is first revealed, and the line for its public half.
func (s ciKey) newPair() (private, line secret.Value) {
	private = secret.Born(func() (string, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return "", err
		}
		block, err := ssh.MarshalPrivateKey(key, s.comment())
		if err != nil {
			return "", err
		}
		return string(pem.EncodeToMemory(block)), nil
	})
	line = secret.Born(func() (string, error) {
		text, err := private.Reveal()
		if err != nil {
			return "", err
		}
		public, err := publicHalf(text)
		if err != nil {
			return "", err
		}
		return s.line(public)
	})
	return private, line
}

func (s ciKey) comment() string { return "provision:" + s.ci.deployment }

// line returns the line of authorized_keys for a public half "TYPE BASE64".
func (s ciKey) line(public string) (string, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`restrict,%s%s %s" %s %s`, opensGate, s.ci.deployment, ssh.FingerprintSHA256(key), public, s.comment()), nil
}

// standing tells whether a line is the first one for its key and the only one
// that has it, and whether there are lines of other keys for this deployment.
// sshd(8) takes the first line that has the key, and skips one whose options it
// cannot read: another line with the key is a way in.
func (s ciKey) standing(lines []string, want, public string) (first, others bool) {
	for _, line := range lines {
		switch {
		case line == want && !first:
			first = true
		case hasKey(line, public):
			return false, true
		case s.named(line):
			others = true
		}
	}
	return first, others
}

// named tells whether a line is one of this deployment, for whatever key.
func (s ciKey) named(line string) bool {
	words := wordsOf(line)
	return len(words) > 0 && words[len(words)-1] == s.comment()
}

// inUse returns the keys that GitLab holds.
func (s ciKey) inUse(f provision.Facts) []string {
	var publics []string
	for _, owner := range s.ci.owners {
		publics = append(publics, f["public "+owner.String()]...)
	}
	return publics
}

// undo revokes every CI key of the deployment.
func (s ciKey) undo(target) undo {
	return undo{s.Name(), provision.Probe{Script: s.Probe().Script}, func(f provision.Facts) ([]provision.Change, error) {
		if !slices.ContainsFunc(f["line"], s.named) {
			return nil, nil
		}
		return []provision.Change{asUser(s.ci.user, provision.Change{Verb: provision.Revoke, Object: "the CI key of " + s.ci.deployment}, templates.Authorize, s.ci.deployment, "none")}, nil
	}}
}
