package cmd

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// What is not merged can be looked at without danger: check, map and render run
// none of the commands that an inventory names, read none of its secrets, and
// connect to nothing. plan does all of that, or this test would prove nothing.
func TestUnreviewed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var visits atomic.Int32
	visited := make(chan struct{}, 1000)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			visits.Add(1)
			visited <- struct{}{}
			conn.Close()
		}
	}()
	dir := t.TempDir()
	canary, trap := filepath.Join(dir, "canary"), filepath.Join(dir, "trap")
	script := fmt.Sprintf("#!/bin/sh\necho \"$0\" >>'%s'\necho secret\n", canary)
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{trap, bin + "/ssh", bin + "/ssh-keygen", bin + "/git", bin + "/docker", bin + "/sudo", bin + "/sh"} {
		if err := os.WriteFile(file, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0"
	command := func(n string) string { return fmt.Sprintf("{ command = [%q, %q] }", trap, n) }
	file := filepath.Join(dir, "inventory.toml")
	text := fmt.Sprintf(`
[gitlab]
url = "https://%[1]s"
token = %[2]s
host_keys = [%[3]q]
[registry]
host = "registry.example.com"
group = "acme"
[registries.hub]
host = "docker.io"
credential = { username = "reader", password = %[4]s }
[defaults.host]
become_password = %[5]s
[hosts.web1]
address = "%[1]s"
host_keys = [%[3]q]
[deployments.shop]
host = "web1"
project = "acme/shop"
user = "deploy-shop"
directory = "shop"
environment = "production"
variables = { group = "acme" }
registries = ["hub"]
env = { TOKEN = %[6]s }
files = { "tls.key" = %[7]s }
`, l.Addr(), command("token"), key, command("registry"), command("sudo"), command("env"), command("file"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"check", "map", "map --format svg", "map --format dot", "render ci", "render ci --verify --image x", "render gate", "render authorized-key", "render config"} {
		code, out, errs := runs(t, append(strings.Fields(args), file)...)
		if code != 0 || out == "" {
			t.Errorf("%s: exit code %d\n%s%s", args, code, out, errs)
		}
		if ran, err := os.ReadFile(canary); err == nil {
			t.Errorf("%s has run %s", args, ran)
			os.Remove(canary)
		}
		if n := visits.Swap(0); n > 0 {
			t.Errorf("%s has connected %d times", args, n)
		}
	}
	_, out, _ := runs(t, "check", file)
	for _, want := range []string{
		"plan runs " + trap + " token: the token of GitLab\n",
		"plan runs " + trap + " registry: the password of the registry docker.io\n",
		"plan runs " + trap + " sudo: the password of sudo on web1\n",
		"plan runs " + trap + " env: the variable TOKEN of shop\n",
		"plan runs " + trap + " file: the file tls.key of shop\n",
		"plan sends the token to https://" + l.Addr().String() + "\n",
		"plan logs in to " + l.Addr().String() + ", as web1\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
	}

	if code, _, _ := runs(t, "plan", file); code == 0 {
		t.Error("plan found a GitLab and a host")
	}
	<-visited
	ran, err := os.ReadFile(canary)
	if err != nil || !strings.Contains(string(ran), trap) {
		t.Errorf("plan has run %q, %v", ran, err)
	}
}
