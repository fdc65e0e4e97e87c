package e2e_test

import (
	"strings"
	"testing"
)

// A login that is hardened, on a host that was set up before, and softened again: CI deploys
// at any time, and while it is hardened no file of the user lets anybody in.
func TestHardenedLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app+withOverride)
	before := w.everything(t)
	w.apply(t)
	d := w.deployment(t, "app")
	w.sh(t, "web1", `ssh-keygen -q -t ed25519 -N '' -C intruder -f /run/intruder
cat /run/intruder.pub >>/home/deploy-user/.ssh/authorized_keys`)
	intruder := w.sh(t, "web1", "cat /run/intruder") + "\n"
	outside := w.connect(t, "deploy-user", intruder)
	inside := w.connect(t, "deploy-user", w.variable(t, "transmogrify", "SSH_AUTH", "production"))

	d.HardenedLogin = true
	print := w.sh(t, "web1", "ssh-keygen -lf /run/intruder.pub | cut -d ' ' -f 2")
	w.run(t, "plan").exits(t, 0).says(t, "hardened-login deploy-user: copy 1 CI key of deploy-user to /etc/ssh/provision/deploy-user\n",
		"set login of deploy-user (sshd takes its keys from /etc/ssh/provision/deploy-user, and runs the gate alone; in its home stay, and let nobody in: "+print+" intruder)",
		"remove 1 CI key from ~deploy-user/.ssh/authorized_keys\n")
	w.run(t, "verify").exits(t, 3).says(t, "hardened-login deploy-user: DRIFT: apply would set login of deploy-user")
	w.apply(t)
	w.converged(t)
	open(t, inside, true)
	open(t, outside, false)
	w.refused(t, "deploy-user", intruder)
	w.sh(t, "web1", `cd /home/deploy-user/.ssh
cp authorized_keys authorized_keys2; chown deploy-user: authorized_keys2
printf 'BASH_ENV=/tmp/x\n' >environment; printf 'touch /tmp/ran\n' >rc; chown deploy-user: environment rc`)
	w.refused(t, "deploy-user", intruder)
	w.deploy(t, "app", "2")
	w.run(t, "verify").exits(t, 0)
	w.run(t, "verify", "--as", "admin").exits(t, 0)
	if ran := w.sh(t, "web1", "ls /tmp/ran 2>/dev/null || :"); ran != "" {
		t.Error("~/.ssh/rc was run")
	}

	// The second bolt: a key without a command of its own comes to the gate, which does not know it.
	w.sh(t, "web1", "cat /run/intruder.pub >>/etc/ssh/provision/deploy-user")
	session, err := w.login(t, "web1", "deploy-user", []byte(intruder)).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := session.CombinedOutput("id"); err == nil || !strings.Contains(string(out), "provision: refused: key-revoked: ") {
		t.Errorf("%v: %s", err, out)
	}
	w.sh(t, "web1", "sed -i /intruder/d /etc/ssh/provision/deploy-user")

	old := w.variable(t, "transmogrify", "SSH_AUTH", "production")
	w.run(t, "rotate-key", "--only", "ci-key").exits(t, 0)
	w.refused(t, "deploy-user", old)
	w.deploy(t, "app", "3")
	w.converged(t)

	// What is wrong is found, and put right.
	for what, script := range map[string]string{
		"the mode of the keys": "chmod 666 /etc/ssh/provision/deploy-user", "another text": "echo '# more' >>/etc/ssh/sshd_config.d/00-provision-deploy-user.conf",
		"no text": "rm /etc/ssh/sshd_config.d/00-provision-deploy-user.conf; systemctl reload ssh",
	} {
		w.sh(t, "web1", script)
		w.run(t, "verify", "--as", "admin").exits(t, 3).says(t, "hardened-login deploy-user: DRIFT: apply would set login of deploy-user")
		w.apply(t)
		if plan := w.missing(t); len(plan) > 0 {
			t.Errorf("%s: the plan has %q", what, plan)
		}
		w.deploy(t, "app", "4")
	}
	w.sh(t, "web1", "echo 'Match User deploy-user\n\tAuthorizedKeysFile none' >/etc/ssh/sshd_config.d/00-a.conf; systemctl reload ssh")
	w.run(t, "verify", "--as", "admin").exits(t, 3).says(t, "sshd takes the keys of deploy-user from none")
	w.sh(t, "web1", "rm /etc/ssh/sshd_config.d/00-a.conf; systemctl reload ssh")

	d.HardenedLogin = false
	w.run(t, "plan").exits(t, 0).says(t, "hardened-login deploy-user: restore login of deploy-user (sshd takes its keys from its home)")
	w.apply(t)
	w.converged(t)
	w.deploy(t, "app", "5")
	if files := w.sh(t, "web1", "ls -d /etc/ssh/provision /etc/ssh/sshd_config.d/00-provision* 2>/dev/null || :"); files != "" {
		t.Errorf("there are still %s", files)
	}
	w.sh(t, "web1", "cd /home/deploy-user/.ssh; sed -i /intruder/d authorized_keys; rm -f authorized_keys2 environment rc")

	d.HardenedLogin = true
	w.apply(t)
	w.remove(t, "app")
	before.compare(t, w.everything(t))
}

// A fresh user is hardened from the start, with every deployment of it; and where sshd reads no
// folder of its own, nothing is begun.
func TestHardenedFromTheStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+strings.ReplaceAll(app+`hardened_login = true
[deployments.other]
host = "web1"
project = "transmogrify/other"
user = "deploy-user"
directory = "other"
environment = "other"
variables = { group = "transmogrify" }
hardened_login = true
`, "WORLD", ""))
	w.sh(t, "web1", "cp /etc/ssh/sshd_config /run/; sed -i /^Include/d /etc/ssh/sshd_config")
	w.run(t, "plan").exits(t, 1).says(t, "hardened-login deploy-user: sshd_config does not include /etc/ssh/sshd_config.d", "Include /etc/ssh/sshd_config.d/*.conf")
	w.sh(t, "web1", "cp /run/sshd_config /etc/ssh/")
	w.apply(t)
	w.converged(t)
	w.run(t, "verify").exits(t, 0)
	w.deploy(t, "app", "2")
	w.deploy(t, "other", "2")
	if files := w.sh(t, "web1", "ls -A /home/deploy-user/.ssh"); strings.Contains(files, "authorized_keys") {
		t.Errorf("the home has %s", files)
	}
	w.deployment(t, "app").Name = "shop"
	w.apply(t)
	w.converged(t)
	w.deploy(t, "shop", "3")
	w.remove(t, "other")
	w.deploy(t, "shop", "4")
	w.converged(t)
	w.remove(t, "shop")
	if files := w.sh(t, "web1", "ls -d /etc/ssh/provision /etc/ssh/sshd_config.d/00-provision* 2>/dev/null || :"); files != "" {
		t.Errorf("there are still %s", files)
	}
}
