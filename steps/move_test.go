package steps

import (
	"context"
	"slices"
	"strings"
	"testing"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
)

// onTheWay is a deployment on its way from web1 to web2: what was wanted of web1, and
// what is wanted of web2.
func onTheWay(t *testing.T) (before, after target) {
	t.Helper()
	inv, given := inventoryOf(t, "")
	web2 := &inventory.Host{Name: "web2", Address: "web2.example.com", Become: inventory.BecomeSudo, Engine: inventory.EnginePresent}
	inv.Hosts = append(inv.Hosts, web2)
	old := *inv.Deployments[0]
	inv.Deployments[0].Host = web2
	before = targets(inv, inv.Hosts[0], []*inventory.Deployment{&old}, given)[0]
	given.From = inv.Hosts[0]
	return before, targets(inv, web2, inv.Deployments, given)[0]
}

// What leads CI to the old host leads it to the new one: the key is the same, and at
// each moment a job knows the keys of the host that it is led to.
func TestCIOfAMove(t *testing.T) {
	before, after := onTheWay(t)
	f := newFake()
	oldHost, newHost := &host{facts: provision.Facts{"host-key": {"ssh-ed25519 AAAAold"}}}, &host{facts: provision.Facts{"host-key": {"ssh-ed25519 AAAAnew"}}}
	there, here := authorized(), authorized()
	for _, made := range []struct {
		step provision.Step
		host *host
	}{{ciVariablesOf(before), oldHost}, {ciKeyOf(before), there}} {
		if _, err := converge(t, made.step, f, made.host); err != nil {
			t.Fatal(err)
		}
	}
	key := func() string { return reveal(t, f.Vars[group][2].Value) }
	held := key()

	// Without knowing of the move, it is somebody else's.
	unaware := after
	unaware.given.From = nil
	for _, step := range []provision.Step{ciVariablesOf(unaware), ciKeyOf(unaware)} {
		if done, err := converge(t, step, f, newHost); err == nil || !strings.Contains(err.Error(), "another deployment uses it") {
			t.Errorf("%s: %q, %v", step.Name(), done, err)
		}
	}

	// While the old host runs, the new one gets the key, and GitLab nothing.
	done, err := converge(t, ciKeyOf(after), f, here)
	checkDone(t, done, err, "script frobnicator-production only")

	// Every value that a job could have read, of the two variables.
	var pairs []string
	vars := newHost
	step := watching{ciVariablesOf(after), func() {
		pairs = append(pairs, reveal(t, f.Vars[group][0].Value)+" knows "+strings.ReplaceAll(reveal(t, f.Vars[group][1].Value), "\n", ", "))
	}}
	done, err = converge(t, step, f, vars)
	checkDone(t, done, err, "SetVariable group transmogrify SSH_KNOWN_HOSTS production",
		"SetVariable group transmogrify SSH_DEPLOY_TARGET production", "SetVariable group transmogrify SSH_KNOWN_HOSTS production")
	const oldKnown, newKnown = "deploy-host.example.com ssh-ed25519 AAAAold, ", "web2.example.com ssh-ed25519 AAAAnew, "
	if want := []string{
		targetURL + " knows " + oldKnown, targetURL + " knows " + oldKnown + newKnown,
		"ssh://deploy-frobnicator@web2.example.com knows " + oldKnown + newKnown, "ssh://deploy-frobnicator@web2.example.com knows " + newKnown,
	}; !slices.Equal(slices.Compact(pairs), want) {
		t.Errorf("jobs could read\n%s\nwant\n%s", strings.Join(slices.Compact(pairs), "\n"), strings.Join(want, "\n"))
	}
	done, err = converge(t, ciKeyOf(after), f, here)
	checkDone(t, done, err, "SetVariable group transmogrify SSH_AUTH production")
	if key() != held {
		t.Error("the key is another one")
	}
	for _, v := range f.Vars[group] {
		if v.Description != "Set by provision for frobnicator-production on web2." {
			t.Errorf("%s: %s", v.Key, v.Description)
		}
	}
	for _, step := range []provision.Step{ciVariablesOf(unaware), ciKeyOf(unaware)} {
		h := newHost
		if step.Name() == ciKeyOf(after).Name() {
			h = here
		}
		done, err = converge(t, step, f, h)
		checkDone(t, done, err)
	}
}

// watching looks before and after each change of a step.
type watching struct {
	ciVariables
	look func()
}

func (s watching) Plan(f provision.Facts) ([]provision.Change, error) {
	s.look()
	changes, err := s.ciVariables.Plan(f)
	for i, c := range changes {
		do, ok := c.Do.(provision.Call)
		if !ok {
			continue
		}
		changes[i].Do = provision.Call(func(ctx context.Context, g forge.Forge) error {
			err := do(ctx, g)
			s.look()
			return err
		})
	}
	return changes, err
}

// Ahead of the move the new host gets nothing that leads CI there or starts anything;
// after it, the old one loses nothing of GitLab's that is of the new one by then.
func TestStepsOfAMove(t *testing.T) {
	before, after := onTheWay(t)
	var in, out []string
	for _, s := range MoveIn(after.inv, after.host, after.deployment, after.given) {
		in = append(in, s.Name())
	}
	for _, s := range MoveOut(before.inv, before.host, before.deployment, after.given) {
		out = append(out, s.Name())
	}
	const name = " frobnicator-production"
	for _, kind := range []string{"ci-variables", "containers", "ci-login", "move"} {
		if slices.Contains(in, kind+name) {
			t.Errorf("ahead of the move there is %s", kind)
		}
	}
	for _, kind := range []string{"checkout", "ci-key", "deploy-settings"} {
		if !slices.Contains(in, kind+name) {
			t.Errorf("ahead of the move there is no %s: %q", kind, in)
		}
	}
	if slices.Contains(out, "ci-variables"+name) || !slices.Contains(out, "containers"+name) {
		t.Errorf("after the move is undone: %q", out)
	}
	if last := out[len(out)-1]; last != "move"+name {
		t.Errorf("the last that is undone is %s: as long as there is anything, the old host knows that it is not the one", last)
	}
}
