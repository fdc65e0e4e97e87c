package e2e_test

import (
	"strings"
	"testing"

	"provision/e2e/rehearsal"
	"provision/e2e/sample"
)

// What keeps CI's key from its gate, though it is where it belongs, is an error of
// the apply that has made it, and of each one after it, until somebody has come in.
func TestFirstLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	d := w.deployment(t, "app")
	const reload = "\nsshd -t && systemctl reset-failed ssh && systemctl restart ssh"
	sshd := func(config string) string {
		return "mkdir -p /var/empty\nprintf '" + config + "' >/etc/ssh/sshd_config.d/odd.conf" + reload
	}
	const sshdAgain = "rm /etc/ssh/sshd_config.d/odd.conf" + reload
	const test = "web1: ci-login app: test the CI key of app (SSH login): "
	for _, c := range sample.Some(t, []struct{ name, begin, end, says string }{
		{"another forced command", sshd(`Match User deploy-user\nForceCommand /bin/true\n`), sshdAgain, "applied, but still reported as missing"},
		{"a second factor", sshd(`Match User deploy-user\nAuthenticationMethods publickey,password\n`), sshdAgain, test},
		{"no such keys", sshd(`Match User deploy-user\nPubkeyAcceptedAlgorithms rsa-sha2-512\n`), sshdAgain, test},
		{"a prison", sshd(`Match User deploy-user\nChrootDirectory /var/empty\n`), sshdAgain, test},
		{"pam_access", `printf '%s\n' '-:deploy-user:ALL' >>/etc/security/access.conf; sed -i '1i account required pam_access.so' /etc/pam.d/sshd`,
			"sed -i 1d /etc/pam.d/sshd; sed -i '$d' /etc/security/access.conf", test},
		{"noexec", "mount --bind /usr/local /usr/local && mount -o remount,bind,noexec /usr/local", "umount /usr/local", test},
	}, 2) {
		t.Run(c.name, func(t *testing.T) {
			w.sh(t, "web1", c.begin)
			r := w.run(t, "apply").exits(t, 1)
			r.says(t, c.says, "hint: sshd refuses deploy-user, or runs something else for it; on the host: sshd -T -C user=deploy-user,")
			w.run(t, "plan").exits(t, 0).says(t, "web1: ci-login app: test the CI key of app (SSH login)")
			w.sh(t, "web1", c.end)
		})
	}
	w.sh(t, "web1", "usermod --expiredate 1 deploy-user")
	w.apply(t).says(t, "done: set account of deploy-user not to expire", "web1: ci-login app: done: test the CI key of app (SSH login)")
	w.converged(t)
	if j := w.ci(t, d, ""); j.code != 0 || !strings.Contains(j.out, "provision: ") {
		t.Errorf("%+v", j)
	}
}

// What would stop an apply half way is known before.
func TestFirstPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	for _, c := range sample.Some(t, []struct{ name, begin, end, says string }{
		{"a group of the name of the user", "groupadd deploy-user", "groupdel deploy-user",
			"provision: web1: user deploy-user: there is a group deploy-user, and no user of that name\n  hint: groupdel deploy-user"},
		{"a Compose of another machine", `cd /usr/libexec/docker/cli-plugins && mv docker-compose /root && printf '\177ELF\2\1\1' >docker-compose && chmod 755 docker-compose`,
			"mv /root/docker-compose /usr/libexec/docker/cli-plugins/", "provision: web1: engine: docker compose is there, and does not run: "},
		{"a Docker without a service", "systemctl stop docker.socket docker.service; mv /usr/lib/systemd/system/docker.service /etc/init.d/docker /root/ && systemctl daemon-reload",
			"mv /root/docker.service /usr/lib/systemd/system/ && mv /root/docker /etc/init.d/ && systemctl daemon-reload && systemctl start docker.socket docker.service", "provision: web1: service: this host has a docker, and no docker.service: "},
		{"one session at a time", "echo MaxSessions 1 >/etc/ssh/sshd_config.d/sessions.conf; systemctl reset-failed ssh; systemctl restart ssh", "rm /etc/ssh/sshd_config.d/sessions.conf; systemctl reset-failed ssh; systemctl restart ssh", ""},
		{"Podman", `systemctl stop docker.socket docker.service; mv /usr/lib/systemd/system/docker.service /usr/bin/docker /root/ && mv /etc/init.d/docker /root/init && systemctl daemon-reload
printf '#!/bin/sh\nexec /usr/bin/podman "$@"\n' >/usr/bin/docker && chmod 755 /usr/bin/docker`,
			"mv /root/docker.service /usr/lib/systemd/system/ && mv /root/docker /usr/bin/ && mv /root/init /etc/init.d/docker && systemctl daemon-reload && systemctl start docker.socket docker.service", "provision: web1: service: the docker of this host is Podman\n"},
	}, 2) {
		t.Run(c.name, func(t *testing.T) {
			w.sh(t, "web1", c.begin)
			if c.says == "" { // only what changes the host takes two
				w.run(t, "plan").exits(t, 0)
				c.says = "sshd opens no second session in this connection: "
			} else {
				w.run(t, "plan").exits(t, 1).says(t, c.says)
			}
			r := w.run(t, "apply").exits(t, 1)
			r.says(t, c.says)
			r.saysNot(t, "containers app: done", "done: create system user")
			w.sh(t, "web1", c.end)
		})
	}
	w.apply(t)
	w.converged(t)
}

