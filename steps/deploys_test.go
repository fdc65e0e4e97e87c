package steps

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"provision/e2e/needs"
	"provision/provision"
	"provision/templates"
)

func (s *sandbox) look(t *testing.T, step provision.Step) provision.Facts {
	t.Helper()
	seen, err := provision.Look(t.Context(), s.target(newFake()), []provision.Step{step})
	if err != nil {
		t.Fatal(err)
	}
	return seen.Of(step.Name())
}

// What verify sees of containers is what a deploy sees, and the record of the
// last good one; while a deploy runs it is told apart.
func TestContainersProbe(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		step := containers{deployment: "app", user: theUser, directory: "app dir", version: "TAG"}
		check := func(want string) {
			t.Helper()
			seen := s.look(t, step)
			delete(seen, "clone")
			if got := fmt.Sprint(seen); got != "map["+want+"]" {
				t.Errorf("saw %s, want %s", got, want)
			}
		}
		s.stub(t, "systemctl", "echo active")
		s.stub(t, "docker", `cd `+s.dir+`
case "$*" in
ps*oneoff=False*) echo "other /home/alice/app"; echo "none `+s.path("app")+`"; sed 's,$, `+s.path("app dir")+`,' ids 2>/dev/null || : ;;
ps*"{{.Ports}}"*) cat others 2>/dev/null || : ;;
inspect*) cat containers ;;
"compose version") ;;
"compose config --format json") echo asked >>asked; cat warnings >&2; cat config ;;
"compose --profile * config --services") printf '%s\n' web db debug ;;
*) echo "docker $*?" >&2; exit 1 ;;
esac`)
		s.write(t, "../../warnings", "", 0o644)
		s.write(t, "../../config", `{"name":"app","services":{"web":{"image":"web:1","scale":2},"db":{"image":"db:1"}}}`, 0o644)
		check("unversioned:[yes]") // no folder
		s.write(t, "app dir/compose.yaml", "", 0o644)
		check("unversioned:[yes]")
		s.write(t, "app dir/.env", "XTAG=1\n#TAG=2\nTAG2=x\n", 0o600)
		check("unversioned:[yes]")
		s.write(t, "app dir/.env", "A=b\nTAG=2\n", 0o600)
		check("wanted:[web 2 db 1]")
		line := func(words ...string) string { return strings.Join(words, "\t") + "\n" }
		others := func(lines ...string) { s.write(t, "../../others", strings.Join(lines, ""), 0o644) }
		own := s.path("app dir")
		others(line("a", "app", own, ""), line("b", "app", "/home/alice/app", ""), line("c", "app", "/home/alice/app", ""), line("d", "app", "", ""), line("e", "other", "/opt", ""))
		check("taken:[/home/alice/app] wanted:[web 2 db 1]")
		// Of names and ports only those of others count, and of the addresses of a
		// host each has its own ports.
		s.write(t, "../../config", `{"name":"app","services":{"web":{"image":"web:1","scale":2,"ports":[`+
			`{"target":80,"published":"61001","protocol":"tcp"},{"host_ip":"127.0.0.2","target":81,"published":"61002","protocol":"tcp"},`+
			`{"target":82,"published":"61003","protocol":"udp"},{"target":83,"published":"61004-61009","protocol":"tcp"}]},"db":{"image":"db:1","container_name":"data"}}}`, 0o644)
		s.write(t, "app dir/compose.yaml", "# new\n", 0o644)
		for _, c := range []struct{ other, want string }{
			{line("data", "app", own, "127.0.0.1:61001->80/tcp"), ""},
			{line("data", "", "", ""), "name:[data db container data] "},
			{line("x", "other", "/opt/x", "0.0.0.0:61001->80/tcp, [::]:61001->80/tcp"), "port:[61001/tcp web container x of /opt/x] "},
			{line("x", "", "", "127.0.0.9:61001->80/tcp"), "port:[61001/tcp web container x] "},
			{line("x", "", "", "127.0.0.9:61002->80/tcp, 61003/tcp, 127.0.0.2:61003->7/tcp"), ""},
			{line("x", "", "", "127.0.0.2:61000-61002->80-82/tcp"), "port:[61001/tcp web container x 61002/tcp web container x] "},
			{line("x", "", "", ":::61003->80/udp"), "port:[61003/udp web container x] "},
			{line("x", "", "", "0.0.0.0:61005->80/tcp"), ""},
		} {
			others(c.other)
			check(c.want + "wanted:[web 2 db 1]")
		}
		listener, err := net.Listen("tcp", "127.0.0.2:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		for ip, want := range map[string]string{"127.0.0.2": "port:[" + port + "/tcp web another program] ", "127.0.0.3": ""} {
			s.write(t, "../../config", `{"name":"app","services":{"web":{"image":"web:1","scale":2,"ports":[{"host_ip":"`+ip+`","published":"`+port+`","protocol":"tcp"}]},"db":{"image":"db:1"}}}`, 0o644)
			check(want + "wanted:[web 2 db 1]")
		}
		listener.Close()
		others()

		s.write(t, "../../ids", "one\ntwo\n", 0o600)
		s.write(t, "../../containers", line("two", "exited", "3", "0", "2026-01-01T00:00:00Z", "none", "always", "sha256:aa", "web", "app-web-1", "app", "web:1", "null")+
			line("one", "running", "0", "0", "2026-01-01T00:00:00Z", "healthy", "always", "sha256:aa", "db", "app-db-1", "app", "db:1", "null"), 0o600)
		s.write(t, ".provision/app/good", "time now\nproject app\nfiles /x y\nservice web 2 runs sha256:aa web:1\nservice db 1 ended sha256:aa db:1\n", 0o600)
		const good, image = "good:[web 2 runs sha256:aa db 1 ended sha256:aa] ", "image:[db sha256:aa web sha256:aa] "
		const all = image + "service:[ok db running is healthy bad web exited is stopped, exit code 3] wanted:[web 2 db 1]"
		check(good + all)

		s.write(t, ".provision/app/lock", "", 0o600)
		check(good + all)
		held := exec.Command("flock", s.path(".provision/app/lock"), "sh", "-c", "echo held; cat")
		in, err := held.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := held.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := held.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fscanln(out, new(string)); err != nil {
			t.Fatal(err)
		}
		check("deploying:[yes] " + good + all)
		in.Close()
		if err := held.Wait(); err != nil {
			t.Fatal(err)
		}
		check(good + all)
	})
}

