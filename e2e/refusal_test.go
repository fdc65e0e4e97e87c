package e2e_test

import (
	"strings"
	"testing"
	"time"

	"provision/e2e/gitlabtest"
	"provision/e2e/sample"
	"provision/provision/secret"
)

// Where a host or GitLab is such that a wish cannot be met, a plan and an
// apply say why and what to do, in one error, and nothing is made of what depends
// on it, also what could be.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app+withOverride)
	w.apply(t)
	for _, c := range sample.Some(t, []struct {
		name       string
		host, undo string // scripts of root, in the home of the deploy user
		gitlab     func(*testing.T, *world)
		says       []string
	}{
		{name: "a clone of another project",
			host: `git config --file frobnicator/.git/config remote.origin.url git@git.example.com:elsewhere/other.git
runuser -u deploy-user -- git -C frobnicator -c user.name=they -c user.email=they@example.com commit --quiet --allow-empty --message=theirs`,
			undo: `git config --file frobnicator/.git/config remote.origin.url "$(cat /run/origin)"
runuser -u deploy-user -- git -C frobnicator reset --quiet --soft HEAD^`,
			says: []string{"checkout app: ~deploy-user/frobnicator is a clone of ", "elsewhere/other", "hint: choose another directory, or set its origin, as deploy-user: git -C frobnicator remote set-url origin ssh://git@"}},
		{name: "no clone", host: `mv frobnicator/.git aside`, undo: `mv aside frobnicator/.git`,
			says: []string{"checkout app: ~deploy-user/frobnicator is there, but is no clone", "hint: move it away"}},
		{name: "config.json is broken", host: `cp -p .docker/config.json aside; echo '{"auths":' >.docker/config.json`, undo: `mv aside .docker/config.json`,
			says: []string{"~deploy-user/.docker/config.json is not valid JSON", "hint: repair it"}},
		{name: "a helper has the logins", host: `cp -p .docker/config.json aside; sed -i '1s/{/{"credsStore": "secretservice",/' .docker/config.json`, undo: `mv aside .docker/config.json`,
			says: []string{"leaves the login to the helper docker-credential-secretservice", "hint: take credsStore"}},
		{name: "a key with a passphrase", host: `cp -p .ssh/id_ed25519 aside; ssh-keygen -q -p -P '' -N secret -f .ssh/id_ed25519`, undo: `mv aside .ssh/id_ed25519`,
			says: []string{"~deploy-user/.ssh/id_ed25519 is there, but is no private key that can be used without a passphrase"}},
		{name: "sshd lets in others only", host: `echo 'AllowUsers admin root' >/etc/ssh/sshd_config.d/10-test.conf`, undo: `rm /etc/ssh/sshd_config.d/10-test.conf`,
			says: []string{"sshd_config lets in AllowUsers admin root only", "hint: add deploy-user there"}},
		{name: "sshd denies the user", host: `echo 'DenyGroups docker' >/etc/ssh/sshd_config.d/10-test.conf`, undo: `rm /etc/ssh/sshd_config.d/10-test.conf`,
			says: []string{"sshd_config denies deploy-user"}},
		{name: "sshd reads keys elsewhere", host: `echo 'AuthorizedKeysFile /etc/ssh/keys/%u' >/etc/ssh/sshd_config.d/10-test.conf`, undo: `rm /etc/ssh/sshd_config.d/10-test.conf`,
			says: []string{"sshd_config has AuthorizedKeysFile /etc/ssh/keys/", "hint: add .ssh/authorized_keys to it"}},
		{name: "an empty password", host: `passwd --delete deploy-user`, undo: `usermod --password '*' deploy-user`,
			says: []string{"deploy-user has an empty password", "hint: usermod"}},
		{name: "somebody else's home", host: `chown admin .`, undo: `chown deploy-user .`,
			says: []string{"the home /home/deploy-user of the existing user does not belong to it"}},
		{name: "variables of another deployment",
			gitlab: func(t *testing.T, w *world) {
				changeVariable(t, w, "SSH_DEPLOY_TARGET", func(v *gitlabtest.Variable) { v.Value, v.Description = secret.New("ssh://they@elsewhere"), "Mine." })
			},
			says: []string{"CI variable SSH_DEPLOY_TARGET (group transmogrify, environment production) is ssh://they@elsewhere: another deployment uses it", "hint: if it is on another host yet, provision move brings it here; else give it another environment or a variables.prefix"}},
	}, 2) {
		t.Run(c.name, func(t *testing.T) {
			// Something else of the deployment is to do, which must not be done.
			w.sh(t, "web1", `cd /home/deploy-user
git config --file frobnicator/.git/config remote.origin.url >/run/origin
rm /usr/local/lib/provision/look/app
`+c.host)
			if c.gitlab != nil {
				c.gitlab(t, w)
			}
			before, variables := w.snapshot(t, "web1"), len(w.GitLab.Variables("transmogrify"))
			for _, command := range []string{"plan", "apply"} {
				r := w.run(t, command).exits(t, 1)
				r.says(t, c.says...)
				if n := strings.Count(r.errors, "provision: web1: "); n != 1 {
					t.Errorf("%s: %d errors, want 1: %v", command, n, r)
				}
			}
			compare(t, before, w.snapshot(t, "web1"))
			if now := len(w.GitLab.Variables("transmogrify")); now != variables {
				t.Errorf("there were %d variables, and are %d", variables, now)
			}
			if c.gitlab != nil {
				w.GitLab.RemoveVariable("transmogrify", "SSH_DEPLOY_TARGET", "production")
			}
			w.sh(t, "web1", "cd /home/deploy-user\n"+c.undo)
			w.apply(t)
			w.converged(t)
		})
	}
	w.deploy(t, "app", "2")
}

