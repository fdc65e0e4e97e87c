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
	ci
	project, branch string

	retire string                                    // public halves of keys not to be used any more, one a line
	login  func(context.Context, secret.Value) error // see [Given]
}

func ciKeySteps(w wish) []provision.Step {
	return each(w, func(d *inventory.Deployment) ciKey {
		s := ciKey{ci: ciOf(d), project: d.Project, branch: d.Branch}
		s.retire = w.given.Retire[s.Name()]
		if w.given.Login != nil {
			s.login = func(ctx context.Context, key secret.Value) error { return w.given.Login(ctx, d, key) }
		}
		return s
	})
}

const keyVariable = "SSH_AUTH"

// lookAtKeys reports authorized_keys, and what on the way there others may
// write: sshd then lets nobody in, see StrictModes of sshd_config(5).
const lookAtKeys = `
for file in . .ssh .ssh/authorized_keys; do
	if [ -L "$file" ] || ! { [ -d "$file" ] || [ -f "$file" ]; }; then
		continue
	fi
	case $(stat -L -c '%A %G' "$file" 2>/dev/null) in
	????????w*) fact loose "$file" ;;
	?????w*" $(id -un)") ;; # the group of the user alone, which Debian's sshd lets pass
	?????w*) fact loose "$file" ;;
	esac
done
! [ -f .ssh/authorized_keys ] || ! [ -r .ssh/authorized_keys ] || facts line <.ssh/authorized_keys
`

func (s ciKey) Name() string { return "ci-key " + s.deployment }

func (s ciKey) Probe() provision.Probe {
	return provision.Probe{
		Script: provision.Script{User: s.user, Text: lookAtKeys},
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
)

func (s ciKey) ask(ctx context.Context, f forge.Forge) (provision.Facts, error) {
	facts := provision.Facts{}
	for _, owner := range s.owners {
		variables, err := f.Variables(ctx, owner)
		if _, ok := s.find(variables, keyVariable); err != nil && !(ok && errors.Is(err, forge.ErrUnseen)) {
			return nil, err
		}
		name := owner.String()
		if v, ok := s.find(variables, targetVariable); ok {
			if text, err := v.Value.Reveal(); err == nil && text == s.target() {
				facts.Add("ours", name)
			}
		}
		v, ok := s.find(variables, keyVariable)
		if !ok {
			continue
		}
		facts.Add("there", name)
		if v.Description == s.description() {
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
	projects := s.variables.Projects
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
		notes = append(notes, provision.Note("the branch %s is not protected, or not there: its jobs will not see %s", branch, s.variables.Key(keyVariable)).WithHint("Settings > Repository > Protected branches"))
	}

	// Which key: one that GitLab holds and the host lets in, else one that
	// GitLab holds, else a new one.
	var public string
	var from forge.Owner
	known := false
	for _, owner := range s.owners {
		p := f.Get("public " + owner.String())
		letIn := p != "" && slices.ContainsFunc(lines, func(line string) bool { return hasKey(line, p) })
		if f.Has("there", owner.String()) && !f.Has("ours", owner.String()) && !letIn {
			return nil, hint.Add(fmt.Errorf("%s holds a key that this host does not know: another deployment uses it", s.where(keyVariable, owner)), takenHint)
		}
		if p != "" && !slices.Contains(strings.Split(s.retire, "\n"), p) && !known && (public == "" || letIn) {
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
			Summary: fmt.Sprintf("let nobody else write %s of %s, or sshd lets nobody in", list(loose), s.user),
			Do:      provision.Script{User: s.user, Args: loose, Text: `chmod go-w -- "$@"`},
		}}, changes...)
	}
	return append(changes, notes...), nil
}

// planNew plans a new key. Where CI has one that works, that one works until
// CI has the new one; and that is tried before CI has it, and once more before
// the old one goes.
func (s ciKey) planNew(f provision.Facts) []provision.Change {
	private, line := s.newPair()
	born := func(context.Context, forge.Forge) (secret.Value, error) { return private, nil }
	var hand []provision.Change
	for _, owner := range s.owners {
		hand = append(hand, s.set(f, "hand the new key to CI: "+s.where(keyVariable, owner), owner, born))
	}
	if len(f["there"]) == 0 {
		return append(hand, s.allow("let the new key of CI open the gate of "+s.deployment, line, "only"))
	}
	changes := []provision.Change{s.allow("let a new key of CI open the gate of "+s.deployment+", beside the old one", line, "keep")}
	if s.login == nil {
		changes = append(changes, hand...)
	} else {
		var held []keyFrom
		for _, owner := range s.owners {
			held = append(held, s.heldBy(owner))
		}
		changes = append(changes, s.try("log in with the new key", born))
		changes = append(changes, hand...)
		changes = append(changes, s.try("log in with what GitLab now holds, as CI does", held...))
	}
	return append(changes, s.allow("let the old key of "+s.deployment+" in no longer", line, "only"))
}