// What Compose wants is asked once, and again where something has changed that it
// has read.
func TestContainersProbeOfAProject(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		s.stub(t, "systemctl", "echo active")
		s.stub(t, "docker", `cd `+s.dir+`
case "$*" in
ps*oneoff=False*) sed 's,$, `+s.path("app")+`,' ids ;;
ps*) ;;
inspect*) cat containers ;;
"compose version") ! [ -e nocompose ] ;;
"compose config --format json") echo asked >>asked; cat warnings >&2; ! [ -e fails ] || exit 14; cat config ;;
"compose --project-directory . --file - config --images") cat >/dev/null; sed -n 's/^COMPOSE_FILE=/:/p' "`+s.path("app")+`/.env" ;;
"compose --profile * config --services") printf '%s\n' web db debug ;;
"compose config --services" | "compose --env-file .env config --services") printf '%s\n' web ${COMPOSE_PROFILES} ;;
"compose --profile * config --profiles") printf '%s\n' jobs debug ;;
*) echo "docker $*?" >&2; exit 1 ;;
esac`)
		look := func(step containers, want string) {
			t.Helper()
			seen := s.look(t, step)
			delete(seen, "clone")
			if got := fmt.Sprint(seen); got != "map["+want+"]" {
				t.Errorf("saw  %s\nwant %s", got, want)
			}
		}
		admin, ci := containers{deployment: "app", user: theUser, directory: "app"}, containers{deployment: "app", user: theUser, directory: "app", asUser: true}
		s.write(t, "app/compose.yaml", "services: {}\n", 0o644)
		s.write(t, "app/conf/site.conf", "", 0o644)
		s.write(t, "../../ids", "", 0o644)
		s.write(t, "../../warnings", "", 0o644)
		s.write(t, "../../config", `{"name":"app","services":{"web":{"image":"web:1","volumes":[{"type":"bind","source":"`+s.path("app/conf/site.conf")+`"},{"type":"bind","source":"/etc/hostname"}]}}}`, 0o644)
		look(admin, "wanted:[web 1]")

		keep := func() { keepWants(t, s, "app", "app") }
		asked := func(step containers, want string, times int) {
			t.Helper()
			s.write(t, "../../asked", "", 0o666)
			look(step, want)
			if got := strings.Count(s.read(t, "../../asked"), "asked"); got != times {
				t.Errorf("Compose was asked %d times, want %d", got, times)
			}
		}
		s.write(t, "app/compose.yaml", "include: [more.yaml]\nservices:\n  web:\n    env_file:\n    - path: app.env\n", 0o644)
		s.write(t, "app/more.yaml", "include:\n  - sub/deep.yml\n", 0o644)
		s.write(t, "app/sub/deep.yml", "services: {}\n", 0o644)
		keep()
		asked(admin, "wanted:[web 1]", 0)
		for _, file := range []string{"compose.yaml", "compose.override.yaml", "docker-compose.override.yml", ".env", "more.yaml", "sub/deep.yml", "app.env", "sub/.env"} {
			before, _ := os.ReadFile(s.path("app/" + file))
			s.write(t, "app/"+file, string(before)+"# more\n", 0o644)
			asked(admin, "wanted:[web 1]", 1)
			keep()
			asked(ci, "wanted:[web 1]", 0)
		}

		// What cannot be told is asked each time.
		for _, text := range []string{"include: [\"${WHERE}.yaml\"]\n", "include:\n- https://git.example.com/a.git\n", "services:\n  a:\n    extends: &x\n      file: a.yaml\n"} {
			s.write(t, "app/compose.yaml", text, 0o644)
			if out, err := s.run(t, "cd app\n"+templates.Wants+"compose_of_input() { :; }\n! input_files"); err != nil {
				t.Errorf("%q is told to read %s", text, out)
			}
		}
		s.write(t, "app/compose.yaml", "services: {}\n", 0o644)

		line := func(service, started string) string {
			return strings.Join([]string{service, "running", "0", "0", started, "none", "always", "sha256:aa", service, "app-" + service, "app", service + ":1", "null"}, "\t") + "\n"
		}
		s.write(t, "../../ids", "x\n", 0o644)
		const old = "2001-01-01T00:00:00.5Z"
		s.write(t, "../../containers", line("debug", old)+line("gone", old)+line("web", old), 0o644)
		const images = "image:[debug sha256:aa gone sha256:aa web sha256:aa] "
		const run = "service:[ok debug running runs ok gone running runs ok web running runs] "
		look(admin, images+"orphan:[gone] "+run+"stale:[web conf/site.conf] wanted:[web 1]")

		// What the last good deploy has left of a profile that is no longer active.
		s.write(t, ".provision/app/good", "service debug 1 runs sha256:aa debug:1\n", 0o600)
		look(admin, "good:[debug 1 runs sha256:aa] idle:[debug] "+images+"orphan:[gone] "+run+"stale:[web conf/site.conf] wanted:[web 1]")
		s.write(t, ".provision/app/waits", "", 0o600)
		s.write(t, "../../containers", line("debug", old), 0o644)
		soon := admin
		soon.env, soon.profiles = "none", []string{"jobs"}
		look(soon, "good:[debug 1 runs sha256:aa] image:[debug sha256:aa] service:[ok debug running runs] soon:[web jobs] waits:[yes]")
		for _, file := range []string{"good", "waits"} {
			if err := os.Remove(s.path(".provision/app/" + file)); err != nil {
				t.Fatal(err)
			}
		}

		s.write(t, "../../containers", line("web", "2999-01-01T00:00:00Z"), 0o644)
		look(admin, "image:[web sha256:aa] service:[wait web running has just started] wanted:[web 1]")
		s.write(t, "app/.env", "COMPOSE_PROFILES=jobs\n", 0o600)
		look(admin, "image:[web sha256:aa] profiles:[jobs debug] service:[wait web running has just started] wanted:[web 1]")
		s.write(t, "app/.env", "", 0o600)
		s.write(t, "../../ids", "", 0o644)

		s.write(t, "../../warnings", `time="x" level=warning msg="The \"B\" variable is not set. Defaulting to a blank string."
time="y" level=warning msg="The \"A\" variable is not set. Defaulting to a blank string."
time="z" level=warning msg="The \"B\" variable is not set. Defaulting to a blank string."
time="z" level=warning msg="Found multiple override files with supported names: /x/compose.override.yml, /x/compose.override.yaml"
time="z" level=warning msg="Using /x/compose.override.yml"
`, 0o644)
		facts := s.look(t, admin)
		slices.Sort(facts["unset"])
		if got := fmt.Sprint(facts); got != "map[clone:[yes] unset:[A B] wanted:[web 1]]" {
			t.Errorf("saw %s", got)
		}
		s.write(t, "../../warnings", `time="z" level=warning msg="Found multiple override files with supported names: /x/compose.override.yml, /x/compose.override.yaml"
time="z" level=warning msg="Using /x/compose.override.yml"
`, 0o644)
		if out, err := s.run(t, "cd app && git init --quiet . && git config provision.override x"); err != nil {
			t.Fatal(out, err)
		}
		look(admin, "instead:[compose.override.yml] wanted:[web 1]")
		s.write(t, "../../warnings", "", 0o644)
		s.write(t, "app/.env", "COMPOSE_FILE=compose.yaml:./compose.override.yaml\n", 0o644)
		look(admin, "wanted:[web 1]")
		s.write(t, "app/.env", "COMPOSE_FILE=compose.yaml:prod.yaml\n", 0o644)
		look(admin, "instead:[compose.yaml:prod.yaml] wanted:[web 1]")

		// What is no file is not read; nor is anything while the override is yet to come.
		for _, odd := range []string{"compose.override.yml", ".env"} {
			s.write(t, "app/"+odd, "", 0o644)
			os.Remove(s.path("app/" + odd))
			for _, what := range []func() error{
				func() error { return syscall.Mkfifo(s.path("app/"+odd), 0o600) },
				func() error { return os.Symlink("/dev/zero", s.path("app/"+odd)) },
				func() error { return os.WriteFile(s.path("app/"+odd), make([]byte, 5<<20), 0o600) },
			} {
				if err := what(); err != nil {
					t.Fatal(err)
				}
				look(admin, "failed:["+odd+" is no file of a size that is read here]")
				os.Remove(s.path("app/" + odd))
			}
		}
		look(admin, "wanted:[web 1]")
		later := admin
		later.override = overrideDigest("services: {}\n")
		look(later, "")
		s.write(t, "app/compose.override.yaml", "services: {}\n", 0o644)
		look(later, "wanted:[web 1]")
		os.Remove(s.path("app/compose.override.yaml"))

		s.write(t, "../../fails", "", 0o644)
		s.write(t, "../../warnings", "time=\"z\" level=warning msg=\"x\"\nfailed to read /x/.env: SECRET\n\n", 0o644)
		look(admin, "failed:[failed to read /x/.env: SECRET]")
		look(ci, "failed:[yes]")
		s.write(t, "../../nocompose", "", 0o644)
		look(admin, "")
	})
}

