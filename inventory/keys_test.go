package inventory

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// newCA returns a certificate in PEM.
func newCA(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// The keys that no other test reads get to their fields.
func TestKeys(t *testing.T) {
	dir := filesBeside(t)
	gitlabCA, registryCA := newCA(t), newCA(t)
	for name, text := range map[string]string{"gitlab.pem": gitlabCA, "registry.pem": registryCA} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inv, err := Parse("inventory.toml", []byte(with(t,
		"[registry]\n", "ca_file = \"gitlab.pem\"\n[registry]\nca_file = \"registry.pem\"\ncredential = { username = \"reader\", password = { file = \"password\" } }\n",
		"[hosts.web2]\n", "identity = \"id_admin\"\nbecome_password = { command = [\"pass\", \"show\", \"web1\"] }\n[hosts.web2]\n",
		"environment = \"production\"\n", "environment = \"production\"\nbranch = \"stable\"\n",
		"{ group = \"acme\" }", "{ projects = [\"acme/shop\", \"acme/blog\"] }",
	)), dir)
	if err != nil {
		t.Fatal(err)
	}
	type read struct {
		GitLabCA, RegistryCA string
		Credential           Credential
		Identity             string
		BecomePassword       Secret
		Branch               string
		Variables            Variables
	}
	web1, shop := inv.Hosts[0], inv.Deployments[0]
	want := read{
		GitLabCA: gitlabCA, RegistryCA: registryCA,
		Credential:     Credential{Kind: Named, Username: "reader", Password: Secret{File: filepath.Join(dir, "password")}},
		Identity:       filepath.Join(dir, "id_admin"),
		BecomePassword: Secret{Command: []string{"pass", "show", "web1"}},
		Branch:         "stable",
		Variables:      Variables{Projects: []string{"acme/shop", "acme/blog"}},
	}
	got := read{string(inv.GitLab.CA), string(inv.Registry.CA), inv.Registry.Credential, web1.Identity, web1.BecomePassword, shop.Branch, shop.Variables}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Secret{})); diff != "" {
		t.Errorf("what is read (-want +got):\n%s", diff)
	}
	if web1.BecomePassword.dir != dir {
		t.Errorf("the command runs in %q, not beside the inventory", web1.BecomePassword.dir)
	}
}
