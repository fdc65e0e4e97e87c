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
	"provision/provision/visible"
)

// deployKey wants the public key of a user as a read-only deploy key of a project.
type deployKey struct {
	user, project, title string
	others               otherTitles
}

func deployKeyOf(t target) deployKey {
	d := t.deployment
	return deployKey{user: d.User, project: d.Project, title: t.title(), others: t.otherTitles(d.Project)}
}

// marked tells whether we have added a key: its title, and its comment, are those of this
// user. Both keep the name that the host had when it was added.
func (s deployKey) marked(k forge.DeployKey) bool {
	words := strings.Fields(k.Key)
	return strings.HasPrefix(k.Title, s.user+"@") && len(words) == 3 && strings.HasPrefix(words[2], s.user+"@")
}

// titled tells whether a key is ours by its title of today.
func (s deployKey) titled(k forge.DeployKey) bool { return k.Title == s.title && s.marked(k) }

// formerly tells whether we have added a key when the host had another name. Whether that
// was this host, it has to say: by the key alone it could be one that the inventory does
// not name. One that has the name of another host of the inventory is that one's.
func (s deployKey) formerly(k forge.DeployKey) bool {
	return k.Title != s.title && s.marked(k) && !s.others.have(k.Title)
}

// ours tells whether a key may be one of this host.
func (s deployKey) ours(k forge.DeployKey) bool { return s.titled(k) || s.formerly(k) }

func (s deployKey) Name() string { return "deploy-key " + s.user + " " + s.project }

func (s deployKey) Scope() provision.Scope { return provision.Scope{User: s.user} }

func (s deployKey) Probe() provision.Probe {
	return provision.Probe{
		Script: provision.Script{User: s.user, Text: lookAtRepoKeys},
		Keys:   []string{"moved", "registered", "ours", "title", "can-push", "days"},
		Ask: func(ctx context.Context, f forge.Forge) (provision.Facts, error) {
			keys, err := f.DeployKeys(ctx, s.project)
			if err != nil {
				return nil, err
			}
			facts := provision.Facts{}
			if p, err := f.Project(ctx, s.project); err == nil && !strings.EqualFold(p.Path, s.project) {
				facts.Add("moved", p.Path)
			}
			for _, k := range keys {
				facts.Add("registered", keyOf(k.Key))
				if s.ours(k) {
					facts.Add("ours", keyOf(k.Key))
				} else {
					facts.Add("title "+keyOf(k.Key), k.Title)
				}
				if k.CanPush {
					facts.Add("can-push", keyOf(k.Key))
				}
				if !k.ExpiresAt.IsZero() {
					facts.Add("days "+keyOf(k.Key), strconv.Itoa(k.DaysLeft))
				}
			}
			return facts, nil
		},
	}
}

// LookAsCI implements [provision.CIStep].
func (s deployKey) LookAsCI() provision.CIProbe {
	return provision.CIProbe{Script: provision.Script{Text: lookAtRepoKeys}, Facts: repoKeyFacts}
}

func (s deployKey) asDeployKey() string { return "to " + s.project + " as a read-only deploy key" }

// moved tells that the project has another path in GitLab, which finds it at its old one too,
// until somebody else gets that.
func (s deployKey) moved(f provision.Facts) []provision.Change {
	now := f.Get("moved")
	if now == "" {
		return nil
	}
	return []provision.Change{provision.Note("GitLab has moved project %s to %s", s.project, visible.String(now)).
		WithHint("write project = %q in the inventory, and in its variables what has moved with it", now)}
}

func (s deployKey) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("public") == "" {
		return append(s.moved(f), provision.Later(provision.Add, s.user+"'s public key", s.asDeployKey())), nil
	}
	changes := s.moved(f)
	call := func(verb provision.Verb, object, remark, public string, do keyCall) {
		changes = append(changes, s.change(verb, object, remark, public, do))
	}
	register := func(object, public string) {
		changes = append(changes, provision.Change{Verb: provision.Add, Object: object, Remark: s.asDeployKey(), Do: provision.Call(func(ctx context.Context, g forge.Forge) error {
			err := g.AddDeployKey(ctx, s.project, forge.DeployKey{Title: s.title, Key: public + " " + s.title})
			if errors.Is(err, forge.ErrTaken) {
				err = hint.Add(err, "remove it there, or move the key pair in ~%s/.ssh away: apply generates another", s.user)
			}
			return err
		})})
	}
	for _, key := range []struct{ fact, name string }{{"public", ""}, {"next", "new "}} {
		switch public := f.Get(key.fact); {
		case public == "":
		case !f.Has("registered", public):
			register(s.user+"'s "+key.name+"public key", public)
		case f.Has("can-push", public) && f.Has("ours", public):
			call(provision.Set, s.user+"'s "+key.name+"deploy key of "+s.project, "to read-only", public, s.makeReadOnly)
		case f.Has("can-push", public):
			changes = append(changes, provision.Drift("%s's %skey may push to %s, where somebody else has added it as %q", s.user, key.name, s.project, visible.String(f.Get("title "+public))).
				WithHint("take its right to push in GitLab, or move the key pair in ~%s/.ssh away: apply generates another", s.user))
		}
	}
	if public := f.Get("public"); f.Has("registered", public) {
		days, err := strconv.Atoi(f.Get("days " + public))
		changes = append(changes, provision.Lasts(provision.Credential{Name: "deploy key " + s.title + " of project " + s.project, Ends: err == nil, Days: days}))
	}
	if retired := f.Get("retired"); f.Has("ours", retired) && retired != f.Get("public") && retired != f.Get("next") {
		call(provision.Remove, s.user+"'s old deploy key from "+s.project, "", retired, s.remove)
	}
	return changes, nil
}

