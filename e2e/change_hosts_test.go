package e2e_test

import (
	"slices"
	"strings"
	"testing"

	"provision/e2e/gitlabtest"
	"provision/e2e/lab"
	"provision/e2e/rehearsal"
	"provision/inventory"
)

// The registry gets another host name. What runs was pulled by the old one, and so may be
// the next start: both logins are there until a deploy has come in whose images have the new
// one.
func TestOtherRegistryHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	d := w.deployment(t, "app")
	old := w.Registry
	renamed, err := w.Lab.NewRegistry(t.Context(), lab.RegistryOptions{
		Name: strings.Replace(old.Name, "registry.", "images.", 1), Realm: w.GitLab.URL() + "/jwt/auth",
		Issuer: gitlabtest.RegistryIssuer, Signer: w.GitLab.RegistryCertificate(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { old.Close() })
	w.Registry, w.Inventory.Registry.Host = renamed, renamed.Name
	w.push(t, "app", "2")
	deploys := startDeployer(t, w, rehearsal.DeployJob(d, ""))

	stays := "deploy-user stays logged in to " + old.Name + ", which the inventory does not name: it reads " + old.Name + "/" + d.Project
	r := w.apply(t)
	r.says(t, "docker login "+renamed.Name+" as deploy-user", stays)
	r.saysNot(t, "revoke")
	deploys.deploys()
	w.converged(t)
	w.run(t, "plan").exits(t, 0).says(t, stays)
	w.sh(t, "web1", `docker image rm -f "$1" >/dev/null; docker rm -f frobnicator-app-1 >/dev/null`, old.Name+"/"+d.Project)
	deploys.deploys()
	w.runs(t, "app", "1")
	deploys.stop()

	w.commit(t, d.Project, "main", "the registry has another name", map[string]string{
		"compose.yaml": "services:\n  app:\n    image: " + renamed.Name + "/" + d.Project + "\n    init: true\n",
	})
	w.run(t, "update", "--yes").exits(t, 0)
	w.works(t, d, "deploy")
	w.runs(t, "app", "2")
	r = w.apply(t)
	r.says(t, "docker logout "+old.Name+" as deploy-user (nothing of it runs)",
		"stale-registry-ca: done: remove /etc/docker/certs.d/"+old.Name+"/provision.crt (no registry of the inventory, and nothing runs from it)")
	w.converged(t)
	if plan := w.plan(t); len(plan) > 0 {
		t.Errorf("at last the plan has %q", plan)
	}
	if got := w.sh(t, "web1", `cat /home/deploy-user/.docker/config.json; find /home/deploy-user/.docker /etc/docker/certs.d`); strings.Contains(got, old.Name) {
		t.Errorf("of the old name there is still\n%s", got)
	}
	if tokens := w.active("transmogrify", "deploy-user@web1"); len(tokens) != 1 {
		t.Errorf("the tokens are %v", tokens)
	}
	w.works(t, d, "deploy")
}

// GitLab gets another host name, that of git and then that of the API. The clone follows, and
// no deploy fails.
func TestOtherGitLabHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, strings.Replace(head, "[registry]", "ssh = \"ssh://git@ssh.WORLD\"\n[registry]", 1)+web1+app)
	w.apply(t)
	d, g := w.deployment(t, "app"), &w.Inventory.GitLab
	key, tokens := w.variable(t, "transmogrify", "SSH_AUTH", "production"), w.active("transmogrify", "deploy-user@web1")
	first := strings.TrimPrefix(g.URL, "https://")
	deploys := startDeployer(t, w, rehearsal.DeployJob(d, ""))
	g.SSH.Host, g.URL = first, "https://"+g.SSH.Host
	planned(t, w.plan(t), "checkout app: set the origin of ~deploy-user/frobnicator to ssh://git@"+first+"/transmogrify/frobnicator.git (it was ssh://"+strings.TrimPrefix(g.URL, "https://")+"/transmogrify/frobnicator.git)")
	w.apply(t)
	deploys.deploys()
	deploys.stop()
	w.converged(t)
	if plan := w.plan(t); len(plan) > 0 {
		t.Errorf("at last the plan has %q", plan)
	}
	w.run(t, "verify", "--as", "admin").exits(t, 0)
	w.works(t, d, "deploy")
	if w.variable(t, "transmogrify", "SSH_AUTH", "production") != key || !slices.Equal(w.active("transmogrify", "deploy-user@web1"), tokens) {
		t.Error("there are new keys or tokens")
	}
}

