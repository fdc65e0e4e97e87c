package cmd

import (
	"os"
	"strings"
	"testing"
)

// What stands in the wrong place is told in one sentence, with the line to type instead.
func TestMisplacedArguments(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"status frobnicator-staging", "frobnicator-staging is a deployment of inventory.toml, and no inventory\n  hint: provision status --limit frobnicator-staging inventory.toml"},
		{"update --yes frobnicator-staging", "frobnicator-staging is a deployment of inventory.toml, and no inventory\n  hint: provision update --yes --limit frobnicator-staging inventory.toml"},
		{"update frobnicator-staging inventory.toml", "frobnicator-staging is a deployment of inventory.toml, and no inventory\n  hint: provision update --limit frobnicator-staging inventory.toml"},
		{"log inventory.toml web1", "web1 is a host of inventory.toml, and no inventory\n  hint: provision log --limit web1 inventory.toml"},
		{"remove frobnicator-staging", "frobnicator-staging is a deployment of inventory.toml, and no inventory\n  hint: provision remove --deployment frobnicator-staging inventory.toml"},
		{"render gate web1", "web1 is a host of inventory.toml, and no inventory\n  hint: provision render --host web1 gate inventory.toml"},
		{"check web1", "web1: there is no such file\n  hint: provision check [INVENTORY]"},
		{"log X", "X: there is no such file\n  hint: provision log [flags] [INVENTORY]"},
		{"status a b", "unexpected argument \"b\"\n  hint: provision status [flags] [INVENTORY]"},
		{"logs A B", "B: there is no such file\n  hint: provision logs [flags] DEPLOYMENT [INVENTORY]"},
		{"deploy A B C", "unexpected argument \"C\"\n  hint: provision deploy [flags] DEPLOYMENT [INVENTORY]"},
		{"deploy --tag 1.4 inventory.toml frobnicator-staging", "the deployment stands before the inventory\n  hint: provision deploy --tag 1.4 frobnicator-staging inventory.toml"},
		{"deploy frobnicator-production web1", "web1 is a host of inventory.toml, and no inventory\n  hint: provision deploy --limit web1 frobnicator-production inventory.toml"},
		{"deploy frobnicator-production frobnicator-staging", "deploy is for one deployment\n  hint: provision deploy frobnicator-production inventory.toml; then provision deploy frobnicator-staging inventory.toml"},
		{"deploy frobnicator-production frobnicator-production", "frobnicator-production stands there twice\n  hint: provision deploy frobnicator-production inventory.toml"},
		{"deploy frobnicator-production 1.4.2", "1.4.2 is neither an inventory nor a host of inventory.toml\n  hint: provision deploy --tag 1.4.2 frobnicator-production inventory.toml"},
		{"deploy frobnicator-production 1.4.2 inventory.toml", "1.4.2 is neither an inventory nor a host of inventory.toml\n  hint: provision deploy --tag 1.4.2 frobnicator-production inventory.toml"},
		{"logs -f frobnicator-production db", "db is neither an inventory nor a host of inventory.toml\n  hint: provision logs -f --service db frobnicator-production inventory.toml"},
		{"deploy frobnicator-production there/is.toml", "there/is.toml: there is no such file\n  hint: provision deploy [flags] DEPLOYMENT [INVENTORY]"},
		{"deploy web1", "web1 is a host of inventory.toml, and no deployment\n  hint: the deployments there are frobnicator-staging, frobnicator-production"},
		{"logs inventory.toml", "inventory.toml is an inventory; which deployment of it?\n  hint: provision logs DEPLOYMENT inventory.toml"},
		{"logs -f", "which deployment?\n  hint: provision logs -f DEPLOYMENT"},
		{"remove", "--deployment is missing\n  hint: provision remove --deployment NAME inventory.toml"},
	} {
		inFolder(t, "")
		code, out, errs := runs(t, strings.Fields(tt.line)...)
		_, errs, _ = strings.Cut("\n"+errs, "\nprovision: ")
		if errs = strings.TrimPrefix(errs, "using inventory.toml\nprovision: "); code != exitUsage || errs != tt.want+"\n" {
			t.Errorf("%s: exit code %d\n%s%s\nwant\n%s", tt.line, code, out, errs, tt.want)
		}
	}
}

// A hint has the whole line, where no inventory is found.
func TestHintsWithoutAnInventory(t *testing.T) {
	dir := inFolder(t, "")
	if err := os.Rename("inventory.toml", "fleet.toml"); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"deploy --tag 1.4 app":        "provision deploy --tag 1.4 app INVENTORY",
		"logs app -f":                 "provision logs -f app INVENTORY",
		"status":                      "provision status INVENTORY",
		"render gate --host web1":     "provision render --host web1 gate INVENTORY",
		"remove --yes --deployment a": "provision remove --yes --deployment a INVENTORY",
	} {
		code, _, errs := runs(t, strings.Fields(line)...)
		if code != exitUsage || !strings.HasSuffix(errs, "; or: "+want+"\n") {
			t.Errorf("%s: exit code %d\n%s", line, code, errs)
		}
	}
	if err := os.Chmod("fleet.toml", 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename("fleet.toml", "inventory.toml"); err != nil {
		t.Fatal(err)
	}
	if _, _, errs := runs(t, "logs", "app", "-f"); !strings.HasSuffix(errs, "\n  hint: if you trust it: provision logs -f app inventory.toml\n") {
		t.Errorf("in %s: %s", dir, errs)
	}
}
