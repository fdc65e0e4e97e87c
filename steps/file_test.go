package steps

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"provision/e2e/needs"
	"provision/inventory"
)

func TestInstallScript(t *testing.T) {
	needs.Root(t)
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		step := registryCA{inventory.Registry{Host: "registry.example.com:5050", CA: []byte("-----BEGIN\n")}, true}
		file := filepath.Join(s.dir, "etc/docker/certs.d/registry.example.com:5050/provision.crt")
		const summary = "install /etc/docker/certs.d/registry.example.com:5050/provision.crt (CA certificate of registry.example.com:5050)"
		for name, spoil := range map[string]func() error{
			"missing": func() error { return nil },
			"text":    func() error { return os.WriteFile(file, []byte("other"), 0o644) },
			"mode":    func() error { return os.Chmod(file, 0o666) },
			"owner":   func() error { return os.Chown(file, 1, 1) },
		} {
			if name != "missing" {
				if _, err := s.one(t, step); err != nil {
					t.Fatal(err)
				}
			}
			os.Chown(filepath.Dir(file), 0, 0)
			if name == "missing" {
				os.Remove(file)
			}
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			done, err := s.one(t, step)
			checkDone(t, done, err, summary)
			info, err := os.Stat(file)
			if err != nil || info.Mode().Perm() != 0o644 || info.Sys().(*syscall.Stat_t).Uid != 0 {
				t.Errorf("%s: %v, %v", name, info, err)
			}
			if text, _ := os.ReadFile(file); string(text) != string(step.registry.CA) {
				t.Errorf("%s: %q", name, text)
			}
			if done, err := s.one(t, step); err != nil || done != nil {
				t.Errorf("%s: done %q, error %v", name, done, err)
			}
		}
		entries, err := os.ReadDir(filepath.Dir(file))
		if err != nil || len(entries) != 1 {
			t.Errorf("left beside it: %v, %v", entries, err)
		}
	})
}
