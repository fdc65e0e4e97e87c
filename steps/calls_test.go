package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"provision/provision"
	"provision/provision/forge"
	"provision/provision/forge/forgetest"
	"provision/provision/hint"
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

// converge does for one step what the engine does: it looks, plans and makes
// until nothing is missing. It returns what was done, in order: calls as the
// Fake notes them, and scripts as "script ARGS".
func converge(t *testing.T, step provision.Step, f *forgetest.Fake, h *host) (done []string, err error) {
	t.Helper()
	made := map[string]bool{}
	f.Calls()
	for range 5 {
		facts := provision.Facts{}
		for key, values := range h.facts {
			facts[key] = slices.Clone(values)
		}
		if ask := step.Probe().Ask; ask != nil {
			asked, err := ask(t.Context(), f)
			if err != nil {
				return done, err
			}
			for key, values := range asked {
				facts[key] = values
			}
		}
		plan, err := provision.PlanFor([]provision.Step{step}, provision.Seen{step.Name(): facts})
		if err != nil || plan.Missing() == 0 {
			return done, err
		}
		for _, c := range plan[0].Changes {
			if made[c.Summary] {
				t.Fatalf("made, yet still missing: %s", c.Summary)
			}
			made[c.Summary] = true
			switch do := c.Do.(type) {
			case provision.Call:
				err := do(t.Context(), f)
				done = append(done, f.Calls()...)
				if err != nil {
					return done, err
				}
			case provision.Script:
				var text string
				if !do.Secret.IsZero() {
					if text, err = do.Secret.Reveal(); err != nil {
						return done, err
					}
				}
				h.run(do, text)
				done = append(done, "script "+strings.Join(do.Args, " "))
			}
		}
	}
	t.Fatal("there is always something missing")
	return nil, nil
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

// authorized is a host whose authorized_keys is what the script was given last.
func authorized(lines ...string) *host {
	h := &host{facts: provision.Facts{"line": lines}}
	h.run = func(s provision.Script, line string) {
		kept := slices.DeleteFunc(slices.Clone(h.facts["line"]), func(l string) bool {
			return s.Args[1] == "only" && strings.HasSuffix(l, " provision:"+s.Args[0])
		})
		h.facts["line"] = append([]string{line}, kept...)
	}
	return h
}

func TestNewKeyOfCI(t *testing.T) {
	f := newFake()
	h := authorized("ssh-ed25519 AAAAadmin admin")
	step := stepOf(t, "projects", "", "ci-key frobnicator-production")
	done, err := converge(t, step, f, h)
	checkDone(t, done, err, "SetVariable project a/b SHOP_SSH_AUTH *", "SetVariable project a/c SHOP_SSH_AUTH *", "script frobnicator-production only")

	v := f.Vars[projectB][0]
	private := reveal(t, v.Value)
	if private != reveal(t, f.Vars[projectC][0].Value) {
		t.Error("the two projects have different keys")
	}
	if !v.File || !v.Protected || !v.Raw || v.Masked || v.Hidden || v.Description != "Set by provision for frobnicator-production on web1." {
		t.Errorf("the variable is %+v", v)
	}
	if !strings.HasPrefix(private, "-----BEGIN OPENSSH PRIVATE KEY-----\n") || !strings.HasSuffix(private, "\n") || strings.Contains(private, "\r") {
		t.Error("that is no private key as OpenSSH reads it")
	}
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		t.Fatal(err)
	}
	if typ := signer.PublicKey().Type(); typ != ssh.KeyAlgoED25519 {
		t.Errorf("the key is %s", typ)
	}
	want := fmt.Sprintf(`restrict,command="/usr/local/lib/provision/gate frobnicator-production %s" %s provision:frobnicator-production`,
		ssh.FingerprintSHA256(signer.PublicKey()), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))))
	if got := h.facts["line"]; len(got) != 2 || got[0] != want {
		t.Errorf("the lines are %q\nwant %s", got, want)
	}

	// Another run makes another key.
	f2 := newFake()
	if _, err := converge(t, step, f2, authorized()); err != nil {
		t.Fatal(err)
	}
	if reveal(t, f2.Vars[projectB][0].Value) == private {
		t.Error("the same key twice")
	}
}

func keyLine(k testKey) string {
	return `restrict,command="/usr/local/lib/provision/gate frobnicator-production ` + k.fingerprint + `" ` + k.public + ` provision:frobnicator-production`
}

// auth is a variable of ours as it should be.
func auth(key, scope, value string) forge.Variable {
	return forge.Variable{Key: key, Value: secret.New(value), File: true, Protected: true, Raw: true, Scope: scope,
		Description: "Set by provision for frobnicator-production on web1."}
}

