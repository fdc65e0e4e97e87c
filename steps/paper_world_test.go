package steps

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/forge/forgetest"
	"provision/provision/secret"
)

// A paperWorld is two machines and a GitLab, and the inventories that they had and have.
type paperWorld struct {
	t        *testing.T
	r        *rand.Rand
	gitlab   *forgetest.Fake
	hosts    map[string]*paperHost // by address
	pairs    int
	names    int               // of hosts, that there have been
	last     map[string]string // names of hosts, by address
	old, new *inventory.Inventory
	freed    bool // the variables of before may be gone
	log      []string
}

func newPaperWorld(t *testing.T, r *rand.Rand) *paperWorld {
	w := &paperWorld{t: t, r: r, gitlab: forgetest.New("g/one", "g/two"), hosts: map[string]*paperHost{}, last: map[string]string{}}
	for _, address := range paperAddresses {
		h := &paperHost{pairs: &w.pairs, used: w.used}
		h.empty()
		h.failed = func(format string, args ...any) { t.Errorf(format, args...) }
		h.changed = func(c provision.Change, of provision.Step) {
			w.log = append(w.log, address+": "+of.Name()+": "+c.String())
			w.nothingLost()
		}
		w.hosts[address] = h
	}
	w.old = &inventory.Inventory{}
	return w
}

func (w *paperWorld) given() Given { return Given{Salt: "salt"} }

// apply applies the new inventory to all hosts. It returns what refuses, and the
// deployments that the plans name as left behind: "NAME ADDRESS".
func (w *paperWorld) apply() (made int, refused []*inventory.Deployment, left []string) {
	for _, host := range w.new.Hosts {
		steps := onPaperHost(w.hosts[host.Address], For(w.new, host, w.new.On(host), w.given()), nil)
		err := provision.Apply(w.t.Context(), provision.Target{Name: host.Name, Forge: w.gitlab}, steps, func(e provision.Event) {
			m := leftHint.FindStringSubmatch(e.Hint)
			switch {
			case e.Kind == provision.Done:
				made++
			case e.Kind == provision.Noted && m != nil && m[2] != host.Name:
				w.t.Errorf("the hint names %s on %s", m[2], host.Name)
			case e.Kind == provision.Noted && m != nil && !slices.Contains(left, m[1]+" "+host.Address):
				left = append(left, m[1]+" "+host.Address)
			}
		})
		if err == nil {
			continue
		}
		var at *provision.StepError
		if !errors.As(err, &at) || !strings.Contains(err.Error(), "another deployment uses it") {
			w.t.Errorf("apply: %v", err)
			return made, refused, left
		}
		for _, d := range w.new.On(host) {
			if strings.HasSuffix(at.Step, " "+d.Name) {
				refused = append(refused, d)
			}
		}
	}
	return made, refused, left
}

var leftHint = regexp.MustCompile(`provision remove --deployment (\S+) --limit (\S+) `)

// remove removes a deployment that only a host carries.
func (w *paperWorld) remove(what string) {
	name, address, _ := strings.Cut(what, " ")
	h := w.hosts[address]
	host := w.new.Hosts[slices.IndexFunc(w.new.Hosts, func(host *inventory.Host) bool { return host.Address == address })]
	user := h.value(name, "user")
	f := provision.Facts{"user": {user}, "directory": {h.value(name, "directory")}, "origin": {h.user(user).clones[h.value(name, "directory")]}}
	d := Recalled(w.new, host, name, f)
	if d == nil {
		w.t.Errorf("%s carries no %s", address, name)
		return
	}
	w.log = append(w.log, "remove "+what)
	if err := provision.Apply(w.t.Context(), provision.Target{Name: host.Name, Forge: w.gitlab}, onPaperHost(h, Remove(w.new, host, d, w.given()), d), func(provision.Event) {}); err != nil {
		w.t.Errorf("remove %s: %v", what, err)
	}
}

// is tells whether two deployments are the same one.
func same(a, b *inventory.Deployment) bool {
	return a.Host.Address == b.Host.Address && a.User == b.User && a.Directory == b.Directory
}

