package steps

import (
	"slices"
	"strings"

	"provision/provision"
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
		ours := slices.ContainsFunc(slices.Concat(f["token"], f["former"], f["dead"]), func(token string) bool { return token == number || strings.HasPrefix(token, number+" ") })
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
