package e2e_test

import (
	"strings"
	"testing"
)

// What keeps CI's key from its gate, though it is where it belongs, is an error of
// the apply that has made it, and of each one after it, until somebody has come in.
func TestFirstLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	d := w.deployment(t, "app")
	const reload = "\nsshd -t && systemctl reload ssh"
	for _, c := range []struct{ name, config, says string }{
		{"another forced command", "Match User deploy-user\nForceCommand /bin/true\n", "applied, but still reported as missing"},
		{"a second factor", "Match User deploy-user\nAuthenticationMethods publickey,password\n", "web1: ci-login app: test the CI key of app (SSH login): "},
		{"no such keys", "Match User deploy-user\nPubkeyAcceptedAlgorithms rsa-sha2-512\n", "web1: ci-login app: test the CI key of app (SSH login): "},
		{"a prison", "Match User deploy-user\nChrootDirectory /var/empty\n", "web1: ci-login app: test the CI key of app (SSH login): "},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.sh(t, "web1", `mkdir -p /var/empty; printf '%s' "$1" >/etc/ssh/sshd_config.d/odd.conf`+reload, c.config)
			r := w.run(t, "apply").exits(t, 1)
			r.says(t, c.says, "hint: sshd refuses deploy-user, or runs something else for it; on the host: sshd -T -C user=deploy-user,")
			w.run(t, "plan").exits(t, 0).says(t, "web1: ci-login app: test the CI key of app (SSH login)")
		})
	}
	w.sh(t, "web1", "rm /etc/ssh/sshd_config.d/odd.conf"+reload)
	w.apply(t).says(t, "web1: ci-login app: done: test the CI key of app (SSH login)")
	w.converged(t)
	if j := w.ci(t, d, ""); j.code != 0 || !strings.Contains(j.out, "provision: ") {
		t.Errorf("%+v", j)
	}
}
