package steps

import (
	"context"
	"errors"
	"fmt"
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
	directory             string // of one deployment of the user, to try a new token in
	renew                 int    // days that a token must have left
	retire                string // the login that is not to be used any more
}

const (
	loginPrefix       = "provision-"
	deployTokenPrefix = "gitlab+deploy-token-" // what GitLab makes of a deploy token without a user name
)

// WarnDays is how many days before its end a token is spoken of, and from when
// on apply replaces it.
const WarnDays = 30

func registryLoginSteps(w wish) []provision.Step {
	return each(w, func(d *inventory.Deployment) registryLogin {
		s := registryLogin{
			user: d.User, registry: w.inv.Registry.Host, title: d.User + "@" + w.host.Name,
			owner: forge.Owner{Kind: forge.GroupOwner, Path: d.TokenGroup}, salt: w.given.Salt, directory: d.Directory,
		}
		s.retire = w.given.Retire[s.Name()]
		if s.renew = w.given.Renew; s.renew == 0 {
			s.renew = WarnDays
		}
		switch credential := w.inv.Registry.Credential; credential.Kind {
		case inventory.DeployToken:
			s.kind = forge.DeployToken
		case inventory.Named:
			password, _ := w.given.RegistryPassword.Reveal()
			s.named = secret.New(credential.Username + "\n" + password)
			s.digest, _ = secret.New(credential.Username + ":" + password).Digest(s.salt)
		default:
			s.kind = forge.AccessToken
		}
		return s
	})
}

// lookAtMode reports a config.json that others may read or write.
const lookAtMode = `
case $(stat -c %A .docker/config.json 2>/dev/null) in
-???------) ;;
-*) fact loose yes ;;
esac
`

func (s registryLogin) Name() string { return "registry-login " + s.user }

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
	if f.Get("config") == "broken" {
		return nil, hint.Add(fmt.Errorf("~%s/.docker/config.json is not valid JSON", s.user), "mend it, or move it away to have a new one made")
	}
	store, others := f["store"], f["helper"]
	if len(others) > 0 {
		store = others // what is said about one registry wins over what is said about all
	}
	if len(store) > 0 && store[0] != "" {
		return nil, hint.Add(fmt.Errorf("~%s/.docker/config.json leaves the login to the helper docker-credential-%s, which needs a desktop or a passphrase", s.user, store[0]),
			"take credsStore and credHelpers out of it, or deploy as another user")
	}
	var changes []provision.Change
	if f.Get("loose") != "" && f.Get("login") != "" {
		changes = append(changes, provision.Change{
			Summary: fmt.Sprintf("let nobody else read ~%s/.docker/config.json", s.user),
			Do:      provision.Script{User: s.user, Text: `chmod go= .docker/config.json`},
		})
	}
	if s.kind == "" {
		if f.Get("digest") != s.digest && s.salt != "" {
			changes = append(changes, s.login("", s.named))
		}
		return changes, nil
	}

	held := strings.TrimPrefix(strings.TrimPrefix(f.Get("login"), loginPrefix), deployTokenPrefix)
	good := false
	var why string
	var unused []int64
	var told []provision.Change // what needs no change
	for _, token := range f["token"] {
		number, left, _ := strings.Cut(token, " ")
		id, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the id of a token is a number, not %q", number)
		}
		days, err := strconv.Atoi(left)
		if number == held {
			told = append(told, provision.Lasts(provision.Credential{Name: fmt.Sprintf("%s %s of %s", s.kind, s.title, s.owner), Ends: err == nil, Days: days}))
		}
		switch {
		case number != held:
			unused = append(unused, id)
		case f.Get("login") == s.retire:
			why = fmt.Sprintf(", in place of token %s", number)
			unused = append(unused, id)
		case err == nil && days < s.renew:
			why = fmt.Sprintf(", as token %s ends in %d days", number, days)
			unused = append(unused, id)
		default:
			good = true
			if err == nil && days < WarnDays {
				told = append(told, provision.Note("token %s ends in %d days; apply replaces it", number, days))
			}
		}
	}
	changes = append(changes, told...)
	if !good {
		if why == "" && held != "" && held != f.Get("login") {
			why = fmt.Sprintf(", as token %s is revoked or expired", held)
		}
		credential := secret.Born(nil)
		changes = append(changes, provision.Change{
			Summary: fmt.Sprintf("make the %s %s of %s%s", s.kind, s.title, s.owner, why),
			Do:      provision.Call(func(ctx context.Context, g forge.Forge) error { return s.create(ctx, g, credential) }),
		}, s.login(" with it", credential))
		if s.retire != "" && s.retire == f.Get("login") {
			changes = append(changes, provision.Change{
				Summary: "pull with it",
				Do: provision.Script{User: s.user, Args: []string{s.directory}, Text: `
cd "$1"
docker compose pull --quiet
`},
			})
		}
	}
	for _, id := range unused {
		changes = append(changes, provision.Change{
			Summary: fmt.Sprintf("revoke the %s %d of %s, which nobody holds", s.kind, id, s.owner),
			Do:      provision.Call(func(ctx context.Context, g forge.Forge) error { return g.RevokeToken(ctx, s.owner, s.kind, id) }),
		})
	}
	for _, id := range f["foreign"] {
		changes = append(changes, provision.Note("%s has another token named %s, made by somebody else (id %s): revoke it if nobody uses it", s.owner, s.title, id))
	}
	return changes, nil
}

func (s registryLogin) create(ctx context.Context, g forge.Forge, credential secret.Value) error {
	wish := forge.Token{Name: s.title, Scopes: []string{"read_registry"}}
	if s.kind == forge.AccessToken {
		wish.Level, wish.Description = forge.Reporter, s.description()
	}
	token, err := g.CreateToken(ctx, s.owner, s.kind, wish)
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

func (s registryLogin) login(how string, credential secret.Value) provision.Change {
	return provision.Change{
		Summary: fmt.Sprintf("log %s in to %s%s", s.user, s.registry, how),
		Hint:    s.hint(),
		Do:      provision.Script{User: s.user, Args: []string{s.registry}, Secret: credential, Text: templates.Login},
	}
}
