package e2e_test

import (
	"strings"
	"testing"

	"provision/e2e/gitlabtest"
	"provision/e2e/golden"
	"provision/inventory"
	"provision/provision/secret"
)

// What the program says when a host, or what GitLab lets one do, is the reason.
// The other likely errors are in cmd.
func TestErrors(t *testing.T) {
	w := newWorld(t, head+web1+app)
	h, d := w.Inventory.Host("web1"), w.deployment(t, "app")
	root := func(script string) func(*testing.T) { return func(t *testing.T) { w.sh(t, "web1", script) } }
	set := func(change func()) func(*testing.T) { return func(*testing.T) { change() } }
	address, keys, project, password := h.Address, h.HostKeys, d.Project, h.BecomePassword
	plan := []string{"plan"}
	apply := []string{"apply"}

	for _, c := range []struct {
		name, title string
		command     []string
		begin, end  func(*testing.T)
	}{
		{"name-not-resolved", "The name of a host cannot be resolved", plan,
			set(func() { h.Address = "wbe1.example.com" }), set(func() { h.Address = address })},
		{"no-docker", "A host has no Docker", plan,
			root("mv /usr/bin/docker /usr/bin/docker.aside"), root("mv /usr/bin/docker.aside /usr/bin/docker")},
		{"no-compose", "A host has no Compose v2", plan,
			root("cd /usr/libexec/docker/cli-plugins && mv docker-compose /root/"), root("mv /root/docker-compose /usr/libexec/docker/cli-plugins/")},
		{"no-disk", "The disk of a host is full", plan,
			root("mount -t tmpfs -o size=64m tmpfs /var"), root("umount -l /var")},
		{"no-sudo", "A host has no sudo", plan,
			root("mv /usr/bin/sudo /root/"), root("mv /root/sudo /usr/bin/")},
		{"sudo-password-missing", "sudo wants a password", plan,
			root("mv /etc/sudoers.d/lab /root/; usermod -aG sudo admin; echo 'admin:the right one' | chpasswd"), nil},
		{"sudo-password-wrong", "The password of sudo is wrong", plan,
			func(t *testing.T) { h.BecomePassword = w.secretFile(t, "the wrong one") },
			func(t *testing.T) { h.BecomePassword = password; w.sh(t, "web1", "mv /root/lab /etc/sudoers.d/") }},
		{"host-key-unknown", "The host key is not known", plan,
			set(func() { h.HostKeys = nil }), nil},
		{"host-key-changed", "The host key has changed", plan,
			set(func() { h.HostKeys = w.Inventory.GitLab.HostKeys }), set(func() { h.HostKeys = keys })},
		{"project-not-found", "A project of the inventory does not exist", plan,
			set(func() { d.Project = "transmogrify/frobnicater" }), set(func() { d.Project = project })},
		{"not-owner", "The token's user is no Owner of the group", apply,
			set(func() { w.GitLab.AddMember("transmogrify", "owner", gitlabtest.Maintainer) }),
			set(func() { w.GitLab.AddMember("transmogrify", "owner", gitlabtest.Owner) })},
		{"free-tier-group-scope", "GitLab Free has no environment scopes for variables of groups", apply,
			set(func() { w.GitLab.SetEdition(gitlabtest.EEFree) }), set(func() { w.GitLab.SetEdition(gitlabtest.CE) })},
		{"login-refused", "The registry refuses the login", apply,
			set(func() {
				w.sh(t, "web1", "runuser -u deploy-user -- rm -rf /home/deploy-user/.docker")
				w.GitLab.Fail("GET", "/jwt/auth", 0, gitlabtest.Failure(403))
			}), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.begin(t)
			r := w.run(t, c.command...)
			if c.end != nil {
				c.end(t)
			}
			golden.Check(t, "../cmd/testdata", c.name, c.title, strings.Join(c.command, " "), r.errors+r.out, r.code)
		})
	}
	_, _ = inventory.Host{}, secret.Value{}
}
