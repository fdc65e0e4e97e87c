package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/secret"
	"provision/provision/visible"
)

// The registry takes any user name with an access token, so ours carries the
// id of the token: the host can tell which one it holds without revealing it.
const (
	loginPrefix       = "provision-"
	deployTokenPrefix = "gitlab+deploy-token-" // what GitLab makes of a deploy token without a user name
)

// WarnDays is how many days before its end a token is spoken of, and from when
// on apply replaces it.
const WarnDays = 30

// ask reports the tokens that have our name and work: "ID DAYS", or "ID never".
// Those that we did not make are reported apart, and so are the dead.
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
		id := strconv.FormatInt(t.ID, 10)
		switch ours := s.ours(t); {
		case t.Name != s.title:
		case ours && t.Active:
			left := "never"
			if !t.Expires.IsZero() {
				left = strconv.Itoa(t.DaysLeft)
			}
			facts.Add("token", id+" "+left)
		case ours:
			facts.Add("dead", id)
		case t.Active:
			facts.Add("foreign", id)
		}
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

// planToken plans for the token that the host is logged in with.
func (s registryLogin) planToken(f provision.Facts) ([]provision.Change, error) {
	held, unused, err := s.decide(f)
	if err != nil {
		return nil, err
	}
	if needs, theirs := f["needs"], s.theirs(f); theirs != "" && len(needs) > 0 {
		return nil, hint.Add(fmt.Errorf("%s to %s reads what a token of %s could not: %s", theirs, s.registry.Host, s.owner, visible.String(joinAnd(shorten(needs)))), "%s", s.stayHint())
	}
	var changes []provision.Change
	if held.fate != absent && held.fate != dead {
		changes = append(changes, provision.Lasts(provision.Credential{Name: fmt.Sprintf("%s %s of %s", s.kind, s.title, s.owner), Ends: held.ends, Days: held.days}))
	}
	switch {
	case held.fate != kept:
		changes = append(changes, s.replace(f, held)...)
	case held.ends && held.days < WarnDays:
		changes = append(changes, provision.Note("token %s ends in %d days; apply replaces it", held.id, held.days))
	}
	for _, id := range unused {
		changes = append(changes, s.revoke("unused ", id))
	}
	for _, id := range f["foreign"] {
		changes = append(changes, provision.Note("%s has another token named %s, made by somebody else (id %s): revoke it if nobody uses it", s.owner, s.title, id))
	}
	return changes, nil
}

func (s registryLogin) revoke(which string, id int64) provision.Change {
	return provision.Change{
		Verb:   provision.Revoke,
		Object: fmt.Sprintf("%s%s %d of %s", which, s.kind, id, s.owner),
		Do:     provision.Call(func(ctx context.Context, g forge.Forge) error { return g.RevokeToken(ctx, s.owner, s.kind, id) }),
	}
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
	login, prefix := f.Get("login"), loginPrefix
	if s.kind == forge.DeployToken {
		prefix = deployTokenPrefix
	}
	if id, ok := strings.CutPrefix(login, prefix); ok && s.made(f) {
		held.id, held.fate = id, dead
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
func (s registryLogin) replace(f provision.Facts, held heldToken) []provision.Change {
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
	}, s.login(f, credential)}
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

// revokeAll revokes the tokens that askAll has found.
func (s registryLogin) revokeAll(f provision.Facts) ([]provision.Change, error) {
	var changes []provision.Change
	for _, number := range f["token"] {
		id, err := tokenID(number)
		if err != nil {
			return nil, err
		}
		changes = append(changes, s.revoke("", id))
	}
	return append(changes, hidden(f, "a token named %s", s.title)...), nil
}

// tokenID reads the id of a token, which the facts have as text.
func tokenID(number string) (int64, error) {
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the id of a token is a number, not %q", number)
	}
	return id, nil
}
