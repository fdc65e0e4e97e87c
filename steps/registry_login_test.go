package steps

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/secret"
)

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
	checkDone(t, done, err, "CreateToken group transmogrify access token "+title, "script registry.example.com registry.example.com  group transmogrify")
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
	checkDone(t, done, err, "CreateToken group transmogrify access token "+title, "script registry.example.com registry.example.com  group transmogrify",
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
	checkDone(t, done, err, "CreateToken group transmogrify access token "+title, "script registry.example.com registry.example.com .docker/before-provision group transmogrify", "RevokeToken group transmogrify access token 5")
}

func TestDeployTokenLogin(t *testing.T) {
	f := newFake()
	byHand := forge.Token{ID: 7, Name: title, Username: "puller", Active: true}
	f.Made[group] = map[forge.TokenKind][]forge.Token{forge.DeployToken: {byHand}}
	h := loggedIn("puller")
	step := stepOf(t, "deploy-token", "", "registry-login deploy-frobnicator")
	done, err := converge(t, step, f, h)
	checkDone(t, done, err, "CreateToken group transmogrify deploy token "+title, "script registry.example.com registry.example.com .docker/before-provision group transmogrify")
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
	checkDone(t, done, err, "script registry.example.com registry.example.com  ")
	if h.facts.Get("login") != "robot" || h.facts.Get("password") != "hunter2" {
		t.Errorf("the login is %v", h.facts)
	}
}
