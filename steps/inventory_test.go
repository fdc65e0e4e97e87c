package steps

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"provision/inventory"
	"provision/provision"
	"provision/provision/secret"
)

// inventories are what the steps of the tests come from. Each changes the
// first one.
var inventories = map[string]func(inv *inventory.Inventory, given *Given){
	"plain": func(*inventory.Inventory, *Given) {},
	"named-credential": func(inv *inventory.Inventory, given *Given) {
		inv.Registry.Credential = inventory.Credential{Kind: inventory.Named, Username: "robot"}
		given.RegistryPasswords = map[string]secret.Value{"": secret.New("hunter2")}
	},
	"named-credential-without-salt": func(inv *inventory.Inventory, given *Given) {
		inv.Registry.Credential = inventory.Credential{Kind: inventory.Named, Username: "robot"}
		given.Salt = ""
	},
	"without-salt": func(_ *inventory.Inventory, given *Given) { given.Salt = "" },
	"renew-late":   func(_ *inventory.Inventory, given *Given) { given.Renew = 7 },
	"deploy-token": func(inv *inventory.Inventory, _ *Given) {
		inv.Registry.Credential = inventory.Credential{Kind: inventory.DeployToken}
	},
	"distribution": func(inv *inventory.Inventory, _ *Given) { inv.Hosts[0].Engine = inventory.EngineDistribution },
	"registry-ca":  func(inv *inventory.Inventory, _ *Given) { inv.Registry.CA = []byte("-----BEGIN CERTIFICATE-----\n") },
	"override": func(inv *inventory.Inventory, _ *Given) {
		inv.Deployments[0].Override = &inventory.Override{Path: "overrides/production.yaml", Text: "services:\n  web:\n    ports: [80:80]\n"}
	},
	"projects": func(inv *inventory.Inventory, _ *Given) {
		inv.Deployments[0].Variables = inventory.Variables{Projects: []string{"a/b", "a/c"}, Prefix: "SHOP_"}
		inv.Deployments[0].Scope = "*"
		inv.Deployments[0].Branch = "release/1"
	},
	"in-project": func(inv *inventory.Inventory, _ *Given) {
		inv.Deployments[0].Variables = inventory.Variables{Projects: []string{"transmogrify/frobnicator"}}
	},
	"ports": func(inv *inventory.Inventory, _ *Given) {
		inv.Hosts[0].CIAddress, inv.Hosts[0].CIPort = "deploy.example.com", 2222
		inv.GitLab.SSH.Port = 2022
		inv.GitLab.HostKeys = append(inv.GitLab.HostKeys, "@cert-authority ssh-ed25519 AAAAca")
	},
	"ipv6": func(inv *inventory.Inventory, _ *Given) {
		inv.Hosts[0].CIAddress, inv.Hosts[0].CIPort = "2001:db8::1", 22
	},
	"finish":  func(_ *inventory.Inventory, given *Given) { given.Finish = true },
	"as-user": func(_ *inventory.Inventory, given *Given) { given.AsUser = true },
	"login": func(_ *inventory.Inventory, given *Given) {
		given.Login = func(context.Context, *inventory.Deployment, secret.Value) error { return nil }
	},
	"deploys": func(inv *inventory.Inventory, _ *Given) {
		d := inv.Deployments[0]
		d.Wait, d.Rollback, d.KeepImages, d.Logs, d.Version, d.Before = 2*time.Minute, true, 3, 30, "TAG", "migrate"
	},
	"registries": func(inv *inventory.Inventory, given *Given) {
		inv.Registries = []*inventory.Registry{
			{Name: "hub", Host: "docker.io", Credential: inventory.Credential{Kind: inventory.Named, Username: "robot"}},
			{Name: "proxy", Host: "git.example.com:443", CA: []byte("-----BEGIN CERTIFICATE-----\n"), Credential: inventory.Credential{Kind: inventory.Named, Username: "proxy"}},
			{Name: "public", Host: "public.example.com", CA: []byte("-----BEGIN CERTIFICATE-----\n")},
		}
		other := *inv.Deployments[0]
		other.Name, other.Directory, other.Scope, other.Registries = "another", "another", "staging", inv.Registries[1:]
		inv.Deployments[0].Registries = inv.Registries[:1]
		inv.Deployments = append(inv.Deployments, &other)
		given.RegistryPasswords = map[string]secret.Value{"hub": secret.New("hunter2"), "proxy": secret.New("hunter3")}
	},
	"registries-unnamed": func(inv *inventory.Inventory, _ *Given) {
		inv.Registries = []*inventory.Registry{{Name: "hub", Host: "docker.io", Credential: inventory.Credential{Kind: inventory.Named, Username: "robot"}}}
	},
	"app":       func(inv *inventory.Inventory, given *Given) { app(inv, given) },
	"app-as-ci": func(inv *inventory.Inventory, given *Given) { app(inv, &Given{}); given.Salt, given.AsUser = "", true },
	"two-hosts": func(inv *inventory.Inventory, _ *Given) {
		other := *inv.Deployments[0]
		other.Host, other.Scope = &inventory.Host{Name: "web2", Address: "other-host.example.com"}, "production/web2"
		inv.Hosts, inv.Deployments = append(inv.Hosts, other.Host), append(inv.Deployments, &other)
	},
	"two-deployments": func(inv *inventory.Inventory, _ *Given) {
		other := *inv.Deployments[0]
		other.Name, other.Directory, other.Project, other.Scope = "frobnicator-staging", "staging", "transmogrify/other", "staging"
		inv.Deployments = append(inv.Deployments, &other)
	},
}

