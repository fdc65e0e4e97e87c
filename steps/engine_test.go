package steps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"provision/provision"
)

// Of its lists apt waits for no lock, so that apply does.
func TestAptLock(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		s.stub(t, "dpkg", "")
		s.stub(t, "apt-get", `cd `+s.dir+`
case $1 in
update)
	[ -e tried ] || { echo yes >tried; echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 4711 (apt-get)" >&2; exit 100; }
	! [ -e broken ] || { echo "E: The repository is not signed" >&2; exit 100; }
	;;
install) echo "$*" >installed ;;
esac`)
		install := func() error {
			_, err := s.one(t, once{aptInstall("Docker", "", []string{"docker.io"}), s.dir + "/installed"})
			return err
		}
		if err := install(); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(filepath.Join(s.dir, "installed")); err != nil || !strings.HasSuffix(string(text), " docker.io\n") {
			t.Errorf("installed %q, %v", text, err)
		}
		os.Remove(filepath.Join(s.dir, "installed"))
		if err := os.WriteFile(filepath.Join(s.dir, "broken"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := install(); err == nil || !strings.HasSuffix(err.Error(), "E: The repository is not signed") {
			t.Errorf("got %v", err)
		}
	})
}

// once is a step with one change, which makes a file.
type once struct {
	change provision.Change
	file   string
}

func (once) Name() string { return "once" }
func (s once) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Args: []string{s.file}, Text: `! [ -e "$1" ] || fact there yes`}}
}
func (s once) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("there") != "" {
		return nil, nil
	}
	return []provision.Change{s.change}, nil
}
