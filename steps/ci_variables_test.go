package steps

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/secret"
)

func hostKeys(keys ...string) *host { return &host{facts: provision.Facts{"host-key": keys}} }

func TestVariables(t *testing.T) {
	f := newFake()
	step := stepOf(t, "", "", "ci-variables frobnicator-production")
	done, err := converge(t, step, f, hostKeys("ssh-rsa R", "ssh-ed25519 E"))
	checkDone(t, done, err, "SetVariable group transmogrify SSH_DEPLOY_TARGET production", "SetVariable group transmogrify SSH_KNOWN_HOSTS production")
	for i, want := range []string{targetURL, "deploy-host.example.com ssh-ed25519 E\ndeploy-host.example.com ssh-rsa R\n"} {
		v := f.Vars[group][i]
		if got := reveal(t, v.Value); got != want || v.File || v.Protected || v.Masked || !v.Raw || v.Description != "Set by provision for frobnicator-production on web1." {
			t.Errorf("%+v is %q, want %q", v, got, want)
		}
	}

	// Ours, so keys that the host has no more go.
	done, err = converge(t, step, f, hostKeys("ssh-ed25519 E2"))
	checkDone(t, done, err, "SetVariable group transmogrify SSH_KNOWN_HOSTS production")
	if got := reveal(t, f.Vars[group][1].Value); got != "deploy-host.example.com ssh-ed25519 E2\n" {
		t.Errorf("known hosts: %q", got)
	}
}

func TestVariablesByHand(t *testing.T) {
	const lines = "# our hosts\nother.example.com ssh-rsa O\n|1|hashed= ssh-rsa H\ndeploy-host.example.com ssh-rsa OLD"
	f := newFake()
	f.Vars[group] = []forge.Variable{
		{Key: "SSH_KNOWN_HOSTS", Scope: "*", Value: secret.New("of another scope")},
		{Key: "SSH_KNOWN_HOSTS", Scope: "production", Value: secret.New(lines), Description: "by hand"},
		{Key: "SSH_DEPLOY_TARGET", Scope: "production", Value: secret.New(targetURL)},
	}
	step := stepOf(t, "", "", "ci-variables frobnicator-production")
	for range 2 { // and what was added once is not added again
		if _, err := converge(t, step, f, hostKeys("ssh-ed25519 E")); err != nil {
			t.Fatal(err)
		}
		v := f.Vars[group][1]
		if got := reveal(t, v.Value); got != lines+"\ndeploy-host.example.com ssh-ed25519 E\n" || v.Description != "by hand" {
			t.Errorf("%+v is %q", v, got)
		}
	}
	if got := reveal(t, f.Vars[group][0].Value); got != "of another scope" {
		t.Errorf("the variable of another scope is %q", got)
	}
}

// What a deployment has left under another environment or prefix, or in its project,
// goes; what is
// another's, or somebody's own, stays.
func TestMovedVariables(t *testing.T) {
	const ours = "Set by provision for frobnicator-production on web1."
	f := newFake()
	for _, v := range []struct{ prefix, scope, target, description string }{
		{"", "production", targetURL, ours},
		{"", "old", targetURL, ours},
		{"OLD_", "production", targetURL, ours},
		{"", "of a namesake", "ssh://deploy-frobnicator@elsewhere.example.com", ours},
		{"", "by hand", targetURL, ""},
	} {
		f.Vars[group] = append(f.Vars[group],
			forge.Variable{Key: v.prefix + "SSH_DEPLOY_TARGET", Scope: v.scope, Value: secret.New(v.target), Description: v.description},
			forge.Variable{Key: v.prefix + "SSH_AUTH", Scope: v.scope, Value: secret.New("key"), Description: v.description})
	}
	project := forge.Owner{Kind: forge.ProjectOwner, Path: "transmogrify/frobnicator"}
	f.Vars[project] = []forge.Variable{
		{Key: "SSH_AUTH", Scope: "production", Value: secret.New("key"), Description: ours},
		{Key: "SSH_DEPLOY_TARGET", Scope: "production", Value: secret.New(targetURL), Description: ours},
		{Key: "SSH_AUTH", Scope: "by hand", Value: secret.New("key")},
	}
	done, err := converge(t, stepOf(t, "", "", "stale-variables frobnicator-production"), f, &host{})
	checkDone(t, done, err,
		"RemoveVariable group transmogrify SSH_AUTH old", "RemoveVariable group transmogrify SSH_DEPLOY_TARGET old",
		"RemoveVariable group transmogrify OLD_SSH_AUTH production", "RemoveVariable group transmogrify OLD_SSH_DEPLOY_TARGET production",
		"RemoveVariable project transmogrify/frobnicator SSH_AUTH production", "RemoveVariable project transmogrify/frobnicator SSH_DEPLOY_TARGET production")
}

