package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"provision/e2e/needs"
)

// The first five minutes: init writes an inventory, and it works as it is.
func TestInit(t *testing.T) {
	w := newWorld(t, head+web1+app)
	host := w.Inventory.Hosts[0]
	token, err := os.ReadFile(w.Inventory.GitLab.Token.File)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GITLAB_TOKEN", strings.TrimSpace(string(token)))
	dir := t.TempDir()
	ca, file := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "first.toml")
	if err := os.WriteFile(ca, w.Inventory.GitLab.CA, 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"provision", "init", "--gitlab", w.Inventory.GitLab.URL, "--project", "transmogrify/frobnicator",
		"--host", host.User + "@" + host.Address, "--ca-file", ca, "--identity", host.Identity, file}
	run(t.Context(), args...).exits(t, 2).says(t, "the host key of ", " is not confirmed\n", "--accept-host-key")
	for _, key := range append(host.HostKeys, w.Inventory.GitLab.HostKeys...) {
		public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, "--accept-host-key", ssh.FingerprintSHA256(public))
	}
	run(t.Context(), args...).exits(t, 0).says(t, "found project transmogrify/frobnicator in group transmogrify", "next: provision check "+file)
	run(t.Context(), "provision", "check", file).exits(t, 0).says(t, "1 host, 1 deployment")
	run(t.Context(), "provision", "plan", "--exit-code", file).exits(t, 3)
	run(t.Context(), "provision", "apply", file).exits(t, 0).says(t, "start the containers of frobnicator-production")
	run(t.Context(), "provision", "apply", file).exits(t, 0).says(t, "nothing to do")
}

// The package installs, with all that comes with the program.
func TestPackage(t *testing.T) {
	t.Parallel()
	needs.Lab(t, noLab)
	if out, err := exec.CommandContext(t.Context(), "make", "-C", "..", "package").CombinedOutput(); err != nil {
		t.Fatalf("make package: %v\n%s", err, out)
	}
	packages, err := filepath.Glob("../dist/provision_*.deb")
	if err != nil || len(packages) == 0 {
		t.Fatalf("make package made nothing: %v", err)
	}
	newest := packages[0]
	for _, p := range packages {
		if a, err := os.Stat(p); err == nil {
			if b, err := os.Stat(newest); err == nil && a.ModTime().After(b.ModTime()) {
				newest = p
			}
		}
	}
	text, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, head+web1+app)
	if err := os.WriteFile(w.Hosts["web1"].File("/root/provision.deb"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	// The hosts of the lab leave out what nobody reads there.
	out := w.sh(t, "web1", `dpkg --path-include='/usr/share/*' -i /root/provision.deb >/dev/null
		provision version
		provision-rehearse --help | grep 'provision rehearse -'
		for f in man/man1/provision.1.gz bash-completion/completions/provision zsh/vendor-completions/_provision \
			fish/vendor_completions.d/provision.fish provision/provision.schema.json doc/provision/copyright \
			doc/provision/LICENSE doc/provision/THIRD_PARTY_NOTICES doc/provision/CHANGELOG.md; do
			test -s "/usr/share/$f" || echo "$f is missing"
		done
		stat -c %a /
		dpkg -V provision
		dpkg -P provision >/dev/null
		[ -e /usr/bin/provision ] || echo gone`)
	lines := strings.Split(out, "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "provision ") || !strings.Contains(lines[0], "(commit ") ||
		!strings.Contains(lines[1], "provision rehearse - ") || lines[2] != "755" || lines[3] != "gone" {
		t.Errorf("it prints:\n%s", out)
	}
}
