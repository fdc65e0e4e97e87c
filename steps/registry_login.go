package steps

import (
	"fmt"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/secret"
	"provision/provision/visible"
	"provision/templates"
)

// registryLogin wants a user to be logged in to a registry: with a login that the
// inventory names, or with a token that was made for this user on this host, see
// registry_token.go.
//
// A login that people made is kept beside ours, and given back when ours goes.
type registryLogin struct {
	user      string
	project   string // of one deployment of the user
	registry  inventory.Registry
	needed    bool   // by a deployment of the user
	directory string // of one deployment of the user, to try a new token in
	salt      string

	kind   forge.TokenKind // "" for a login that the inventory names
	title  string          // of the token
	owner  forge.Owner     // of the token
	others otherTitles

	inventory string   // the file
	gone      bool     // the host is no more
	renew     int      // days that a token must have left
	retire    []string // the login that is not to be used any more

	known []string // the hosts of all registries that the inventory names, in the step of that of GitLab

	named  secret.Value // the user name, a newline, the password
	digest string       // of that, as the host reports it
}

// keptLogins is where a login is kept that was there before ours, in the home of
// the user.
const keptLogins = ".docker/before-provision"

// registryLoginsOf returns the login to the registry of GitLab, and those to the
// others that have one.
func registryLoginsOf(t target) []registryLogin {
	logins := []registryLogin{registryLoginOf(t, t.inv.Registry)}
	for _, r := range t.inv.Registries {
		if r.Credential.Kind != inventory.NoCredential {
			logins = append(logins, registryLoginOf(t, *r))
		}
	}
	return logins
}

func registryLoginOf(t target, r inventory.Registry) registryLogin {
	d := t.deployment
	s := registryLogin{
		user: d.User, project: d.Project, registry: r, title: d.User + "@" + t.host.Name,
		owner: forge.Owner{Kind: forge.GroupOwner, Path: d.TokenGroup}, salt: t.given.Salt, directory: d.Directory,
		inventory: t.inv.Path, gone: t.given.gone,
	}
	s.others = t.otherTitles()
	if r.Name == "" {
		s.known = append(s.known, r.Host)
		for _, other := range t.inv.Registries {
			s.known = append(s.known, other.Host)
		}
	}
	s.needed = slices.ContainsFunc(t.ofUser(), func(other *inventory.Deployment) bool { return pullsFrom(other, r) })
	s.retire = t.given.Retire[s.Name()]
	if s.renew = t.given.Renew; s.renew == 0 {
		s.renew = WarnDays
	}
	switch credential := r.Credential; credential.Kind {
	case inventory.DeployToken:
		s.kind = forge.DeployToken
	case inventory.Named:
		if password, err := t.given.RegistryPasswords[r.Name].Reveal(); err == nil {
			s.named = secret.New(credential.Username + "\n" + password)
			s.digest, _ = secret.New(credential.Username + ":" + password).Digest(s.salt)
		}
	default:
		s.kind = forge.AccessToken
	}
	return s
}

// pullsFrom tells whether the inventory wants a deployment to pull from a registry:
// everybody does from that of GitLab.
func pullsFrom(d *inventory.Deployment, r inventory.Registry) bool {
	return r.Name == "" || slices.ContainsFunc(d.Registries, func(other *inventory.Registry) bool { return other.Name == r.Name })
}

// Registries returns the further registries that the user of a deployment is logged in
// to, for this deployment or another one on its host.
func Registries(inv *inventory.Inventory, d *inventory.Deployment) []*inventory.Registry {
	return slices.DeleteFunc(slices.Clone(inv.Registries), func(r *inventory.Registry) bool {
		return !slices.ContainsFunc(target{inv: inv, host: d.Host, deployment: d}.ofUser(), func(other *inventory.Deployment) bool { return pullsFrom(other, *r) })
	})
}

// lookAtMode reports a config.json that others may read or write.
const lookAtMode = `
case $(stat -c %A .docker/config.json 2>/dev/null) in
-???------) ;;
-*) fact loose yes ;;
esac
`

func (s registryLogin) Name() string {
	return strings.TrimSpace("registry-login " + s.user + " " + s.registry.Name)
}

