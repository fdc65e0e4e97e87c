package cmd

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"provision/e2e/sshtest"
)

// loggedIn is a bare host whose deploy user holds the password "right" of the
// registry.
func loggedIn(program []byte) []byte {
	facts := []string{"uid=0", "init=systemd", "free=10000", "has=docker", "has=compose", "has=git", "has=ssh"}
	if m := regexp.MustCompile(`registry\.example\.com\W+([A-Z2-7]{26})\b`).FindSubmatch(program); m != nil {
		facts = append(facts, fmt.Sprintf("digest=%x", sha256.Sum256([]byte(string(m[1])+"reader:right"))))
	}
	return sshtest.Bare(facts...)(program)
}

// At a terminal, without a key and without a token, verify does what it does
// with --as admin: it reads the same secrets, and looks at the same hosts.
func TestVerifyAtATerminal(t *testing.T) {
	f := newFleet(t, 2, sshtest.Programs(loggedIn), "")
	text, err := os.ReadFile(f.file)
	if err != nil {
		t.Fatal(err)
	}
	inventory := regexp.MustCompile(`token = .*`).ReplaceAllString(string(text), `token = { env = "FLEET_TOKEN" }`)
	inventory = strings.Replace(inventory, `host = "registry.example.com"`, `host = "registry.example.com"
credential = { username = "reader", password = { env = "REGISTRY_PASSWORD" } }`, 1)
	inventory = strings.Replace(inventory, `hosts = ["h0", "h1"]`, `hosts = ["h0"]`, 1) // h1 has none
	write(t, f.file, inventory)
	t.Setenv("SSH_AUTH", "")
	t.Setenv("CI_ENVIRONMENT_NAME", "staging")
	t.Setenv("REGISTRY_PASSWORD", "right")

	verify := func(flags ...string) string {
		term := terminal(t, 80, 24)
		defer term.Close()
		var out, errs bytes.Buffer
		args := append([]string{"provision", "verify", "--ssh-config", f.config}, flags...)
		Run(t.Context(), Env{Args: append(args, f.file), Stdin: term.File, Stdout: &out, Stderr: &errs})
		printed := out.String()
		return printed[:max(strings.LastIndex(printed, ", "), 0)] // without how long it took
	}
	asked, unasked := verify("--as", "admin"), verify()
	if asked != unasked {
		t.Errorf("with --as admin it says\n%s\nand without\n%s", asked, unasked)
	}
	if !strings.Contains(asked, "\n2 hosts, ") || strings.Contains(asked, "registry-login") {
		t.Errorf("it says\n%s", asked)
	}
}