// nothingLost fails the test where what the old and the new inventory have is not as good as
// it was: it is there, it runs, and the jobs that were rendered for the old one reach it.
func (w *paperWorld) nothingLost() {
	for _, was := range w.old.Deployments {
		i := slices.IndexFunc(w.new.Deployments, func(d *inventory.Deployment) bool { return same(was, d) })
		if i < 0 || w.t.Failed() {
			continue
		}
		d, h := w.new.Deployments[i], w.hosts[was.Host.Address]
		u := h.user(d.User)
		known, _, _ := h.carried(d.Name, d.User, d.Directory)
		switch {
		case !u.docker, u.clones[d.Directory] == "", !u.runs[d.Directory], known == "":
			w.t.Errorf("%s, which is %s by now, is not whole on %s: %+v, known as %q", was.Name, d.Name, d.Host.Name, u, known)
		}
		if active := w.tokens(); u.login != "" && !active[u.login] {
			w.t.Errorf("the token of %s on %s is revoked", d.User, d.Host.Name)
		}
		if u.pair != "" && !w.registered(was.Project, u.pair) && d.Project == was.Project {
			w.t.Errorf("the key of %s is none of %s", d.User, d.Project)
		}
		if w.freed || w.passedOn(was, d) {
			continue
		}
		if place := w.jobReaches(was); place != was.Directory {
			w.t.Errorf("jobs of %s on %s, as they were, reach %q in place of %q", was.Name, was.Host.Name, place, was.Directory)
		}
	}
}

// passedOn tells whether the place of the variables that a deployment had is that of another
// one now, so that its jobs have to be rendered anew; or whether that of another one, with
// its key, is now that of this one, which may have deployed by that key long ago.
func (w *paperWorld) passedOn(was, d *inventory.Deployment) bool {
	passes := func(from, to *inventory.Deployment) bool {
		return !same(from, to) && from.Variables.Prefix == to.Variables.Prefix && from.Scope == to.Scope
	}
	return slices.ContainsFunc(w.new.Deployments, func(other *inventory.Deployment) bool { return passes(was, other) }) ||
		slices.ContainsFunc(w.old.Deployments, func(other *inventory.Deployment) bool { return passes(other, d) && !same(other, was) })
}

// jobReaches tells which directory a job deploys that was rendered for a deployment.
func (w *paperWorld) jobReaches(d *inventory.Deployment) string {
	get := func(base string) string {
		for _, owner := range []forge.Owner{{Kind: forge.ProjectOwner, Path: d.Project}, {Kind: forge.GroupOwner, Path: "g"}} {
			for _, v := range w.gitlab.Vars[owner] {
				if v.Key == d.Variables.Prefix+base && v.Scope == d.Scope {
					text, _ := v.Value.Reveal()
					return text
				}
			}
		}
		return ""
	}
	if get(inventory.DeployTargetVariable) != DeployTarget(d) || get(inventory.KnownHostsVariable) == "" {
		return "elsewhere: " + get(inventory.DeployTargetVariable)
	}
	public := publicOf(forge.Variable{Value: secret.New(get(inventory.CIKeyVariable))})
	if public == "" {
		return "nothing, without a key"
	}
	return w.hosts[d.Host.Address].opens(d.User, public)
}

// tokens returns the logins with which tokens work.
func (w *paperWorld) tokens() map[string]bool {
	active := map[string]bool{}
	for _, kinds := range w.gitlab.Made {
		for kind, tokens := range kinds {
			for _, t := range tokens {
				if t.Active {
					active[registryLogin{kind: kind}.loginOf(fmt.Sprint(t.ID))] = true
				}
			}
		}
	}
	return active
}

// used has GitLab note that somebody has logged in with a token.
func (w *paperWorld) used(login string) {
	for _, kinds := range w.gitlab.Made {
		for kind, tokens := range kinds {
			for i, t := range tokens {
				if login == (registryLogin{kind: kind}).loginOf(fmt.Sprint(t.ID)) {
					tokens[i].NeverUsed = false
				}
			}
		}
	}
}

func (w *paperWorld) registered(project, public string) bool {
	return slices.ContainsFunc(w.gitlab.Keys[project], func(k forge.DeployKey) bool { return keyOf(k.Key) == public })
}

// deploys has all deployments deploy by the key that CI has now.
func (w *paperWorld) deploys() {
	for _, d := range w.new.Deployments {
		u := w.hosts[d.Host.Address].user(d.User)
		_, label, _ := w.hosts[d.Host.Address].carried(d.Name, d.User, d.Directory)
		for _, p := range placesOf(d) {
			for _, v := range w.gitlab.Vars[p.owner] {
				if v.Key == p.key() && v.Scope == p.scope {
					key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(publicOf(v)))
					if err != nil {
						w.t.Errorf("%s is no key", p.key())
						continue
					}
					u.came[label] = append(u.came[label], ssh.FingerprintSHA256(key))
				}
			}
		}
	}
}