// What only a process of root sees of a host is no drift.
func TestHiddenProcesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	w.sh(t, "web1", "mount -o remount,hidepid=2 /proc && ! runuser -u deploy-user cat /proc/1/comm 2>/dev/null")
	w.converged(t)
	w.run(t, "verify").exits(t, 0)
}

// A restricted shell would not run the gate, and is given back.
func TestRestrictedShell(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.sh(t, "web1", "useradd --create-home --shell /bin/rbash deploy-user")
	planned(t, w.plan(t), "user deploy-user: set login shell of deploy-user to /bin/sh (sshd runs a forced command with it, and /bin/rbash refuses)")
	w.apply(t)
	w.converged(t)
	if j := w.ci(t, w.deployment(t, "app"), ""); j.code != 0 {
		t.Errorf("%+v", j)
	}
	w.remove(t, "app")
	if shell := w.sh(t, "web1", "getent passwd deploy-user | cut -d : -f 7"); shell != "/bin/rbash" {
		t.Errorf("the shell is %s", shell)
	}
}

// A variable of the project goes before the one of its group, and its jobs elsewhere.
func TestOverriddenVariables(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	d := w.deployment(t, "app")
	w.apply(t)
	w.converged(t)
	const variables = "/projects/transmogrify%2Ffrobnicator/variables"
	w.api(t, "POST", variables, `{"key": "SSH_DEPLOY_TARGET", "value": "ssh://deploy-user@nowhere.invalid", "environment_scope": "production"}`)
	w.api(t, "POST", variables, `{"key": "SSH_KNOWN_HOSTS", "value": "of staging", "environment_scope": "staging"}`)
	reads := func() string {
		t.Helper()
		out, err := w.Run(t.Context(), rehearsal.Job{In: d.Project, Environment: "production", Script: `echo "$SSH_DEPLOY_TARGET"`})
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	if got := reads(); got != "ssh://deploy-user@nowhere.invalid" {
		t.Errorf("a job of the project would log in to %s", got)
	}
	const says = "jobs get CI variable SSH_DEPLOY_TARGET (project transmogrify/frobnicator, environment production) in place of the one of group transmogrify"
	w.run(t, "verify").exits(t, 3).says(t, "overridden-variables app: DRIFT: "+says+"\n")
	r := w.run(t, "apply").exits(t, 0)
	r.says(t, says, "hint: delete it in GitLab, or give the deployment a variables.prefix", "0 changes made")
	r.saysNot(t, "SSH_KNOWN_HOSTS")
	w.api(t, "DELETE", variables+"/SSH_DEPLOY_TARGET?filter[environment_scope]=production", "")
	w.run(t, "verify").exits(t, 0)
	if got := reads(); strings.Contains(got, "nowhere") {
		t.Errorf("a job of the project would log in to %s", got)
	}
}
