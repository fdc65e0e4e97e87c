package steps

import (
	"context"
	"fmt"
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

// A deployment that changes its place, of which each run may end at any change. What opens
// the gate is looked at after each.
type changing struct {
	t      *testing.T
	gitlab *forgetest.Fake
	lines  []string // of authorized_keys
	came   []string // fingerprints
	left   int      // changes until the run ends; negative: it does not
	steps  []provision.Step
	always func() // what must hold all the time
}

// apply plans and makes what is missing until nothing is, or until the run ends.
func (c *changing) apply() (ended bool) {
	c.t.Helper()
	for range 10 {
		plan, err := provision.PlanFor(c.steps, c.look())
		if err != nil {
			c.t.Fatal(err)
		}
		if plan.Missing() == 0 {
			return false
		}
		for _, s := range plan {
			for _, change := range s.Changes {
				if c.left == 0 {
					return true
				}
				c.left--
				c.make(change)
				c.always()
			}
		}
	}
	c.t.Fatal("there is always something missing")
	return false
}

func (c *changing) look() provision.Seen {
	all := map[string]provision.Facts{}
	for _, s := range c.steps {
		facts, err := s.Probe().Ask(c.t.Context(), c.gitlab)
		if err != nil {
			c.t.Fatal(err)
		}
		facts["line"], facts["came"] = c.lines, c.came
		facts.Add("host-key", "ssh-ed25519 E")
		all[s.Name()] = facts
	}
	return provision.SeenOf(all)
}

func (c *changing) make(change provision.Change) {
	switch do := change.Do.(type) {
	case provision.Call:
		if err := do(c.t.Context(), c.gitlab); err != nil {
			c.t.Fatalf("%s: %v", change, err)
		}
	case provision.Script: // authorize.sh, as far as lines of ours go
		text := reveal(c.t, do.Secret)
		if do.Args[1] == "only" {
			c.lines = nil
		}
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			c.lines = slices.DeleteFunc(c.lines, func(l string) bool { return hasKey(l, keyIn(line)) })
			c.lines = append(c.lines, line)
		}
	}
}

// key returns the public half of the key that jobs get there; "": they get nothing whole.
func (c *changing) key(owner forge.Owner, prefix, scope string) string {
	n, public := 0, ""
	for _, v := range c.gitlab.Vars[owner] {
		base, ok := strings.CutPrefix(v.Key, prefix)
		if !ok || v.Scope != scope || !slices.Contains(ciBases, base) {
			continue
		}
		n++
		if base == "SSH_AUTH" {
			public, _ = publicHalf(reveal(c.t, v.Value))
		}
	}
	if n < 3 {
		return ""
	}
	return public
}

func (c *changing) opens(public string) bool {
	return public != "" && slices.ContainsFunc(c.lines, func(line string) bool { return hasKey(line, public) })
}

// stepsAt are the steps that look after variables and keys of a deployment at a place.
func stepsAt(t *testing.T, p place, finish bool, retire ...string) []provision.Step {
	t.Helper()
	inv, given := inventoryOf(t, "")
	d := inv.Deployments[0]
	d.Scope, d.Environment, d.Variables.Prefix = p.scope, p.scope, p.prefix
	d.Variables.Group = ""
	if p.owner.Kind == forge.GroupOwner {
		d.Variables.Group = p.owner.Path
	} else {
		d.Variables.Projects = []string{p.owner.Path}
	}
	given.Finish = finish
	given.Login = func(context.Context, *inventory.Deployment, secret.Value) error { return nil }
	given.Retire["ci-key frobnicator-production"] = retire
	all := For(inv, inv.Hosts[0], inv.Deployments, given)
	var steps []provision.Step
	for _, name := range []string{"ci-variables", "ci-key", "stale-variables"} {
		steps = append(steps, named(t, all, name+" frobnicator-production"))
	}
	return steps
}

// Whatever changes, and wherever runs end, the jobs of before can deploy until those of
// today have, and then nothing is left of them.
func TestPlaceChanges(t *testing.T) {
	project := forge.Owner{Kind: forge.ProjectOwner, Path: "transmogrify/frobnicator"}
	from := place{group, "", "production"}
	for _, c := range []struct {
		name     string
		from, to place
	}{
		{"a second host", from, place{group, "", "production/web1"}},
		{"one host less", place{group, "", "production/web1"}, from},
		{"no environment", from, place{group, "", "*"}},
		{"a prefix", from, place{group, "SHOP_", "production"}},
		{"to the project", from, place{project, "", "production"}},
		{"to the group", place{project, "", "production"}, from},
		{"all of it", place{project, "OLD_", "staging"}, from},
	} {
		for end := range 12 {
			for _, then := range []string{"deploy", "rotate", "finish"} {
				t.Run(fmt.Sprintf("%s, ended at %d, %s", c.name, end, then), func(t *testing.T) {
					w := &changing{t: t, gitlab: newFake(), left: -1, steps: stepsAt(t, c.from, false), always: func() {}}
					w.apply()
					old := w.key(c.from.owner, c.from.prefix, c.from.scope)
					if !w.opens(old) {
						t.Fatal("at first nothing deploys")
					}
					// Jobs of before get these, or those that they hide.
					deploys := func() bool {
						key := w.key(c.from.owner, c.from.prefix, c.from.scope)
						if c.from.hides(c.to) && !w.opens(key) {
							key = w.key(c.to.owner, c.to.prefix, c.to.scope)
						}
						return w.opens(key)
					}
					half := false // some of three variables hide others, which have the same values
					w.always = func() {
						half = c.from.hides(c.to) && len(w.gitlab.Vars[c.from.owner]) < 3
						if !half && !deploys() {
							t.Errorf("the jobs of before cannot deploy")
						}
						if !w.opens(old) && then != "rotate" {
							t.Errorf("a job that has begun cannot deploy")
						}
					}
					w.steps, w.left = stepsAt(t, c.to, false), end
					ended := w.apply()
					if end == 11 && ended {
						t.Fatal("there are more changes than are tried")
					}
					w.left = -1
					w.apply()
					now := w.key(c.to.owner, c.to.prefix, c.to.scope)
					if now == old || !w.opens(now) {
						t.Fatalf("the new variables have no key of their own")
					}
					if then == "rotate" {
						before := w.key(c.from.owner, c.from.prefix, c.from.scope)
						w.steps, w.left = stepsAt(t, c.to, false, now, before), end
						w.apply()
						w.steps, w.left = stepsAt(t, c.to, false), -1
						w.apply()
						now = w.key(c.to.owner, c.to.prefix, c.to.scope)
						if w.opens(old) && end > 8 {
							t.Error("the old key is not rotated")
						}
					}
					w.always = func() {}
					w.steps = stepsAt(t, c.to, then == "finish")
					if then != "finish" {
						key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(now))
						if err != nil {
							t.Fatal(err)
						}
						w.came = []string{ssh.FingerprintSHA256(key)}
					}
					w.left = end
					w.apply()
					w.left = -1
					w.apply()
					if len(w.lines) != 1 || !w.opens(now) {
						t.Errorf("at last there are the lines %q", w.lines)
					}
					for owner, variables := range w.gitlab.Vars {
						for _, v := range variables {
							if owner != c.to.owner || v.Scope != c.to.scope || !strings.HasPrefix(v.Key, c.to.prefix+"SSH_") {
								t.Errorf("%s of %s for %s is left", v.Key, owner, v.Scope)
							}
						}
					}
				})
			}
		}
	}
}
