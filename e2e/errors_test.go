package e2e_test

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"provision/cmd"
	"provision/e2e/gitlabtest"
	"provision/e2e/golden"
	"provision/inventory"
)

// What the program says when a host, or what GitLab lets one do, is the reason.
// The other likely errors are in cmd.
func TestErrors(t *testing.T) {
	w := newWorld(t, head+web1+app)
	h, d := w.Inventory.Host("web1"), w.deployment(t, "app")
	was, project, credential := *h, d.Project, w.Inventory.Registry.Credential
	root := func(script string) func() { return func() { w.sh(t, "web1", script) } }
	converge := func() { w.apply(t) }
	const title = "deploy-user@web1"
	// key returns the public key of the host that GitLab let in, and lets it in
	// no longer.
	key := func() string {
		for _, k := range w.GitLab.DeployKeys(project) {
			w.GitLab.RemoveDeployKey(project, k.ID)
		}
		return w.read(t, "/home/deploy-user/.ssh/id_ed25519.pub")
	}

	for _, c := range []struct {
		name, title, command string
		begin, end           func()
	}{
		{"name-not-resolved", "The name of a host cannot be resolved", "plan",
			func() { h.Address = "wbe1.example.com" }, func() { h.Address = was.Address }},
		{"kept-out", "The host hangs up at once", "plan",
			func() {
				w.sh(t, "web1", `printf 'PerSourcePenalties noauth:600s min:1s\n' >/etc/ssh/sshd_config.d/10-penalties.conf; systemctl restart ssh`)
				for greeting := "SSH-"; strings.HasPrefix(greeting, "SSH-"); { // until it is no longer
					conn, err := net.Dial("tcp", net.JoinHostPort(h.Address, "22"))
					if err != nil {
						t.Fatal(err)
					}
					text := make([]byte, 64)
					n, _ := conn.Read(text)
					greeting = string(text[:n])
					conn.Close()
				}
			},
			root("rm /etc/ssh/sshd_config.d/10-penalties.conf; systemctl restart ssh")},
		{"host-key-unknown", "The host key is not known", "plan",
			func() { h.HostKeys = nil }, nil},
		{"host-key-changed", "The host key has changed", "plan",
			func() { h.HostKeys = w.Inventory.GitLab.HostKeys }, func() { h.HostKeys = was.HostKeys }},
		{"no-sudo", "A host has no sudo", "plan",
			root("mv /usr/bin/sudo /root/"), root("mv /root/sudo /usr/bin/")},
		{"sudo-wants-password", "sudo wants a password, and none is given", "plan",
			root("mv /etc/sudoers.d/lab /root/; usermod -aG sudo admin; echo 'admin:the right one' | chpasswd"), nil},
		{"sudo-wrong-password", "The password of sudo is wrong", "plan",
			func() { h.BecomePassword = w.secretFile(t, "the wrong one") },
			func() { h.BecomePassword = was.BecomePassword; w.sh(t, "web1", "mv /root/lab /etc/sudoers.d/") }},
		{"no-docker", "A host has no Docker", "plan",
			root("mv /usr/bin/docker /root/"), root("mv /root/docker /usr/bin/")},
		{"no-compose", "A host has no Compose v2", "plan",
			root("mv /usr/libexec/docker/cli-plugins/docker-compose /root/"), root("mv /root/docker-compose /usr/libexec/docker/cli-plugins/")},
		{"no-disk", "The disk of a host is full", "plan",
			root("mount -t tmpfs -o size=64m tmpfs /var"), root("umount -l /var")},
		{"project-not-found", "A project of the inventory does not exist", "plan",
			func() { d.Project = "transmogrify/frobnicater" }, func() { d.Project = project }},
		{"not-owner", "The user of the token is no Owner of the group", "plan",
			func() { w.GitLab.AddMember("transmogrify", "owner", gitlabtest.Maintainer) },
			func() { w.GitLab.AddMember("transmogrify", "owner", gitlabtest.Owner) }},
		{"free-tier-group-scope", "This GitLab has no environment scopes for variables of groups", "apply",
			func() { w.GitLab.SetEdition(gitlabtest.EEFree) },
			func() { w.GitLab.SetEdition(gitlabtest.CE); converge() }},
		{"login-refused", "The registry refuses the login", "apply",
			func() {
				w.Inventory.Registry.Credential = inventory.Credential{Kind: inventory.Named, Username: "puller", Password: w.secretFile(t, "not the password")}
			},
			func() { w.Inventory.Registry.Credential = credential; converge() }},
		{"key-taken", "The deploy key is taken elsewhere in GitLab", "apply",
			func() {
				w.GitLab.AddUser("somebody")
				w.GitLab.AddProject("secrets/other", "main")
				w.GitLab.AddDeployKey("secrets/other", "somebody", "a key", key())
			},
			func() {
				for _, k := range w.GitLab.DeployKeys("secrets/other") {
					w.GitLab.RemoveDeployKey("secrets/other", k.ID)
				}
				converge()
			}},
		{"clone-refused", "GitLab does not let the host clone", "apply",
			func() {
				w.GitLab.AddUser("former")
				w.GitLab.AddDeployKey(project, "former", title, key())
				w.GitLab.Block("former")
				w.sh(t, "web1", "mv /home/deploy-user/frobnicator /root/")
			},
			func() { key(); w.sh(t, "web1", "mv /root/frobnicator /home/deploy-user/"); converge() }},
		{"dirty-clone", "The clone has local changes", "plan",
			root("echo '# mine' >>/home/deploy-user/frobnicator/compose.yaml"),
			root("cd /home/deploy-user/frobnicator && runuser -u deploy-user -- git checkout -q compose.yaml")},
		{"compose-unreadable", "Compose cannot read the project", "plan",
			root("cd /home/deploy-user/frobnicator && mkdir deploy && mv compose.yaml deploy/"),
			root("cd /home/deploy-user/frobnicator && mv deploy/compose.yaml . && rmdir deploy")},
		{"variable-not-set", "A variable of the project is not set", "plan",
			root("echo 'x-password: ${DB_PASSWORD}' >>/home/deploy-user/frobnicator/compose.yaml"),
			root("cd /home/deploy-user/frobnicator && runuser -u deploy-user -- git checkout -q compose.yaml")},
		{"lock-held", "The host is locked by another run", "apply",
			root(`rm /usr/local/lib/provision/gate
flock /run/provision.lock sleep 1000 >/dev/null 2>&1 &
echo $! >/run/holder
printf 'another run\nanna@laptop (pid 4711) since 2026-11-24T08:15:00Z\n' >/run/provision.lock
while flock -n /run/provision.lock true; do :; done`),
			func() { w.sh(t, "web1", "pkill -P $(cat /run/holder)"); converge() }},
		{"nologin", "The login shell of the deploy user lets nobody in", "verify",
			root("usermod --shell /usr/sbin/nologin deploy-user"), root("usermod --shell /bin/sh deploy-user")},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.begin()
			var printed bytes.Buffer // as on a terminal, where both go
			code := cmd.Run(t.Context(), cmd.Env{Args: w.typed(t, strings.Fields(c.command)...), Stdout: &printed, Stderr: &printed})
			if c.end != nil {
				c.end()
			}
			golden.Check(t, "../cmd/testdata", c.name, c.title, c.command, printed.String(), code)
		})
	}
	w.converged(t)
}