// run runs a script as a deploy is run.
func (s *sandbox) run(t *testing.T, script string) (string, error) {
	t.Helper()
	cmd := exec.Command(s.shell, "-euc", script)
	cmd.Dir = s.path("")
	cmd.Env = []string{"PATH=" + s.bin + ":" + systemPath, "HOME=" + s.path(""), "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Of the images that deployments have kept, those of one go, whatever the
// others are called.
func TestRemoveKeptImages(t *testing.T) {
	needs.Root(t)
	digest := strings.Repeat("0123456789abcdef", 4)
	tags := []string{"a.b_" + digest, "aXb_" + digest, "a.b_c_" + digest, "x.a.b_" + digest, "a.b_" + digest[1:], "a.b_" + digest + "0", "a.b_" + digest[:63] + "g",
		"a.b", "a.bb_" + digest, "A.B_" + digest, "a.b_" + digest[:63] + "0", "latest"}
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		inv, given := inventoryOf(t, "")
		d := inv.Deployments[0]
		d.Name = "a.b"
		s.stub(t, "systemctl", "echo active")
		s.stub(t, "docker", `cd `+s.dir+`
case "$*" in
"image ls --filter reference=provision/kept --format {{.Tag}}") cat tags ;;
"image rm "*)
	echo "$*" >>removed
	grep -vxF -e "${3#provision/kept:}" tags >left || :
	mv left tags
	;;
ps* | "network ls"* | "volume ls"*) ;;
*) echo "docker $*?" >&2; exit 1 ;;
esac`)
		s.write(t, "../../tags", strings.Join(tags, "\n")+"\n", 0o600)
		removal := removalOf(t, inv, d, given, "containers a.b")
		done, err := s.one(t, removal)
		checkDone(t, done, err, "remove 2 kept images of a.b")
		if got, want := s.read(t, "../../removed"), "image rm provision/kept:"+tags[0]+"\nimage rm provision/kept:"+tags[10]+"\n"; got != want {
			t.Errorf("it ran\n%swant\n%s", got, want)
		}
		if done, err := s.one(t, removal); err != nil || done != nil {
			t.Errorf("done %q, error %v", done, err)
		}
	})
}

