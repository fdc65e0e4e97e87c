package e2e_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"provision/e2e/gitlabtest"
	"provision/e2e/lab"
	"provision/provision/secret"
)

const livedIn = head + `
[hosts.web1]
address = "web1.WORLD"
user = "admin"
become_password = { env = "UNUSED" }
` + app

// A host where everything was set up by hand, years ago, is adopted. Nothing
// that was there is lost, and nothing stops to work.
func TestLivedIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, livedIn+withOverride, hosts(func(_ string, o *lab.Options) {
		o.Packages = append(o.Packages, "golang-docker-credential-helpers")
	}))
	d := w.deployment(t, "app")
	override, parameters := d.Override, d.Parameters
	d.Override, d.Parameters = nil, nil // at first the inventory says nothing of it
	people := setUpByHand(t, w)

	w.deploy(t, "app", "2") // it works as it is
	people.getIn(t, w)
	before := w.snapshot(t, "web1")
	keys := w.read(t, "/home/deploy-user/.ssh/authorized_keys")
	config := w.read(t, "/home/deploy-user/.docker/config.json")
	containers := w.containers(t)
	variables := w.jobEnv(t, d)
	deployKeys := w.GitLab.DeployKeys(d.Project)

	plan := w.plan(t)
	compare(t, before, w.snapshot(t, "web1"))
	planned(t, plan,
		"user deploy-user: set password of deploy-user to * (unlocks the account, matches no password)",
		"registry-login deploy-user: create access token deploy-user@web1 of group transmogrify",
		"registry-login deploy-user: note: group transmogrify has another token named deploy-user@web1, made by somebody else…",
		"checkout app: note: ~deploy-user/frobnicator has local changes, left alone: compose.yaml",
		"ci-key app: authorize the current CI key for app",
		"ci-key app: update CI variable SSH_AUTH (group transmogrify, environment production) to be raw",
	)
	for _, change := range plan {
		if strings.HasPrefix(change, "unrestricted-keys ") && strings.Contains(change, "pull-key") {
			t.Errorf("the plan adopts CI's key, and warns of it: %s", change)
		}
	}
	for _, step := range []string{"engine", "service", "docker-group", "repo-key", "deploy-key", "known-hosts", "override", "ci-variables", "containers"} {
		for _, change := range plan {
			if kind, _, _ := strings.Cut(change, " "); strings.TrimSuffix(kind, ":") == step {
				t.Errorf("there is nothing to do for %s, but the plan has: %s", step, change)
			}
		}
	}

	w.apply(t)
	after := w.snapshot(t, "web1")
	var changed, gone []string
	for name, file := range before {
		if now, ok := after[name]; !ok {
			gone = append(gone, name)
		} else if now != file && !ofDocker(name) {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	// The two that end in a hyphen are backups that usermod makes.
	if want := []string{"/etc/passwd-", "/etc/shadow", "/etc/shadow-", "/home/deploy-user/.docker/config.json", "/home/deploy-user/.ssh/authorized_keys"}; !slices.Equal(changed, want) {
		t.Errorf("an apply changed %v, want %v", changed, want)
	}
	if len(gone) > 0 {
		t.Errorf("an apply removed %v", gone)
	}

	checkKeys(t, w, keys)
	checkConfig(t, w, config)
	if got := w.containers(t); got != containers {
		t.Errorf("the containers were %s and are %s", containers, got)
	}
	if got := w.jobEnv(t, d); !maps.Equal(got, variables) {
		t.Error("CI's variables have other values now")
	}
	if got := w.GitLab.DeployKeys(d.Project); !slices.Equal(got, deployKeys) {
		t.Errorf("the deploy keys were %v and are %v", deployKeys, got)
	}
	if v, _ := w.GitLab.Variable("transmogrify", "SSH_AUTH", "production"); !v.File || !v.Protected || !v.Raw {
		t.Errorf("SSH_AUTH is %+v", v)
	}
	if n := len(w.active("transmogrify", "deploy-user@web1")); n != 2 {
		t.Errorf("%d tokens work, want 2: the one made by hand is not ours to revoke", n)
	}
	people.getIn(t, w)
	w.converged(t)
	w.deploy(t, "app", "3") // with the same key as before

	// Now the inventory has an override, and the one made by hand is kept.
	const file = "/home/deploy-user/frobnicator/compose.override.yaml"
	byHand := w.read(t, file)
	containers = w.containers(t)
	d.Override, d.Parameters = override, parameters
	planned(t, w.plan(t), "override app: update ~deploy-user/frobnicator/compose.override.yaml (for the next deploy; the edited file is kept as a backup)")
	w.run(t, "plan").says(t, "web1:     -      MOTTO: by hand\n", "web1:     +      MOTTO: \"one\"\n")
	w.apply(t)
	if got := w.read(t, file); got != override.Text {
		t.Errorf("the override is %q, want %q", got, override.Text)
	}
	if backups := strings.Fields(w.sh(t, "web1", `ls "$1".before-*`, file)); len(backups) != 1 {
		t.Errorf("backups: %v", backups)
	} else if got := w.read(t, backups[0]); got != byHand {
		t.Errorf("the backup is %q, want %q", got, byHand)
	}
	if got := w.containers(t); got != containers {
		t.Errorf("the containers were %s and are %s: the next deploy restarts them, not we", containers, got)
	}
	w.converged(t)
	w.deploy(t, "app", "4")
}

func (w *world) read(t *testing.T, file string) string {
	t.Helper()
	out, err := w.Hosts["web1"].Exec(t.Context(), `cat "$1"`, file)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// containers tells which containers run, and since when.
func (w *world) containers(t *testing.T) string {
	t.Helper()
	return w.sh(t, "web1", `docker inspect --format '{{.Id}} {{.State.StartedAt}}' $(docker ps --quiet)`)
}

// ofDocker names what dockerd writes all the time.
func ofDocker(name string) bool {
	return strings.HasPrefix(name, "/var/lib/docker/") || strings.HasPrefix(name, "/var/lib/containerd/")
}

// checkKeys wants authorized_keys to have our block at the top, and below it
// all that it had, but for the line that our own replaces.
func checkKeys(t *testing.T, w *world, before string) {
	t.Helper()
	const file = "/home/deploy-user/.ssh/authorized_keys"
	after := w.read(t, file)
	block, rest, _ := strings.Cut(after, "# provision end\n")
	if lines := strings.Split(block, "\n"); len(lines) != 3 || lines[0] != "# provision begin" || !strings.HasPrefix(lines[1], "restrict,command=") {
		t.Errorf("our block is %q", block)
	}
	var want string
	for line := range strings.Lines(before) {
		if !strings.HasSuffix(line, " pull-key\n") {
			want += line
		}
	}
	if rest != want {
		t.Errorf("the other lines were\n%q\nand are\n%q", want, rest)
	}
	if got := w.read(t, file+".before-provision"); got != before {
		t.Errorf("the backup of authorized_keys is %q", got)
	}
}

// checkConfig wants config.json to be the same, but for our login.
func checkConfig(t *testing.T, w *world, before string) {
	t.Helper()
	const file = "/home/deploy-user/.docker/config.json"
	cut := func(text string) string {
		t.Helper()
		start := strings.Index(text, `"`+w.Inventory.Registry.Host+`": {`)
		end := strings.Index(text[max(start, 0):], "}")
		if start < 0 || end < 0 {
			t.Fatalf("there is no login in %s", text)
		}
		return text[:start] + text[start+end:]
	}
	after := w.read(t, file)
	if after == before || cut(after) != cut(before) {
		t.Errorf("config.json was\n%s\nand is\n%s", before, after)
	}
	if got := w.sh(t, "web1", `stat -c '%U %a' "$1"`, file); got != "deploy-user 600" {
		t.Errorf("config.json belongs to %s", got)
	}
}

// People are those who log in with lines of their own.
type people struct{ alice, bob, pull []byte }

func (p people) getIn(t *testing.T, w *world) {
	t.Helper()
	if j := ask(t, w.login(t, "web1", "deploy-user", p.alice), "echo $((6 * 7))"); j.out != "42\n" {
		t.Errorf("alice, who may do everything: %+v", j)
	}
	if j := ask(t, w.login(t, "web1", "deploy-user", p.bob), "id"); j.out != "hello # world\n" {
		t.Errorf("bob, who has a command of his own: %+v", j)
	}
}

// newKey returns a private key in PEM, and the public half as a line.
func newKey(t *testing.T) (private []byte, line string) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	half, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(half)))
}

