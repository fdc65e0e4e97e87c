package steps

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/secret"
	"provision/templates"
)

// ciKey wants one key to open the gate of a deployment and nothing else: its
// public half in authorized_keys, its private half in GitLab, and nowhere
// else. The pair is made in memory, when there is none that both know.
type ciKey struct {
	ci
	project, branch string
}

func ciKeySteps(w wish) []provision.Step {
	return each(w, func(d *inventory.Deployment) ciKey { return ciKey{ciOf(d), d.Project, d.Branch} })
}

const keyVariable = "SSH_AUTH"

func (s ciKey) Name() string { return "ci-key " + s.deployment }

func (s ciKey) Probe() provision.Probe {
	return provision.Probe{
		Script: provision.Script{User: s.user, Text: `
! [ -r .ssh/authorized_keys ] || facts line <.ssh/authorized_keys
`},
		Ask: s.ask,
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
		if err != nil {
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
	return facts, s.askBranch(ctx, f, facts)
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
		notes = append(notes, provision.Note("the branch %s is not protected: its jobs will not see %s", branch, s.variables.Key(keyVariable)))
	}

	// Which key: one that GitLab holds and the host lets in, else one that
	// GitLab holds, else a new one.
	var public string
	var from forge.Owner
	for _, owner := range s.owners {
		p := f.Get("public " + owner.String())
		letIn := p != "" && slices.ContainsFunc(lines, func(line string) bool { return hasKey(line, p) })
		if f.Has("there", owner.String()) && !f.Has("ours", owner.String()) && !letIn {
			return nil, provision.Hint(fmt.Errorf("%s holds a key that this host does not know: another deployment uses it", s.where(keyVariable, owner)),
				"give this deployment another environment or a variables.prefix, or delete the variable")
		}
		if p != "" && (public == "" || letIn) {
			public, from = p, owner
			if letIn {
				break
			}
		}
	}

	var changes []provision.Change
	if public == "" {
		private, line := s.newPair()
		allow := s.allow("let a new key of CI open the gate of "+s.deployment, line)
		for _, owner := range s.owners {
			changes = append(changes, s.set("hand the new key to CI: "+s.where(keyVariable, owner), owner,
				func(context.Context, forge.Forge) (secret.Value, error) { return private, nil }))
		}
		if len(f["there"]) > 0 { // CI has a key: the host learns the new one first
			return append(append([]provision.Change{allow}, changes...), notes...), nil
		}
		return append(append(changes, allow), notes...), nil
	}

	line, err := s.line(public)
	if err != nil {
		return nil, err
	}
	if !s.inPlace(lines, line, public) {
		changes = append(changes, s.allow("let the key that CI has open the gate of "+s.deployment, secret.New(line)))
	}
	for _, owner := range s.owners {
		wants := f["wants "+owner.String()]
		switch p := f.Get("public " + owner.String()); {
		case p != public:
			changes = append(changes, s.set("hand the key to CI: "+s.where(keyVariable, owner), owner, s.heldBy(from)))
		case len(wants) > 0:
			changes = append(changes, s.set("make "+s.where(keyVariable, owner)+" "+list(wants), owner, s.heldBy(owner)))
		}
	}
	return append(changes, notes...), nil
}

// set gives CI the private half, as it needs it.
func (s ciKey) set(summary string, owner forge.Owner, value func(context.Context, forge.Forge) (secret.Value, error)) provision.Change {
	return provision.Change{Summary: summary, Do: provision.Call(func(ctx context.Context, g forge.Forge) error {
		v, err := value(ctx, g)
		if err != nil {
			return err
		}
		return s.scoped(g.SetVariable(ctx, owner, forge.Variable{
			Key: s.variables.Key(keyVariable), Value: v, File: true, Protected: true, Raw: true,
			Scope: s.scope, Description: s.description(),
		}))
	})}
}

// heldBy returns what GitLab holds now, with the line ends that OpenSSH wants.
func (s ciKey) heldBy(owner forge.Owner) func(context.Context, forge.Forge) (secret.Value, error) {
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

func (s ciKey) allow(summary string, line secret.Value) provision.Change {
	return provision.Change{Summary: summary, Do: provision.Script{
		User: s.user, Args: []string{s.deployment}, Secret: line, Text: templates.Authorize,
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

func (s ciKey) comment() string { return "provision:" + s.deployment }

// line returns the line of authorized_keys for a public half "TYPE BASE64".
func (s ciKey) line(public string) (string, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`restrict,command="%s %s %s" %s %s`, gateFile, s.deployment, ssh.FingerprintSHA256(key), public, s.comment()), nil
}

// inPlace tells whether a line is the first one for its key, the only one, and
// the only one of this deployment. sshd(8) takes the first line that has the
// key, and skips one whose options it cannot read: another line with the key
// is a way in.
func (s ciKey) inPlace(lines []string, want, public string) bool {
	there := false
	for _, line := range lines {
		switch {
		case line == want && !there:
			there = true
		case hasKey(line, public), strings.HasSuffix(line, " "+s.comment()):
			return false
		}
	}
	return there
}

// hasKey tells whether a line of authorized_keys lets in a public half "TYPE
// BASE64". A line that we cannot read may be one that sshd can.
func hasKey(line, public string) bool {
	_, blob, _ := strings.Cut(public, " ")
	return !strings.HasPrefix(strings.TrimSpace(line), "#") && slices.Contains(strings.Fields(line), blob)
}

// publicHalf returns "TYPE BASE64" of a private key in PEM.
func publicHalf(private string) (string, error) {
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), nil
}