// Jobs that look for what goes are told of; those that find the same variables
// elsewhere go on.
func TestMovedJobs(t *testing.T) {
	project := forge.Owner{Kind: forge.ProjectOwner, Path: "transmogrify/frobnicator"}
	for _, c := range []struct {
		owner         forge.Owner
		prefix, scope string
		notes         int
	}{
		{group, "", "production", 0},
		{project, "", "production", 0},
		{group, "", "old", 1},
		{group, "OLD_", "production", 1},
		{project, "", "old", 1},
	} {
		f := newFake()
		f.Vars[c.owner] = []forge.Variable{{
			Key: c.prefix + "SSH_DEPLOY_TARGET", Scope: c.scope,
			Value: secret.New("ssh://deploy-frobnicator@deploy-host.example.com"), Description: "Set by provision for frobnicator-production on web1.",
		}}
		step := stepOf(t, "", "", "stale-variables frobnicator-production")
		facts, err := step.Probe().Ask(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := provision.PlanFor([]provision.Step{step}, provision.SeenOf(map[string]provision.Facts{step.Name(): facts}))
		if err != nil {
			t.Fatal(err)
		}
		var notes []provision.StepNote
		for _, s := range plan {
			notes = append(notes, s.Notes...)
		}
		if len(notes) != c.notes {
			t.Errorf("%sSSH_DEPLOY_TARGET of %s for %s: %v", c.prefix, c.owner, c.scope, notes)
		}
	}
}

func TestVariablesThatNobodySees(t *testing.T) {
	f := newFake()
	f.Vars[group] = []forge.Variable{{Key: "SSH_DEPLOY_TARGET", Scope: "production", Hidden: true}}
	_, err := converge(t, stepOf(t, "", "", "ci-variables frobnicator-production"), f, hostKeys("ssh-ed25519 E"))
	if want := "CI variable SSH_DEPLOY_TARGET (group transmogrify, environment production) is hidden and cannot be compared; delete it"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestGroupsWithoutScopes(t *testing.T) {
	f := newFake()
	f.NoScopes = true
	for _, name := range []string{"ci-variables frobnicator-production", "ci-key frobnicator-production"} {
		h := authorized()
		h.facts.Add("host-key", "ssh-ed25519 E")
		_, err := converge(t, stepOf(t, "", "", name), f, h)
		if !errors.Is(err, forge.ErrScope) || !strings.Contains(fmt.Sprint(hint.Of(err)), "projects = [") {
			t.Errorf("%s: got %v", name, err)
		}
		if len(f.Vars[group]) > 0 || len(h.facts["line"]) > 0 {
			t.Errorf("%s: something was left behind", name)
		}
	}
}

// What somebody has made theirs after the look is not removed any more.
func TestRemoveAsksWhoseAVariableIs(t *testing.T) {
	f := newFake()
	inv, given := inventoryOf(t, "")
	f.Vars[group] = []forge.Variable{auth("SSH_AUTH", "production", key1.private)}
	step := removalOf(t, inv, inv.Deployments[0], given, "ci-variables frobnicator-production")
	facts, err := step.Probe().Ask(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := step.Plan(facts)
	if err != nil || len(changes) != 1 {
		t.Fatalf("planned %v, %v", changes, err)
	}
	f.Vars[group][0].Description = "by hand"
	if err := changes[0].Do.(provision.Call)(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if calls := f.Calls(); calls != nil {
		t.Errorf("it did %q", calls)
	}
}
