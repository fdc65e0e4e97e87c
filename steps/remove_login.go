package steps

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"provision/provision"
	"provision/provision/forge"
	"provision/templates"
)

// login takes away the login to the registry, and then its token, unless
// another deployment of the user needs them.
func (l leaving) login() provision.Step {
	s := registryLoginSteps(l.wish)[0].(registryLogin)
	probe := s.Probe()
	probe.Script.Text = lookAtOthers + templates.Logins
	probe.Ask = nil
	if s.kind != "" && s.owner.Path != "" {
		probe.Ask = func(ctx context.Context, g forge.Forge) (provision.Facts, error) { return s.askAll(ctx, g) }
	}
	return undo{s.Name(), probe, func(f provision.Facts) ([]provision.Change, error) {
		if len(l.needed(f)) > 0 {
			return nil, nil
		}
		var changes []provision.Change
		switch login := f.Get("login"); {
		case f.Get("config") == "broken":
			changes = append(changes, provision.Note("~%s/.docker/config.json is not valid JSON, and stays", l.User))
		case login == "":
		case s.made(login, f):
			changes = append(changes, l.asUser(fmt.Sprintf("log %s out of %s", l.User, s.registry), templates.Logout, s.registry, login))
		default:
			changes = append(changes, provision.Note("the login of %s to %s stays, as somebody else has made it", l.User, s.registry))
		}
		for _, number := range f["token"] {
			id, err := strconv.ParseInt(number, 10, 64)
			if err != nil {
				return nil, err
			}
			changes = append(changes, call(func(ctx context.Context, g forge.Forge) error { return g.RevokeToken(ctx, s.owner, s.kind, id) },
				"revoke the %s %d of %s", s.kind, id, s.owner))
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

// notThere tells that something of GitLab cannot be looked at: it is gone, or
// not for the eyes of this token.
func notThere(err error) bool {
	return errors.Is(err, forge.ErrNotFound) || errors.Is(err, forge.ErrForbidden) || errors.Is(err, forge.ErrUnseen)
}

// hidden says what may be left in places that could not be looked at.
func hidden(f provision.Facts, format string, args ...any) []provision.Change {
	var notes []provision.Change
	for _, place := range f["hidden"] {
		notes = append(notes, provision.Note("%s is gone, or this token may not look there; it may still have %s", place, fmt.Sprintf(format, args...)))
	}
	return notes
}
