package steps

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"provision/provision"
	"provision/provision/forge"
	"provision/provision/forge/forgetest"
	"provision/provision/secret"
)

var (
	group    = forge.Owner{Kind: forge.GroupOwner, Path: "transmogrify"}
	projectB = forge.Owner{Kind: forge.ProjectOwner, Path: "a/b"}
	projectC = forge.Owner{Kind: forge.ProjectOwner, Path: "a/c"}
)

func newFake() *forgetest.Fake {
	return forgetest.New("transmogrify/frobnicator", "transmogrify/other", "a/b", "a/c")
}

// A host holds what scripts leave behind, as far as these tests need it.
type host struct {
	facts provision.Facts
	run   func(s provision.Script, secret string) // changes facts
}

// converge has the engine apply one step to a host that runs nothing. It returns
// what was done, in order: calls as the Fake notes them, and scripts as "script
// ARGS".
func converge(t *testing.T, step provision.Step, f *forgetest.Fake, h *host) (done []string, err error) {
	t.Helper()
	f.Calls()
	err = provision.Apply(t.Context(), provision.Target{Name: "web1", Forge: f}, []provision.Step{onPaper{step, h, f, &done}}, func(provision.Event) {})
	var at *provision.StepError
	if errors.As(err, &at) && at.Err != nil {
		err = at.Err
	}
	return done, err
}

// onPaper is a step whose host is what a test says of it.
type onPaper struct {
	step provision.Step
	host *host
	fake *forgetest.Fake
	done *[]string
}

func (p onPaper) Name() string { return p.step.Name() }

func (p onPaper) Probe() provision.Probe {
	ask := p.step.Probe().Ask
	return provision.Probe{Ask: func(ctx context.Context, g forge.Forge) (provision.Facts, error) {
		facts := provision.Facts{}
		for key, values := range p.host.facts {
			facts[key] = slices.Clone(values)
		}
		if ask == nil {
			return facts, nil
		}
		asked, err := ask(ctx, g)
		for key, values := range asked {
			facts[key] = values
		}
		return facts, err
	}}
}

func (p onPaper) Plan(f provision.Facts) ([]provision.Change, error) {
	changes, err := p.step.Plan(f)
	for i, c := range changes {
		switch do := c.Do.(type) {
		case provision.Call:
			changes[i].Do = provision.Call(func(ctx context.Context, g forge.Forge) error {
				err := do(ctx, g)
				*p.done = append(*p.done, p.fake.Calls()...)
				return err
			})
		case provision.Script:
			changes[i].Do = provision.Call(func(context.Context, forge.Forge) error {
				var text string
				if !do.Secret.IsZero() {
					var err error
					if text, err = do.Secret.Reveal(); err != nil {
						return err
					}
				}
				p.host.run(do, text)
				*p.done = append(*p.done, "script "+strings.Join(do.Args, " "))
				return nil
			})
		}
	}
	return changes, err
}

func checkDone(t *testing.T, done []string, err error, want ...string) {
	t.Helper()
	if err != nil {
		t.Fatalf("after %q: %v", done, err)
	}
	if !slices.Equal(done, want) {
		t.Errorf("done\n got %s\nwant %s", strings.Join(done, "\n     "), strings.Join(want, "\n     "))
	}
}

func reveal(t *testing.T, v secret.Value) string {
	t.Helper()
	text, err := v.Reveal()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestDeployKey(t *testing.T) {
	const project = "transmogrify/frobnicator"
	step := stepOf(t, "", "", "deploy-key deploy-frobnicator "+project)
	f := newFake()
	f.Keys[project] = []forge.DeployKey{{ID: 1, Key: key2.public + " other"}, {ID: 2, Key: "garbage"}}
	h := &host{facts: provision.Facts{"public": {key1.public}}}
	done, err := converge(t, step, f, h)
	checkDone(t, done, err, "AddDeployKey "+project+" "+key1.public+" "+title+" false")
	if k := f.Keys[project][2]; k.Title != title || k.CanPush {
		t.Errorf("the key is %+v", k)
	}

	// Registered by hand, with the right to push and another comment.
	f.Keys[project][2] = forge.DeployKey{ID: 3, Title: "by hand", Key: key1.public + " someone@somewhere", CanPush: true}
	done, err = converge(t, step, f, h)
	checkDone(t, done, err, "AddDeployKey "+project+" "+key1.public+" "+title+" false")

	h.facts["retired"] = []string{key2.public}
	done, err = converge(t, step, f, h)
	checkDone(t, done, err, "RemoveDeployKey "+project+" 1")

	f.Fail["AddDeployKey"] = forge.ErrTaken
	f.Keys[project] = nil
	if _, err := converge(t, step, f, h); !errors.Is(err, forge.ErrTaken) {
		t.Errorf("got %v", err)
	}
}

const targetURL = "ssh://deploy-frobnicator@deploy-host.example.com"

// Whatever GitLab answers to a look is passed on.
func TestLooksThatFail(t *testing.T) {
	boom := errors.New("boom")
	for method, names := range map[string][]string{
		"Variables":         {"ci-key frobnicator-production", "ci-variables frobnicator-production"},
		"Project":           {"ci-key frobnicator-production", "checkout frobnicator-production"},
		"Newest":            {"checkout frobnicator-production"},
		"ProtectedBranches": {"ci-key frobnicator-production"},
		"Tokens":            {"registry-login deploy-frobnicator"},
		"DeployKeys":        {"deploy-key deploy-frobnicator transmogrify/frobnicator", "repo-key-switch deploy-frobnicator"},
	} {
		f := newFake()
		f.Fail[method] = boom
		for _, name := range names {
			if _, err := stepOf(t, "", "", name).Probe().Ask(t.Context(), f); !errors.Is(err, boom) {
				t.Errorf("%s fails, and %s says %v", method, name, err)
			}
		}
	}
}
