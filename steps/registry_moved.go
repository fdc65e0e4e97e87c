package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"provision/provision"
	"provision/provision/forge"
	"provision/provision/visible"
	"provision/templates"
)

// A formerLogin is one to the registry of GitLab when that had another host name, which is
// in the names of images: those with the old one can be pulled by it alone. So it and its
// token stay until nothing runs any more that has that in its name.
type formerLogin struct {
	host, name string
	id         int64 // of the token
}

// elsewhere returns the logins to other registries that are with a token of ours.
func (s registryLogin) elsewhere(f provision.Facts) (logins []formerLogin) {
	for _, fact := range f["elsewhere"] {
		host, name, _ := strings.Cut(fact, " ")
		number, ok := strings.CutPrefix(name, s.loginOf(""))
		if !ok || s.kind == "" {
			continue
		}
		id, err := tokenID(number)
		ours := slices.ContainsFunc(slices.Concat(f["token"], f["former"], f["dead"]), func(token string) bool {
			words := strings.Fields(token) // the last may be its name
			return len(words) > 0 && words[0] == number && !s.others.have(words[len(words)-1])
		})
		if err == nil && ours {
			logins = append(logins, formerLogin{host, name, id})
		}
	}
	return logins
}

// planElsewhere plans for logins to the registry under another name. What needs them, only an
// admin sees.
func (s registryLogin) planElsewhere(f provision.Facts) (changes []provision.Change) {
	for _, l := range s.elsewhere(f) {
		switch needs := f["needed "+l.host]; {
		case s.salt == "":
		case len(needs) > 0:
			changes = append(changes, provision.Note("%s stays logged in to %s, which the inventory does not name: it reads %s", s.user, l.host, visible.String(joinAnd(shorten(needs)))).
				WithHint("once the project has images of %s and is deployed, apply ends that login", s.registry.Host))
		default:
			changes = append(changes, s.logout(l, "(nothing of it runs)"))
			if !f.Has("dead", strings.TrimPrefix(l.name, s.loginOf(""))) && f.Get("login") != l.name {
				changes = append(changes, s.revoke("", l.id))
			}
		}
	}
	return changes
}

func (s registryLogin) logout(l formerLogin, remark string) provision.Change {
	return asUser(s.user, provision.Change{Verb: provision.DockerLogout, Object: l.host, Remark: strings.TrimSpace("as " + s.user + " " + remark)}, templates.Logout, l.host, l.name, "")
}

// A movedToken is the one that the host holds, where the inventory wants another kind of
// credential by now, or a token of another group.
type movedToken struct {
	of registryLogin // as it was
	id string
}

// moved returns the token that the host holds, if that is not of the kind and the group that are
// wanted. Of which group it is, a host says that has logged in with it by this version.
func (s registryLogin) moved(f provision.Facts) (movedToken, bool) {
	if s.registry.Name != "" || !s.made(f) {
		return movedToken{}, false
	}
	m := movedToken{of: s}
	ok := false
	if m.of.kind, m.id, ok = tokenOf(f.Get("login")); !ok {
		return movedToken{}, false
	}
	if kind, path, ok := strings.Cut(f.Get("made"), " "); ok {
		m.of.owner = forge.Owner{Kind: forge.OwnerKind(kind), Path: path}
	}
	same := m.of.kind == s.kind && m.of.owner.Kind == s.owner.Kind && strings.EqualFold(m.of.owner.Path, s.owner.Path)
	return m, !same && m.of.owner.Path != ""
}

// revokeHeld revokes the token, if it is ours and works.
func (m movedToken) revokeHeld() provision.Change {
	remark := ""
	if m.of.others.some() {
		remark = "(unless it has the name of another host)"
	}
	return provision.Change{
		Verb: provision.Revoke, Object: fmt.Sprintf("%s %s of %s", m.of.kind, m.id, m.of.owner), Remark: remark,
		Do: provision.Call(func(ctx context.Context, g forge.Forge) error {
			tokens, err := g.Tokens(ctx, m.of.owner, m.of.kind)
			if err != nil {
				return err
			}
			for _, t := range tokens {
				if fmt.Sprint(t.ID) == m.id && t.Active && m.of.ours(t) && !m.of.others.have(t.Name) {
					return g.RevokeToken(ctx, m.of.owner, m.of.kind, t.ID)
				}
			}
			return nil
		}),
	}
}
