package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/secret"
	"provision/templates"
)

// registryLogin wants a user to be logged in to the registry, with a
// credential that was made for this user on this host.
//
// The registry takes any user name with an access token, so ours carries the
// id of the token: the host can tell which one it holds without revealing it.
type registryLogin struct {
	user, registry, title string
	owner                 forge.Owner
	kind                  forge.TokenKind // "" for a credential that the inventory names
	named                 secret.Value    // of that one: the user name, a newline, the password
	digest                string          // of that one: as the host reports it
	salt                  string
	directory             string   // of one deployment of the user, to try a new token in
	renew                 int      // days that a token must have left
	retire                []string // the login that is not to be used any more
}

const (
	loginPrefix       = "provision-"
	deployTokenPrefix = "gitlab+deploy-token-" // what GitLab makes of a deploy token without a user name
)

// WarnDays is how many days before its end a token is spoken of, and from when
// on apply replaces it.
const WarnDays = 30

func registryLoginOf(t target) registryLogin {
	d := t.deployment
	s := registryLogin{
		user: d.User, registry: t.inv.Registry.Host, title: d.User + "@" + t.host.Name,
		owner: forge.Owner{Kind: forge.GroupOwner, Path: d.TokenGroup}, salt: t.given.Salt, directory: d.Directory,
	}
	s.retire = t.given.Retire[s.Name()]
	if s.renew = t.given.Renew; s.renew == 0 {
		s.renew = WarnDays
	}
	switch credential := t.inv.Registry.Credential; credential.Kind {
	case inventory.DeployToken:
		s.kind = forge.DeployToken
	case inventory.Named:
		password, _ := t.given.RegistryPassword.Reveal()
		s.named = secret.New(credential.Username + "\n" + password)
		s.digest, _ = secret.New(credential.Username + ":" + password).Digest(s.salt)
	default:
		s.kind = forge.AccessToken
	}
	return s
}

// lookAtMode reports a config.json that others may read or write.
const lookAtMode = `
case $(stat -c %A .docker/config.json 2>/dev/null) in
-???------) ;;
-*) fact loose yes ;;
esac
`

func (s registryLogin) Name() string { return "registry-login " + s.user }

func (s registryLogin) Scope() provision.Scope { return provision.Scope{User: s.user} }

func (s registryLogin) Probe() provision.Probe {
	p := provision.Probe{Script: provision.Script{User: s.user, Args: []string{s.registry, s.salt}, Text: lookAtMode + templates.Logins}}
	if s.kind != "" {
		p.Ask = s.ask
	}
	return p
}

// ask reports the tokens that have our name and work: "ID DAYS", or "ID never".
// Those that we did not make are reported apart.
func (s registryLogin) ask(ctx context.Context, f forge.Forge) (provision.Facts, error) {
	tokens, err := f.Tokens(ctx, s.owner, s.kind)
	if err != nil {
		if errors.Is(err, forge.ErrNotFound) {
			err = hint.Add(err, "the token that reads the images belongs to a group: name it as registry.group, or give registry.credential a user name and password")
		}
		return nil, err
	}
	facts := provision.Facts{}
	for _, t := range tokens {
		if t.Name != s.title || !t.Active {
			continue
		}
		id := strconv.FormatInt(t.ID, 10)
		if !s.ours(t) {
			facts.Add("foreign", id)
			continue
		}
		left := "never"
		if !t.Expires.IsZero() {
			left = strconv.Itoa(t.DaysLeft)
		}
		facts.Add("token", id+" "+left)
	}
	return facts, nil
}

// ours tells whether we made a token that has our name.
func (s registryLogin) ours(t forge.Token) bool {
	if s.kind == forge.DeployToken { // these have no description
		return t.Username == deployTokenPrefix+strconv.FormatInt(t.ID, 10)
	}
	return t.Description == s.description()
}

func (s registryLogin) description() string { return "Made by provision for " + s.title + "." }