func TestReplacedKeyOfCI(t *testing.T) {
	// The host learns the new key before CI has it, and forgets the old one after.
	f := newFake()
	f.Vars[group] = []forge.Variable{auth("SSH_AUTH", "staging", key2.private), auth("SSH_AUTH", "production", "garbage")}
	h := authorized(keyLine(key1))
	done, err := converge(t, stepOf(t, "", "", "ci-key frobnicator-production"), f, h)
	checkDone(t, done, err, "script frobnicator-production keep", "SetVariable group transmogrify SSH_AUTH production", "script frobnicator-production only")
	if got := reveal(t, f.Vars[group][0].Value); got != key2.private {
		t.Error("the variable of another scope was changed")
	}
}

func TestRetiredKeyOfCI(t *testing.T) {
	for refusal, want := range map[int]struct{ done, again []string }{
		// The host does not let the new key in: CI does not get it.
		1: {[]string{"script frobnicator-production keep"},
			[]string{"script frobnicator-production keep", "SetVariable group transmogrify SSH_AUTH production", "script frobnicator-production only"}},
		// What GitLab holds does not get in: the old key stays, for now.
		2: {[]string{"script frobnicator-production keep", "SetVariable group transmogrify SSH_AUTH production"},
			[]string{"script frobnicator-production only"}},
	} {
		f := newFake()
		f.Vars[group] = []forge.Variable{auth("SSH_AUTH", "production", key1.private)}
		h := authorized(keyLine(key1))
		step := stepOf(t, "login", key1.public, "ci-key frobnicator-production").(ciKey)
		logins := 0
		refused := errors.New("refused")
		step.login = func(_ context.Context, key secret.Value) error {
			if public, err := publicHalf(reveal(t, key)); err != nil || public == key1.public {
				t.Errorf("tried %s, %v", public, err)
			}
			if logins++; logins == refusal {
				return refused
			}
			return nil
		}
		done, err := converge(t, step, f, h)
		if !errors.Is(err, refused) || !slices.Equal(done, want.done) {
			t.Fatalf("refused at login %d: done %q, error %v", refusal, done, err)
		}
		if len(h.facts["line"]) != 2 || h.facts["line"][1] != keyLine(key1) {
			t.Errorf("a key that was not tried took the place of the old one: %q", h.facts["line"])
		}
		// Run again, and done: the new key is in use, the old one goes.
		done, err = converge(t, step, f, h)
		checkDone(t, done, err, want.again...)
		public, err := publicHalf(reveal(t, f.Vars[group][0].Value))
		if err != nil || public == key1.public || len(h.facts["line"]) != 1 || !strings.Contains(h.facts["line"][0], public) {
			t.Errorf("GitLab has %s, %v, the host %q", public, err, h.facts["line"])
		}
	}
}

func TestRepairedKeyOfCI(t *testing.T) {
	for name, text := range map[string]string{
		"no newline at the end": strings.TrimSuffix(key1.private, "\n"),
		"CR LF":                 strings.ReplaceAll(key1.private, "\n", "\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.Vars[group] = []forge.Variable{{Key: "SSH_AUTH", Value: secret.New(text), File: true, Scope: "production"}}
			done, err := converge(t, stepOf(t, "", "", "ci-key frobnicator-production"), f, authorized(keyLine(key1)))
			checkDone(t, done, err, "SetVariable group transmogrify SSH_AUTH production")
			v := f.Vars[group][0]
			if reveal(t, v.Value) != key1.private || !v.File || !v.Protected || !v.Raw {
				t.Errorf("the variable is %+v", v)
			}
		})
	}
}

func TestCopiedKeyOfCI(t *testing.T) {
	f := newFake()
	f.Vars[projectC] = []forge.Variable{auth("SHOP_SSH_AUTH", "*", key1.private)}
	done, err := converge(t, stepOf(t, "projects", "", "ci-key frobnicator-production"), f, authorized(keyLine(key1)))
	checkDone(t, done, err, "SetVariable project a/b SHOP_SSH_AUTH *")
	if reveal(t, f.Vars[projectB][0].Value) != key1.private {
		t.Error("another key")
	}
}