// What the deploys of a deployment have noted goes, and nothing of others.
func TestRemoveDeploysScripts(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		inv, given := inventoryOf(t, "")
		d := inv.Deployments[0]
		removal := removalOf(t, inv, d, given, "deploys "+d.Name)
		if done, err := s.one(t, removal); err != nil || done != nil {
			t.Errorf("done %q, error %v", done, err)
		}
		s.write(t, ".provision/"+d.Name+"/good", "", 0o600)
		s.write(t, ".provision/other/good", "", 0o600)
		const summary = "remove ~deploy-frobnicator/.provision/frobnicator-production"
		done, err := s.one(t, removal)
		checkDone(t, done, err, summary)
		if got := s.names(t, ".provision"); got != "other" {
			t.Errorf("there is %s", got)
		}
		s.write(t, ".provision/"+d.Name+"/good", "", 0o600)
		if err := os.RemoveAll(s.path(".provision/other")); err != nil {
			t.Fatal(err)
		}
		done, err = s.one(t, removal)
		checkDone(t, done, err, summary)
		if got := s.names(t, "."); got != "" {
			t.Errorf("the home has %s", got)
		}
	})
}

// Both programs go with the last deployment, and with them their folder.
func TestRemoveGateScripts(t *testing.T) {
	needs.Root(t)
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		for _, file := range []string{gateFile, deployFile} {
			if err := os.WriteFile(s.dir+file, nil, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		inv, given := inventoryOf(t, "")
		removal := removalOf(t, inv, inv.Deployments[0], given, "gate")
		gone := inSandbox{removal, s}
		done, err := s.one(t, gone)
		checkDone(t, done, err, "remove "+s.dir+gateFile, "remove "+s.dir+deployFile)
		if entries, err := os.ReadDir(filepath.Dir(s.dir + gateFile)); !os.IsNotExist(err) {
			t.Errorf("left are %v, %v", entries, err)
		}
	})
}