func (s registryLogin) Plan(f provision.Facts) ([]provision.Change, error) {
	if err := s.unusable(f); err != nil {
		return nil, err
	}
	var changes []provision.Change
	if f.Get("loose") != "" && f.Get("login") != "" {
		changes = append(changes, provision.Change{
			Verb:   provision.Chmod,
			Object: fmt.Sprintf("go= ~%s/.docker/config.json", s.user),
			Do:     provision.Script{User: s.user, Text: `chmod go= .docker/config.json`},
		})
	}
	if s.kind == "" {
		if f.Get("digest") != s.digest && s.salt != "" {
			changes = append(changes, s.login(s.named))
		}
		return changes, nil
	}
	held, unused, err := s.decide(f)
	if err != nil {
		return nil, err
	}
	if held.fate != absent && held.fate != dead {
		changes = append(changes, provision.Lasts(provision.Credential{Name: fmt.Sprintf("%s %s of %s", s.kind, s.title, s.owner), Ends: held.ends, Days: held.days}))
	}
	switch {
	case held.fate != kept:
		changes = append(changes, s.replace(held)...)
	case held.ends && held.days < WarnDays:
		changes = append(changes, provision.Note("token %s ends in %d days; apply replaces it", held.id, held.days))
	}
	for _, id := range unused {
		changes = append(changes, provision.Change{
			Verb:   provision.Revoke,
			Object: fmt.Sprintf("unused %s %d of %s", s.kind, id, s.owner),
			Do:     provision.Call(func(ctx context.Context, g forge.Forge) error { return g.RevokeToken(ctx, s.owner, s.kind, id) }),
		})
	}
	for _, id := range f["foreign"] {
		changes = append(changes, provision.Note("%s has another token named %s, made by somebody else (id %s): revoke it if nobody uses it", s.owner, s.title, id))
	}
	return changes, nil
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

// A fate is what becomes of the token that the host holds.
type fate int

const (
	absent  fate = iota // the host holds none of ours
	dead                // it holds one that does not work
	kept                // it goes on with the one that it holds
	retired             // that one is not to be used any more
	ending              // that one ends soon
)

// A heldToken is the token that the host is logged in with.
type heldToken struct {
	id   string // as its login says
	fate fate
	ends bool
	days int // until then
}

// decide returns what becomes of the tokens: of the one that the host holds, and
// which are of no use to it, at the latest when it holds another.
func (s registryLogin) decide(f provision.Facts) (held heldToken, unused []int64, err error) {
	login := f.Get("login")
	held.id = strings.TrimPrefix(strings.TrimPrefix(login, loginPrefix), deployTokenPrefix)
	if held.id != login {
		held.fate = dead
	}
	for _, token := range f["token"] {
		number, left, _ := strings.Cut(token, " ")
		id, err := tokenID(number)
		if err != nil {
			return held, nil, err
		}
		if number != held.id {
			unused = append(unused, id)
			continue
		}
		days, err := strconv.Atoi(left)
		held.ends, held.days = err == nil, days
		switch {
		case slices.Contains(s.retire, login):
			held.fate = retired
		case held.ends && days < s.renew:
			held.fate = ending
		default:
			held.fate = kept
			continue
		}
		unused = append(unused, id)
	}
	return held, unused, nil
}

// replace makes another token and logs in with it. One that is to be retired
// works, so the other is tried before that one goes.
func (s registryLogin) replace(held heldToken) []provision.Change {
	why := map[fate]string{
		retired: fmt.Sprintf("(replaces token %s)", held.id),
		ending:  fmt.Sprintf("(token %s ends in %d days)", held.id, held.days),
		dead:    fmt.Sprintf("(token %s is revoked or expired)", held.id),
	}
	credential := secret.Born(nil)
	changes := []provision.Change{{
		Verb:   provision.Create,
		Object: fmt.Sprintf("%s %s of %s", s.kind, s.title, s.owner),
		Remark: why[held.fate],
		Do:     provision.Call(func(ctx context.Context, g forge.Forge) error { return s.create(ctx, g, credential) }),
	}, s.login(credential)}
	if held.fate == retired {
		changes = append(changes, provision.Change{
			Verb: provision.Test, Object: "the new token: docker compose pull",
			Do: provision.Script{User: s.user, Args: []string{s.directory}, Text: `
cd "$1"
docker compose pull --quiet
`},
		})
	}
	return changes
}

func (s registryLogin) create(ctx context.Context, g forge.Forge, credential secret.Value) error {
	ask := forge.Token{Name: s.title, Scopes: []string{"read_registry"}}
	if s.kind == forge.AccessToken {
		ask.Level, ask.Description = forge.Reporter, s.description()
	}
	token, err := g.CreateToken(ctx, s.owner, s.kind, ask)
	if err != nil {
		if s.kind == forge.AccessToken && errors.Is(err, forge.ErrForbidden) {
			err = hint.Add(err, `group access tokens need the role Owner, and on GitLab.com Premium; registry.credential = "deploy-token" needs neither Premium nor a bot user`)
		}
		return err
	}
	value, err := token.Value.Reveal()
	if err != nil {
		return err
	}
	name := token.Username
	if s.kind == forge.AccessToken {
		name = loginPrefix + strconv.FormatInt(token.ID, 10)
	}
	credential.Fill(name + "\n" + value)
	return nil
}

// hint is for where the registry refuses the login.
func (s registryLogin) hint() string {
	if s.kind == "" {
		return "check the user name and the password of registry.credential, and that it may read the registry"
	}
	return fmt.Sprintf("is %s the registry of this GitLab? run again when it answers", s.registry)
}

func (s registryLogin) login(credential secret.Value) provision.Change {
	return provision.Change{
		Verb:   provision.DockerLogin,
		Object: s.registry,
		Remark: "as " + s.user,
		Hint:   s.hint(),
		Do:     provision.Script{User: s.user, Args: []string{s.registry}, Secret: credential, Text: templates.Login},
	}
}

// inUse returns the login that the host has.
func (s registryLogin) inUse(f provision.Facts) []string {
	if login := f.Get("login"); login != "" {
		return []string{login}
	}
	return nil
}

// undo takes away the login, and then its token, unless another deployment of
// the user needs them.
func (s registryLogin) undo(t target) undo {
	probe := s.Probe()
	probe.Script.Text = lookAtOthers + templates.Logins
	probe.Ask = nil
	if s.kind != "" && s.owner.Path != "" {
		probe.Ask = func(ctx context.Context, g forge.Forge) (provision.Facts, error) { return s.askAll(ctx, g) }
	}
	return undo{s.Name(), probe, func(f provision.Facts) ([]provision.Change, error) {
		if len(t.others(f)) > 0 {
			return nil, nil
		}
		var changes []provision.Change
		switch login := f.Get("login"); {
		case f.Get("config") == "broken":
			changes = append(changes, provision.Note("~%s/.docker/config.json is not valid JSON, and stays", s.user))
		case login == "":
		case s.made(login, f):
			changes = append(changes, asUser(s.user, provision.Change{Verb: provision.DockerLogout, Object: s.registry, Remark: "as " + s.user}, templates.Logout, s.registry, login))
		default:
			changes = append(changes, provision.Note("the login of %s to %s stays, as somebody else has made it", s.user, s.registry))
		}
		for _, number := range f["token"] {
			id, err := tokenID(number)
			if err != nil {
				return nil, err
			}
			changes = append(changes, provision.Change{
				Verb:   provision.Revoke,
				Object: fmt.Sprintf("%s %d of %s", s.kind, id, s.owner),
				Do:     provision.Call(func(ctx context.Context, g forge.Forge) error { return g.RevokeToken(ctx, s.owner, s.kind, id) }),
			})
		}
		return append(changes, hidden(f, "a token named %s", s.title)...), nil
	}}
}

// askAll reports the tokens that we have made: those that work, and the dead.
func (s registryLogin) askAll(ctx context.Context, g forge.Forge) (provision.Facts, error) {
	facts := provision.Facts{}
	tokens, err := g.Tokens(ctx, s.owner, s.kind)
	if notThere(err) {
		facts.Add("hidden", s.owner.String())
		return facts, nil
	}
	for _, t := range tokens {
		id := strconv.FormatInt(t.ID, 10)
		switch {
		case t.Name != s.title || !s.ours(t):
		case t.Active:
			facts.Add("token", id)
		default:
			facts.Add("dead", id)
		}
	}
	return facts, err
}

// made tells whether a login was made by us.
func (s registryLogin) made(login string, f provision.Facts) bool {
	if s.kind == "" {
		return s.digest != "" && f.Get("digest") == s.digest
	}
	id, ok := strings.CutPrefix(login, deployTokenPrefix)
	return strings.HasPrefix(login, loginPrefix) || ok && (f.Has("token", id) || f.Has("dead", id))
}

// tokenID reads the id of a token, which the facts have as text.
func tokenID(number string) (int64, error) {
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the id of a token is a number, not %q", number)
	}
	return id, nil
}
