package steps

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/forge/forgetest"
	"provision/provision/secret"
)

// A forging host runs nothing. It says of each script that it has ended well, and reports
// the same facts from all, each "KEY=VALUE".
type forging []string

var (
	markIn = regexp.MustCompile(`@[0-9a-f]{32}`)
	jobIn  = regexp.MustCompile(`%s begin (\d+)\\n`)
)

func (h forging) Run(_ context.Context, program io.Reader, out io.Writer) error {
	text, err := io.ReadAll(program)
	if err != nil {
		return err
	}
	mark := markIn.Find(text)
	var b bytes.Buffer
	for job, n := 0, jobsOf(text); job < n; job++ {
		fmt.Fprintf(&b, "%s begin %d\n", mark, job)
		for _, fact := range h {
			fmt.Fprintf(&b, "%s fact %s\n", mark, strings.ReplaceAll(fact, "\n", " "))
		}
		fmt.Fprintf(&b, "%s end %d 0\n", mark, job)
	}
	_, err = out.Write(b.Bytes())
	return err
}

func jobsOf(program []byte) (n int) {
	for _, m := range jobIn.FindAllSubmatch(program, -1) {
		if i, err := strconv.Atoi(string(m[1])); err == nil && i >= n {
			n = i + 1
		}
	}
	return n
}

// A lyingWorld is GitLab with what is of a host, of another host of the inventory, of hosts
// of another inventory and of people; and the host, which says whatever it likes.
type lyingWorld struct {
	t       testing.TB
	r       *rand.Rand
	f       *forgetest.Fake
	inv     *inventory.Inventory
	given   Given
	publics []string // all keys that there are
	ids     []string // of all tokens
	last    forging  // what the host has said
	log     []string
}

var lyingGroups = []forge.Owner{group, {Kind: forge.GroupOwner, Path: "others"}}

func newLyingWorld(t testing.TB, seed uint64) *lyingWorld {
	w := &lyingWorld{t: t, r: rand.New(rand.NewPCG(seed, 5)), f: forgetest.New("transmogrify/frobnicator", "transmogrify/other", "others/app", "a/b", "a/c")}
	w.inv, w.given = plainInventory()
	inventories["two-hosts"](w.inv, &w.given)
	w.inv.Deployments[0].Scope = "production/web1"
	change := []string{"plain", "deploy-token", "named-credential", "two-deployments", "login", "finish", "renew-late", "without-salt"}[w.r.IntN(8)]
	inventories[change](w.inv, &w.given)
	w.inv.Hosts = append(w.inv.Hosts, &inventory.Host{Name: "web4", Address: "web4.example.com"}) // nothing is deployed there
	for _, project := range []string{"transmogrify/frobnicator", "transmogrify/other", "others/app"} {
		for _, k := range []struct{ title, comment string }{
			{"deploy-frobnicator@web1", "="}, {"deploy-frobnicator@web2", "="}, {"deploy-frobnicator@web4", "="},
			{"deploy-frobnicator@web2", "deploy-frobnicator@web1"}, {"deploy-frobnicator@web1", "alice@laptop"}, {"deploy-frobnicator@web1", ""},
			{"release-bot@web1", "="}, {"release-bot@web1", "deploy-frobnicator@web1"}, {"release bot", "deploy-frobnicator@web1"}, {"release bot", "mirror"},
		} {
			if w.r.IntN(3) == 0 {
				continue
			}
			public := fmt.Sprintf("ssh-ed25519 AAAAkey%d", len(w.publics))
			if len(w.publics) < 2 {
				public = []string{key1.public, key2.public}[len(w.publics)]
			}
			w.publics = append(w.publics, public)
			comment := strings.Replace(k.comment, "=", k.title, 1)
			w.f.Keys[project] = append(w.f.Keys[project], forge.DeployKey{ID: int64(len(w.publics)), Title: k.title, Key: strings.TrimSpace(public + " " + comment), CanPush: w.r.IntN(2) == 0})
		}
	}
	for _, owner := range lyingGroups {
		w.f.Made[owner] = map[forge.TokenKind][]forge.Token{}
		for _, kind := range []forge.TokenKind{forge.AccessToken, forge.DeployToken} {
			for _, title := range []string{"deploy-frobnicator@web1", "deploy-frobnicator@web2", "deploy-frobnicator@web4", "release-bot@web1", "ci"} {
				for _, scope := range []string{"read_registry", "api"} {
					for _, marked := range []bool{true, false} {
						id := int64(len(w.ids) + 1)
						token := forge.Token{ID: id, Name: title, Scopes: []string{scope}, Active: w.r.IntN(4) > 0, Expires: time.Unix(1<<40, 0), DaysLeft: w.r.IntN(60)}
						if kind == forge.DeployToken {
							token.Username = map[bool]string{true: deployTokenPrefix + fmt.Sprint(id), false: "puller"}[marked]
						} else if marked {
							token.Description = madeFor(title)
						}
						w.ids = append(w.ids, fmt.Sprint(id))
						if w.r.IntN(3) > 0 {
							w.f.Made[owner][kind] = append(w.f.Made[owner][kind], token)
						}
					}
				}
			}
		}
	}
	web1, web2 := w.inv.Deployments[0], w.inv.Deployments[1]
	for i, owner := range []forge.Owner{group, {Kind: forge.GroupOwner, Path: "others"}, {Kind: forge.ProjectOwner, Path: "transmogrify/frobnicator"}} {
		for _, scope := range []string{"production/web1", "production/web2", "production", "*"} {
			for _, prefix := range []string{"", "APP_"} {
				c := ciOf([]*inventory.Deployment{web1, web2}[w.r.IntN(2)])
				if scope == "production/web2" {
					c = ciOf(web2)
				}
				description := []string{c.description(), "", "by hand", "Set by provision for elsewhere on web9."}[w.r.IntN(4)]
				for _, v := range []forge.Variable{
					{Key: prefix + inventory.CIKeyVariable, Value: secret.New([]string{key1.private, key2.private, "none"}[w.r.IntN(3)]), File: w.r.IntN(2) == 0},
					{Key: prefix + inventory.DeployTargetVariable, Value: secret.New([]string{c.target, "ssh://deploy@elsewhere"}[w.r.IntN(2)])},
					{Key: prefix + inventory.KnownHostsVariable, Value: secret.New("x ssh-ed25519 AAAA\n")},
				} {
					v.Scope, v.Description = scope, description
					if w.r.IntN(3) > 0 || i > 1 {
						w.f.Vars[owner] = append(w.f.Vars[owner], v)
					}
				}
			}
		}
	}
	return w
}

