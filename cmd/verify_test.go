package cmd

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"provision/cmd/usage"
	"provision/cmd/verify"
	"provision/e2e/sshtest"
)

func TestShardOf(t *testing.T) {
	for _, tt := range []struct {
		flag, index, total string
		want               verify.Shard
		bad                bool
	}{
		{want: verify.Shard{K: 1, N: 1}},
		{total: "1", want: verify.Shard{K: 1, N: 1}}, // what GitLab sets in every job
		{index: "2", total: "3", want: verify.Shard{K: 2, N: 3}},
		{flag: "1/2", index: "2", total: "3", want: verify.Shard{K: 1, N: 2}},
		{flag: "0/2", bad: true},
		{flag: "3/2", bad: true},
		{flag: "1", bad: true},
		{flag: "1/2/3", bad: true},
		{flag: "one/two", bad: true},
		{flag: "/2", bad: true},
		{index: "4", total: "3", bad: true},
		{index: "1", bad: true},
	} {
		t.Setenv("CI_NODE_INDEX", tt.index)
		t.Setenv("CI_NODE_TOTAL", tt.total)
		got, err := shardOf(tt.flag)
		if errors.As(err, new(usage.Error)) != tt.bad || !tt.bad && (err != nil || got != tt.want) {
			t.Errorf("%+v: got %v, %v", tt, got, err)
		}
	}
}

func TestFlagsOfVerifyAndRotate(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "x.toml", "")
	for _, tt := range []struct{ args, says string }{
		{"verify", "there is no inventory.toml here or in a folder above"},
		{"verify --as root x.toml", `--as is ci or admin, not "root"`},
		{"verify x.toml --as admin --key file", "leave out --as admin or --key"},
		{"verify --renew 0 x.toml", "--renew wants a number of days, at least 1"},
		{"verify --shard 3/2 x.toml", `--shard is "3/2"; write K/N with K from 1 to N`},
		{"verify --output xml x.toml", `--output is text or json, not "xml"`},
		{"verify --parallel 0 x.toml", "--parallel wants a number of hosts"},
		{"verify x.toml y.toml", `unexpected argument "y.toml"`},
		{"verify x.toml --junit", "the flag --junit wants a value"},
		{"verify no-such-file.toml", "no-such-file.toml"},
		{"rotate-key", "there is no inventory.toml here or in a folder above"},
		{"rotate-key x.toml --only ssh-key", `--only is ci-key, registry-token, repo-key, not "ssh-key"`},
		{"rotate-key x.toml --lock-wait soon", "lock-wait"},
	} {
		var out, errs bytes.Buffer
		code := Run(t.Context(), Env{Args: append([]string{"provision"}, strings.Fields(tt.args)...), Stdout: &out, Stderr: &errs})
		if code != exitUsage || !strings.Contains(errs.String(), tt.says) {
			t.Errorf("%s: exit code %d, want 2 and %q:\n%s%s", tt.args, code, tt.says, &out, &errs)
		}
	}
}

// Where the name of a file should be, the key itself may stand.
func TestKeyFile(t *testing.T) {
	t.Setenv("TEST_TOKEN", "")
	const key = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n"
	for _, c := range []struct{ flag, variable, want string }{
		{flag: "nofile", want: "the CI key of --key: there is no such file"},
		{flag: "/", want: "the CI key of --key: is a directory"},
		{variable: key, want: "the CI key of $SSH_AUTH: there is no such file"},
		{variable: strings.Repeat(key, 100), want: "the CI key of $SSH_AUTH: file name too long"},
	} {
		t.Setenv("SSH_AUTH", c.variable)
		args := []string{"verify"}
		if c.flag != "" {
			args = append(args, "--key", c.flag)
		}
		inventory := head("https://git.example.com") + host("web1", "web1.example.com") + deployment("app", "web1", "deploy", "app", "acme/app", "production")
		code, out, errs := typed(t, inventory, args...)
		if want := "provision: " + c.want + "\n  hint: GitLab makes a file of a variable of the type File\n"; code != exitUsage || out != "" || errs != want {
			t.Errorf("exit code %d, printed\n%s%s, not\n%s", code, out, errs, want)
		}
	}
}

// loggedIn is a bare host whose deploy user holds the password "right" of the
// registry.
func loggedIn(program []byte) []byte {
	facts := []string{"uid=0", "init=systemd", "free=10000", "has=docker", "has=compose", "has=git", "has=ssh"}
	if m := regexp.MustCompile(`registry\.example\.com\W+([A-Z2-7]{26})\b`).FindSubmatch(program); m != nil {
		facts = append(facts, "login=reader", fmt.Sprintf("digest=%x", sha256.Sum256([]byte(string(m[1])+"reader:right"))))
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