func TestAdoptedKeyOfCI(t *testing.T) {
	// Set up by hand: the target is ours, so the key is, whatever the host lets in.
	f := newFake()
	f.Vars[group] = []forge.Variable{
		{Key: "SSH_AUTH", Value: secret.New(key1.private), File: true, Protected: true, Raw: true, Scope: "production"},
		{Key: "SSH_DEPLOY_TARGET", Value: secret.New("ssh://deploy-frobnicator@deploy-host.example.com"), Scope: "production"},
	}
	h := authorized()
	done, err := converge(t, stepOf(t, "", "", "ci-key frobnicator-production"), f, h)
	checkDone(t, done, err, "script frobnicator-production only")
	if h.facts["line"][0] != keyLine(key1) {
		t.Errorf("the line is %q", h.facts["line"])
	}
}

func TestKeyOfCIIsNotTakenFromOthers(t *testing.T) {
	for name, v := range map[string]forge.Variable{
		"a key":      {Key: "SSH_AUTH", Value: secret.New(key2.private), Scope: "production"},
		"hidden":     {Key: "SSH_AUTH", Hidden: true, Scope: "production"},
		"no key":     {Key: "SSH_AUTH", Value: secret.New("x"), Scope: "production"},
		"ours there": {Key: "SSH_AUTH", Value: secret.New(key2.private), Scope: "production", Description: "Set by provision for frobnicator-production on web2."},
	} {
		f := newFake()
		f.Vars[group] = []forge.Variable{v}
		done, err := converge(t, stepOf(t, "", "", "ci-key frobnicator-production"), f, authorized(keyLine(key1)))
		if err == nil || !strings.Contains(err.Error(), "another deployment uses it") || done != nil {
			t.Errorf("%s: done %q, error %v", name, done, err)
		}
	}
}

