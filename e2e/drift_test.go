package e2e_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"provision/e2e/gitlabtest"
	"provision/e2e/sample"
	"provision/provision/secret"
)

// A drift is something that went wrong after an apply: on the host, or in
// GitLab.
type drift struct {
	name    string
	host    string // a script of root, in the home of the deploy user
	gitlab  func(*testing.T, *world)
	missing []string // the steps that have something to do then
}

var drifts = []drift{
	{name: "docker is disabled", host: `systemctl disable --quiet docker.service`, missing: []string{"service"}},
	{name: "docker is stopped", host: `systemctl stop docker.service`, missing: []string{"service", "containers app"}},
	{name: "docker and its socket are stopped", host: `systemctl stop docker.socket docker.service`, missing: []string{"service", "containers app"}},
	{name: "the CA is gone", host: `rm /etc/docker/certs.d/*/provision.crt`, missing: []string{"registry-ca"}},
	{name: "the CA is another", host: `for f in /etc/docker/certs.d/*/provision.crt; do echo >"$f"; done`, missing: []string{"registry-ca"}},
	{name: "the gate is gone", host: `rm /usr/local/lib/provision/gate`, missing: []string{"gate"}},
	{name: "the gate is altered", host: `echo 'eval "$SSH_ORIGINAL_COMMAND"' >>/usr/local/lib/provision/gate`, missing: []string{"gate"}},
	{name: "anybody may write the gate", host: `chmod 777 /usr/local/lib/provision/gate`, missing: []string{"gate"}},
	{name: "the user owns the gate", host: `chown deploy-user /usr/local/lib/provision/gate`, missing: []string{"gate"}},
	{name: "the settings are gone", host: `rm /etc/provision/deployments/app`, missing: []string{"deploy-settings app"}},
	{name: "the settings are altered", host: `sed -i s/frobnicator/elsewhere/ /etc/provision/deployments/app`, missing: []string{"deploy-settings app"}},

	{name: "the user has left the group", host: `gpasswd --delete deploy-user docker`, missing: []string{"user deploy-user", "containers app"}},
	{name: "the user has no shell", host: `usermod --shell /usr/sbin/nologin deploy-user`, missing: []string{"user deploy-user"}},
	{name: "the account is locked", host: `usermod --password '!' deploy-user`, missing: []string{"user deploy-user"}},

	{name: "the key pair is gone", host: `rm .ssh/id_ed25519 .ssh/id_ed25519.pub`, missing: []string{"repo-key deploy-user", "deploy-key deploy-user transmogrify/frobnicator"}},
	{name: "known_hosts is empty", host: `: >.ssh/known_hosts`, missing: []string{"known-hosts deploy-user"}},
	{name: "known_hosts is gone", host: `rm .ssh/known_hosts`, missing: []string{"known-hosts deploy-user"}},
	{name: "the clone is gone", host: `rm -r frobnicator`, missing: []string{"checkout app", "override app", "containers app"}},
	{name: "the override is edited", host: `echo '# by hand' >>frobnicator/compose.override.yaml`, missing: []string{"override app"}},
	{name: "the override is gone", host: `rm frobnicator/compose.override.yaml`, missing: []string{"override app"}},
	{name: "the containers are gone", host: `cd frobnicator && docker compose down 2>&1`, missing: []string{"containers app"}},

	{name: "config.json is gone", host: `rm .docker/config.json`, missing: []string{"registry-login deploy-user"}},
	{name: "config.json has another login", host: `sed -i 's/"auth": .*/"auth": "c29tZWJvZHk6ZWxzZQ=="/' .docker/config.json`, missing: []string{"registry-login deploy-user"}},
	{name: "others may read config.json", host: `chmod 644 .docker/config.json`, missing: []string{"registry-login deploy-user"}},
	{name: "the token is revoked", missing: []string{"registry-login deploy-user"}, gitlab: func(t *testing.T, w *world) {
		w.GitLab.RevokeToken(w.active("transmogrify", "deploy-user@web1")[0])
	}},
	{name: "the token ends soon", missing: []string{"registry-login deploy-user"}, gitlab: endSoon},
	{name: "a token that nobody holds", missing: []string{"registry-login deploy-user"}, gitlab: func(t *testing.T, w *world) {
		tokenOfOurs(t, w, 300)
	}},

	{name: "authorized_keys is gone", host: `rm .ssh/authorized_keys`, missing: []string{"ci-key app"}},
	{name: "our line is gone", host: `sed -i /provision:app/d .ssh/authorized_keys`, missing: []string{"ci-key app"}},
	{name: "our line has lost its restrictions", host: `sed -i s/^restrict,// .ssh/authorized_keys`, missing: []string{"ci-key app"}},
	{name: "our line starts another command", host: `sed -i 's|command="[^"]*"|command="/bin/sh"|' .ssh/authorized_keys`, missing: []string{"ci-key app"}},
	{name: "the key has a second line", host: `sed -n 's/^restrict,[^"]*"[^"]*" //p' .ssh/authorized_keys >>.ssh/authorized_keys`, missing: []string{"ci-key app"}},
	{name: "the key has a line before ours", host: `sed -i '1{h;s/.*/placeholder/;};/provision:app/{h;s/^restrict,[^"]*"[^"]*" //;G;}' .ssh/authorized_keys`, missing: []string{"ci-key app"}},

	{name: "anybody may write the keys", host: `chmod 666 .ssh/authorized_keys`, missing: []string{"ci-key app"}},
	{name: "anybody may write .ssh", host: `chmod 777 .ssh`, missing: []string{"ci-key app"}},

	{name: "no deploy key", missing: []string{"deploy-key deploy-user transmogrify/frobnicator"}, gitlab: func(t *testing.T, w *world) {
		for _, key := range w.GitLab.DeployKeys("transmogrify/frobnicator") {
			w.GitLab.RemoveDeployKey("transmogrify/frobnicator", key.ID)
		}
	}},
	{name: "the deploy key may push", missing: []string{"deploy-key deploy-user transmogrify/frobnicator"}, gitlab: func(t *testing.T, w *world) {
		id := w.GitLab.DeployKeys("transmogrify/frobnicator")[0].ID
		w.api(t, "PUT", fmt.Sprintf("/projects/transmogrify%%2Ffrobnicator/deploy_keys/%d", id), `{"can_push": true}`)
	}},
	variableDrift("SSH_DEPLOY_TARGET", "gone", "ci-variables app", nil),
	variableDrift("SSH_DEPLOY_TARGET", "another", "ci-variables app", func(v *gitlabtest.Variable) { v.Value = secret.New("ssh://root@elsewhere") }),
	variableDrift("SSH_KNOWN_HOSTS", "gone", "ci-variables app", nil),
	variableDrift("SSH_KNOWN_HOSTS", "another", "ci-variables app", func(v *gitlabtest.Variable) { v.Value = secret.New("web1 ssh-ed25519 AAAA\n") }),
	variableDrift("SSH_AUTH", "gone", "ci-key app", nil),
	variableDrift("SSH_AUTH", "not protected", "ci-key app", func(v *gitlabtest.Variable) { v.Protected = false }),
	variableDrift("SSH_AUTH", "no file", "ci-key app", func(v *gitlabtest.Variable) { v.File = false }),
	variableDrift("SSH_AUTH", "not raw", "ci-key app", func(v *gitlabtest.Variable) { v.Raw = false }),
	variableDrift("SSH_AUTH", "without its last newline", "ci-key app", func(v *gitlabtest.Variable) {
		text, _ := v.Value.Reveal()
		v.Value = secret.New(strings.TrimSpace(text))
	}),
	variableDrift("SSH_AUTH", "no key", "ci-key app", func(v *gitlabtest.Variable) { v.Value = secret.New("changeme") }),
	{name: "SSH_AUTH is another key", missing: []string{"ci-key app"}, gitlab: func(t *testing.T, w *world) {
		private, _ := newKey(t)
		changeVariable(t, w, "SSH_AUTH", func(v *gitlabtest.Variable) { v.Value = secret.New(string(private)) })
	}},
}

