package inventory

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// canary stands wherever a test writes a secret; nothing may print it.
const canary = "CANARY"

const gitKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0"

const base = `[gitlab]
url = "https://git.example.com"
host_keys = ["` + gitKey + `"]
[registry]
host = "registry.example.com"
[hosts.web1]
address = "web1.example.com"
[hosts.web2]
address = "web2.example.com"
[deployments.shop]
host = "web1"
project = "acme/shop"
user = "deploy-shop"
directory = "shop"
environment = "production"
variables = { group = "acme" }
`

// beside are the files beside the inventory.
var beside = map[string]string{
	"text.yaml":        "services:\n  web:\n  - [\n",
	"list.yaml":        "\n- web\n",
	"tags.yaml":        "services:\n  web:\n    ports: !override [\"@{port}:80\"]\n    command: !reset null\n",
	"nothing.yaml":     "# not yet\n",
	"override.yaml":    "ports:\n  - \"@{port}:80\" # @@{port}\nname: @{deployment}\n",
	"unclosed.yaml":    "ports:\n  - @{port}\n  - @{port\n",
	"environment.yaml": "a: @{environment}\n",
	"control.yaml":     "a: b\nc: \x1b[31m\n",
	"key.pem":          "-----BEGIN PRIVATE KEY-----\nQ0FOQVJZ\n-----END PRIVATE KEY-----\n",
}