// lies returns what the host says now.
func (w *lyingWorld) lies(extra string) (facts forging) {
	one := func(list ...string) string { return list[w.r.IntN(len(list))] }
	public := func() string { return one(w.publics...) }
	login := func() string { return one(loginPrefix, deployTokenPrefix) + one(w.ids...) }
	owner := func() string { return lyingGroups[w.r.IntN(2)].String() }
	name := func() string {
		return one("frobnicator-production", "frobnicator", "other", "frobnicator-production.OLD")
	}
	key := func() string {
		return one(key1.public, key2.public, public())
	}
	honest := []func() string{
		func() string { return "public=" + public() },
		func() string { return "next=" + public() },
		func() string { return "retired=" + public() },
		func() string { return "login=" + login() },
		func() string { return "made=" + owner() },
		func() string { return "beside=" + one(w.ids...) + " " + one(w.ids...) },
		func() string { return "elsewhere=old.example.com " + login() },
		func() string { return "needed old.example.com=image of folder" },
		func() string { return "carried=" + name() },
		func() string { return "carries=" + name() + " " + one("deploy-frobnicator", "root") },
		func() string { return "key=" + public() },
		func() string {
			return "origin " + name() + "=git.example.com/" + one("transmogrify/frobnicator", "others/app")
		},
		func() string {
			return "origin=git.example.com/" + one("transmogrify/frobnicator.git", "others/app.git")
		},
		func() string { return "user=" + one("deploy-frobnicator", "release-bot") },
		func() string { return "directory=" + one("frobnicator", "other") },
		func() string { return "user " + name() + "=" + one("deploy-frobnicator", "release-bot") },
		func() string { return "directory " + name() + "=" + one("frobnicator", "other") },
		func() string { return "line=" + one("restrict ", "") + key() + " " + keyMark + name() },
		func() string { return "line=" + key() },
		func() string { return "came=" + fingerprintOf(key()) },
		func() string { return "known=" + name() },
		func() string { return "was=" + name() },
		func() string { return "namesake=yes" },
		func() string { return "loose=.ssh" },
		func() string { return "host-key=ssh-ed25519 AAAAhost" },
		func() string { return "there=yes" },
	}
	forged := []func() string{
		func() string { return "registered=" + public() },
		func() string { return "ours=" + one(public(), group.String()) },
		func() string { return "formerly=" + public() },
		func() string { return "renamed=" + one(public(), group.String()) },
		func() string { return "can-push=" + public() },
		func() string { return "token=" + one(w.ids...) + " " + one("never", "3") },
		func() string { return "former=" + one(w.ids...) + " 3 deploy-frobnicator@web9" },
		func() string { return "former=" + key() + " group others SSH_AUTH production" },
		func() string { return "left " + owner() + "=SSH_AUTH production" },
		func() string { return "public " + owner() + "=" + key() },
		func() string { return "there=" + owner() },
		func() string { return "registered transmogrify/frobnicator=" + public() },
	}
	if w.r.IntN(3) > 0 {
		facts = append(facts, "public="+public(), "host-key=ssh-ed25519 AAAAhost")
	}
	for range 3 + w.r.IntN(15) {
		facts = append(facts, honest[w.r.IntN(len(honest))]())
	}
	if w.r.IntN(3) == 0 {
		facts = append(facts, forged[w.r.IntN(len(forged))]())
	}
	for line := range strings.Lines(extra) {
		if line = strings.TrimSpace(line); strings.Contains(line, "=") && len(facts) < 100 {
			facts = append(facts, line)
		}
	}
	return facts
}