// app gives a deployment all that the clone of an app may need, with the secrets.
func app(inv *inventory.Inventory, given *Given) {
	password, key, store := inventory.Secret{Env: "PASSWORD"}, inventory.Secret{File: "tls.key"}, inventory.Secret{File: "key.p12"}
	d := inv.Deployments[0]
	d.Compose, d.Profiles = []string{"deploy/compose.yaml", "deploy/prod.yaml"}, []string{"web", "jobs"}
	d.Env = []inventory.Setting{{Name: "DB_PASSWORD", Secret: password}, {Name: "LOG_LEVEL", Text: "info"}}
	d.Files = []inventory.SecretFile{{Path: "secrets/key.p12", Secret: store}, {Path: "secrets/tls.key", Secret: key}}
	given.Env = map[string]secret.Value{password.Key(): secret.New("it's \"$HOME\" #1\nand \\ more")}
	given.Files = map[string]secret.Value{key.Key(): secret.New("-----BEGIN KEY-----\n"), store.Key(): secret.New("\x00\x01\xff\n")}
}

// digestOf is what the host reports of a line that is as it should be.
func (s appEnv) digestOf(name string, override bool) string {
	for _, l := range s.lines {
		if l.name == name {
			if override {
				l.line = withOverrideFile(l.line)
			}
			digest, _ := l.line.Digest(s.salt)
			return digest
		}
	}
	panic("there is no " + name)
}

// digestOf is what the host reports of a file that is as it should be.
func (s appFiles) digestOf(path string) string {
	for _, f := range s.files {
		if f.path == path {
			digest, _ := f.content.Digest(s.salt)
			return digest
		}
	}
	panic("there is no " + path)
}

// stepsOf returns the steps of an inventory; retire is as in [Given], for all
// steps.
func stepsOf(t *testing.T, name, retire string) []provision.Step {
	t.Helper()
	inv, given := inventoryOf(t, name)
	host := inv.Hosts[0]
	steps := For(inv, host, inv.Deployments, given)
	if retire == "" {
		return steps
	}
	for _, s := range steps {
		given.Retire[s.Name()] = strings.Split(retire, ",")
	}
	return For(inv, host, inv.Deployments, given)
}

func inventoryOf(t *testing.T, name string) (*inventory.Inventory, Given) {
	t.Helper()
	change, ok := inventories[cmp.Or(name, "plain")]
	if !ok {
		t.Fatalf("there is no inventory %q", name)
	}
	inv, given := plainInventory()
	change(inv, &given)
	return inv, given
}

func plainInventory() (*inventory.Inventory, Given) {
	host := &inventory.Host{Name: "web1", Address: "deploy-host.example.com", Become: inventory.BecomeSudo, Engine: inventory.EnginePresent}
	inv := &inventory.Inventory{
		Path: "fleet/inventory.toml",
		GitLab: inventory.GitLab{
			URL: "https://git.example.com", SSH: inventory.SSHServer{User: "git", Host: "git.example.com", Port: 22},
			HostKeys: []string{"ssh-ed25519 AAAAgit", "ssh-rsa AAAAgitrsa"},
		},
		Registry: inventory.Registry{Host: "registry.example.com", Credential: inventory.Credential{Kind: inventory.GroupAccessToken}},
		Hosts:    []*inventory.Host{host},
		Deployments: []*inventory.Deployment{{
			Name: "frobnicator-production", Host: host, Project: "transmogrify/frobnicator", User: "deploy-frobnicator", Directory: "frobnicator",
			Environment: "production", Scope: "production", Variables: inventory.Variables{Group: "transmogrify"}, TokenGroup: "transmogrify",
			Wait: 5 * time.Minute, KeepImages: 2,
		}},
	}
	return inv, Given{Salt: "salt", Retire: map[string][]string{}}
}

func stepOf(t *testing.T, inventory, retire, name string) provision.Step {
	t.Helper()
	inv, _ := inventoryOf(t, inventory)
	return named(t, append(stepsOf(t, inventory, retire), Update(inv, inv.Hosts[0], inv.Deployments, "")...), name)
}

// named returns the step of that name.
func named(t *testing.T, steps []provision.Step, name string) provision.Step {
	t.Helper()
	var names []string
	for _, s := range steps {
		if s.Name() == name {
			return s
		}
		names = append(names, s.Name())
	}
	t.Fatalf("there is no step %q, but %s", name, strings.Join(names, ", "))
	return nil
}

// A testKey is the same at every run.
type testKey struct{ private, public, fingerprint string }

func newTestKey(seed byte) testKey {
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize)))
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		panic(err)
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return testKey{string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))), ssh.FingerprintSHA256(public)}
}

var key1, key2 = newTestKey('1'), newTestKey('2')
