package gitlab

import (
	"fmt"
	"testing"
	"time"

	"provision/provision/forge"
)

const (
	keys     = "/projects/acme%2Fapp/deploy_keys"
	oneBlob  = "AAAAC3NzaC1lZDI1NTE5AAAAIPDGGPuHOBnat1qRhgkaoSs4pJNdMgBAJTqgMo5UEaMe"
	oneKey   = "ssh-ed25519 " + oneBlob + " deploy@web1"
	oneHash  = "SHA256:O9v/axo8Cd3vERR9gQkQ+aoMJFXoPOw9jcktTm7kduo" // as GitLab and ssh-keygen print it
	otherKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAVQu3sEXm5aA6s2yK3JYfX63vifXeqTS8MVwsYkSoB+ deploy@web1"
	taken    = `{"message":{"deploy_key.fingerprint_sha256":["has already been taken"]}}`
)

func record(id int, line string, push bool) string {
	return fmt.Sprintf(`{"id":%d,"title":"theirs","key":%q,"can_push":%t,"expires_at":null}`, id, line, push)
}

func wanted(push bool) forge.DeployKey {
	return forge.DeployKey{Title: "web1", Key: oneKey + "\n", CanPush: push}
}

func TestDeployKeys(t *testing.T) {
	s := newStub(t)
	s.on("GET "+keys, list(`{"id":4,"title":"ec","key":"k","can_push":true,"expires_at":"2026-12-22T00:00:00.000Z"}`, record(5, oneKey, false)))
	c, _ := s.client()
	got, err := c.DeployKeys(t.Context(), "acme/app")
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if k := got[0]; k.ID != 4 || k.Title != "ec" || k.Key != "k" || !k.CanPush || !k.ExpiresAt.Equal(time.Date(2026, 12, 22, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", k)
	}
	if k := got[1]; k.CanPush || !k.ExpiresAt.IsZero() {
		t.Errorf("%+v", k)
	}
}

func TestAddDeployKeyCreates(t *testing.T) {
	s := newStub(t)
	s.on("GET "+keys, list(record(1, otherKey, false)), list(record(1, otherKey, false)), list(record(2, oneKey, false)))
	s.on("POST "+keys, reply(201, record(2, oneKey, false)))
	c, _ := s.client()
	if _, err := c.DeployKeys(t.Context(), "acme/app"); err != nil {
		t.Fatal(err)
	}
	if err := c.AddDeployKey(t.Context(), "acme/app", wanted(false)); err != nil {
		t.Fatal(err)
	}
	wantBody(t, s.asked("POST")[0], map[string]any{"title": "web1", "key": oneKey, "can_push": false})
	if got, err := c.DeployKeys(t.Context(), "acme/app"); err != nil || len(got) != 1 || got[0].ID != 2 {
		t.Errorf("the list was not read again after the change: %+v, %v", got, err)
	}
	key := wanted(false)
	key.Key, key.ExpiresAt = "ssh-ed25519 AAAA", time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := c.AddDeployKey(t.Context(), "acme/app", key); err != nil {
		t.Fatal(err)
	}
	if got := decode(t, s.asked("POST")[1])["expires_at"]; got != "2027-01-02T03:04:05Z" {
		t.Errorf("expires_at %v", got)
	}
}

func TestAddDeployKeyThatIsThere(t *testing.T) {
	anotherComment := "ssh-ed25519 " + oneBlob + " somebody@else"
	for _, test := range []struct {
		has, wants bool
		puts       int
	}{{false, false, 0}, {true, true, 0}, {true, false, 1}, {false, true, 1}} {
		s := newStub(t)
		s.on("GET "+keys, list(record(1, otherKey, true), record(2, anotherComment, test.has)))
		s.on("PUT "+keys+"/2", reply(200, record(2, anotherComment, test.wants)))
		c, _ := s.client()
		if err := c.AddDeployKey(t.Context(), "acme/app", wanted(test.wants)); err != nil {
			t.Fatal(err)
		}
		puts := s.asked("PUT")
		if len(puts) != test.puts {
			t.Fatalf("%+v: %q", test, puts)
		}
		if test.puts == 1 {
			wantBody(t, puts[0], map[string]any{"can_push": test.wants})
		}
		if got := s.asked("POST"); len(got) != 0 {
			t.Errorf("%q", got)
		}
	}
}

func TestAddDeployKeyRefusals(t *testing.T) {
	for _, line := range []string{"", "ssh-ed25519", "ssh-ed25519 no*base64", "ssh-ed25519  "} {
		c, _ := newStub(t).client()
		err := c.AddDeployKey(t.Context(), "acme/app", forge.DeployKey{Title: "t", Key: line})
		wantError(t, err, nil, `add deploy key "t" to project acme/app: it is no public key`)
	}

	s := newStub(t)
	s.on("GET "+keys, list(fmt.Sprintf(`{"id":1,"title":"old","key":%q,"expires_at":"2026-11-22T12:00:00Z"}`, oneKey)))
	c, _ := s.client()
	wantError(t, c.AddDeployKey(t.Context(), "acme/app", wanted(false)), nil, `as "old", and it expired on 2026-11-22: remove it there first`)

	s = newStub(t)
	s.on("GET "+keys, list(record(1, oneKey, true)))
	s.on("PUT "+keys+"/1", reply(200, record(1, oneKey, true)))
	c, _ = s.client()
	wantError(t, c.AddDeployKey(t.Context(), "acme/app", wanted(false)), nil, "GitLab keeps can_push at true")

	s = newStub(t)
	s.on("GET "+keys, reply(403, `{"message":"403 Forbidden"}`))
	c, _ = s.client()
	wantError(t, c.AddDeployKey(t.Context(), "acme/app", wanted(false)), forge.ErrForbidden, "deploy keys of project acme/app: ")
}

// GitLab finds the same line in another project by itself, and may answer with
// a record whose can_push is not the one that was asked for.
func TestAddDeployKeyJoined(t *testing.T) {
	s := newStub(t)
	s.on("GET "+keys, list())
	s.on("POST "+keys, reply(201, record(9, oneKey, true)))
	s.on("PUT "+keys+"/9", reply(200, record(9, oneKey, false)))
	c, _ := s.client()
	if err := c.AddDeployKey(t.Context(), "acme/app", wanted(false)); err != nil {
		t.Fatal(err)
	}
	if got := s.asked("PUT"); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

func TestAddDeployKeyTaken(t *testing.T) {
	const own, all = "GET /users/7/project_deploy_keys", "GET /deploy_keys"
	anotherComment := "ssh-ed25519 " + oneBlob + " somebody@else"
	inSecret := fmt.Sprintf(`{"id":8,"key":%q,"projects_with_write_access":[],"projects_with_readonly_access":[{"path_with_namespace":"other/secret"}]}`, anotherComment)
	forbidden, notFound := reply(403, `{"message":"403 Forbidden"}`), reply(404, `{"message":"404 Deploy key Not Found"}`)
	enabled := reply(201, fmt.Sprintf(`{"id":8,"title":"theirs","key":%q}`, anotherComment)) // without can_push
	start := func(t *testing.T) (*stub, *Client) {
		s := newStub(t)
		s.on("GET "+keys, list())
		s.on("POST "+keys, reply(400, taken))
		s.on("GET /personal_access_tokens/self", reply(200, `{"id":1,"user_id":7,"active":true}`))
		c, _ := s.client()
		return s, c
	}

	t.Run("in a project of the token's user", func(t *testing.T) {
		s, c := start(t)
		s.on(own, list(record(1, otherKey, false), record(8, anotherComment, true)))
		s.on("POST "+keys+"/8/enable", enabled)
		if err := c.AddDeployKey(t.Context(), "acme/app", wanted(false)); err != nil {
			t.Fatal(err)
		}
		if got := s.asked("PUT"); len(got) != 0 {
			t.Errorf("%q", got)
		}
	})
	t.Run("there, and it shall push", func(t *testing.T) {
		s, c := start(t)
		s.on(own, list(record(8, anotherComment, false)))
		s.on("POST "+keys+"/8/enable", enabled)
		s.on("PUT "+keys+"/8", reply(200, record(8, anotherComment, true)))
		if err := c.AddDeployKey(t.Context(), "acme/app", wanted(true)); err != nil {
			t.Fatal(err)
		}
		if got := s.asked("PUT"); len(got) != 1 {
			t.Errorf("%q", got)
		}
	})
	t.Run("an admin finds it, and may", func(t *testing.T) {
		s, c := start(t)
		s.on(own, list())
		s.on(all, list(inSecret))
		s.on("POST "+keys+"/8/enable", enabled)
		if err := c.AddDeployKey(t.Context(), "acme/app", wanted(false)); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("an admin finds it, and may not", func(t *testing.T) {
		s, c := start(t)
		s.on(own, notFound)
		s.on(all, list(inSecret))
		s.on("POST "+keys+"/8/enable", notFound)
		wantError(t, c.AddDeployKey(t.Context(), "acme/app", wanted(false)), forge.ErrTaken, oneHash, "in other/secret")
	})
	t.Run("nobody else may look", func(t *testing.T) {
		s, c := start(t)
		s.on(own, forbidden)
		s.on(all, forbidden)
		wantError(t, c.AddDeployKey(t.Context(), "acme/app", wanted(false)), forge.ErrTaken,
			`add deploy key "web1" to project acme/app: its fingerprint `+oneHash+" has already been taken", "an admin can look")
	})
	t.Run("the list does not answer: that is no answer", func(t *testing.T) {
		s, c := start(t)
		s.on(own, list())
		s.on(all, reply(500, "{}"))
		err := c.AddDeployKey(t.Context(), "acme/app", wanted(false))
		wantError(t, err, nil, "all deploy keys: GitLab failed")
	})
}

func TestRemoveDeployKey(t *testing.T) {
	s := newStub(t)
	s.on("GET "+keys, list(record(1, oneKey, false)), list())
	s.on("DELETE "+keys+"/1", reply(204, ""), reply(404, `{"message":"404 Deploy key Not Found"}`))
	c, _ := s.client()
	if _, err := c.DeployKeys(t.Context(), "acme/app"); err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveDeployKey(t.Context(), "acme/app", 1); err != nil {
		t.Fatal(err)
	}
	if got, err := c.DeployKeys(t.Context(), "acme/app"); err != nil || len(got) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	wantError(t, c.RemoveDeployKey(t.Context(), "acme/app", 1), forge.ErrNotFound, "remove deploy key 1 from project acme/app: ")
}

func TestRenameDeployKey(t *testing.T) {
	answer := func(title string) string {
		return fmt.Sprintf(`{"id":8,"title":%q,"key":%q,"can_push":false}`, title, oneKey)
	}
	s := newStub(t)
	s.on("PUT "+keys+"/8", reply(200, answer("deploy@web3")))
	c, _ := s.client()
	if err := c.RenameDeployKey(t.Context(), "acme/app", 8, "deploy@web3"); err != nil {
		t.Fatal(err)
	}
	wantBody(t, s.asked("PUT")[0], map[string]any{"title": "deploy@web3"})

	s.on("PUT "+keys+"/8", reply(200, answer("deploy@app3")))
	wantError(t, c.RenameDeployKey(t.Context(), "acme/app", 8, "deploy@web3"), forge.ErrForbidden, `GitLab keeps the title "deploy@app3"`)
}
