package e2e_test

import (
	"fmt"
	"provision/e2e/gitlabtest"
	"provision/e2e/sample"
	"provision/provision/secret"
	"testing"
)

// lineOfKey puts a line before or behind the lines of authorized_keys. In it,
// KEY stands for the key of CI.
func lineOfKey(where, line string) string {
	return `
key=$(sed -n 's/^restrict,command="[^"]*" \([^ ]* [^ ]*\) provision:app$/\1/p' .ssh/authorized_keys)
line=$(printf '%s' '` + line + `' | sed "s|KEY|$key|")
` + map[string]string{
		"before": `{ printf '%s\n' "$line"; cat .ssh/authorized_keys; } >new; cat new >.ssh/authorized_keys; rm new`,
		"behind": `echo "$line" >>.ssh/authorized_keys`,
	}[where]
}

func variableWith(key string, change func(*gitlabtest.Variable)) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		v, ok := w.GitLab.Variable("transmogrify", key, "production")
		if !ok {
			t.Fatalf("there is no %s", key)
		}
		w.GitLab.RemoveVariable("transmogrify", key, "production")
		if change != nil {
			change(&v)
			w.GitLab.AddVariable("transmogrify", v)
		}
	}
}

// tokenWithDaysLeft gives the host a token of ours that ends soon.
func tokenWithDaysLeft(days int) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		for _, id := range w.active("transmogrify", "deploy-user@web1") {
			w.GitLab.RevokeToken(id)
		}
		id, value := tokenOfOurs(t, w, days)
		w.sh(t, "web1", `echo "$3" | runuser -u deploy-user -- env HOME=/home/deploy-user docker login --username "provision-$2" --password-stdin "$1" 2>&1`,
			w.Inventory.Registry.Host, fmt.Sprint(id), value)
	}
}

