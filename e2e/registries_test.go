package e2e_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"provision/e2e/gitlabtest"
	"provision/e2e/lab"
	"provision/e2e/rehearsal"
	"provision/inventory"
)

// twoRegistries is a project that pulls from the registry of GitLab and from another
// one, with a CA and a login of its own.
const twoRegistries = `
[registries.tools]
host = "tools.WORLD:5050"
credential = { username = "reader", password = { env = "UNUSED" } }
` + web1 + app + `registries = ["tools"]
` + `
[deployments.plain]
host = "web1"
project = "transmogrify/plain"
user = "plain-user"
directory = "plain"
environment = "plain"
variables = { group = "transmogrify" }
`

func fromTwoRegistries(project, image string) map[string]string {
	if project != "transmogrify/frobnicator" {
		return nil
	}
	host, _, _ := strings.Cut(image, "/")
	tools := strings.Replace(host, "registry.", "tools.", 1) + ":5050/tools"
	return map[string]string{"compose.yaml": strings.NewReplacer("IMAGE", image, "TOOLS", tools).Replace(`services:
  seed:
    image: TOOLS/seed:1
    network_mode: none
  app:
    image: IMAGE
    init: true
    depends_on: {seed: {condition: service_completed_successfully}}
  cache:
    image: TOOLS/cache:1
    init: true
`)}
}

// Who names a further registry pulls from it, and nobody else gets its login. It is
// looked after as the one of GitLab is, but for its password, which is not ours to make.
func TestRegistries(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+twoRegistries, func(o *rehearsal.Options) { o.Files = fromTwoRegistries })
	for _, i := range []lab.Image{
		{Repository: "tools/seed", Tag: "1", Version: "1", Shell: "exit 0"},
		{Repository: "tools/cache", Tag: "1", Version: "1", Healthy: true},
	} {
		if err := w.PushTo(t.Context(), "tools", i); err != nil {
			t.Fatal(err)
		}
	}
	before := w.everything(t)
	tools := w.Inventory.Registries[0]
	planned(t, w.plan(t),
		"registry-ca tools: install /etc/docker/certs.d/"+tools.Host+"/provision.crt (CA certificate of "+tools.Host+")",
		"registry-login deploy-user tools: docker login "+tools.Host+" as deploy-user",
	)
	w.apply(t)
	w.converged(t)
	if got := w.sh(t, "web1", `docker ps --format '{{.Image}}' --filter label=com.docker.compose.project=frobnicator | sort`); got != w.Inventory.Registry.Host+"/transmogrify/frobnicator\n"+tools.Host+"/tools/cache:1" {
		t.Errorf("the images that run are\n%s", got)
	}
	// A deploy pulls from both.
	w.push(t, "app", "2")
	if err := w.PushTo(t.Context(), "tools", lab.Image{Repository: "tools/cache", Tag: "1", Version: "3", Healthy: true}); err != nil {
		t.Fatal(err)
	}
	if out, err := w.CI(t.Context(), w.deployment(t, "app"), ""); err != nil {
		t.Fatalf("the deploy failed: %v\n%s", err, out)
	}
	w.runs(t, "app", "2\n3")
	logins := func(user string) string {
		return w.sh(t, "web1", `sed -n 's/^\t\t"\(.*\)": {$/\1/p' "/home/$1/.docker/config.json" | sort | tr '\n' ' '`, user)
	}
	if got, want := logins("deploy-user"), w.Inventory.Registry.Host+" "+tools.Host+" "; got != want {
		t.Errorf("deploy-user is logged in to %s, want %s", got, want)
	}
	if got, want := logins("plain-user"), w.Inventory.Registry.Host+" "; got != want {
		t.Errorf("plain-user is logged in to %s, want %s", got, want)
	}
	w.run(t, "verify", "--as", "admin").exits(t, 0)

	// Its password is found again by a digest, and another one is told.
	right := tools.Credential.Password
	tools.Credential.Password = w.secretFile(t, "another")
	if got := w.missing(t); !slices.Equal(got, []string{"registry-login deploy-user tools"}) {
		t.Errorf("with another password the plan is about %v", got)
	}
	w.run(t, "apply").exits(t, 1).says(t, "registry-login deploy-user tools: docker login "+tools.Host, "registries.tools.credential")
	tools.Credential.Password = right
	w.converged(t)

	// What is of somebody else is not rotated.
	w.run(t, "rotate-key", "--only", "registry-token", "--limit", "app").exits(t, 0).saysNot(t, "docker login "+tools.Host)
	w.converged(t)

	// A deployment that names it no longer is told of.
	d := w.deployment(t, "app")
	registries := d.Registries
	d.Registries = nil
	w.deployment(t, "plain").Registries = registries // some deployment has to
	planned(t, w.plan(t), "registry-login deploy-user tools: note: deploy-user is logged in to "+tools.Host+" as reader, which no deployment of that user needs",
		"registry-login plain-user tools: docker login "+tools.Host+" as plain-user")
	d.Registries, w.deployment(t, "plain").Registries = registries, nil

	w.remove(t, "plain")
	w.remove(t, "app")
	before.compare(t, w.everything(t))
}

