package steps

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"provision/inventory"
)

// A project whose Compose files are in a folder is asked for when .env and the
// files are as the inventory has them, and again when something changes that
// Compose reads for it. Its containers are those of that folder, of the clone, where
// they may have been started before, and of no other project.
func TestContainersProbeInAFolder(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		s.stub(t, "systemctl", "echo active")
		s.stub(t, "docker", `cd `+s.dir+`
case "$*" in
ps*oneoff=False*) cat ids ;;
ps*) ;;
inspect*) shift 4; for id; do grep "^$id	" containers; done ;;
"compose config --format json") echo asked >>asked; cat config ;;
"compose --project-directory . --file - config --images") cat >/dev/null; sed -n "s/^COMPOSE_FILE='\(.*\)'/:\1/p" "`+s.path("frobnicator")+`/.env" ;;
"compose --profile * config --services") printf '%s\n' web ;;
*) echo "docker $*?" >&2; exit 1 ;;
esac`)
		s.appClone(t)
		s.write(t, "../../ids", "", 0o644)
		s.write(t, "../../config", `{"name":"frobnicator","services":{"web":{"image":"web:1"}}}`, 0o644)
		inv, given := inventoryOf(t, "app")
		list := For(inv, inv.Hosts[0], inv.Deployments, given)
		step := named(t, list, "containers frobnicator-production").(containers)
		look := func(want string, times int) {
			t.Helper()
			s.write(t, "../../asked", "", 0o666)
			seen := s.look(t, step)
			delete(seen, "clone")
			got, asked := fmt.Sprint(seen), strings.Count(s.read(t, "../../asked"), "asked")
			if got != "map["+want+"]" || asked != times {
				t.Errorf("saw  %s, asked %d times\nwant %s, %d", got, asked, want, times)
			}
		}
		look("", 0)
		if _, err := s.one(t, named(t, list, "app-env frobnicator-production")); err != nil {
			t.Fatal(err)
		}
		look("", 0)
		if _, err := s.one(t, named(t, list, "app-files frobnicator-production")); err != nil {
			t.Fatal(err)
		}
		look("wanted:[web 1]", 1)
		s.write(t, "frobnicator/compose.override.yaml", "", 0o644)
		if _, err := s.one(t, named(t, list, "app-env frobnicator-production")); err != nil {
			t.Fatal(err)
		}
		look("wanted:[web 1]", 1)
		other := *inv.Deployments[0]
		other.Env = append([]inventory.Setting{{Name: "A"}}, other.Env...)
		step.env = appEnvOf(target{inv: inv, host: inv.Hosts[0], deployment: &other, given: given}).form()
		look("", 0)
		step = named(t, list, "containers frobnicator-production").(containers)

		s.write(t, "frobnicator/deploy/compose.yaml", "services:\n  web:\n    env_file: web.env\n", 0o644)
		s.write(t, "frobnicator/compose.override.yaml", "services:\n  web:\n    env_file:\n    - more.env\n", 0o644)
		keep := func() { keepWants(t, s, "frobnicator", "frobnicator-production") }
		for _, file := range []string{"deploy/compose.yaml", "deploy/prod.yaml", "compose.override.yaml", "deploy/.env", "deploy/web.env", "deploy/more.env"} {
			keep()
			look("wanted:[web 1]", 0)
			before, _ := os.ReadFile(s.path("frobnicator/" + file))
			s.write(t, "frobnicator/"+file, string(before)+"# more\n", 0o644)
			look("wanted:[web 1]", 1)
		}

		line := func(id, project string) string {
			return strings.Join([]string{id, "running", "0", "0", "2001-01-01T00:00:00Z", "none", "always", "sha256:aa", "web", id, project, "web:1", "null"}, "\t") + "\n"
		}
		clone := s.path("frobnicator")
		s.write(t, "../../containers", line("one", "frobnicator")+line("two", "frobnicator")+line("three", "tools")+line("four", "frobnicator"), 0o644)
		const ok = "ok web running runs"
		for ids, want := range map[string]string{
			"one " + clone + "/deploy\n":                                        "image:[web sha256:aa] service:[" + ok + "] ",
			"one " + clone + "/deploy\ntwo " + clone + "\n":                     "image:[web sha256:aa] service:[" + ok + " " + ok + "] ",
			"one " + clone + "/deploy\nthree " + clone + "/tools\n":             "image:[web sha256:aa] service:[" + ok + "] ",
			"four " + clone + "-other\nfour /srv" + clone + "\nfour /srv/app\n": "",
		} {
			s.write(t, "../../ids", ids, 0o644)
			look(want+"wanted:[web 1]", 1)
		}
	})
}
