package steps

import (
	"os"
	"slices"
	"syscall"
	"testing"

	"provision/inventory"
)

// A look waits for no pipe: with nothing wanted in .env, nothing is read there that
// is no file.
func TestLookAtAPipe(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		s.appClone(t)
		os.Remove(s.path("frobnicator/.env"))
		if err := syscall.Mkfifo(s.path("frobnicator/.env"), 0o600); err != nil {
			t.Fatal(err)
		}
		inv, given := inventoryOf(t, "")
		d := *inv.Deployments[0]
		d.Env = nil
		if got := s.look(t, appEnvOf(target{inv: inv, host: inv.Hosts[0], deployment: &d, given: given})); len(got) > 0 {
			t.Errorf("saw %v", got)
		}
	})
}

// The name of a group may have blanks, as that of a directory service.
func TestLooseOfAGroupWithBlanks(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		s.write(t, "../../asked", "", 0o666)
		s.stub(t, "stat", `echo yes >`+s.dir+`/asked
shift 2
format=$(printf '%s' "$1" | sed 's/%G/domain users/')
shift
exec /usr/bin/stat -L -c "$format" "$@"`)
		s.write(t, ".ssh/authorized_keys", "", 0o600)
		os.Chmod(s.path(".ssh"), 0o770)
		inv, given := inventoryOf(t, "")
		step := unrestrictedKeysOf(targets(inv, inv.Hosts[0], []*inventory.Deployment{inv.Deployments[0]}, given)[0])
		got := s.look(t, step)["loose"]
		if s.read(t, "../../asked") == "" {
			t.Skip("this shell has a stat(1) of its own, which knows the groups of this machine alone")
		}
		if !slices.Equal(got, []string{".ssh"}) {
			t.Errorf("loose: %q", got)
		}
	})
}