// subgroups are deployments of two groups below one.
const subgroups = head + web1 + `
[deployments.app]
host = "web1"
project = "transmogrify/one/frobnicator"
user = "deploy-user"
directory = "frobnicator"
environment = "production"
variables = { group = "transmogrify" }

[deployments.tool]
host = "web1"
project = "transmogrify/two/tool"
user = "tool-user"
directory = "tool-of-another-user"
environment = "tool"
variables = { group = "transmogrify" }
`

// A login that people have made stays as long as something needs it that ours could
// not read; else it is kept beside ours, and given back.
func TestKeptLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, subgroups)
	w.GitLab.AddGroup("transmogrify")
	registry := w.Inventory.Registry.Host
	_, token := w.GitLab.AddAccessToken("transmogrify", "by hand", gitlabtest.Reporter, time.Now().AddDate(0, 6, 0), "read_registry")
	password, err := token.Reveal()
	if err != nil {
		t.Fatal(err)
	}
	w.sh(t, "web1", `
useradd --create-home --shell /bin/bash --groups docker deploy-user
mkdir -p "/etc/docker/certs.d/$1"
printf %s "$3" >"/etc/docker/certs.d/$1/ca.crt"
runuser -u deploy-user -- env HOME=/home/deploy-user sh -euc '
cd
mkdir .docker tool
echo "{\"auths\": {\"$1\": {\"auth\": \"\"}}}" >.docker/config.json
echo "$2" | docker login --username robot --password-stdin "$1" >/dev/null 2>&1
printf "services:\n  tool:\n    image: $1/transmogrify/two/tool\n    init: true\n" >tool/compose.yaml
cd tool
docker compose up --detach >/dev/null 2>&1' sh "$1" "$2"`, registry, password, string(w.Inventory.Registry.CA))
	const config = "/home/deploy-user/.docker/config.json"
	const kept = "/home/deploy-user/.docker/before-provision/"
	before := w.read(t, config)
	pulls := func(text string) {
		t.Helper()
		w.sh(t, "web1", `runuser -u deploy-user -- env HOME=/home/deploy-user sh -euc 'cd ~/tool; docker compose pull --quiet'`)
		if got := w.read(t, config); got != text {
			t.Errorf("config.json is %q, want %q", got, text)
		}
	}

	const theirs = "the login of robot to "
	w.run(t, "plan", "--limit", "app").exits(t, 1).says(t, theirs+registry+" reads what a token of group transmogrify/one could not: "+registry+"/transmogrify/two/tool of /home/deploy-user/tool")
	w.run(t, "apply", "--limit", "app").exits(t, 1).says(t, theirs)
	pulls(before)
	for _, group := range []string{"transmogrify", "transmogrify/one"} {
		if n := len(w.active(group, "deploy-user@web1")); n != 0 {
			t.Errorf("%d tokens of %s were made", n, group)
		}
	}

	// A login of the inventory that cannot read it is found out before it is used.
	_, other := w.GitLab.AddDeployToken("transmogrify/one", "other", "other", time.Time{}, "read_registry")
	text, err := other.Reveal()
	if err != nil {
		t.Fatal(err)
	}
	credential := w.Inventory.Registry.Credential
	w.Inventory.Registry.Credential = inventory.Credential{Kind: inventory.Named, Username: "other", Password: w.secretFile(t, text)}
	w.run(t, "apply", "--limit", "app").exits(t, 1).says(t, "the new login cannot read "+registry+"/transmogrify/two/tool of /home/deploy-user/tool, and the one that is there can: that one stays")
	pulls(before)

	// The same login, named by the inventory, is what is wanted already.
	w.Inventory.Registry.Credential = inventory.Credential{Kind: inventory.Named, Username: "robot", Password: w.secretFile(t, password)}
	w.apply(t, "--limit", "app")
	w.converged(t, "--limit", "app")
	pulls(before)

	// A token of a group above both takes its place.
	w.Inventory.Registry.Credential, w.Inventory.Registry.Group = credential, "transmogrify"
	planned(t, w.plan(t, "--limit", "app"), "registry-login deploy-user: docker login "+registry+" as deploy-user (replaces the login of robot, which is kept in ~deploy-user/.docker/before-provision)")
	w.apply(t, "--limit", "app")
	w.converged(t, "--limit", "app")
	if got := w.sh(t, "web1", `stat -c '%U %a' "$1" "$1$2"`, kept, registry); got != "deploy-user 700\ndeploy-user 600" {
		t.Errorf("what is kept belongs to %s", got)
	}
	after := w.read(t, config)
	pulls(after)
	if after == before {
		t.Error("the login is the old one")
	}
	w.deploy(t, "app", "2")
	w.remove(t, "app").says(t, "the login from before is given back")
	pulls(before)
	if got := w.sh(t, "web1", `ls -A /home/deploy-user/.docker`); got != "config.json" {
		t.Errorf(".docker has %s", got)
	}
}
