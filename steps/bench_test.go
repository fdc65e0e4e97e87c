package steps

import (
	"testing"

	"provision/inventory"
	"provision/provision"
)

// BenchmarkPlan makes the steps of one host and plans them, all of it missing.
func BenchmarkPlan(b *testing.B) {
	inv, err := inventory.Parse("inventory.toml", []byte(`
[gitlab]
url = "https://git.example.com"
host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0"]
[registry]
host = "registry.example.com"
[hosts.web1]
address = "web1.example.com"
user = "admin"
[deployments.app]
host = "web1"
project = "transmogrify/frobnicator"
user = "deploy-user"
directory = "frobnicator"
environment = "production"
variables = { group = "transmogrify" }
`), ".")
	if err != nil {
		b.Fatal(err)
	}
	facts := map[string]provision.Facts{}
	for _, s := range For(inv, inv.Hosts[0], inv.Deployments, Given{}) {
		facts[s.Name()] = provision.Facts{
			"uid": {"0"}, "init": {"systemd"}, "has": {"docker", "compose", "git", "ssh"},
			"host-key": {"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0"},
		}
	}
	seen := provision.SeenOf(facts)
	b.ReportAllocs()
	for b.Loop() {
		plan, err := provision.PlanFor(For(inv, inv.Hosts[0], inv.Deployments, Given{}), seen)
		if err != nil || plan.Missing() == 0 {
			b.Fatal(plan, err)
		}
	}
}
