package steps

import (
	"context"
	"errors"
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
		logins := 0
		refused := errors.New("refused")
		inv, given := inventoryOf(t, "")
		given.Retire["ci-key frobnicator-production"] = []string{key1.public}
		given.Login = func(_ context.Context, d *inventory.Deployment, key secret.Value) error {
			if d != inv.Deployments[0] {
				t.Errorf("logged in to %s", d.Name)
			}
			if public, err := publicHalf(reveal(t, key)); err != nil || public == key1.public {
				t.Errorf("tried %s, %v", public, err)
			}
			if logins++; logins == refusal {
				return refused
			}
			return nil
		}
		step := named(t, For(inv, inv.Hosts[0], inv.Deployments, given), "ci-key frobnicator-production")
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

	// Put right, it is still theirs: remove leaves what has another description.
	f.Vars[group][0].Protected, f.Vars[group][0].Description = false, "by hand"
	done, err = converge(t, stepOf(t, "", "", "ci-key frobnicator-production"), f, h)
	checkDone(t, done, err, "SetVariable group transmogrify SSH_AUTH production")
	if v := f.Vars[group][0]; !v.Protected || v.Description != "by hand" {
		t.Errorf("the variable is %+v", v)
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
