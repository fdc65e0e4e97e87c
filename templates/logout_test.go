package templates

import (
	"path/filepath"
	"strings"
	"testing"
)

// Where the key and the login of a deployment were put, they are taken away,
// and all is as it was, to the byte.
func TestAuthorizeNone(t *testing.T) {
	tests := []struct {
		name, before string
		meanwhile    func(text string) string // what somebody does to the file in between
		after        string
	}{
		{"foreign lines", "ssh-rsa AAAAa a@b\n\n \t# a comment\n \tssh-rsa AAAAb  c \n", nil, ""},
		{"no newline at the end", "a\n  b", nil, ""},
		{"empty lines", "\n\n\n", nil, ""},
		{"CR LF and odd bytes", "ssh-rsa AAAAa \xff\x1b[2J\r\n", nil, ""},
		{"another deployment", "", func(string) string { return "# provision begin\n" + ours + "\n" + sister + "\n# provision end\na\n" },
			"# provision begin\n" + sister + "\n# provision end\na\n"},
		{"a line meanwhile", "a\n", func(text string) string { return text + "\tlate\n" }, "a\n\tlate\n"},
		{"our line outside of the block", "a\n", func(text string) string { return text + older + "\n#" + older + "\n" }, "a\n#" + older + "\n"},
	}
	eachShell(t, func(t *testing.T, b *box) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				b.clear(t)
				b.write(t, ".ssh/authorized_keys", tt.before, 0o640)
				if out, status := b.run(t, Authorize, ours, "web", "only"); status != 0 {
					t.Fatal(out)
				}
				want, names := tt.after, "authorized_keys authorized_keys.before-provision"
				if tt.meanwhile != nil {
					b.write(t, ".ssh/authorized_keys", tt.meanwhile(b.read(t, ".ssh/authorized_keys")), 0o600)
				} else {
					want, names = tt.before, "authorized_keys"
				}
				if out, status := b.run(t, Authorize, "", "web", "none"); status != 0 || out != "" {
					t.Fatalf("status %d, said %s", status, out)
				}
				if got := b.read(t, ".ssh/authorized_keys"); got != want {
					t.Errorf("got  %q\nwant %q", got, want)
				}
				if got := b.names(t, ".ssh"); got != names {
					t.Errorf(".ssh has %s", got)
				}
				if mode := b.mode(t, ".ssh/authorized_keys"); tt.meanwhile == nil && mode != 0o640 {
					t.Errorf("mode %o", mode)
				}
			})
		}
		t.Run("nothing before", func(t *testing.T) {
			b.clear(t)
			for _, script := range []string{ours, ""} {
				others := map[bool]string{true: "none", false: "only"}[script == ""]
				if out, status := b.run(t, Authorize, script, "web", others); status != 0 {
					t.Fatal(out)
				}
			}
			if got := b.names(t, ".ssh"); got != "" {
				t.Errorf(".ssh has %s", got)
			}
		})
		t.Run("nothing there", func(t *testing.T) {
			b.clear(t)
			if out, status := b.run(t, Authorize, "", "web", "none"); status != 0 || b.names(t, ".") != "" {
				t.Errorf("status %d, said %s; the home has %s", status, out, b.names(t, "."))
			}
		})
	})
}

func TestLogout(t *testing.T) {
	const other = `"other.example.com":{"auth":"b3RoZXI="}`
	tests := []string{
		"-", "{}", "{ }\n", "{\n}\n", `{"auths":{}}`, `{"auths": { }, "x": [1]}`, `{"auths":{` + other + `}}`,
		`{"psFormat":"x"}`, "{\n\t\"psFormat\": \"x\"\n}\n", "{\"auths\":{\n\t\t" + other + " , \"third\": {}\n}, \"é\": \"\\u00fc\"}",
		`{"x":{"` + registry + `":1},"auths":{` + other + `}}`,
	}
	eachShell(t, func(t *testing.T, b *box) {
		b.stub(t, "docker", "cat >/dev/null")
		for _, config := range tests {
			b.clear(t)
			if config != "-" {
				b.write(t, ".docker/config.json", config, 0o600)
			}
			if out, status := b.run(t, Login, user+"\n"+password, registry, registry, ""); status != 0 {
				t.Fatalf("%q: status %d, said %s", config, status, out)
			}
			before := b.read(t, ".docker/config.json")
			if out, status := b.run(t, Logout, "", registry, "another", ""); status != 1 || !strings.HasPrefix(out, "somebody else has logged in") || b.read(t, ".docker/config.json") != before {
				t.Errorf("%q: another login: status %d, said %s", config, status, out)
			}
			if out, status := b.run(t, Logout, "", registry, user, ""); status != 0 || out != "" {
				t.Fatalf("%q: status %d, said %s", config, status, out)
			}
			if config == "-" {
				if found, _ := filepath.Glob(filepath.Join(b.home, ".docker*")); found != nil {
					t.Errorf("a new file is left: %v", found)
				}
				continue
			}
			if got := b.read(t, ".docker/config.json"); got != config {
				t.Errorf("%q became %q", config, got)
			}
			if got := b.names(t, ".docker"); got != "config.json" {
				t.Errorf(".docker has %s", got)
			}
		}
		// Ours need not be the first.
		for _, tt := range []struct{ config, want string }{
			{`{"auths":{` + other + `, "` + registry + `":{"auth":"cm9ib3Q6eA=="} }}`, `{"auths":{` + other + ` }}`},
			{`{"auths":{"a":{} ,"` + registry + `":{"auth":"cm9ib3Q6eA=="} , ` + other + `}}`, `{"auths":{"a":{} ,` + other + `}}`},
			{`{"auths":{"` + registry + `":{"auth":"cm9ib3Q6eA=="}}}`, `{"auths":{}}`},
		} {
			b.write(t, ".docker/config.json", tt.config, 0o600)
			if out, status := b.run(t, Logout, "", registry, "robot", ""); status != 0 {
				t.Fatal(out)
			}
			if got := b.read(t, ".docker/config.json"); got != tt.want {
				t.Errorf("%s became %s, want %s", tt.config, got, tt.want)
			}
		}
	})
}