func variableDrift(key, what, step string, change func(*gitlabtest.Variable)) drift {
	return drift{name: key + " is " + what, missing: []string{step}, gitlab: func(t *testing.T, w *world) {
		if change == nil {
			w.GitLab.RemoveVariable("transmogrify", key, "production")
			return
		}
		changeVariable(t, w, key, change)
	}}
}

// tokenOfOurs makes a token like those of an apply.
func tokenOfOurs(t *testing.T, w *world, days int) (id int64, value string) {
	t.Helper()
	answer := w.api(t, "POST", "/groups/transmogrify/access_tokens", fmt.Sprintf(
		`{"name": "deploy-user@web1", "description": "Made by provision for deploy-user@web1.", "scopes": ["read_registry"], "access_level": 20, "expires_at": %q}`,
		time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly)))
	var token struct {
		ID    int64
		Token string
	}
	if err := json.Unmarshal(answer, &token); err != nil {
		t.Fatal(err)
	}
	return token.ID, token.Token
}

// endSoon puts a token into the hands of the host that has ten days left.
func endSoon(t *testing.T, w *world) {
	for _, id := range w.active("transmogrify", "deploy-user@web1") {
		w.GitLab.RevokeToken(id)
	}
	id, value := tokenOfOurs(t, w, 10)
	w.sh(t, "web1", `echo "$3" | runuser -u deploy-user -- env HOME=/home/deploy-user docker login --username "provision-$2" --password-stdin "$1" 2>&1`,
		w.Inventory.Registry.Host, fmt.Sprint(id), value)
}

func changeVariable(t *testing.T, w *world, key string, change func(*gitlabtest.Variable)) {
	t.Helper()
	v, ok := w.GitLab.Variable("transmogrify", key, "production")
	if !ok {
		t.Fatalf("there is no %s", key)
	}
	change(&v)
	w.GitLab.AddVariable("transmogrify", v)
}

// Each thing that is taken away after an apply is seen by a plan, which names
// the step that looks after it and no other, and comes back with an apply;
// after that there is nothing to do, and CI can deploy.
func TestDrift(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app+withOverride)
	w.apply(t)
	d := w.deployment(t, "app")
	for _, drift := range sample.Some(t, drifts, 4) {
		t.Run(drift.name, func(t *testing.T) {
			if drift.host != "" {
				w.sh(t, "web1", "cd /home/deploy-user\n"+drift.host)
			}
			if drift.gitlab != nil {
				drift.gitlab(t, w)
			}
			got, want := w.missing(t), slices.Clone(drift.missing)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("the plan is about %q, want %q", got, want)
			}
			w.apply(t)
			if plan := w.missing(t); len(plan) > 0 {
				t.Errorf("after an apply the plan has %q", plan)
			}
			if j := w.ci(t, d, "status"); j.code != 0 || !strings.Contains(j.out, `"state":"running"`) {
				t.Errorf("CI gets %+v", j)
			}
		})
	}
	w.deploy(t, "app", "2")

	if keys := w.read(t, "/home/deploy-user/.ssh/authorized_keys"); strings.Count(keys, "ssh-ed25519") != 1 {
		t.Errorf("CI has one key, and authorized_keys is\n%s", keys)
	}
	if ids := w.active("transmogrify", "deploy-user@web1"); len(ids) != 1 {
		t.Errorf("the tokens %v work, want one", ids)
	}
}
