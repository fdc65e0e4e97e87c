package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"provision/e2e/lab"
	"provision/inventory"
)

// What a project needs besides git: its Compose files are not in its root, it has
// profiles and a one-shot, and wants variables and a key that only the admin has.
var appFiles = map[string]string{
	"deploy/compose.yaml": `services:
  app:
    image: IMAGE
    environment:
      PASSWORD: ${DB_PASSWORD:?}
    env_file: app.env
    volumes: ["../secrets/tls.key:/tls.key:ro"]
  seed:
    image: IMAGE
    command: [sh, -c, "echo seeded"]
    healthcheck: {disable: true}
  worker:
    image: IMAGE
    profiles: [jobs]
  debug:
    image: IMAGE
    profiles: [debug]
`,
	"deploy/prod.yaml": `services:
  app:
    environment:
      LEVEL: ${LOG_LEVEL}
`,
	"deploy/app.env": "MOTTO=one\n",
	"README":         "a project\n",
}

const appKeys = `
compose = ["deploy/compose.yaml", "deploy/prod.yaml"]
profiles = ["jobs"]
env = { DB_PASSWORD = { file = "PASSWORD" }, LOG_LEVEL = "info", API_TOKEN = { command = ["cat", "TOKEN"] } }
files = { "secrets/tls.key" = { file = "KEY" } }
`

// awkward has all that a value of an .env could stumble over.
const awkward = `it's "$HOME" ${X} #1 \n \ ü` + "\nsecond line"

// An appWorld is a world with that project, and the files its secrets come from.
type appWorld struct {
	*world
	password, token, key string
}

func newAppWorld(t *testing.T, more string) *appWorld {
	t.Helper()
	dir := t.TempDir()
	a := &appWorld{password: filepath.Join(dir, "password"), token: filepath.Join(dir, "token"), key: filepath.Join(dir, "key")}
	for file, text := range map[string]string{a.password: awkward + "\n", a.token: "token-7c1e90", a.key: "-----BEGIN KEY-----\n4f1d\n-----END KEY-----\n"} {
		secretText(t, file, text)
	}
	keys := strings.NewReplacer("PASSWORD\"", a.password+"\"", "TOKEN\"", a.token+"\"", "KEY\"", a.key+"\"").Replace(appKeys)
	a.world = newWorld(t, head+web1+app+keys+more, filesOf(appFiles))
	return a
}