func (s registryLogin) Scope() provision.Scope { return provision.Scope{User: s.user} }

func (s registryLogin) Probe() provision.Probe {
	p := provision.Probe{Script: s.look(lookAtMode)}
	if s.kind != "" {
		p.Ask = s.ask
	}
	return p
}

// look looks at the login, after another look as the same user.
func (s registryLogin) look(before string) provision.Script {
	reads := ""
	if s.kind != "" && s.salt != "" { // without a salt it is CI that looks, and what runs beside its deployment is not for CI
		reads = s.registry.Host + "/" + s.owner.Path
	}
	return provision.Script{User: s.user, Args: []string{s.registry.Key(), s.salt, keptLogins + "/" + s.registry.Host, reads, strings.Join(s.known, " ")}, Text: before + templates.Logins}
}

func (s registryLogin) Plan(f provision.Facts) ([]provision.Change, error) {
	if !s.needed {
		return s.unwanted(f), nil
	}
	if err := s.unusable(f); err != nil {
		return nil, err
	}
	var changes []provision.Change
	if f.Get("loose") != "" && f.Get("login") != "" && s.registry.Name == "" { // it is one file for all
		changes = append(changes, provision.Change{
			Verb:   provision.Chmod,
			Object: fmt.Sprintf("go= ~%s/.docker/config.json", s.user),
			Do:     provision.Script{User: s.user, Text: `chmod go= .docker/config.json`},
		})
	}
	if s.kind != "" {
		tokens, err := s.planToken(f)
		return slices.Concat(changes, tokens, s.planElsewhere(f)), err
	}
	if f.Get("login") != s.registry.Credential.Username || s.salt != "" && f.Get("digest") != s.digest {
		changes = append(changes, s.login(f, s.named))
		if m, ok := s.moved(f); ok {
			changes = append(changes, m.revokeHeld())
		}
	}
	return changes, nil
}

// unwanted tells of a login that no deployment of the user needs any more.
func (s registryLogin) unwanted(f provision.Facts) []provision.Change {
	if f.Get("login") != s.registry.Credential.Username {
		return nil
	}
	return []provision.Change{provision.Note("%s is logged in to %s as %s, which no deployment of that user needs", s.user, s.registry.Host, s.registry.Credential.Username).
		WithHint("if nobody else does, as %s: docker logout %s", s.user, s.registry.Host)}
}

// unusable returns an error where a login would not be kept in config.json.
func (s registryLogin) unusable(f provision.Facts) error {
	if f.Get("config") == "broken" {
		return hint.Add(fmt.Errorf("~%s/.docker/config.json is not valid JSON", s.user), "repair it, or move it away: apply creates a new one")
	}
	store, others := f["store"], f["helper"]
	if len(others) > 0 {
		store = others // what is said about one registry wins over what is said about all
	}
	if len(store) > 0 && store[0] != "" {
		return hint.Add(fmt.Errorf("~%s/.docker/config.json leaves the login to the helper docker-credential-%s, which needs a desktop or a passphrase", s.user, store[0]),
			"take credsStore and credHelpers out of it, or deploy as another user")
	}
	return nil
}

// made tells whether a login was made by us.
func (s registryLogin) made(f provision.Facts) bool {
	login := f.Get("login")
	switch {
	case s.registry.Name == "" && strings.HasPrefix(login, loginPrefix):
		return true
	case len(f["made"]) > 0:
		return true
	case s.kind == forge.DeployToken:
		id, ok := strings.CutPrefix(login, deployTokenPrefix)
		known := slices.Concat(f["dead"], f["token"], f["former"])
		return ok && slices.ContainsFunc(known, func(token string) bool { return token == id || strings.HasPrefix(token, id+" ") })
	}
	return s.kind == "" && s.digest != "" && f.Get("digest") == s.digest
}

// theirs returns what names a login that people made, and that ours replaces; "" if
// there is none. The one of the inventory with another password is no other login.
func (s registryLogin) theirs(f provision.Facts) string {
	switch login := f.Get("login"); {
	case s.made(f), s.kind == "" && login == s.registry.Credential.Username:
		return ""
	case login != "":
		return "the login of " + visible.String(login)
	case f.Get("other") != "":
		return "a login with a token"
	}
	return ""
}