func filesBeside(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range beside {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// with replaces lines of base; with no old lines it adds the new ones.
func with(t testing.TB, edits ...string) string {
	t.Helper()
	text := base
	for i := 0; i < len(edits); i += 2 {
		old, replacement := edits[i], edits[i+1]
		switch {
		case old == "":
			text += replacement
		case strings.Count(text, old) != 1:
			t.Fatalf("%q stands %d times in base", old, strings.Count(text, old))
		default:
			text = strings.Replace(text, old, replacement, 1)
		}
	}
	return text
}

func mustParse(t testing.TB, text string) *Inventory {
	t.Helper()
	inv, err := Parse("inventory.toml", []byte(text), filesBeside(t))
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func TestDefaults(t *testing.T) {
	inv := mustParse(t, with(t))
	want := &Inventory{
		Path: "inventory.toml",
		GitLab: GitLab{
			URL:      "https://git.example.com",
			Token:    Secret{Env: "GITLAB_TOKEN"},
			SSH:      SSHServer{User: "git", Host: "git.example.com", Port: 22},
			HostKeys: []string{gitKey},
		},
		Registry: Registry{Host: "registry.example.com", Credential: Credential{Kind: GroupAccessToken}},
		Hosts: []*Host{
			{Name: "web1", Address: "web1.example.com", Become: BecomeSudo, Engine: EnginePresent},
			{Name: "web2", Address: "web2.example.com", Become: BecomeSudo, Engine: EnginePresent},
		},
	}
	want.Deployments = []*Deployment{{
		Name: "shop", Host: want.Hosts[0], Project: "acme/shop", User: "deploy-shop", Directory: "shop",
		Environment: "production", Scope: "production",
		Variables: Variables{Group: "acme"}, Parameters: map[string]string{}, TokenGroup: "acme",
		Wait: 5 * time.Minute, KeepImages: 2,
	}}
	if diff := cmp.Diff(want, inv, cmpopts.IgnoreUnexported(Secret{})); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
	if inv.Host("web1") != inv.Deployments[0].Host || inv.Host("web3") != nil {
		t.Error("Host does not find the hosts of the deployments")
	}
	if on := inv.On(inv.Host("web1")); len(on) != 1 || len(inv.On(inv.Host("web2"))) != 0 {
		t.Errorf("On finds %v", on)
	}
}

// A host's own key wins over the default, key by key; so does a parameter; and
// a host of one's own puts out the hosts of the defaults.
func TestMerge(t *testing.T) {
	inv := mustParse(t, with(t,
		"[hosts.web1]\n", "[hosts.web1]\nbecome = \"none\"\nuser = \"root\"\n",
		"environment = \"production\"\n", "override = \"override.yaml\"\nparameters = { port = true }\n",
		"", `[defaults.host]
become = "doas"
engine = "distribution"
host_keys = ["@cert-authority `+gitKey+` CA"]
[defaults.deployment]
hosts = ["web1", "web2"]
environment = "staging"
parameters = { port = 80 }
[deployments.blog]
project = "acme/infra/blog"
user = "deploy-blog"
directory = "blog"
variables = { projects = ["acme/a", "acme/b"], prefix = "BLOG_" }
override = "override.yaml"
`))
	ca := []string{"@cert-authority " + gitKey}
	wantHosts := []*Host{
		{Name: "web1", Address: "web1.example.com", User: "root", Become: BecomeNone, Engine: EngineDistribution, HostKeys: ca},
		{Name: "web2", Address: "web2.example.com", Become: BecomeDoas, Engine: EngineDistribution, HostKeys: ca},
	}
	if diff := cmp.Diff(wantHosts, inv.Hosts, cmpopts.IgnoreUnexported(Secret{})); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	var got []string
	for _, d := range inv.Deployments {
		got = append(got, fmt.Sprintf("%s %s %s %t %s %s %q", d.Name, d.Host.Name, d.Scope, d.Listed(), d.TokenGroup, d.Variables.Key("SSH_AUTH"), d.Override.Text))
	}
	want := []string{
		`shop web1 staging false acme SSH_AUTH "ports:\n  - \"true:80\" # @{port}\nname: shop\n"`,
		`blog web1 staging/web1 true acme/infra BLOG_SSH_AUTH "ports:\n  - \"80:80\" # @{port}\nname: blog\n"`,
		`blog web2 staging/web2 true acme/infra BLOG_SSH_AUTH "ports:\n  - \"80:80\" # @{port}\nname: blog\n"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("deployments (-want +got):\n%s", diff)
	}
}

// What a deployment waits for comes from its own table and the defaults.
func TestWait(t *testing.T) {
	const defaults = "[defaults.deployment]\n"
	for name, c := range map[string]struct {
		own, defaults string
		wait          time.Duration
		rollback      bool
	}{
		"neither":           {"", "", 5 * time.Minute, false},
		"only going back":   {"rollback = true\n", "", 5 * time.Minute, true},
		"the other default": {"", defaults + "rollback = true\n", 5 * time.Minute, true},
		"the shortest":      {"wait = \"1s\"\n", "", time.Second, false},
		"the longest":       {"wait = \"60m\"\nrollback = true\n", "", time.Hour, true},
		"in two units":      {"wait = \"1m30s\"\nrollback = false\n", "", 90 * time.Second, false},
		"by default":        {"", defaults + "wait = \"2m\"\nrollback = true\n", 2 * time.Minute, true},
		"halves":            {"wait = \"5s\"\n", defaults + "rollback = true\n", 5 * time.Second, true},
		"other halves":      {"rollback = true\n", defaults + "wait = \"5s\"\n", 5 * time.Second, true},
		"not as by default": {"wait = \"5s\"\nrollback = false\n", defaults + "wait = \"2m\"\nrollback = true\n", 5 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := mustParse(t, with(t, "", c.own+c.defaults)).Deployments[0]
			if d.Wait != c.wait || d.Rollback != c.rollback {
				t.Errorf("wait %v, rollback %t; want %v, %t", d.Wait, d.Rollback, c.wait, c.rollback)
			}
		})
	}
}

// What else a deploy does comes from a deployment's own table and the defaults.
func TestDeployKeys(t *testing.T) {
	const defaults = "[defaults.deployment]\nkeep_images = 3\nlogs = 20\nversion = \"TAG\"\nbefore = \"migrate\"\n"
	for name, c := range map[string]struct {
		text         string
		keep, logs   int
		tag, service string
	}{
		"none":              {"", 2, 0, "", ""},
		"by default":        {defaults, 3, 20, "TAG", "migrate"},
		"not as by default": {"keep_images = 1\nlogs = 0\nversion = \"path\"\nbefore = \"0.Migrate-it_up\"\n" + defaults, 1, 0, "path", "0.Migrate-it_up"},
		"the most":          {"keep_images = 100\nlogs = 1_000\nversion = \"_DOCKER_TAG2\"\n", 100, 1000, "_DOCKER_TAG2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := mustParse(t, with(t, "", c.text)).Deployments[0]
			if d.KeepImages != c.keep || d.Logs != c.logs || d.Version != c.tag || d.Before != c.service {
				t.Errorf("keep %d, logs %d, version %q, before %q; want %d, %d, %q, %q", d.KeepImages, d.Logs, d.Version, d.Before, c.keep, c.logs, c.tag, c.service)
			}
		})
	}
}

// What looks like a collision and is none.
func TestNoCollision(t *testing.T) {
	blog := `[deployments.blog]
host = "web1"
project = "acme/blog"
user = "deploy-shop"
directory = "blog"
`
	for name, text := range map[string]string{
		"another environment":          with(t, "", blog+"variables = { group = \"acme\" }\n"),
		"a prefix":                     with(t, "", blog+"environment = \"production\"\nvariables = { group = \"acme\", prefix = \"BLOG_\" }\n"),
		"another owner":                with(t, "", blog+"environment = \"production\"\nvariables = { projects = [\"acme/blog\"] }\n"),
		"the same directory elsewhere": with(t, "", strings.NewReplacer("web1", "web2", `"blog"`, `"shop"`).Replace(blog)+"variables = { group = \"acme\" }\n"),
		"a group above both": with(t, "host = \"registry.example.com\"\n", "host = \"registry.example.com\"\ngroup = \"acme\"\n",
			"", strings.Replace(blog, "acme/blog", "acme/below/blog", 1)+"variables = { group = \"acme\" }\n"),
		"one login for all": with(t, "host = \"registry.example.com\"\n", "host = \"registry.example.com\"\ncredential = { username = \"reader\", password = { env = \"P\" } }\n",
			"", strings.Replace(blog, "acme/blog", "umbrella/blog", 1)+"variables = { group = \"acme\" }\n"),
		"another port":                   with(t, "\"web2.example.com\"", "\"web1.example.com:2222\""),
		"a local host that CI can call":  with(t, "\"web1.example.com\"", "\"local\"\nci_address = \"web1.example.com\""),
		"a local host that nobody calls": with(t, "\"web2.example.com\"", "\"local\""),
	} {
		t.Run(name, func(t *testing.T) { mustParse(t, text) })
	}
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]Host{
		"web1":              {Address: "web1"},
		"web_1.example.com": {Address: "web_1.example.com"},
		"203.0.113.7:2222":  {Address: "203.0.113.7", Port: 2222},
		"[2001:db8::7]":     {Address: "2001:db8::7"},
		"[fe80::7%eth0]:22": {Address: "fe80::7%eth0", Port: 22},
		"local":             {Local: true},
	} {
		h := mustParse(t, with(t, "web2.example.com", address)).Host("web2")
		if h.Address != want.Address || h.Port != want.Port || h.Local != want.Local {
			t.Errorf("%s: address %q, port %d, local %t", address, h.Address, h.Port, h.Local)
		}
	}
	h := mustParse(t, with(t, `"web2.example.com"`, "\"web2\"\nci_address = \"web2.example.com\"")).Host("web2")
	if h.CIAddress != "web2.example.com" || h.CIPort != 22 {
		t.Errorf("CI calls %q at port %d", h.CIAddress, h.CIPort)
	}
}

func TestGitLabURLs(t *testing.T) {
	for url, want := range map[string]string{
		"https://git.example.com/":           "https://git.example.com",
		"https://example.com:8443/a/gitlab/": "https://example.com:8443/a/gitlab",
		"http://127.0.0.1:8080":              "http://127.0.0.1:8080",
		"http://[::1]:8080":                  "http://[::1]:8080",
		"http://localhost":                   "http://localhost",
	} {
		if got := mustParse(t, with(t, "https://git.example.com", url)).GitLab.URL; got != want {
			t.Errorf("%s becomes %s, not %s", url, got, want)
		}
	}
	for ssh, want := range map[string]SSHServer{
		"ssh://git.example.com":            {"git", "git.example.com", 22},
		"ssh://gitlab@[2001:db8::7]:2222/": {"gitlab", "2001:db8::7", 2222},
	} {
		text := with(t, "[registry]\n", "ssh = \""+ssh+"\"\n[registry]\n")
		if got := mustParse(t, text).GitLab.SSH; got != want {
			t.Errorf("%s becomes %+v, not %+v", ssh, got, want)
		}
	}
}

func TestSelect(t *testing.T) {
	inv := mustParse(t, with(t, "", `[deployments.blog]
hosts = ["web1", "web2"]
project = "acme/blog"
user = "deploy-blog"
directory = "blog"
environment = "blog"
variables = { group = "acme" }
`))
	for _, test := range []struct {
		patterns string
		want     string
	}{
		{"", "hosts web1 web2, deployments shop@web1 blog@web1 blog@web2"},
		{"web1", "hosts web1, deployments shop@web1 blog@web1"},
		{"web?", "hosts web1 web2, deployments shop@web1 blog@web1 blog@web2"},
		{"shop", "hosts web1, deployments shop@web1"},
		{"b*", "hosts web1 web2, deployments blog@web1 blog@web2"},
		{"web2 shop", "hosts web1 web2, deployments shop@web1 blog@web2"},
		{"wbe1", `no host or deployment is called "wbe1"; did you mean web1?`},
		{"web1 zzzzzz [", `no host or deployment is called "zzzzzz"; there are web1, web2, shop, blog` + "\n" + `"[" is no pattern: write a name, in which * stands for any text`},
	} {
		part, err := inv.Select(strings.Fields(test.patterns))
		var got string
		if err != nil {
			got = err.Error()
		} else {
			got = "hosts"
			for _, h := range part.Hosts {
				got += " " + h.Name
			}
			got += ", deployments"
			for _, d := range part.Deployments {
				got += " " + d.Name + "@" + d.Host.Name
			}
		}
		if got != test.want {
			t.Errorf("%s chooses\n%s, not\n%s", test.patterns, got, test.want)
		}
	}
}