// A keyCall changes a key of ours in GitLab.
type keyCall func(context.Context, forge.Forge, forge.DeployKey) error

// change plans a call about a key of the project, which the plan names by its fingerprint.
// The key has to be ours then, by what GitLab has of it.
func (s deployKey) change(verb provision.Verb, object, remark, public string, do keyCall) provision.Change {
	if fingerprint := fingerprintOf(public); fingerprint != "" {
		remark = strings.TrimSpace(remark + " (" + fingerprint + ")")
	}
	return provision.Change{Verb: verb, Object: object, Remark: remark, Do: provision.Call(func(ctx context.Context, g forge.Forge) error {
		keys, err := g.DeployKeys(ctx, s.project)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if keyOf(k.Key) == public && s.ours(k) {
				return do(ctx, g, k)
			}
		}
		return nil
	})}
}

// makeReadOnly takes the right to push from a key.
func (s deployKey) makeReadOnly(ctx context.Context, g forge.Forge, k forge.DeployKey) error {
	return g.AddDeployKey(ctx, s.project, forge.DeployKey{Title: k.Title, Key: k.Key})
}

func (s deployKey) remove(ctx context.Context, g forge.Forge, k forge.DeployKey) error {
	return g.RemoveDeployKey(ctx, s.project, k.ID)
}

// lookAtKeysOf is lookAtOthers and lookAtRepoKeys for a user that may be gone: which
// deployments are carried, root knows.
const lookAtKeysOf = `
for file in /etc/provision/deployments/*; do
	{ [ -f "$file" ] && grep -qx "user=$1" "$file"; } || continue
	fact carried "${file##*/}"
done
getent passwd "$1" >/dev/null || return 0
as "$1" "$2" | while IFS='	' read -r name value; do
	case $name in
	'origin '* | public | next | retired) fact "$name" "$value" ;;
	esac
done
`

const lookAsUser = `
cd || exit 0
fact() { printf '%s\t%s\n' "$1" "$2"; }
` + lookAtOthers + lookAtRepoKeys

// undo removes the deploy key of the host from the project.
func (s deployKey) undo(t target) undo {
	probe := provision.Probe{Script: provision.Script{Args: []string{s.user, lookAsUser}, Text: lookAtKeysOf}, Keys: []string{"ours", "formerly", "foreign", "hidden"}}
	if s.project != "" {
		probe.Ask = func(ctx context.Context, g forge.Forge) (provision.Facts, error) {
			facts := provision.Facts{}
			keys, err := g.DeployKeys(ctx, s.project)
			if notThere(err) {
				facts.Add("hidden", "project "+s.project)
				return facts, nil
			}
			for _, k := range keys {
				switch {
				case s.titled(k):
					facts.Add("ours", keyOf(k.Key))
				case s.formerly(k):
					facts.Add("formerly", keyOf(k.Key))
				default:
					facts.Add("foreign", keyOf(k.Key))
				}
			}
			return facts, err
		}
	}
	return undo{s.Name(), probe, func(f provision.Facts) ([]provision.Change, error) {
		for _, d := range t.inv.On(t.host) {
			if d.Name != t.deployment.Name && d.User == s.user && d.Project == s.project && f.Has("carried", d.Name) {
				return nil, nil
			}
		}
		for _, name := range f["carried"] {
			if name != t.deployment.Name && sameOrigin(f.Get("origin "+name), gitURL(t.inv.GitLab.SSH, s.project)) {
				return nil, nil
			}
		}
		var changes []provision.Change
		held := []string{f.Get("public"), f.Get("next"), f.Get("retired")}
		ours := slices.Clone(f["ours"])
		for _, public := range f["formerly"] { // of this host only if it holds the key
			if slices.Contains(held, public) {
				ours = append(ours, public)
			}
		}
		// A host that has no key any more cannot tell which was its own. It has lost it
		// where it still carries the deployment, and else we have removed both.
		lost := f.Get("public") == "" && (t.given.gone || f.Has("carried", t.deployment.Name))
		for i, public := range ours {
			if !lost && !slices.Contains(held, public) {
				changes = append(changes, provision.Note("%s has another key named %s, which this host does not hold", s.project, s.title))
				continue
			}
			object := s.user + "'s deploy key from " + s.project
			if i > 0 {
				object += fmt.Sprintf(" (%d)", i+1)
			}
			changes = append(changes, s.change(provision.Remove, object, "", public, s.remove))
		}
		for _, public := range f["foreign"] {
			if slices.Contains(held, public) {
				changes = append(changes, provision.Note("%s's key stays a deploy key of %s: somebody else has added it", s.user, s.project))
			}
		}
		return append(changes, hidden(f, "a deploy key named %s", s.title)...), nil
	}}
}
