package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
)

// holds looks what a host itself uses of GitLab, and changes nothing.
type holds struct{}

func holdsOf(target) holds { return holds{} }

func (holds) wanted() bool { return false }

// Holds returns a step that looks what a host itself uses of GitLab, and changes
// nothing: see [Held].
func Holds() provision.Step { return holds{} }

func (holds) Name() string { return "holds" }

// Of a login only the name is reported, and only one that we have made.
func (holds) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Args: []string{loginPrefix, deployTokenPrefix}, Text: `
users=''
for file in /etc/provision/deployments/*; do
	[ -f "$file" ] || continue
	user=$(sed -n 's/^user=//p' "$file")
	fact carries "${file##*/} $user"
	case " $users " in *" $user "*) ;; *) users="$users $user" ;; esac
done
for user in $users; do
	getent passwd "$user" >/dev/null || continue
	as "$user" 'cd && for file in .ssh/*.pub; do
	! [ -f "$file" ] || cut -d " " -f 1,2 "$file"
done' | facts key
	as "$user" 'cd && for file in .docker/config.json .docker/by-provision/*; do
	[ -f "$file" ] || continue
	case $file in
	*.json)
		tr -d " \t\r\n" <"$file" | tr , "\n" | sed -n "s/.*\"auth\":\"\([A-Za-z0-9+\/=]*\)\".*/\1/p" | while read -r auth || [ -n "$auth" ]; do
			printf %s "$auth" | base64 -d | cut -d : -f 1
		done
		;;
	*) cat "$file" ;;
	esac
done' | while IFS= read -r login; do
		case $login in
		"$1"* | "$2"*) fact token "$login" ;;
		esac
	done
done
`}}
}

func (holds) Plan(provision.Facts) ([]provision.Change, error) { return nil, nil }

// Held is what hosts of the inventory use of GitLab, whatever name it has there: they
// may have had another one.
type Held struct {
	by      map[string]string   // by a token or a public key: the host
	carried map[string][]string // by host: "NAME USER" of its deployments
	unasked []string            // hosts that could not tell
}

// Add adds what a step of [Holds] has seen on a host.
func (h *Held) Add(host string, f provision.Facts) {
	if h.by == nil {
		h.by, h.carried = map[string]string{}, map[string][]string{}
	}
	h.carried[host] = f["carries"]
	for _, key := range f["key"] {
		h.by[string(leftKey)+" "+keyOf(key)] = host
	}
	for _, login := range f["token"] {
		h.by[string(leftToken)+" "+login] = host
	}
}

// Lost adds a host that could not be asked. It keeps whatever it may hold.
func (h *Held) Lost(host string) { h.unasked = append(h.unasked, host) }

// keeps says why something stays, or returns "".
func (h *Held) keeps(l leftover, inv *inventory.Inventory) string {
	if host := h.by[string(l.kind)+" "+l.id]; host != "" && l.kind != leftVariable {
		return host + " holds it"
	}
	for _, asked := range (Left{Host: l.host, all: []leftover{l}, inv: inv}).Asks() {
		if slices.Contains(h.unasked, asked.Name) {
			return asked.Name + " could not be asked whether it holds it"
		}
	}
	if to := l.leads; to != nil && slices.ContainsFunc(h.carried[to.Name], func(carries string) bool {
		name, user, _ := strings.Cut(carries, " ")
		return name == l.deployment || user == l.user
	}) {
		return "it leads to " + to.Name + ", which has that deployment or its user"
	}
	return ""
}