// wrongs are what can be wrong with a deployment: a script of root in the
// home of the deploy user, or something in GitLab; and which steps tell.
var wrongs = []struct {
	name   string
	host   string
	gitlab func(*testing.T, *world)
	steps  []string
	note   string // without steps: what is told
}{
	{name: "SSH_AUTH is gone", gitlab: variableWith("SSH_AUTH", nil), steps: []string{"ci-key app"}},
	{name: "SSH_AUTH is of another scope", gitlab: variableWith("SSH_AUTH", func(v *gitlabtest.Variable) { v.Scope = "staging" }), steps: []string{"ci-key app"}},
	{name: "SSH_AUTH is no file", gitlab: variableWith("SSH_AUTH", func(v *gitlabtest.Variable) { v.File = false }), steps: []string{"ci-key app"}},
	{name: "SSH_AUTH is not protected", gitlab: variableWith("SSH_AUTH", func(v *gitlabtest.Variable) { v.Protected = false }), steps: []string{"ci-key app"}},
	{name: "SSH_AUTH is not raw", gitlab: variableWith("SSH_AUTH", func(v *gitlabtest.Variable) { v.Raw = false }), steps: []string{"ci-key app"}},
	{name: "SSH_AUTH has another value", gitlab: variableWith("SSH_AUTH", func(v *gitlabtest.Variable) { v.Value = secret.New("changeme") }), steps: []string{"ci-key app"}},
	{name: "SSH_DEPLOY_TARGET is gone", gitlab: variableWith("SSH_DEPLOY_TARGET", nil), steps: []string{"ci-variables app"}},
	{name: "SSH_DEPLOY_TARGET has another value", gitlab: variableWith("SSH_DEPLOY_TARGET", func(v *gitlabtest.Variable) { v.Value = secret.New("ssh://root@elsewhere") }), steps: []string{"ci-variables app"}},
	{name: "SSH_KNOWN_HOSTS has another value", gitlab: variableWith("SSH_KNOWN_HOSTS", func(v *gitlabtest.Variable) { v.Value = secret.New("web1 ssh-ed25519 AAAA\n") }), steps: []string{"ci-variables app"}},

	{name: "no deploy key", steps: []string{"deploy-key deploy-user transmogrify/frobnicator"}, gitlab: func(t *testing.T, w *world) {
		w.GitLab.RemoveDeployKey("transmogrify/frobnicator", w.GitLab.DeployKeys("transmogrify/frobnicator")[0].ID)
	}},
	{name: "the deploy key may push", steps: []string{"deploy-key deploy-user transmogrify/frobnicator"}, gitlab: func(t *testing.T, w *world) {
		id := w.GitLab.DeployKeys("transmogrify/frobnicator")[0].ID
		w.api(t, "PUT", fmt.Sprintf("/projects/transmogrify%%2Ffrobnicator/deploy_keys/%d", id), `{"can_push": true}`)
	}},
	{name: "the branch is not protected", note: "the branch main of transmogrify/frobnicator is not protected", gitlab: func(t *testing.T, w *world) {
		w.GitLab.Unprotect("transmogrify/frobnicator", "main")
		t.Cleanup(func() { w.GitLab.Protect("transmogrify/frobnicator", "main") })
	}},
	{name: "the token is revoked", steps: []string{"registry-login deploy-user"}, gitlab: func(t *testing.T, w *world) {
		w.GitLab.RevokeToken(w.active("transmogrify", "deploy-user@web1")[0])
	}},
	{name: "the token ends in 5 days", gitlab: tokenWithDaysLeft(5), steps: []string{"registry-login deploy-user"}},
	{name: "the token ends in 20 days", gitlab: tokenWithDaysLeft(20), note: " days; apply replaces it"},

	{name: "an old key is left over", host: `
ssh-keygen -q -t ed25519 -N '' -C provision:app -f /tmp/old
echo "restrict,command=\"/usr/local/lib/provision/gate app SHA256:x\" $(cat /tmp/old.pub)" >>.ssh/authorized_keys
rm /tmp/old /tmp/old.pub`, steps: []string{"ci-key app"}},
	{name: "the key has a second line", host: lineOfKey("behind", `restrict,command="/bin/true" KEY`), steps: []string{"ci-key app"}},
	{name: "the key has a line without restrictions", host: lineOfKey("behind", "KEY by hand"), steps: []string{"ci-key app"}},
	{name: "the key has a line that sshd cannot read", host: lineOfKey("before", `no-such-option KEY by hand`), steps: []string{"ci-key app"}},
	{name: "the key has a line without restrictions before ours", host: lineOfKey("before", "KEY by hand"), steps: []string{"restriction app"}},

	{name: "the gate is altered", host: `echo '# harmless' >>/usr/local/lib/provision/gate`, steps: []string{"gate"}},
	{name: "anybody may write the gate", host: `chmod 777 /usr/local/lib/provision/gate`, steps: []string{"gate"}},
	{name: "the look program is altered", host: `echo '# harmless' >>/usr/local/lib/provision/look/app`, steps: []string{"verify-script app"}},
	{name: "the look program is gone", host: `rm /usr/local/lib/provision/look/app`, steps: []string{"verify-script app"}},
	{name: "anybody may write the look program", host: `chmod 666 /usr/local/lib/provision/look/app`, steps: []string{"verify-script app"}},
	{name: "the settings are altered", host: `echo wait=5 >>/etc/provision/deployments/app`, steps: []string{"deploy-settings app"}},
	{name: "the settings name another user", host: `sed -i s/user=.*/user=admin/ /etc/provision/deployments/app`, steps: []string{"deploy-settings app"}},
	{name: "the settings are gone", host: `rm /etc/provision/deployments/app`, steps: []string{"deploy-settings app"}},

	{name: "the containers are gone", host: `cd frobnicator && docker compose down 2>&1`, steps: []string{"containers app"}},
	{name: "the override is edited", host: `echo '# by hand' >>frobnicator/compose.override.yaml`, steps: []string{"override app"}},
	{name: "the login is gone", host: `rm .docker/config.json`, steps: []string{"registry-login deploy-user"}},
	{name: "known_hosts is empty", host: `: >.ssh/known_hosts`, steps: []string{"known-hosts deploy-user"}},
	{name: "the user has left the group docker", host: `gpasswd --delete deploy-user docker`, steps: []string{"containers app", "user deploy-user"}},
	{name: "docker is not started at boot", host: `systemctl disable --quiet docker.service`, steps: []string{"service"}},
	{name: "the CA of the registry is gone", host: `rm /etc/docker/certs.d/*/provision.crt`, steps: []string{"registry-ca"}},
}

// Whatever is wrong is told, with the step that looks after it and no other,
// and an apply puts it right.
func TestVerifyFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app+withOverride)
	w.apply(t)
	d := w.deployment(t, "app")
	for _, wrong := range sample.Some(t, wrongs, 4) {
		t.Run(wrong.name, func(t *testing.T) {
			key := w.keyFile(t, d) // before anything is broken
			if wrong.host != "" {
				w.sh(t, "web1", "cd /home/deploy-user\n"+wrong.host)
			}
			if wrong.gitlab != nil {
				wrong.gitlab(t, w)
			}
			v := verify(t, w.inventoryFile(t), "--key", key)
			v.finds(t, wrong.steps...)
			if wrong.note != "" {
				v.says(t, wrong.note)
				if len(v.of("note")) != 1 {
					t.Errorf("notes about %q", v.of("note"))
				}
			}
			w.apply(t)
		})
	}
	v := verify(t, w.inventoryFile(t))
	v.finds(t)
	v.says(t, refused)
	w.deploy(t, "app", "2")
}