// A keyFrom says where the private half of a key comes from.
type keyFrom func(context.Context, forge.Forge) (secret.Value, error)

// try logs in with keys.
func (s ciKey) try(summary string, keys ...keyFrom) provision.Change {
	return provision.Change{Summary: summary, Do: provision.Call(func(ctx context.Context, g forge.Forge) error {
		for _, from := range keys {
			key, err := from(ctx, g)
			if err != nil {
				return err
			}
			if err := s.login(ctx, key); err != nil {
				return err
			}
		}
		return nil
	})}
}

// planHeld plans for a key that GitLab holds: what CI lacks comes before
// another key goes, and what the host lacks before CI gets it.
func (s ciKey) planHeld(f provision.Facts, public, line string, from forge.Owner) []provision.Change {
	var hand []provision.Change
	for _, owner := range s.owners {
		wants := f["wants "+owner.String()]
		switch p := f.Get("public " + owner.String()); {
		case p != public:
			hand = append(hand, s.set(f, "hand the key to CI: "+s.where(keyVariable, owner), owner, s.heldBy(from)))
		case len(wants) > 0:
			hand = append(hand, s.set(f, "make "+s.where(keyVariable, owner)+" "+list(wants), owner, s.heldBy(owner)))
		}
	}
	first, others := s.standing(f["line"], line, public)
	let := "let the key that CI has open the gate of " + s.deployment
	drop := "let no other key open the gate of " + s.deployment
	value := secret.New(line)
	switch {
	case first && !others:
		return hand
	case first:
		return append(hand, s.allow(drop, value, "only"))
	case len(hand) == 0 || !others:
		return append([]provision.Change{s.allow(let, value, "only")}, hand...)
	}
	return append(append([]provision.Change{s.allow(let, value, "keep")}, hand...), s.allow(drop, value, "only"))
}

// set gives CI the private half, as it needs it. What somebody else has made
// keeps its description, and so is theirs when the deployment is removed.
func (s ciKey) set(f provision.Facts, summary string, owner forge.Owner, value keyFrom) provision.Change {
	return provision.Change{Summary: summary, Do: provision.Call(func(ctx context.Context, g forge.Forge) error {
		v, err := value(ctx, g)
		if err != nil {
			return err
		}
		description := s.description()
		if f.Has("foreign", owner.String()) {
			description = ""
		}
		return s.scoped(g.SetVariable(ctx, owner, forge.Variable{
			Key: s.variables.Key(keyVariable), Value: v, File: true, Protected: true, Raw: true,
			Scope: s.scope, Description: description,
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
		v, _ := s.find(variables, keyVariable)
		text, err := v.Value.Reveal()
		if err != nil {
			return secret.Value{}, err
		}
		return secret.New(strings.TrimRight(strings.ReplaceAll(text, "\r", ""), "\n") + "\n"), nil
	}
}

func (s ciKey) allow(summary string, line secret.Value, others string) provision.Change {
	return provision.Change{Summary: summary, Do: provision.Script{
		User: s.user, Args: []string{s.deployment, others}, Secret: line, Text: templates.Authorize,
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

// opensGate begins the option of a line of authorized_keys that opens a gate.
const opensGate = `command="` + gateFile + " "

func (s ciKey) comment() string { return "provision:" + s.deployment }

// line returns the line of authorized_keys for a public half "TYPE BASE64".
func (s ciKey) line(public string) (string, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`restrict,%s%s %s" %s %s`, opensGate, s.deployment, ssh.FingerprintSHA256(key), public, s.comment()), nil
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

// hasKey tells whether a line of authorized_keys lets in a public half "TYPE
// BASE64". A line that we cannot read may be one that sshd can.
func hasKey(line, public string) bool {
	_, blob, _ := strings.Cut(public, " ")
	return slices.Contains(wordsOf(line), blob)
}

// wordsOf splits a line of authorized_keys as templates/authorize.sh does. A
// comment has no words.
func wordsOf(line string) []string {
	words := strings.FieldsFunc(strings.TrimRight(line, " \t\r"), func(r rune) bool { return r == ' ' || r == '\t' })
	if len(words) > 0 && strings.HasPrefix(words[0], "#") {
		return nil
	}
	return words
}

// publicHalf returns "TYPE BASE64" of a private key in PEM.
func publicHalf(private string) (string, error) {
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), nil
}
