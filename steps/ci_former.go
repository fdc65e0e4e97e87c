package steps

import (
	"context"
	"path"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
)

// former is where the variables of a deployment were before it got another environment,
// prefix or owner, for which a second host is enough. Jobs use them until their file is
// changed, which nobody can do at the same moment. So they and their key go on working
// beside the new ones, which have a key pair of their own, until a deploy has come in by
// the new key: the deploys of the host note the key that has asked for them.
//
//   - A former key stays authorized, as an old one: see [ciKey.oldLine]. Where GitLab
//     cannot be asked, that says that the line is wanted.
//   - It stays as long as its variables are there and the new key has not come in. Then
//     ci-key revokes it, and stale-variables removes the variables.
//   - Former variables whose key opens the gate no longer are of no use, and go at once:
//     whatever ended between the two is gone on with.
//   - Those of a project that hide the new ones of a group go at once too, as no deploy
//     could come in by the new ones. Their key stays until one has.
//   - A rotation gives former variables a new key, and not the one of the new variables.
type former struct {
	ci        ci
	owners    []forge.Owner  // where variables can have been
	wanted    map[place]bool // the places of all deployments of the inventory
	inventory string         // the path
}

// A place is where the variables of a deployment are.
type place struct {
	owner         forge.Owner
	prefix, scope string
}

func placesOf(d *inventory.Deployment) []place {
	var places []place
	for _, owner := range ciOf(d).owners {
		places = append(places, place{owner, d.Variables.Prefix, d.Scope})
	}
	return places
}

// key names the CI variable with the key.
func (p place) key() string { return p.prefix + inventory.CIKeyVariable }

// String names the place for people.
func (p place) String() string {
	text := p.owner.String()
	if p.scope != "*" {
		text += ", environment " + p.scope
	}
	if p.prefix != "" {
		text += ", prefix " + p.prefix
	}
	return text
}

// hides tells whether jobs that get the variables of this place would get those of another
// one without them.
func (p place) hides(other place) bool {
	return p.prefix == other.prefix && p.scope == other.scope && other.owner.Kind == forge.GroupOwner &&
		strings.HasPrefix(strings.ToLower(p.owner.Path), strings.ToLower(other.owner.Path)+"/")
}

func formerOf(t target) former {
	d := t.deployment
	s := former{ci: ciOf(d), inventory: t.inv.Path}
	add := func(kind forge.OwnerKind, path string) {
		same := func(o forge.Owner) bool { return o.Kind == kind && strings.EqualFold(o.Path, path) }
		if path != "" && !slices.ContainsFunc(s.owners, same) {
			s.owners = append(s.owners, forge.Owner{Kind: kind, Path: path})
		}
	}
	s.owners = append(s.owners, s.ci.owners...)
	add(forge.ProjectOwner, d.Project)
	for group := path.Dir(d.Project); group != "." && group != "/"; group = path.Dir(group) {
		add(forge.GroupOwner, group)
	}
	w := t.whole()
	s.wanted = w.places
	for _, group := range w.groups {
		add(group.Kind, group.Path)
	}
	return s
}

// own returns the places of today.
func (s former) own() []place {
	var places []place
	for _, owner := range s.ci.owners {
		places = append(places, place{owner, s.ci.variables.Prefix, s.ci.scope})
	}
	return places
}

// renderHint says how jobs are made to use the variables of today.
func (s former) renderHint() string {
	return "make the jobs what this prints: provision render --deployment " + s.ci.deployment + " ci " + hint.Quote(s.inventory)
}

// finishHint says how former variables and keys are removed, whoever uses them.
func (s former) finishHint() string {
	return "to end that now: provision apply --finish --limit " + s.ci.deployment + " " + hint.Quote(s.inventory)
}

// A formerSet is what stands at a former place. Whose it is, its key says: see
// [ciKey.formerly].
type formerSet struct {
	place
	name      string // that it is marked with
	public    string // the public half of the key; "": there is none
	variables []forge.Variable
}

// sets returns what an owner has at former places. That it is of this deployment, and not of a
// namesake in another inventory, is seen by where it leads, so the target is last: an
// interrupted removal can go on.
func (s former) sets(owner forge.Owner, variables []forge.Variable) (sets []formerSet) {
	for _, target := range variables {
		prefix, ok := strings.CutSuffix(target.Key, inventory.DeployTargetVariable)
		p := place{owner, prefix, target.Scope}
		name := markedFor(target.Description)
		if !ok || name == "" || s.wanted[p] || !s.ci.leads(variables, prefix, target.Scope) {
			continue
		}
		set := formerSet{place: p, name: name}
		for _, base := range []string{inventory.CIKeyVariable, inventory.KnownHostsVariable, inventory.DeployTargetVariable} {
			for _, v := range variables {
				if v.Key != prefix+base || v.Scope != p.scope || markedFor(v.Description) != name {
					continue
				}
				set.variables = append(set.variables, v)
				if base == inventory.CIKeyVariable {
					set.public = publicOf(v)
				}
			}
		}
		sets = append(sets, set)
	}
	return sets
}

// ask returns what stands at former places, as far as the token may look.
func (s former) ask(ctx context.Context, f forge.Forge) (sets []formerSet, err error) {
	for _, owner := range s.owners {
		variables, err := f.Variables(ctx, owner)
		if notThere(err) && !slices.Contains(s.ci.owners, owner) {
			continue
		}
		if err != nil {
			return nil, err
		}
		sets = append(sets, s.sets(owner, variables)...)
	}
	return sets, nil
}

// add adds a set to the facts, and the name that it is marked with, if that is another one.
func (s former) add(facts provision.Facts, set formerSet) {
	if set.name != s.ci.deployment {
		facts.Add("marked "+set.place.String(), set.name)
	}
	if set.public != "" {
		facts.Add("former", formerKey{set.place, set.public}.String())
	}
}

// addSets adds what an owner has at former places to the facts.
func (s former) addSets(facts provision.Facts, owner forge.Owner, variables []forge.Variable) {
	for _, set := range s.sets(owner, variables) {
		s.add(facts, set)
		for _, v := range set.variables {
			facts.Add("left "+owner.String(), keyed(v))
		}
	}
}

// A formerKey is the key of a former place, as a fact: "TYPE BASE64 KIND OWNER KEY SCOPE".
type formerKey struct {
	place
	public string
}

func (k formerKey) String() string {
	return strings.Join([]string{k.public, string(k.owner.Kind), k.owner.Path, k.key(), k.scope}, " ")
}

// formerKeys reads what was written by [formerKey.String], whosever they are.
func formerKeys(f provision.Facts) (keys []formerKey) {
	for _, fact := range f["former"] {
		words := strings.SplitN(fact, " ", 6)
		if len(words) < 6 {
			continue
		}
		k := formerKey{public: words[0] + " " + words[1]}
		k.owner = forge.Owner{Kind: forge.OwnerKind(words[2]), Path: words[3]}
		k.prefix, k.scope = strings.TrimSuffix(words[4], inventory.CIKeyVariable), words[5]
		keys = append(keys, k)
	}
	return keys
}

// lookWhoCame reports the keys that have asked for the newest deploys, see
// templates/deploy.sh.
const lookWhoCame = `
for end in ".provision/$state"/*.end; do # of what formerly has read
	! [ -f "$end" ] || sed -n 's/^ended [^ ]* [^ ]* //p' "$end"
done | sort -u | facts came
`

// cameIn tells whether a deploy has come in by a key.
func cameIn(f provision.Facts, public string) bool {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	return err == nil && f.Has("came", ssh.FingerprintSHA256(key))
}
