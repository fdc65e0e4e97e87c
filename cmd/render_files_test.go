package cmd_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestRenderUsage(t *testing.T) {
	one := renderDeployment("shop", onWeb1, ofGroup, `environment = "a"`)
	two := one + renderDeployment("blog", onWeb1, `variables = { projects = ["acme/b", "acme/a"] }`)
	for _, c := range []struct{ inventory, args, want string }{
		{one, "", "there is nothing called \"fleet/inventory.toml\" to render\n"},
		{one, "cd", "there is nothing called \"cd\" to render\n"},
		{one, "ci more", "unexpected argument \"fleet/inventory.toml\"\n"},
		{one, "gate --component", "--component is for render ci\n"},
		{one, "config --in acme", "--in is for render ci\n"},
		{one, "gate --rolling", "--rolling is for render ci\n"},
		{one, "ci --rolling --verify --image x", "--rolling is for deploy jobs, not for --verify\n"},
		{one, "ci --parallel 2", "--parallel is for render ci --verify\n"},
		{one, "ci --verify --image x --parallel 201", "--parallel wants a number of jobs from 1 to 200, which is GitLab's limit\n"},
		{one, "ci --verify --image x --parallel 0", "--parallel wants a number of jobs from 1 to 200, which is GitLab's limit\n"},
		{one, "ci --verify --image x --parallel 2 --host web1", "--parallel is for the whole fleet\n"},
		{one, "ci --verify", "which image has provision in it?\n"},
		{one, "ci --in other", "no variables are seen in \"other\"\n  hint: they are in the group acme\n"},
		{one, "ci --host web3", "fleet/inventory.toml has no host \"web3\"; did you mean web1?\n"},
		{one, "ci --deployment blog", "fleet/inventory.toml has no deployment \"blog\"\n"},
		{one, "ci --host web2", "fleet/inventory.toml has no such deployment\n"},
		{"", "ci", "fleet/inventory.toml has no such deployment\n"},
		{one, "override", "none of the deployments has an override\n"},
		{two, "ci", "one file does not fit all: shop has its variables in the group acme, and blog in the project acme/a and the project acme/b\n  hint: say where the file is for, as --in acme/blog, or choose with --deployment\n"},
		{renderDeployment("shop", onWeb1, ofGroup, `environment = "review/$CI_COMMIT_REF_SLUG"`), "ci", "deployments.shop: the environment \"review/$CI_COMMIT_REF_SLUG\" has a $"},
		{renderDeployment("shop", onWeb1, ofGroup, `branch = "a\"b'c"`), "ci", "deployments.shop: the branch a\"b'c has quotation marks of both kinds"},
	} {
		code, out, errs := render(t, c.inventory, strings.Fields(c.args)...)
		if code != 2 || out != "" || !strings.HasPrefix(errs, "provision: "+c.want) {
			t.Errorf("render %s: exit code %d, printed %q and\n%swant\nprovision: %s", c.args, code, out, errs, c.want)
		}
	}
}

// Several files are told apart, and one is printed as it is.
func TestRenderFiles(t *testing.T) {
	deployments := renderDeployment("shop", `hosts = ["web1", "web2"]`, ofGroup, `environment = "a"`, `override = "override.yaml"`, `wait = "90s"`, `rollback = true`,
		`keep_images = 3`, `logs = 30`, `version = "TAG"`, `before = "migrate"`) +
		strings.Replace(renderDeployment("blog", onWeb1, ofGroup), "deploy-blog", "deploy-shop", 1)
	const line = `restrict,command="/usr/local/lib/provision/gate %s SHA256:FINGERPRINT" ssh-ed25519 PUBLIC-KEY provision:%s` + "\n"
	const config = "{\n\t\"auths\": {\n\t\t\"registry.example.com\": {\n\t\t\t\"auth\": \"base64 of provision-ID:TOKEN\"\n\t\t}\n\t}\n}\n"
	for args, want := range map[string]string{
		"override":                             "==> web1: ~deploy-shop/shop/compose.override.yaml <==\nservices: {app: {hostname: \"web1\"}}\n\n==> web2: ~deploy-shop/shop/compose.override.yaml <==\nservices: {app: {hostname: \"web2\"}}\n",
		"override --host web2":                 "services: {app: {hostname: \"web2\"}}\n",
		"authorized-key --deployment blog":     fmt.Sprintf(line, "blog", "blog"),
		"authorized-key --host web1":           "==> web1: ~deploy-shop/.ssh/authorized_keys <==\n" + fmt.Sprintf(line, "shop", "shop") + "\n==> web1: ~deploy-shop/.ssh/authorized_keys <==\n" + fmt.Sprintf(line, "blog", "blog"),
		"config":                               "==> web1: ~deploy-shop/.docker/config.json <==\n" + config + "\n==> web2: ~deploy-shop/.docker/config.json <==\n" + config,
		"config --host web1":                   config,
		"config --host web1 --deployment blog": config,
	} {
		if code, out, errs := render(t, deployments, strings.Fields(args)...); code != 0 || out != want {
			t.Errorf("render %s: exit code %d\n%s\n got %s\nwant %s", args, code, errs, out, want)
		}
	}
	const settings = "user=deploy-shop\ndirectory=shop\nregistry=registry.example.com\nwait=90\nrollback=yes\nkeep=3\nlogs=30\nversion=TAG\nbefore=migrate\n"
	_, out, _ := render(t, deployments, "gate", "--deployment", "shop")
	if !strings.HasPrefix(out, "==> /usr/local/lib/provision/gate <==\n#!/bin/sh\n") || !strings.HasSuffix(out,
		"\n==> web1: /etc/provision/deployments/shop <==\n"+settings+"\n==> web2: /etc/provision/deployments/shop <==\n"+settings) {
		t.Errorf("render gate prints\n%s", out)
	}
	_, out, _ = render(t, deployments, "gate", "--deployment", "blog")
	if !strings.HasSuffix(out, " <==\nuser=deploy-shop\ndirectory=blog\nregistry=registry.example.com\nwait=300\nkeep=2\n") {
		t.Errorf("without keys of a deploy, render gate prints\n%s", out)
	}
}