// login logs in with a credential.
func (s registryLogin) login(f provision.Facts, credential secret.Value) provision.Change {
	c := provision.Change{
		Verb:   provision.DockerLogin,
		Object: s.registry.Host,
		Remark: "as " + s.user,
		Hint:   s.hint(),
	}
	keep := ""
	if theirs := s.theirs(f); theirs != "" {
		keep = keptLogins
		c.Remark += fmt.Sprintf(" (replaces %s, which is kept in ~%s/%s)", theirs, s.user, keptLogins)
		c.Hint += "; " + s.stayHint()
	}
	owner := ""
	if s.kind != "" {
		owner = s.owner.String()
	}
	c.Do = provision.Script{User: s.user, Args: []string{s.registry.Host, s.registry.Key(), keep, owner}, Secret: credential, Text: templates.Login}
	return c
}

// stayHint says how to go on with a login that people made.
func (s registryLogin) stayHint() string {
	if s.registry.Name != "" {
		return fmt.Sprintf("to go on with the login that is there, name it as registries.%s.credential", s.registry.Name)
	}
	return "to go on with the login that is there, name it as registry.credential; or name a group above all whose images are needed as registry.group"
}

// hint is for where the registry refuses the login.
func (s registryLogin) hint() string {
	switch {
	case s.kind != "":
		return fmt.Sprintf("is %s the registry of this GitLab? run again when it answers", s.registry.Host)
	case s.registry.Name != "":
		return fmt.Sprintf("check the user name and the password of registries.%s.credential, and that it may read the registry", s.registry.Name)
	}
	return "check the user name and the password of registry.credential, and that it may read the registry"
}

// inUse returns the login that the host has, if it is not one of the inventory:
// that one is rotated where it was made.
func (s registryLogin) inUse(f provision.Facts) []string {
	if login := f.Get("login"); login != "" && s.kind != "" {
		return []string{login}
	}
	return nil
}

// undo takes away the login, and then its token, unless another deployment of
// the user needs them.
func (s registryLogin) undo(t target) undo {
	probe := provision.Probe{Script: s.look(lookAtOthers)}
	if s.kind != "" && s.owner.Path != "" {
		probe.Ask = s.askAll
	}
	return undo{s.Name(), probe, func(f provision.Facts) ([]provision.Change, error) {
		if t.othersNeed(f, s.registry) || !pullsFrom(t.deployment, s.registry) {
			return nil, nil
		}
		changes, revoked, err := s.revokeAll(f)
		if err != nil {
			return nil, err
		}
		if m, ok := s.moved(f); ok { // nobody knows it once the host holds it no longer
			changes = append(changes, m.revokeHeld())
		}
		kept := fmt.Sprintf("~%s/%s/%s", s.user, keptLogins, s.registry.Host)
		switch login := f.Get("login"); {
		case f.Get("config") == "broken":
			changes = append(changes, provision.Note("~%s/.docker/config.json is not valid JSON, and stays", s.user))
		case s.made(f):
			remark := "as " + s.user
			if f.Get("kept") != "" {
				remark += " (the login from before is given back)"
			}
			changes = append(changes, asUser(s.user, provision.Change{Verb: provision.DockerLogout, Object: s.registry.Host, Remark: remark}, templates.Logout, s.registry.Key(), login, keptLogins+"/"+s.registry.Host))
		case s.kind == "" && s.digest == "" && login == s.registry.Credential.Username:
			changes = append(changes, provision.Note("the login of %s to %s stays, as nobody knows whether it is ours", s.user, s.registry.Host).
				WithHint("if nobody else needs it, as %s: docker logout %s", s.user, s.registry.Host))
		case login != "" || f.Get("other") != "":
			changes = append(changes, provision.Note("the login of %s to %s stays, as somebody else has made it", s.user, s.registry.Host))
			fallthrough
		default:
			if f.Get("kept") != "" {
				changes = append(changes, provision.Note("%s stays: the login that was there before ours", kept))
			}
		}
		for _, l := range s.elsewhere(f) {
			changes = append(changes, s.logout(l, ""))
		}
		return append(changes, revoked...), nil
	}}
}
