package inventory

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExample(t *testing.T) {
	inv, err := Load("example.toml")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range inv.Deployments {
		got = append(got, fmt.Sprintf("%s on %s (%s): %s, %s/%s", d.Name, d.Host.Name, d.Host.Address, d.Scope, d.User, d.Directory))
	}
	want := []string{
		"frobnicator-staging on web1 (deploy-host.example.com): staging, deploy-user/frobnicator-staging",
		"frobnicator-production on web1 (deploy-host.example.com): production/web1, deploy-user/frobnicator",
		"frobnicator-production on web2 (deploy-host-2.example.com): production/web2, deploy-user/frobnicator",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("deployments (-want +got):\n%s", diff)
	}
	if o := inv.Deployments[1].Override; o == nil || !strings.Contains(o.Text, `"8080:8080"`) {
		t.Errorf("the port is not filled in: %+v", o)
	}
	if inv.Path != "example.toml" {
		t.Errorf("path is %q", inv.Path)
	}
}

// Every key that is read stands in the example, with or without a "#".
func TestExampleMentionsEveryKey(t *testing.T) {
	text, err := os.ReadFile("example.toml")
	if err != nil {
		t.Fatal(err)
	}
	var look func(*section)
	look = func(s *section) {
		for _, e := range s.entries {
			name := e.name
			assigned := regexp.MustCompile(`(?m)^(# )?([a-z_]+ *= *\{.*)?\b` + name + ` *=`)
			header := regexp.MustCompile(`(?m)^\[([a-z]+\.)?` + name + `[].]`)
			if !assigned.Match(text) && !header.Match(text) {
				t.Errorf("the key %s of %s is not in example.toml", name, s.name)
			}
			if e.section != nil {
				look(e.section)
			}
		}
	}
	look(&documentSection.section)
}

// What is commented out in the example works too.
func TestExampleAlternatives(t *testing.T) {
	text, err := os.ReadFile("example.toml")
	if err != nil {
		t.Fatal(err)
	}
	alternative := regexp.MustCompile(`^# ([a-z_]+) *= `)
	count := 0
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		m := alternative.FindStringSubmatch(line)
		if m == nil || m[1] == "ca_file" || m[1] == "registries" {
			continue // there is no certificate beside the example; and for the other see TestExampleRegistries
		}
		count++
		with := slices.Clone(lines)
		with[i] = strings.TrimPrefix(line, "# ")
		for j := i - 1; !strings.HasPrefix(lines[j], "["); j-- {
			if strings.HasPrefix(lines[j], m[1]+" ") {
				with[j] = ""
			}
		}
		if _, err := Parse("example.toml", []byte(strings.Join(with, "\n")), "."); err != nil {
			t.Errorf("with line %d:\n%v", i+1, err)
		}
	}
	if count < 10 {
		t.Errorf("only %d alternatives found", count)
	}
}

// The example of a further registry works, once its lines are no comments.
func TestExampleRegistries(t *testing.T) {
	text, err := os.ReadFile("example.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"[registries.hub]", `host = "docker.io"`, `credential = { username = "reader", password = { env = "HUB_TOKEN" } }`, `registries = ["hub"]`} {
		before := string(text)
		text = []byte(strings.Replace(before, "\n# "+line+"\n", "\n"+line+"\n", 1))
		if before == string(text) {
			t.Fatalf("the example has no comment %s", line)
		}
	}
	inv, err := Parse("example.toml", text, ".")
	if err != nil {
		t.Fatal(err)
	}
	if got := inv.Deployments[0].Registries; len(got) != 1 || got[0] != inv.Registries[0] || got[0].Key() != "https://index.docker.io/v1/" || got[0].Credential.Kind != Named {
		t.Errorf("the registries are %+v", got)
	}
	if got := inv.Deployments[1].Registries; got != nil {
		t.Errorf("who names none has %+v", got)
	}
}