// inSandbox is a step that finds the programs of the gate in the sandbox.
type inSandbox struct {
	provision.Step
	s *sandbox
}

func (i inSandbox) Probe() provision.Probe {
	p := i.Step.Probe()
	p.Script.Text = strings.ReplaceAll(p.Script.Text, "/usr/local/lib/", i.s.dir+"/usr/local/lib/")
	return p
}

func (i inSandbox) Plan(f provision.Facts) ([]provision.Change, error) {
	changes, err := i.Step.Plan(f)
	for n := range changes {
		do := changes[n].Do.(provision.Script)
		for a := range do.Args {
			if strings.HasPrefix(do.Args[a], "/usr/") {
				do.Args[a] = i.s.dir + do.Args[a]
			}
		}
		changes[n].Do = do
	}
	return changes, err
}

// keepWants keeps what Compose wants of the project in a folder, as a deploy does.
func keepWants(t *testing.T, s *sandbox, folder, deployment string) {
	t.Helper()
	out, err := s.run(t, "cd "+folder+" && state=$HOME/.provision/"+deployment+" && mkdir -p \"$state\"\n"+templates.Wants+`
compose() { docker compose "$@" </dev/null; }
compose_of_input() { docker compose --project-directory . --file - "$@"; }
watch_inputs "$state/wants"
keep_wants "$state/wants" "$(resolve)"`)
	if err != nil {
		t.Fatal(out, err)
	}
}