// ForgetHost returns the steps that take away what a host has in GitLab that the
// inventory does not name, by our marks: of one deployment, or of all with "". What
// hosts of the inventory hold stays, and so does what its deployments want.
func ForgetHost(inv *inventory.Inventory, host, deployment string, held *Held) []provision.Step {
	ask := func(ctx context.Context, g forge.Forge) (provision.Facts, error) {
		all, hidden, err := leftIn(ctx, g, inv)
		if err != nil {
			return nil, err
		}
		facts := provision.Facts{"hidden": hidden}
		for _, l := range forgotten(all, host, deployment) {
			why := held.keeps(l, inv)
			if why != "" && slices.ContainsFunc(inv.Hosts, func(h *inventory.Host) bool { return h.Name == host }) {
				continue // no part of what is left
			}
			facts.Add(string(l.kind)+" "+l.owner.String(), l.user+" "+l.id)
			if why != "" {
				facts.Add("kept "+string(l.kind)+" "+l.owner.String()+" "+l.id, why)
			}
		}
		return facts, nil
	}
	return []provision.Step{undo{leftStep, provision.Probe{Ask: ask}, func(f provision.Facts) ([]provision.Change, error) {
		return planForget(inv, host, f)
	}}}
}

// forgotten chooses what is left of a host, or of one of its deployments: then a user
// stays whom another one has.
func forgotten(all []leftover, host, deployment string) []leftover {
	of := slices.DeleteFunc(slices.Clone(all), func(l leftover) bool { return l.host != host })
	if deployment == "" {
		return of
	}
	users, others := map[string]bool{}, map[string]bool{}
	for _, l := range of {
		if l.kind == leftVariable && l.user != "" {
			users[l.user] = users[l.user] || l.deployment == deployment
			others[l.user] = others[l.user] || l.deployment != deployment
		}
	}
	return slices.DeleteFunc(of, func(l leftover) bool {
		if l.kind == leftVariable {
			return l.deployment != deployment
		}
		return !users[l.user] || others[l.user]
	})
}

func planForget(inv *inventory.Inventory, host string, f provision.Facts) (changes []provision.Change, err error) {
	p, index := leftPlacesOf(inv), indexOf(inv)
	each := func(kind leftKind, owner forge.Owner, change func(user, id string) (provision.Change, error)) {
		seen := map[string]int{}
		for _, what := range f[string(kind)+" "+owner.String()] {
			user, id, _ := strings.Cut(what, " ")
			if why := f.Get("kept " + string(kind) + " " + owner.String() + " " + id); why != "" {
				what := string(kind) + " " + id
				switch kind {
				case leftKey:
					what = string(kind) + " of " + user
				case leftToken:
					kind, number, _ := tokenOf(id)
					what = string(kind) + " " + number
				}
				changes = append(changes, provision.Note("the %s of %s stays: %s", what, owner, why))
				continue
			}
			c, failed := change(user, id)
			err = errors.Join(err, failed)
			if seen[c.Object]++; seen[c.Object] > 1 {
				c.Object += fmt.Sprintf(" (%d)", seen[c.Object])
			}
			changes = append(changes, c)
		}
	}
	for _, owner := range p.groups {
		each(leftToken, owner, func(_, login string) (provision.Change, error) {
			kind, number, _ := tokenOf(login)
			id, err := tokenID(number)
			return registryLogin{kind: kind, owner: owner}.revoke("", id), err
		})
	}
	for _, project := range p.projects {
		each(leftKey, forge.Owner{Kind: forge.ProjectOwner, Path: project}, func(user, public string) (provision.Change, error) {
			s := deployKey{user: user, project: project, title: user + "@" + host}
			return provision.Change{
				Verb: provision.Remove, Object: "deploy key " + s.title + " from " + project,
				Do: provision.Call(func(ctx context.Context, g forge.Forge) error { return s.remove(ctx, g, public) }),
			}, nil
		})
	}
	for _, owner := range p.variables {
		each(leftVariable, owner, func(_, id string) (provision.Change, error) {
			return unset(owner, id, func(variables []forge.Variable) []forge.Variable {
				return slices.DeleteFunc(slices.Clone(variables), func(v forge.Variable) bool {
					return !slices.ContainsFunc(index.leftVariables(owner, variables), func(l leftover) bool { return l.host == host && l.id == keyed(v) })
				})
			}), nil
		})
	}
	return append(changes, hidden(f, "something of %s", host)...), err
}