// What is not as it was left, but is nobody's business to change, is told in a
// note.
func TestNotes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.sh(t, "web1", `useradd --system --create-home --shell /usr/sbin/nologin deploy-user`)
	planned(t, w.plan(t),
		"user deploy-user: set login shell of deploy-user to /bin/sh (sshd runs a forced command with it, and /usr/sbin/nologin refuses)",
		"user deploy-user: set password of deploy-user to * (unlocks the account, matches no password)",
		"user deploy-user: add deploy-user to the docker group")
	w.apply(t)
	w.deploy(t, "app", "2")

	w.sh(t, "web1", `cd /home/deploy-user
echo '# mine' >>frobnicator/compose.yaml
echo mine >frobnicator/notes.txt
echo "$1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0" >>.ssh/known_hosts
usermod --password "$(openssl passwd -6 hello)" deploy-user
cd frobnicator && docker compose pause 2>&1`, w.Inventory.GitLab.SSH.Host)
	w.GitLab.Unprotect("transmogrify/frobnicator", "main")
	w.GitLab.AddAccessToken("transmogrify", "deploy-user@web1", gitlabtest.Reporter, time.Time{}, "read_registry")
	plan := w.plan(t)
	planned(t, plan,
		"user deploy-user: note: deploy-user has a password; if nobody needs it: usermod --password '*' deploy-user",
		"registry-login deploy-user: note: group transmogrify has another token named deploy-user@web1, made by somebody else…",
		"known-hosts deploy-user: note: ~deploy-user/.ssh/known_hosts has 1 other key of "+w.Inventory.GitLab.SSH.Host+" that the inventory does not name",
		"checkout app: note: ~deploy-user/frobnicator has local changes, left alone: compose.yaml",
		"ci-key app: note: the branch main of transmogrify/frobnicator is not protected, or not there: its jobs will not see SSH_AUTH",
		"containers app: note: service app is paused")
	if got := w.missing(t); len(got) > 0 {
		t.Errorf("the plan is about %v too", got)
	}
	before := w.snapshot(t, "web1")
	r := w.apply(t)
	compare(t, before, w.snapshot(t, "web1"))
	r.says(t, "web1: nothing to do", "web1: checkout app: note: ~deploy-user/frobnicator has local changes")
}
