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

// ask reports our tokens that have our name and work, as "token": "ID DAYS", or "ID never".
// Those that we did not make are reported apart, and so are the dead, and which ones nobody
// has logged in with yet. A token keeps its name for ever, so that one of this user which
// has the name of another host may be the one that this host holds: as "former", with the
// name behind that.
func (s registryLogin) ask(ctx context.Context, f forge.Forge) (provision.Facts, error) {
	tokens, err := f.Tokens(ctx, s.owner, s.kind)
	if err != nil {
		if errors.Is(err, forge.ErrNotFound) {
			err = whereNow(ctx, f, s.project, err)
			err = hint.Add(err, "the token that reads the images belongs to a group: name it as registry.group, or give registry.credential a user name and password")
		}
		return nil, err
	}
	facts := provision.Facts{}
	for _, t := range tokens {
		id := strconv.FormatInt(t.ID, 10)
		left := "never"
		if !t.Expires.IsZero() {
			left = strconv.Itoa(t.DaysLeft)
		}
		switch ours, named := s.ours(t), t.Name == s.title; {
		case ours && !t.Active:
			facts.Add("dead", id)
		case ours && named:
			facts.Add("token", id+" "+left)
			if t.NeverUsed {
				facts.Add("never-used", id)
			}
		case ours:
			facts.Add("former", id+" "+left+" "+t.Name)
		case named && t.Active:
			facts.Add("foreign", id)
		}
	}
	return facts, nil
}

// ours tells whether we made a token for this user, be it under another name of the host.
func (s registryLogin) ours(t forge.Token) bool {
	switch {
	case !strings.HasPrefix(t.Name, s.user+"@"):
		return false
	case s.kind == forge.DeployToken: // these have no description
		return t.Username == deployTokenPrefix+strconv.FormatInt(t.ID, 10)
	}
	return t.Description == madeFor(t.Name)
}

// madeFor marks an access token as ours.
func madeFor(title string) string { return "Made by provision for " + title + "." }

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
	if held.fate == kept || held.fate == retired || held.fate == ending {
		changes = append(changes, provision.Lasts(provision.Credential{Name: fmt.Sprintf("%s %s of %s", s.kind, held.name, s.owner), Ends: held.ends, Days: held.days}))
	}
	switch {
	case held.fate != kept:
		changes = append(changes, s.replace(f, held)...)
		if m, ok := s.moved(f); ok {
			changes = append(changes, m.revokeHeld())
		}
	case held.ends && held.days < WarnDays:
		changes = append(changes, provision.Note("token %s ends in %d days; apply replaces it", held.id, held.days))
	}
	for _, id := range unused {
		changes = append(changes, s.revoke("unused ", id))
	}
	changes = append(changes, s.spared(held)...)
	for _, id := range f["foreign"] {
		changes = append(changes, provision.Note("%s has another token named %s, made by somebody else (id %s): revoke it if nobody uses it", s.owner, s.title, id))
	}
	return changes, nil
}

// spared tells of the tokens that may be of another host.
func (s registryLogin) spared(held heldToken) (notes []provision.Change) {
	for _, id := range held.beside {
		notes = append(notes, provision.Note("%s %s of %s has the name of this host, which does not hold it: another one may, and it stays", s.kind, id, s.owner).
			WithHint("provision clean %s asks the hosts, and removes it if none holds it", hint.Quote(s.inventory)))
	}
	return notes
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
	absent   fate = iota // the host holds none of ours
	dead                 // it holds one that does not work
	moved                // it holds one of another kind or group than is wanted now
	borrowed             // it holds one that has the name of what is another host by now
	kept                 // it goes on with the one that it holds
	retired              // that one is not to be used any more
	ending               // that one ends soon
)

// A heldToken is the token that the host is logged in with.
type heldToken struct {
	id   string // as its login says
	name string // in GitLab: its title, or what that was when the host had another name
	fate fate
	ends bool
	days int // until then

	// beside are the ids of the others that have the name of those of this host and that it
	// does not hold: they may be of the host that had its name before.
	beside []string
}

// loginOf returns the user name with which a host logs in that holds the token of this id.
func (s registryLogin) loginOf(id string) string {
	if s.kind == forge.DeployToken {
		return deployTokenPrefix + id
	}
	return loginPrefix + id
}

// tokenOf returns the kind and the id of the token that a login is with, if it is one of ours.
func tokenOf(login string) (kind forge.TokenKind, id string, ok bool) {
	if id, ok = strings.CutPrefix(login, deployTokenPrefix); ok {
		return forge.DeployToken, id, true
	}
	id, ok = strings.CutPrefix(login, loginPrefix)
	return forge.AccessToken, id, ok
}