// exact fails the test unless hosts and GitLab have what the new inventory wants, and
// nothing that opens anything besides.
func (w *paperWorld) exact() {
	wanted := map[string]bool{}
	active := w.tokens()
	for _, d := range w.new.Deployments {
		h := w.hosts[d.Host.Address]
		u := h.user(d.User)
		wanted["settings "+d.Host.Address+" "+d.Name] = true
		wanted["user "+d.Host.Address+" "+d.User] = true
		wanted["clone "+d.Host.Address+" "+d.User+"/"+d.Directory] = true
		wanted["login "+u.login] = true
		wanted["key "+d.Project+" "+u.pair] = true
		if h.value(d.Name, "user") != d.User || h.value(d.Name, "directory") != d.Directory || u.pair == "" || !u.runs[d.Directory] || !u.docker || !active[u.login] || !w.registered(d.Project, u.pair) {
			w.t.Errorf("%s on %s is not made: settings %q, user %+v, tokens %v", d.Name, d.Host.Name, h.settings[d.Name], u, active)
		}
		if place := w.jobReaches(d); place != d.Directory {
			w.t.Errorf("jobs of %s on %s reach %q in place of %q", d.Name, d.Host.Name, place, d.Directory)
		}
		for _, p := range placesOf(d) {
			for _, v := range w.gitlab.Vars[p.owner] {
				if v.Scope != p.scope || !strings.HasPrefix(v.Key, p.prefix+"SSH_") {
					continue
				}
				wanted["variable "+p.owner.String()+" "+keyed(v)] = true
				if v.Key == p.key() {
					wanted["line "+d.Host.Address+" "+d.User+" "+publicOf(v)] = true
				}
			}
		}
	}
	has := func(what string) {
		if !wanted[what] {
			w.t.Errorf("left is %s", what)
		}
	}
	for address, h := range w.hosts {
		for name := range h.settings {
			has("settings " + address + " " + name)
		}
		for name, u := range h.users {
			has("user " + address + " " + name)
			for directory := range u.clones {
				has("clone " + address + " " + name + "/" + directory)
			}
			for directory := range u.runs {
				has("clone " + address + " " + name + "/" + directory)
			}
			for _, line := range u.lines {
				has("line " + address + " " + name + " " + keyIn(line))
			}
		}
	}
	for owner, variables := range w.gitlab.Vars {
		for _, v := range variables {
			has("variable " + owner.String() + " " + keyed(v))
		}
	}
	for project, keys := range w.gitlab.Keys {
		for _, k := range keys {
			has("key " + project + " " + keyOf(k.Key))
		}
	}
	for login := range active {
		has("login " + login)
	}
}

// free deletes the variables at the place of a deployment that lead elsewhere, as the
// hint of a refusal says.
func (w *paperWorld) free(d *inventory.Deployment) {
	w.freed = true
	for _, p := range placesOf(d) {
		if !ciOf(d).leads(w.gitlab.Vars[p.owner], p.prefix, p.scope) {
			w.gitlab.Vars[p.owner] = slices.DeleteFunc(w.gitlab.Vars[p.owner], func(v forge.Variable) bool {
				return v.Scope == p.scope && slices.Contains([]string{p.prefix + inventory.CIKeyVariable, p.prefix + inventory.DeployTargetVariable, p.prefix + inventory.KnownHostsVariable}, v.Key)
			})
		}
	}
	w.log = append(w.log, "free the place of "+d.Name)
}

// forget takes away what GitLab has of hosts that the inventory does not name, as the
// command does that is printed for each.
func (w *paperWorld) forget() (made int) {
	left, err := LeftBehind(w.t.Context(), w.gitlab, w.new)
	if err != nil {
		w.t.Error(err)
	}
	held := &Held{}
	for _, h := range w.new.Hosts {
		held.Add(h.Name, w.hosts[h.Address].holds())
	}
	for _, l := range left {
		if l.Without(held).Empty() {
			continue
		}
		w.log = append(w.log, "forget "+l.Host)
		if err := provision.Apply(w.t.Context(), provision.Target{Name: l.Host, Forge: w.gitlab}, ForgetHost(w.new, l.Host, "", held), func(e provision.Event) {
			if e.Kind == provision.Done {
				made++
				w.nothingLost()
			}
		}); err != nil {
			w.t.Errorf("forget %s: %v", l.Host, err)
		}
	}
	return made
}
