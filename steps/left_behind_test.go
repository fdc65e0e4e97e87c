package steps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"provision/e2e/needs"
	"provision/inventory"
	"provision/provision"
)

// What is left behind is told with what it opens, and when it is in the way.
func TestLeftBehindProbes(t *testing.T) {
	needs.Root(t)
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		for _, dir := range []string{"old", "new"} {
			s.write(t, dir+"/x", "", 0o644)
		}
		folder := filepath.Join(s.dir, "etc/provision/deployments")
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		settings := func(name, text string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		settings("shop.OLD", "user="+theUser+"\ndirectory=old\nstate=shop\nwas=shop\n")
		settings("shop", "user="+theUser+"\ndirectory=new\nstate=shop.2\n")
		s.write(t, ".ssh/authorized_keys", keyLineOf(t, "shop.OLD", key1)+keyLineOf(t, "shop", key2), 0o600)
		s.write(t, ".ssh/id_ed25519", "", 0o600)
		s.stub(t, "systemctl", "echo active")
		s.stub(t, "id", `case "$*" in
"-nG deploy-frobnicator") echo deploy-frobnicator docker ;;
*) PATH=`+systemPath+` exec id "$@" ;;
esac`)
		docker := func(ports, running string) {
			s.stub(t, "docker", `case "$*" in
"ps --all"*) printf '%s\n' '/elsewhere/|x-1|x|running|' '`+s.path("old")+`/|old-web-1|old|running|`+ports+`' `+running+` ;;
"ps --quiet --filter label=com.docker.compose.project.working_dir=`+s.path("old")+`") echo one; echo two ;;
*) echo "docker $*?" >&2; exit 1 ;;
esac`)
		}
		d := &inventory.Deployment{Name: "shop", User: theUser, Directory: "new", Host: &inventory.Host{Name: "web1"}}
		inv := &inventory.Inventory{Path: "inventory.toml", Deployments: []*inventory.Deployment{d}, Hosts: []*inventory.Host{d.Host}}
		told := func(of func(target) provision.Step) string {
			t.Helper()
			return describe(provision.Check(t.Context(), s.target(newFake()), []provision.Step{of(target{inv: inv, host: d.Host, deployment: d})}))
		}
		inTheWay := func(t target) provision.Step { return leftBehindOf(t) }
		docker("80/tcp", "")
		if got := told(inTheWay); got != "nothing\n" {
			t.Errorf("it is in the way: %s", got)
		}
		docker("0.0.0.0:80->80/tcp", "")
		if got := told(inTheWay); !strings.Contains(got, "~"+theUser+"/old is left behind, and publishes ports that this one would, too: 0.0.0.0:80->80/tcp") {
			t.Errorf("it is not in the way: %s", got)
		}
		docker("0.0.0.0:80->80/tcp", "'"+s.path("new")+"/|new-web-1|new|running|'") // so that they get on
		if got := told(inTheWay); got != "nothing\n" {
			t.Errorf("it is in the way: %s", got)
		}

		opens := func(t target) provision.Step { return unmanagedOf(t) }
		const drift = "drift: shop.OLD is installed on this host but not in the inventory"
		if got := told(opens); !strings.HasPrefix(got, drift+": 1 CI key in ~"+theUser+"/.ssh/authorized_keys, 2 running containers\n") {
			t.Errorf("of one user: %s", got)
		}
		d.User = "another"
		settings("shop", "directory=new\nuser=another\n")
		// The shell of busybox has an id of its own.
		if got := told(opens); !strings.HasPrefix(got, drift+": "+theUser+" is in the docker group, ") && !strings.HasSuffix(s.shell, "/ash") ||
			!strings.Contains(got, "the key pair of "+theUser+", 2 CI keys in") {
			t.Errorf("of another user: %s", got)
		}
	})
}