func secretText(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// services returns what runs of the deployment: "SERVICE ID".
func (a *appWorld) services(t *testing.T) []string {
	t.Helper()
	return strings.Split(a.sh(t, "web1", `docker ps --all --no-trunc --filter label=com.docker.compose.project=frobnicator --format '{{.Label "com.docker.compose.service"}} {{.ID}}' | sort`), "\n")
}

func namesOf(services []string) string {
	var names []string
	for _, s := range services {
		name, _, _ := strings.Cut(s, " ")
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// inApp runs a script in the container of the service app.
func (a *appWorld) inApp(t *testing.T, script string) string {
	t.Helper()
	return a.sh(t, "web1", `docker exec "$(docker ps --quiet --filter label=com.docker.compose.service=app)" sh -c "$1"`, script)
}

// byHand types a command in the clone, as the user.
func (a *appWorld) byHand(t *testing.T, command string) string {
	t.Helper()
	return a.sh(t, "web1", `runuser -u deploy-user -- env -i HOME=/home/deploy-user PATH="$PATH" sh -c "cd ~/frobnicator && $1"`, command)
}

// A project whose files are in a folder, with variables and a key from the
// inventory, comes up at the first apply, is deployed by CI, and goes again.
func TestApp(t *testing.T) {
	t.Parallel()
	a := newAppWorld(t, "")
	r := a.apply(t)
	r.says(t, "write .env of app (COMPOSE_PROJECT_NAME, COMPOSE_FILE, COMPOSE_PROFILES, API_TOKEN, DB_PASSWORD and 1 other; for the next deploy)", "write secrets/tls.key of app")
	a.converged(t)
	first := a.services(t)
	if got := namesOf(first); got != "app seed worker" {
		t.Fatalf("the services are %s", got)
	}
	if got := a.inApp(t, `printf '%s|%s|%s' "$PASSWORD" "$LEVEL" "$MOTTO"`); got != awkward+"|info|one" {
		t.Errorf("the variables are %q", got)
	}
	if got := a.inApp(t, "cat /tls.key"); !strings.Contains(got, "4f1d") {
		t.Errorf("the key is %q", got)
	}
	if got := a.sh(t, "web1", "cd /home/deploy-user/frobnicator && stat -c '%U %a %n' .env secrets secrets/tls.key .git/provision-files && runuser -u deploy-user -- git status --porcelain"); got !=
		"deploy-user 600 .env\ndeploy-user 700 secrets\ndeploy-user 600 secrets/tls.key\ndeploy-user 600 .git/provision-files" {
		t.Errorf("the clone has\n%s", got)
	}

	// What the gate does, and what somebody types in the clone, is the same.
	a.byHand(t, "docker compose up --detach --remove-orphans")
	if got := a.services(t); !slices.Equal(got, first) {
		t.Errorf("docker compose up made %v of %v", got, first)
	}
	a.deploy(t, "app", "2")
	second := a.services(t)
	a.byHand(t, "docker compose up --detach --remove-orphans")
	if got := a.services(t); !slices.Equal(got, second) {
		t.Errorf("docker compose up made %v of %v", got, second)
	}

	// A job of CI has none of the secrets.
	hidden := func(f func()) {
		t.Helper()
		for _, file := range []string{a.password, a.token, a.key} {
			if err := os.Rename(file, file+".away"); err != nil {
				t.Fatal(err)
			}
			defer os.Rename(file+".away", file)
		}
		f()
	}
	hidden(func() {
		a.verifiesAsCI(t, 0)
		a.run(t, "plan").exits(t, 1).says(t, "the variable API_TOKEN of deployment app", "the variable DB_PASSWORD of deployment app", "there is no such file", "the file secrets/tls.key of deployment app")
		a.sh(t, "web1", "chmod 644 /home/deploy-user/frobnicator/secrets/tls.key")
		a.verifiesAsCI(t, 3).says(t, "chmod 600 secrets/tls.key of app")
		a.sh(t, "web1", "chmod 600 /home/deploy-user/frobnicator/secrets/tls.key; sed -i /LOG_LEVEL/d /home/deploy-user/frobnicator/.env")
		a.verifiesAsCI(t, 3).says(t, "update .env of app (LOG_LEVEL; ")
	})
	a.apply(t).says(t, "update .env of app (LOG_LEVEL; the next deploy uses it; the edited file is kept beside it as a backup, secrets and all)")
	a.sh(t, "web1", "rm /home/deploy-user/frobnicator/.env.before-*")
	a.verifiesAsCI(t, 0)

	// A value that changes is told by its name, and is there after the next deploy.
	secretText(t, a.password, "another")
	secretText(t, a.key, "-----BEGIN KEY-----\n9e2c\n-----END KEY-----\n")
	planned(t, a.plan(t), "app-env app: update .env of app (DB_PASSWORD; the next deploy uses it)", "app-files app: update secrets/tls.key of app (for containers that are made from now on)")
	a.apply(t).saysNot(t, "another", "9e2c")
	if got := a.services(t); !slices.Equal(got, second) {
		t.Errorf("apply made %v of %v", got, second)
	}
	if out, err := a.CI(t.Context(), a.deployment(t, "app"), ""); err != nil {
		t.Fatal(err, out)
	}
	if got := a.inApp(t, `echo "$PASSWORD"; cat /tls.key`); !strings.HasPrefix(got, "another\n") || !strings.Contains(got, "9e2c") {
		t.Errorf("the app has %q", got)
	}
	a.converged(t)

	// What the inventory does not have any more goes.
	d := a.deployment(t, "app")
	keys := d.Env
	d.Env = slices.DeleteFunc(slices.Clone(keys), func(s inventory.Setting) bool { return s.Name == "API_TOKEN" })
	planned(t, a.plan(t), "app-env app: update .env of app (without API_TOKEN; for the next deploy)")
	d.Env = keys

	a.run(t, "remove", "--deployment", "app", "--yes", "--volumes").exits(t, 0)
	if got := a.sh(t, "web1", "docker ps --all --quiet; docker volume ls --quiet; docker network ls --quiet --filter label=com.docker.compose.project; ls -A /home"); got != "" && got != "admin" {
		t.Errorf("there is left: %s", got)
	}
}

// A profile that comes is planned and started; one that goes is told of until a
// deploy has removed what only it has started, and nothing else. Files that the
// project does not have are named before .env leads Compose to them.
func TestProfiles(t *testing.T) {
	t.Parallel()
	a := newAppWorld(t, "")
	a.apply(t)
	a.converged(t)
	d := a.deployment(t, "app")
	a.byHand(t, "docker compose --profile debug up --detach --no-recreate debug")
	a.converged(t)
	first := a.services(t)

	d.Compose = append(d.Compose, "deploy/nope.yaml")
	a.run(t, "plan").exits(t, 1).says(t, "~deploy-user/frobnicator has no deploy/nope.yaml, which compose names in the inventory")
	a.run(t, "apply").exits(t, 1)
	a.byHand(t, "docker compose config --quiet")
	d.Compose = d.Compose[:2]

	d.Profiles = []string{"job"}
	planned(t, a.plan(t), "app-env app: update .env of app (COMPOSE_PROFILES; the next deploy uses it)")
	a.apply(t).says(t, "no service of app has the profile job", "the profiles there are debug and jobs")
	deploy := func() {
		t.Helper()
		a.push(t, "app", "2")
		if j := a.ci(t, d, ""); j.code != 0 {
			t.Fatalf("%+v", j)
		}
	}
	drift := func(code int, texts ...string) {
		t.Helper()
		a.run(t, "verify", "--as", "admin").exits(t, code).says(t, texts...)
		a.verifiesAsCI(t, code).says(t, texts...)
	}
	drift(3, "service worker runs, and is only of profiles that are no longer active")
	if got := a.services(t); !slices.Equal(got, first) {
		t.Errorf("apply made %v of %v", got, first)
	}

	// A start, and a deploy that fails, keep it in mind.
	a.sh(t, "web1", "docker stop --time 0 $(docker ps --quiet --filter label=com.docker.compose.service=app)")
	a.apply(t).says(t, "start 1 service of app (app ")
	drift(3, "service worker runs, and is only of profiles that are no longer active")
	if _, err := a.PushImage(t.Context(), lab.Image{Repository: d.Project, Version: "bad", Tag: "latest", Broken: true}); err != nil {
		t.Fatal(err)
	}
	if j := a.ci(t, d, ""); j.code == 0 {
		t.Fatalf("%+v", j)
	}
	drift(3, "service worker runs, and is only of profiles that are no longer active")
	deploy()
	if got := namesOf(a.services(t)); got != "app debug seed" {
		t.Errorf("after the deploy there are %s", got)
	}
	drift(0)
	a.run(t, "status").exits(t, 0).says(t, "2/2", "service debug is healthy, and neither compose.yaml nor an active profile wants it")

	d.Profiles = []string{"jobs"}
	planned(t, a.plan(t), "app-env app: update .env of app (COMPOSE_PROFILES; the next deploy uses it)", "containers app: start 1 service of app (worker, once .env is written)")
	a.apply(t).says(t, "start 1 service of app (worker was never started)")
	drift(0, "frobnicator/.env has changed since the last deploy")
	deploy()
	a.run(t, "verify", "--as", "admin").exits(t, 0).saysNot(t, "has changed since")
	a.converged(t)
}

func (a *appWorld) verifiesAsCI(t *testing.T, code int) result {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	secretText(t, key, a.variable(t, "transmogrify", "SSH_AUTH", "production"))
	return a.run(t, "verify", "--key", key, "--limit", "app").exits(t, code)
}

// Whatever stands where something is to be written, nothing is lost, and what
// cannot be written is told before anything is.
func TestAppOfAnother(t *testing.T) {
	t.Parallel()
	a := newAppWorld(t, withOverride)
	a.apply(t)
	a.converged(t)
	if got := a.inApp(t, `echo "$WHERE $LEVEL"`); got != "web1 info" {
		t.Errorf("the app has %q: the override is not read behind the others", got)
	}
	clone := "/home/deploy-user/frobnicator/"
	a.sh(t, "web1", `cd "$1" && { printf 'MINE=1\n'; cat .env; echo LATER=2; } >new && cat new >.env && rm new && echo edited >secrets/tls.key && echo mine >secrets/mine`, clone)
	a.apply(t).says(t, "update secrets/tls.key of app (for containers that are made from now on; the file that is there is kept beside it as a backup, secrets and all)")
	if got := a.sh(t, "web1", `cd "$1" && cat secrets/tls.key.before-* && sed -n '1,2p;$p' .env`, clone); got != "edited\nMINE=1\n# provision begin\nLATER=2" {
		t.Errorf("the clone has %q", got)
	}
	r := a.run(t, "remove", "--deployment", "app", "--yes").exits(t, 0)
	r.says(t, "stays, as it has what is nowhere else")
	if got := a.sh(t, "web1", `cd "$1" && cat .env && ls secrets | sed 's/[0-9TZ]*$//' && { ls .git/provision-files 2>&1 || :; }`, clone); got != "MINE=1\nLATER=2\nmine\ntls.key.before-\nls: cannot access '.git/provision-files': No such file or directory" {
		t.Errorf("what is left: %q", got)
	}
}
