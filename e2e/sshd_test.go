package e2e_test

import (
	"strings"
	"testing"
)

// again ends a script that changes what sshd does; sshdAsBefore undoes all of that.
// sshd is restarted, not reloaded: systemctl waits until it is there.
const (
	again        = "\nsshd -t && systemctl reset-failed ssh && systemctl restart ssh"
	sshdAsBefore = "rm -f /etc/ssh/sshd_config.d/00-deploy-user.conf /etc/ssh/sshd_config.d/10-test.conf" + again
)

// mended does on a host what the hint behind a sentence says.
func (w *world) mended(t *testing.T, r result, sentence string) {
	t.Helper()
	_, hint, _ := strings.Cut(r.out, sentence)
	_, hint, found := strings.Cut(hint, "hint: on the host, where sshd_config includes that folder: ")
	hint, _, _ = strings.Cut(hint, "\n")
	if !found {
		t.Fatalf("no hint behind %q: %v", sentence, r)
	}
	w.sh(t, "web1", strings.Replace(hint, "systemctl reload", "systemctl restart", 1))
}

// A login shell bash runs functions that a client sets, before there is a gate, where sshd
// takes them. It is known without an attempt, and by an attempt.
func TestBashFunctions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	d := w.deployment(t, "app")
	attack := func() string {
		out, _ := w.Lab.Run(t.Context(), w.jobEnv(t, d), `
mkdir -p -m 700 ~/.ssh
echo "$SSH_KNOWN_HOSTS" >~/.ssh/known_hosts
printf %s "$SSH_AUTH" >key
chmod 600 key
env 'BASH_FUNC_return%%=() { id; }' ssh -i key -o BatchMode=yes -o 'SendEnv=BASH_FUNC_*' "$SSH_DEPLOY_TARGET" whoami 2>&1`)
		return out
	}
	w.sh(t, "web1", "usermod --shell /bin/bash deploy-user\necho 'AcceptEnv BASH_*' >/etc/ssh/sshd_config.d/10-test.conf"+again)
	if out := attack(); !strings.Contains(out, "(deploy-user)") {
		t.Fatalf("the attack does not work, so this proves nothing: %s", out)
	}

	const sentence = "sshd_config has AcceptEnv BASH_* for deploy-user: with the CI key one can set variables that run programs before the gate\n"
	r := w.run(t, "plan").exits(t, 0)
	r.says(t, "web1: sshd-config deploy-user: ", sentence)
	verify(t, w.inventoryFile(t), "--as", "admin").finds(t, "sshd-config deploy-user")
	w.run(t, "verify").exits(t, 3).says(t, "BREACH: the CI key can do what it must not: a variable of the environment: the host takes BASH_FUNC_x%%, BASH_ENV\n")

	w.mended(t, r, sentence)
	if out := attack(); strings.Contains(out, "(deploy-user)") {
		t.Errorf("the hint has not helped: %s", out)
	}
	verify(t, w.inventoryFile(t), "--as", "admin").finds(t)
	w.run(t, "verify").exits(t, 0)
}

// A tunnel, which restrict leaves open, and what is so for some connections only.
func TestSshdConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	w.sh(t, "web1", "ip tuntap add dev tun0 mode tun user deploy-user\necho 'PermitTunnel yes' >/etc/ssh/sshd_config.d/10-test.conf"+again)
	w.run(t, "verify").exits(t, 3).says(t, "BREACH: the CI key can do what it must not: a tunnel: the channel is open\n")
	v := verify(t, w.inventoryFile(t), "--as", "admin")
	v.finds(t, "sshd-config deploy-user")
	v.says(t, "sshd_config has PermitTunnel yes for deploy-user: ")
	const sentence = "sshd_config has PermitTunnel yes for deploy-user: with the CI key one can open a tunnel, which restrict in authorized_keys does not forbid\n"
	w.mended(t, w.run(t, "plan"), sentence)
	w.run(t, "verify").exits(t, 0)

	w.sh(t, "web1", `rm /etc/ssh/sshd_config.d/00-deploy-user.conf
cat >/etc/ssh/sshd_config.d/10-test.conf <<END
AuthorizedKeysCommand /usr/bin/printenv KEYS
AuthorizedKeysCommandUser nobody
Match LocalPort 2222
	X11Forwarding yes
Match Address 198.51.100.0/24 User deploy-*
	PermitTunnel ethernet
Match Address 203.0.113.0/24 User somebody
	PermitTunnel yes
END`+again)
	r := w.run(t, "plan").exits(t, 0)
	r.says(t, "sshd_config has AuthorizedKeysCommand /usr/bin/printenv KEYS for deploy-user: it lets in keys that stand in no file, past the gate\n",
		"sshd_config has PermitTunnel ethernet for deploy-user (Match Address 198.51.100.0/24 User deploy-*): ")
	r.saysNot(t, "somebody", "X11", "LocalPort", "cannot be told")
	w.sh(t, "web1", sshdAsBefore)
	verify(t, w.inventoryFile(t), "--as", "admin", "--strict").finds(t)
}

// A key is told of in whatever file sshd finds it.
func TestSecondKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	key := w.sh(t, "web1", `ssh-keygen -q -t ed25519 -N '' -C intruder -f /run/intruder
install -o deploy-user -g deploy-user -m 600 /run/intruder.pub /home/deploy-user/.ssh/authorized_keys2
ssh-keygen -lf /run/intruder.pub | cut -d ' ' -f 2`)
	second := "unrestricted key in ~deploy-user/.ssh/authorized_keys2 (no forced command): " + strings.TrimSpace(key)
	w.run(t, "verify").exits(t, 0).says(t, "unrestricted-keys deploy-user: note: "+second+"\n") // CI is told no comment
	w.run(t, "verify", "--as", "admin").exits(t, 0).says(t, "unrestricted-keys deploy-user: note: "+second+" intruder\n")
	w.run(t, "plan").exits(t, 0).says(t, second+" intruder\n")

	w.sh(t, "web1", `rm /home/deploy-user/.ssh/authorized_keys2
install -D -m 644 /run/intruder.pub /etc/ssh/keys/deploy-user
echo 'AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/keys/%u' >/etc/ssh/sshd_config.d/10-test.conf`+again)
	w.run(t, "verify", "--as", "admin").exits(t, 0).says(t, "sshd-config deploy-user: note: unrestricted key in /etc/ssh/keys/deploy-user (no forced command): "+strings.TrimSpace(key)+" intruder\n")
}
