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
	"provision/provision/visible"
)

// deployKey wants the public key of a user as a read-only deploy key of a project.
type deployKey struct {
	user, project, title string
	shared               bool // the user has another project, which has the same key
}

func deployKeyOf(t target) deployKey {
	d := t.deployment
	s := deployKey{user: d.User, project: d.Project, title: d.User + "@" + t.host.Name}
	s.shared = slices.ContainsFunc(t.ofUser(), func(other *inventory.Deployment) bool { return other.Project != d.Project })
	return s
}

// marked tells whether we have added a key: its title, and its comment, are those of this
// user. The comment has the name that the host had at first, as GitLab never changes it.
func (s deployKey) marked(k forge.DeployKey) bool {
	words := strings.Fields(k.Key)
	return strings.HasPrefix(k.Title, s.user+"@") && len(words) == 3 && strings.HasPrefix(words[2], s.user+"@")
}

// formerly tells whether we have added a key when the host had another name.
func (s deployKey) formerly(k forge.DeployKey) bool {
	return k.Title != s.title && s.marked(k)
}

func (s deployKey) Name() string { return "deploy-key " + s.user + " " + s.project }

func (s deployKey) Scope() provision.Scope { return provision.Scope{User: s.user} }

func (s deployKey) Probe() provision.Probe {
	return provision.Probe{
		Script: provision.Script{User: s.user, Text: lookAtOthers + lookAtRepoKeys},
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
				if k.CanPush {
					facts.Add("can-push", keyOf(k.Key))
				}
				if s.formerly(k) && !s.shared { // GitLab lets only its administrators rename a key that projects share
					facts.Add("renamed", keyOf(k.Key))
				}
				if !k.ExpiresAt.IsZero() {
					facts.Add("days "+keyOf(k.Key), strconv.Itoa(k.DaysLeft))
				}
			}
			return facts, nil
		},
	}
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
	register := func(verb provision.Verb, object, remark, public string) {
		changes = append(changes, provision.Change{Verb: verb, Object: object, Remark: remark, Do: provision.Call(func(ctx context.Context, g forge.Forge) error {
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
			register(provision.Add, s.user+"'s "+key.name+"public key", s.asDeployKey(), public)
		case f.Has("can-push", public):
			register(provision.Set, s.user+"'s "+key.name+"deploy key of "+s.project, "to read-only", public)
		case f.Has("renamed", public) && !s.elsewhere(f):
			changes = append(changes, provision.Change{
				Verb: provision.Update, Object: "the title of " + s.user + "'s " + key.name + "deploy key of " + s.project, Remark: "(" + s.title + ")",
				Do: provision.Call(func(ctx context.Context, g forge.Forge) error { return s.rename(ctx, g, public) }),
			})
		}
	}
	if public := f.Get("public"); f.Has("registered", public) {
		days, err := strconv.Atoi(f.Get("days " + public))
		changes = append(changes, provision.Lasts(provision.Credential{Name: "deploy key " + s.title + " of project " + s.project, Ends: err == nil, Days: days}))
	}
	if retired := f.Get("retired"); f.Has("registered", retired) && retired != f.Get("public") {
		changes = append(changes, provision.Change{
			Verb:   provision.Remove,
			Object: s.user + "'s old deploy key from " + s.project,
			Do:     provision.Call(func(ctx context.Context, g forge.Forge) error { return s.remove(ctx, g, retired) }),
		})
	}
	return changes, nil
}

// elsewhere tells whether the user has a clone of another project, which then has the same
// key: one that the inventory does not name any more.
func (s deployKey) elsewhere(f provision.Facts) bool {
	return slices.ContainsFunc(f["carried"], func(name string) bool {
		_, project := origin(f.Get("origin " + name))
		return project != "" && !strings.EqualFold(project, s.project)
	})
}

// rename gives a key the title of today.
func (s deployKey) rename(ctx context.Context, g forge.Forge, public string) error {
	keys, err := g.DeployKeys(ctx, s.project)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if keyOf(k.Key) == public && s.formerly(k) {
			return g.RenameDeployKey(ctx, s.project, k.ID, s.title)
		}
	}
	return nil
}

func (s deployKey) remove(ctx context.Context, g forge.Forge, public string) error {
	keys, err := g.DeployKeys(ctx, s.project)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if keyOf(k.Key) == public {
			return g.RemoveDeployKey(ctx, s.project, k.ID)
		}
	}
	return nil
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
	probe := provision.Probe{Script: provision.Script{Args: []string{s.user, lookAsUser}, Text: lookAtKeysOf}}
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
				case k.Title == s.title:
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
			changes = append(changes, provision.Change{
				Verb:   provision.Remove,
				Object: object,
				Do:     provision.Call(func(ctx context.Context, g forge.Forge) error { return s.remove(ctx, g, public) }),
			})
		}
		for _, public := range f["foreign"] {
			if slices.Contains(held, public) {
				changes = append(changes, provision.Note("%s's key stays a deploy key of %s: somebody else has added it", s.user, s.project))
			}
		}
		return append(changes, hidden(f, "a deploy key named %s", s.title)...), nil
	}}
}