func TestBranches(t *testing.T) {
	for _, tt := range []struct {
		pattern, branch string
		want            bool
	}{
		{"main", "main", true}, {"main", "mainline", false}, {"*", "a/b/c", true}, {"release/*", "release/1", true}, {"release/*", "release/1/2", true},
		{"release/*", "release", false}, {"*-stable", "a/1-stable", true}, {"*-stable", "stable", false}, {"re*se", "release", true}, {"", "main", false},
	} {
		if got := matchBranch(tt.pattern, tt.branch); got != tt.want {
			t.Errorf("%q matches %q: %t", tt.pattern, tt.branch, got)
		}
	}
	ask := func(inventory string, f *forgetest.Fake) []string {
		t.Helper()
		facts, err := stepOf(t, inventory, "", "ci-key frobnicator-production").Probe().Ask(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		return facts["unprotected"]
	}
	f := newFake()
	if got := ask("", f); got != nil {
		t.Errorf("unprotected: %q", got)
	}
	f.Protected["transmogrify/frobnicator"] = []string{"prod*"}
	if got := ask("", f); !slices.Equal(got, []string{"main of transmogrify/frobnicator"}) {
		t.Errorf("unprotected: %q", got)
	}
	f.Protected["a/b"] = []string{"release/*"}
	if got := ask("projects", f); !slices.Equal(got, []string{"release/1 of a/c"}) {
		t.Errorf("unprotected: %q", got)
	}
}

// loggedIn is a host that holds the login of the last script.
func loggedIn(login string) *host {
	h := &host{facts: provision.Facts{}}
	if login != "" {
		h.facts.Add("login", login)
	}
	h.run = func(_ provision.Script, text string) {
		name, password, _ := strings.Cut(text, "\n")
		h.facts["login"], h.facts["password"] = []string{name}, []string{password}
	}
	return h
}

const title = "deploy-frobnicator@web1"

// made is a token of ours.
func made(id int64, days int) forge.Token {
	return forge.Token{ID: id, Name: title, Description: "Made by provision for " + title + ".", Active: true, Expires: time.Unix(1<<40, 0), DaysLeft: days}
}

func TestRegistryLogin(t *testing.T) {
	f := newFake()
	h := loggedIn("")
	step := stepOf(t, "", "", "registry-login deploy-frobnicator")
	done, err := converge(t, step, f, h)
	checkDone(t, done, err, "CreateToken group transmogrify access token "+title, "script registry.example.com")
	token := f.Made[group][forge.AccessToken][0]
	if !slices.Equal(token.Scopes, []string{"read_registry"}) || token.Level != forge.Reporter || token.Description != "Made by provision for "+title+"." {
		t.Errorf("the token is %+v", token)
	}
	if h.facts.Get("login") != fmt.Sprintf("provision-%d", token.ID) || h.facts.Get("password") != reveal(t, token.Value) {
		t.Errorf("the login is %v", h.facts)
	}

	done, err = converge(t, step, f, h)
	checkDone(t, done, err)
}

func TestRegistryLoginReplaces(t *testing.T) {
	f := newFake()
	dead, foreign, other := made(1, 300), made(2, 300), made(3, 300)
	dead.Active, foreign.Description, other.Name = false, "by hand", "deploy-frobnicator@web2"
	f.Made[group] = map[forge.TokenKind][]forge.Token{forge.AccessToken: {dead, foreign, other, made(4, 29), made(5, 300)}}
	h := loggedIn("provision-4")
	done, err := converge(t, stepOf(t, "", "", "registry-login deploy-frobnicator"), f, h)
	// The new one is in use before the old ones go.
	checkDone(t, done, err, "CreateToken group transmogrify access token "+title, "script registry.example.com",
		"RevokeToken group transmogrify access token 4", "RevokeToken group transmogrify access token 5")
	for _, token := range f.Made[group][forge.AccessToken][1:3] {
		if !token.Active {
			t.Errorf("a token of somebody else was revoked: %+v", token)
		}
	}
}

func TestRegistryLoginOnceDied(t *testing.T) {
	// A run made a token and ended before the host had it.
	f := newFake()
	f.Made[group] = map[forge.TokenKind][]forge.Token{forge.AccessToken: {made(5, 365)}}
	done, err := converge(t, stepOf(t, "", "", "registry-login deploy-frobnicator"), f, loggedIn("by-hand"))
	checkDone(t, done, err, "CreateToken group transmogrify access token "+title, "script registry.example.com", "RevokeToken group transmogrify access token 5")
}

func TestDeployTokenLogin(t *testing.T) {
	f := newFake()
	byHand := forge.Token{ID: 7, Name: title, Username: "puller", Active: true}
	f.Made[group] = map[forge.TokenKind][]forge.Token{forge.DeployToken: {byHand}}
	h := loggedIn("puller")
	step := stepOf(t, "deploy-token", "", "registry-login deploy-frobnicator")
	done, err := converge(t, step, f, h)
	checkDone(t, done, err, "CreateToken group transmogrify deploy token "+title, "script registry.example.com")
	tokens := f.Made[group][forge.DeployToken]
	if h.facts.Get("login") != tokens[1].Username || tokens[1].Level != 0 || tokens[1].Description != "" {
		t.Errorf("the login is %v, the token %+v", h.facts, tokens[1])
	}
	if !tokens[0].Active {
		t.Error("a token of somebody else was revoked")
	}
	done, err = converge(t, step, f, h)
	checkDone(t, done, err)
}

func TestRegistryLoginErrors(t *testing.T) {
	step := stepOf(t, "", "", "registry-login deploy-frobnicator")
	f := newFake()
	f.Fail["CreateToken"] = forge.ErrForbidden
	if _, err := converge(t, step, f, loggedIn("")); !errors.Is(err, forge.ErrForbidden) || !strings.Contains(fmt.Sprint(hint.Of(err)), "group access tokens need the role Owner") {
		t.Errorf("got %v", err)
	}
	f.Fail = map[string]error{"CreateToken": errors.New("boom")}
	if _, err := converge(t, step, f, loggedIn("")); fmt.Sprint(err) != "boom" {
		t.Errorf("got %v", err)
	}
	f = newFake()
	f.Groups = nil
	if _, err := converge(t, step, f, loggedIn("")); !errors.Is(err, forge.ErrNotFound) || len(hint.Of(err)) == 0 {
		t.Errorf("got %v", err)
	}
}

func TestNamedLogin(t *testing.T) {
	step := stepOf(t, "named-credential", "", "registry-login deploy-frobnicator")
	h := loggedIn("")
	run := h.run
	h.run = func(s provision.Script, text string) {
		run(s, text)
		digest, err := secret.New(strings.Replace(text, "\n", ":", 1)).Digest("salt")
		if err != nil {
			t.Fatal(err)
		}
		h.facts["digest"] = []string{digest}
	}
	done, err := converge(t, step, newFake(), h)
	checkDone(t, done, err, "script registry.example.com")
	if h.facts.Get("login") != "robot" || h.facts.Get("password") != "hunter2" {
		t.Errorf("the login is %v", h.facts)
	}
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

const target = "ssh://deploy-frobnicator@deploy-host.example.com"

// Whatever GitLab answers to a look is passed on.
func TestLooksThatFail(t *testing.T) {
	boom := errors.New("boom")
	for method, names := range map[string][]string{
		"Variables":         {"ci-key frobnicator-production", "ci-variables frobnicator-production"},
		"Project":           {"ci-key frobnicator-production"},
		"ProtectedBranches": {"ci-key frobnicator-production"},
		"Tokens":            {"registry-login deploy-frobnicator"},
		"DeployKeys":        {"deploy-key deploy-frobnicator transmogrify/frobnicator", "repo-key-swap deploy-frobnicator"},
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