// The same app on two hosts was two deployments and becomes one. Their jobs deploy without a
// pause until they are rendered anew, and then nothing is left of the two.
func TestTwoBecomeOne(t *testing.T) {
	t.Parallel()
	one := strings.NewReplacer(`[deployments.app]`, `[deployments.app-one]`, `"production"`, `"production-one"`).Replace(app)
	two := strings.NewReplacer(`[deployments.app]`, `[deployments.app-two]`, `"production"`, `"production-two"`, `"web1"`, `"web2"`).Replace(app)
	w := newWorld(t, head+web1+web2+one+two)
	w.apply(t)
	before := w.ids(t)
	var deploys []*deployer
	for _, d := range w.Inventory.Deployments {
		deploys = append(deploys, startDeployer(t, w, rehearsal.DeployJob(d, "")))
	}

	text := strings.Replace(app, `host = "web1"`, `hosts = ["web1", "web2"]`, 1)
	both, err := inventory.Parse("inventory.toml", []byte(strings.ReplaceAll(head+web1+web2+text, "WORLD", "example.com")), ".")
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range both.Deployments {
		d.Host = w.Inventory.Hosts[i]
	}
	w.Inventory.Deployments = both.Deployments
	planned(t, w.plan(t), "names app: rename app-one to app", "names app: rename app-two to app")
	w.apply(t)
	for _, d := range deploys {
		d.deploys()
	}
	w.converged(t)
	for _, d := range deploys {
		d.deploys()
		d.stop()
	}
	if got := w.ids(t); got != before {
		t.Errorf("the containers were\n%s\nand are\n%s", before, got)
	}

	for _, d := range w.Inventory.Deployments {
		w.works(t, d, "deploy")
	}
	w.apply(t)
	w.converged(t)
	if plan := w.plan(t); len(plan) > 0 {
		t.Errorf("at last the plan has %q", plan)
	}
	w.run(t, "verify", "--as", "admin").exits(t, 0)
	for _, v := range w.GitLab.Variables("transmogrify") {
		if !strings.HasPrefix(v.Scope, "production/") {
			t.Errorf("there is still %s of %s", v.Key, v.Scope)
		}
	}
	for _, host := range []string{"web1", "web2"} {
		if got := w.sh(t, host, "ls /etc/provision/deployments; grep -c provision: /home/deploy-user/.ssh/authorized_keys"); got != "app\n1" {
			t.Errorf("%s has %q", host, got)
		}
	}
}

// Two hosts exchange their names, and then a new one takes the name of one that was renamed
// and that this run does not touch. No token that a host holds is revoked, though it has the
// name of another one; and what no host holds goes when clean has asked them.
func TestHostsExchangeNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+web2+app+`
[deployments.staging]
host = "web2"
project = "transmogrify/frobnicator"
user = "deploy-user"
directory = "frobnicator"
environment = "staging"
variables = { group = "transmogrify" }
`)
	w.apply(t)
	first, second := w.deployment(t, "app"), w.deployment(t, "staging")
	deploys, others := startDeployer(t, w, rehearsal.DeployJob(first, "")), startDeployer(t, w, rehearsal.DeployJob(second, ""))

	w.rename(t, "web1", "web0")
	w.rename(t, "web2", "web1")
	w.rename(t, "web0", "web2")
	w.apply(t).says(t, "has the name of another host by now)")
	deploys.deploys()
	others.deploys()
	w.converged(t)
	w.run(t, "plan").exits(t, 0).says(t, "note: GitLab has 1 token with the name of web1, and no host of the inventory holds it", "with the name of web2, and no host")
	w.run(t, "clean", "--yes").exits(t, 3).says(t, "if no other inventory has a web1: provision clean ")
	w.typing(t, "web1\nweb2\n", "clean").exits(t, 0)
	deploys.deploys()
	others.deploys()
	deploys.stop()
	others.stop()
	w.converged(t)
	for _, name := range []string{"deploy-user@web1", "deploy-user@web2"} {
		if tokens := w.active("transmogrify", name); len(tokens) != 1 {
			t.Errorf("the tokens named %s are %v", name, tokens)
		}
	}
	if plan := w.plan(t); len(plan) > 0 {
		t.Errorf("at last the plan has %q", plan)
	}

	// The host of app is web2 by now. It gets another name, and nobody applies that; and the
	// other one takes the name that it had, without a login of its own.
	held := w.active("transmogrify", "deploy-user@web2")
	w.rename(t, "web2", "front")
	w.rename(t, "web1", "web2")
	w.sh(t, "web2", "rm -r /home/deploy-user/.docker")
	w.run(t, "apply", "--limit", "web2").exits(t, 0).says(t, "has the name of this host, which does not hold it: another one may, and it stays")
	if now := w.active("transmogrify", "deploy-user@web2"); !slices.Contains(now, held[0]) {
		t.Errorf("the token of the host that was web2 was %v, and there are %v", held, now)
	}
	w.works(t, first, "deploy")
	w.works(t, second, "deploy")
}