// decide returns what becomes of the tokens: of the one that the host holds, and
// which are of no use to it, at the latest when it holds another.
//
// A name is a label, which another host may have had before. So one that the host does
// not hold is of no use only where nobody has logged in with it, where the host itself
// was the last to try it, or where no other host of the inventory has that user.
func (s registryLogin) decide(f provision.Facts) (held heldToken, unused []int64, err error) {
	login := f.Get("login")
	if _, ok := s.moved(f); ok {
		held.fate = moved
	} else if id, ok := strings.CutPrefix(login, s.loginOf("")); ok && s.made(f) {
		held.id, held.fate = id, dead
	}
	for _, token := range slices.Concat(f["token"], f["former"]) {
		number, left, _ := strings.Cut(token, " ")
		left, name, former := strings.Cut(left, " ")
		id, err := tokenID(number)
		if err != nil {
			return held, nil, err
		}
		if number != held.id {
			switch {
			case former, slices.ContainsFunc(s.elsewhere(f), func(l formerLogin) bool { return l.id == id }):
			case s.gone, !s.others.some(), f.Has("never-used", number), f.Has("tried", s.loginOf(number)):
				unused = append(unused, id)
			default:
				held.beside = append(held.beside, number)
			}
			continue
		}
		if held.name = s.title; former {
			held.name = name
		}
		days, err := strconv.Atoi(left)
		held.ends, held.days = err == nil, days
		switch {
		case slices.Contains(s.retire, login):
			held.fate = retired
		case held.ends && days < s.renew:
			held.fate = ending
		case s.others.have(held.name):
			held.fate = borrowed
		default:
			held.fate = kept
			continue
		}
		if !s.others.have(held.name) {
			unused = append(unused, id)
		}
	}
	return held, unused, nil
}

// replace makes another token and logs in with it. One that is to be retired
// works, so the other is tried before that one goes.
func (s registryLogin) replace(f provision.Facts, held heldToken) []provision.Change {
	why := map[fate]string{
		retired:  fmt.Sprintf("(replaces token %s)", held.id),
		borrowed: fmt.Sprintf("(token %s has the name of another host by now)", held.id),
		ending:   fmt.Sprintf("(token %s ends in %d days)", held.id, held.days),
		dead:     fmt.Sprintf("(%s has no token %s that works)", s.owner, held.id),
	}
	if f.Has("dead", held.id) {
		why[dead] = fmt.Sprintf("(token %s is revoked or expired)", held.id)
	}
	if m, ok := s.moved(f); ok {
		why[moved] = fmt.Sprintf("(replaces %s %s of %s)", m.of.kind, m.id, m.of.owner)
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
		ask.Level, ask.Description = forge.Reporter, madeFor(s.title)
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
		name = s.loginOf(strconv.FormatInt(token.ID, 10))
	}
	credential.Fill(name + "\n" + value)
	return nil
}

// askAll is ask for a removal: what cannot be looked at keeps nothing else from going.
func (s registryLogin) askAll(ctx context.Context, g forge.Forge) (provision.Facts, error) {
	facts, err := s.ask(ctx, g)
	if notThere(err) {
		return provision.Facts{"hidden": {s.owner.String()}}, nil
	}
	return facts, err
}

// revokeAll revokes the tokens of this host that ask has found: first the one that has
// another name, which nobody knows once the host holds it no longer.
func (s registryLogin) revokeAll(f provision.Facts) (before, after []provision.Change, err error) {
	for _, token := range f["former"] {
		number, rest, _ := strings.Cut(token, " ")
		_, name, _ := strings.Cut(rest, " ")
		if s.loginOf(number) != f.Get("login") || s.others.have(name) {
			continue
		}
		id, err := tokenID(number)
		if err != nil {
			return nil, nil, err
		}
		before = append(before, s.revoke("", id))
	}
	held, _, err := s.decide(f)
	if err != nil {
		return nil, nil, err
	}
	for _, token := range f["token"] {
		number, _, _ := strings.Cut(token, " ")
		id, err := tokenID(number)
		if err != nil {
			return nil, nil, err
		}
		if !slices.Contains(held.beside, number) {
			after = append(after, s.revoke("", id))
		}
	}
	after = append(after, s.spared(held)...)
	return before, append(after, hidden(f, "a token named %s", s.title)...), nil
}

// tokenID reads the id of a token, which the facts have as text.
func tokenID(number string) (int64, error) {
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the id of a token is a number, not %q", number)
	}
	return id, nil
}