// A liar lies in another way each time.
type liar struct {
	w     *lyingWorld
	extra string
}

func (h liar) Run(ctx context.Context, program io.Reader, out io.Writer) error {
	if h.w.last == nil || h.w.r.IntN(3) == 0 {
		h.w.last = h.w.lies(h.extra)
		h.w.log = append(h.w.log, "the host says:\n\t"+strings.Join(h.w.last, "\n\t"))
	}
	return h.w.last.Run(ctx, program, out)
}

// aboutGitLab are the steps that GitLab has to do with, and those by which they are led.
func aboutGitLab(all []provision.Step) (steps []provision.Step) {
	for _, s := range all {
		switch kindOf(s) {
		case "repo-key", "deploy-key", "repo-key-switch", "registry-login", "ci-variables", "ci-key", "stale-variables", leftStep:
			steps = append(steps, s)
		}
	}
	return steps
}

// run does one thing that a run does with web1.
func (w *lyingWorld) run(extra string) {
	host, d := w.inv.Hosts[0], w.inv.Deployments[0]
	target := provision.Target{Name: host.Name, Host: liar{w, extra}, Forge: w.f}
	look := func(s provision.Step) provision.Facts {
		seen, err := provision.Look(w.t.Context(), target, []provision.Step{s})
		if err != nil {
			return nil
		}
		return seen.Of(s.Name())
	}
	apply := func(what string, steps []provision.Step) {
		w.log = append(w.log, what)
		err := provision.Apply(w.t.Context(), target, aboutGitLab(steps), func(e provision.Event) {
			if e.Kind == provision.Done {
				w.log = append(w.log, e.Step+": "+e.Change.String())
			}
		})
		if err != nil {
			w.log = append(w.log, "error: "+err.Error())
		}
	}
	switch w.r.IntN(6) {
	case 0:
		apply("apply", For(w.inv, host, w.inv.On(host), w.given))
	case 1:
		steps := aboutGitLab(For(w.inv, host, w.inv.On(host), w.given))
		seen, err := provision.Look(w.t.Context(), target, steps)
		if err != nil {
			return
		}
		given := w.given
		given.Retire, _ = Retire(steps, seen, slices.Collect(maps.Keys(RotateKinds))...)
		apply("rotate", For(w.inv, host, w.inv.On(host), given))
	case 2:
		apply("remove", Remove(w.inv, host, d, w.given))
	case 3:
		name := []string{"frobnicator", "other"}[w.r.IntN(2)]
		if recalled := Recalled(w.inv, host, name, look(Recall(name))); recalled != nil {
			apply("remove what only the host knows", Remove(w.inv, host, recalled, w.given))
		}
	case 4:
		given := w.given
		given.From = w.inv.Hosts[2]
		apply("move in", append(MoveIn(w.inv, host, d, given), For(w.inv, host, w.inv.On(host), given)...))
		apply("move out", MoveOut(w.inv, host, d, given))
	case 5:
		held := &Held{}
		held.Add(host.Name, look(Holds()))
		held.Add("web2", provision.Facts{"carries": {"frobnicator-production deploy-frobnicator"}}) // which tells the truth
		left, err := LeftBehind(w.t.Context(), w.f, w.inv)
		if err != nil {
			w.t.Error(err)
		}
		for _, l := range left {
			if l = l.Without(held); !l.Empty() && l.Certain(held) {
				apply("forget "+l.Host, ForgetHost(w.inv, l.Host, "", held))
			}
		}
	}
}

// A host that lies about all that it is asked changes nothing in GitLab that is of another host
// of the inventory, of another inventory's hosts, or of people.
func FuzzLyingHost(f *testing.F) {
	for seed := range uint64(150) {
		f.Add(seed, "")
	}
	f.Add(uint64(1), "token=7 never\nours=ssh-ed25519 AAAAkey3")
	f.Fuzz(func(t *testing.T, seed uint64, extra string) {
		w := newLyingWorld(t, seed)
		before := w.others()
		for range 3 {
			w.run(extra)
		}
		after := w.others()
		for what, was := range before {
			if after[what] != was {
				t.Errorf("%s was %s\nand is %s\n%s", what, was, after[what], strings.Join(w.log, "\n"))
			}
		}
	})
}

// The same host has what is its own replaced and removed: the test above could find out.
func TestLyingHostChangesItsOwn(t *testing.T) {
	done := map[string]bool{}
	for seed := range uint64(100) {
		w := newLyingWorld(t, seed)
		w.f.Calls()
		for range 3 {
			w.run("")
		}
		for _, call := range w.f.Calls() {
			method, _, _ := strings.Cut(call, " ")
			done[method] = true
		}
	}
	for _, method := range []string{"AddDeployKey", "RemoveDeployKey", "CreateToken", "RevokeToken", "SetVariable", "RemoveVariable"} {
		if !done[method] {
			t.Errorf("nothing calls %s", method)
		}
	}
}
