package cmd

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"provision/e2e/gitlabtest"
	"provision/e2e/golden"
	"provision/provision/secret"
)

// What the program says when GitLab or the network is the reason. The errors
// that take a host are in e2e.
func TestErrors(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gitlab := gitlabtest.New(gitlabtest.Config{URL: "http://" + listener.Addr().String()})
	go gitlab.Serve(listener, nil)
	t.Cleanup(func() { gitlab.Close() })
	right := gitlab.Seed("transmogrify/frobnicator")

	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	address := closed.Addr().String()

	for _, c := range []struct {
		name, title string
		token       secret.Value
	}{
		{name: "wrong-token", title: "GitLab does not know the token", token: secret.New("glpat-not-a-token-of-anybody")},
		{name: "expired-token", title: "The token of GitLab has expired", token: gitlab.AddPersonalToken("owner", time.Now().AddDate(0, 0, -1), "api")},
		{name: "missing-scope", title: "The token of GitLab lacks a scope", token: gitlab.AddPersonalToken("owner", time.Now().AddDate(0, 0, 30), "read_api")},
		{name: "port-unreachable", title: "Nothing answers at the SSH port of a host", token: right},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := c.token.Reveal()
			if err != nil {
				t.Fatal(err)
			}
			t.Setenv("TEST_TOKEN", text)
			inventory := head(gitlab.URL()) + host("web1", address) + deployment("app", "web1", "deploy-user", "frobnicator", "transmogrify/frobnicator", "production")
			file := filepath.Join(t.TempDir(), "inventory.toml")
			if err := os.WriteFile(file, []byte(inventory), 0o600); err != nil {
				t.Fatal(err)
			}
			var printed bytes.Buffer // as on a terminal, where both go
			code := Run(t.Context(), Env{Args: []string{"provision", "apply", file}, Stdout: &printed, Stderr: &printed})
			golden.Check(t, "testdata", c.name, c.title, "apply", printed.String(), code)
		})
	}
}
