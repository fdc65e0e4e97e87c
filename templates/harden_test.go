package templates

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sshd reads the new file when it has been asked about it, and whoever looks sees until then that
// it is not done. What fails leaves what was there.
func TestHarden(t *testing.T) {
	const config = "Match User deploy\n\tAuthorizedKeysFile KEYS\n\tPermitTTY no\n"
	eachShell(t, func(t *testing.T, b *box) {
		stubSshd(t, b, "")
		b.stub(t, "id", "echo 0")
		b.stub(t, "systemctl", `[ "$1" = reload ] || { [ "$2" = ssh.service ] && echo active; exit; }
echo "$2 $(stat -c %a sshd_config.d/00-provision-deploy.conf provision/deploy 2>/dev/null | tr '\n' ' ')" >>reloads`)
		file, keys := "sshd_config.d/00-provision-deploy.conf", filepath.Join(b.home, "provision/deploy")
		text := strings.NewReplacer("/etc/ssh/provision", b.home+"/provision", "/etc/ssh/sshd_config.d", b.home+"/sshd_config.d", "/run/sshd.pid", b.home+"/sshd.pid").Replace(Harden)
		first := strings.ReplaceAll(config, "KEYS", keys)
		for _, step := range []struct {
			name, before, says, new string // what sshd_config.d has
			config, left, keys      string
			reloads                 string
		}{
			{name: "fresh", config: first, left: first, new: "new", reloads: "ssh.service 600 640 \n"},
			{name: "again", config: first, left: first, reloads: "ssh.service 600 640 \n"},
			{name: "another text", config: first + "\tPermitTunnel no\n", left: first + "\tPermitTunnel no\n", reloads: "ssh.service 600 640 \n"},
			{name: "a word that sshd does not know", config: first + "\tPermitAll yes\n", left: first + "\tPermitTunnel no\n", says: "PermitAll"},
			{name: "somebody comes before it", before: "Match User deploy\n\tAuthorizedKeysFile none\n", config: first, left: first + "\tPermitTunnel no\n", says: "sshd_config says something else of deploy before it comes to "},
			{name: "gone", config: "", reloads: "ssh.service 640 \n"},
			{name: "fresh, and somebody comes before it", before: "Match User deploy\n\tAuthorizedKeysFile none\n", config: first, new: "new", says: "sshd_config says something else of deploy"},
			{name: "fresh, and no sshd would start", before: "Nonsense yes\n", config: first, new: "new", says: "Nonsense"},
		} {
			os.Remove(filepath.Join(b.home, "reloads"))
			if err := os.MkdirAll(filepath.Join(b.home, "sshd_config.d"), 0o755); err != nil {
				t.Fatal(err)
			}
			b.write(t, "sshd_config.d/00-a.conf", step.before, 0o644)
			out, status := b.run(t, text, "", "deploy", step.config, step.new)
			if (status != 0) != (step.says != "") || !strings.Contains(out, step.says) {
				t.Errorf("%s: status %d, said %q", step.name, status, out)
			}
			read := func(name string) string {
				text, _ := os.ReadFile(filepath.Join(b.home, name))
				return string(text)
			}
			if got := read(file); got != step.left {
				t.Errorf("%s: it left %q", step.name, got)
			}
			if got := read("reloads"); got != step.reloads {
				t.Errorf("%s: sshd was told %q, want %q", step.name, got, step.reloads)
			}
			_, err := os.Stat(keys)
			if (err == nil) != (step.left != "") {
				t.Errorf("%s: the keys: %v", step.name, err)
			}
			if err == nil && (b.mode(t, file) != 0o644 || b.mode(t, "provision/deploy") != 0o640) {
				t.Errorf("%s: modes %o, %o", step.name, b.mode(t, file), b.mode(t, "provision/deploy"))
			}
			if left, _ := filepath.Glob(filepath.Join(b.home, "provision/.*")); left != nil {
				t.Errorf("%s: it left %q", step.name, left)
			}
		}
	})
}