// setUpByHand does what the instructions for doing it by hand say, with the
// little liberties that people take.
func setUpByHand(t *testing.T, w *world) people {
	t.Helper()
	d := w.deployment(t, "app")
	registry := w.Inventory.Registry.Host
	const as = "runuser -u deploy-user -- env HOME=/home/deploy-user "

	w.sh(t, "web1", `
useradd --create-home --shell /bin/bash --groups docker deploy-user
mkdir -p "/etc/docker/certs.d/$1"
printf %s "$2" >"/etc/docker/certs.d/$1/ca.crt"
cd /home/deploy-user
runuser -u deploy-user -- mkdir -m 700 .ssh
runuser -u deploy-user -- ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519`, registry, string(w.Inventory.Registry.CA))
	w.GitLab.AddDeployKey(d.Project, "owner", "frobnicator on web1", w.read(t, "/home/deploy-user/.ssh/id_ed25519.pub"))

	_, token := w.GitLab.AddAccessToken("transmogrify", "deploy-user@web1", gitlabtest.Reporter, time.Now().AddDate(0, 6, 0), "read_registry")
	password, err := token.Reveal()
	if err != nil {
		t.Fatal(err)
	}
	w.sh(t, "web1", as+`sh -euc '
cd
mkdir -p ~/.docker
echo "{\"auths\": {\"$1\": {\"auth\": \"\"}}}" >~/.docker/config.json
echo "$2" | docker login --username deploy-user --password-stdin "$1" >/dev/null 2>&1
sed -i "s|^{|{ \"HttpHeaders\" : {\"X-Team\":\"kept\"},  \"x-unknown\":[1, 2.50,null,\"\\\\u00fc\"],|
	s|\"auths\": {|&  \"other.example.net:5000\":{\"auth\":\"b3RoZXI6c2VjcmV0\" , \"note\" : 1},|" ~/.docker/config.json
export GIT_SSH_COMMAND="ssh -o StrictHostKeyChecking=accept-new"
git clone -q "$3"
cd frobnicator
printf "services:\n  app:\n    environment:\n      MOTTO: by hand\n" >compose.override.yaml
echo "# the admin was here" >>compose.yaml
echo "call Alice first" >notes.txt
docker compose up --detach >/dev/null 2>&1' sh "$1" "$2" "$3"`,
		registry, password, "ssh://git@"+w.Inventory.GitLab.SSH.Host+"/"+d.Project+".git")

	var p people
	var alice, bob, pull string
	p.alice, alice = newKey(t)
	p.bob, bob = newKey(t)
	p.pull, pull = newKey(t)
	_, carol := newKey(t)
	w.sh(t, "web1", `
file=/home/deploy-user/.ssh/authorized_keys
printf %s "$1" >$file
chown deploy-user: $file
chmod 640 $file`, strings.Join([]string{
		"# people of the team: ask before you touch this",
		"",
		" \t" + alice + "   alice@laptop, the old one  ",
		"this line is nothing that sshd could read",
		`restrict,command="cd /home/deploy-user/frobnicator; docker compose pull && docker compose up -d" ` + pull + ` pull-key`,
		`from="10.0.0.0/8",command="echo \"hello # world\"",no-pty ` + bob + "\r",
		"#" + pull + " an older place of the same key",
		"",
		strings.Replace(carol, " ", "   ", 1) + "\tcarol",
	}, "\n"))

	known, err := w.Lab.Run(t.Context(), nil, "ssh-keyscan "+w.Hosts["web1"].Name+" 2>&1")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []gitlabtest.Variable{
		{Key: "SSH_AUTH", Value: secret.New(string(p.pull)), File: true, Protected: true},
		{Key: "SSH_KNOWN_HOSTS", Value: secret.New(known)},
		{Key: "SSH_DEPLOY_TARGET", Value: secret.New("ssh://deploy-user@" + w.Hosts["web1"].Name)},
	} {
		v.Scope = "production"
		w.GitLab.AddVariable("transmogrify", v)
	}
	return p
}
