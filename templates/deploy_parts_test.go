package templates

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is asked of Compose's JSON is found however it is laid out, and nowhere else.
func TestServices(t *testing.T) {
	for _, tt := range []struct{ name, json, want string }{
		{"compact", `{"name":"shop","services":{"web":{"image":"r/web:1"},"db":{"build":{"context":"/x"}}}}`, "/project shop\nweb r/web:1 - 1\ndb - yes 1\n"},
		{"pretty", "{\n  \"name\": \"shop\",\n  \"services\": {\n    \"web\": {\n      \"image\": \"r/web:1\",\n      \"build\": \".\"\n    }\n  }\n}\n", "/project shop\nweb r/web:1 yes 1\n"},
		{"with tabs and carriage returns", "{\t\"services\"\r\n:\t{ \"web\" :\r\n{ \"image\"\t:\r\n\"x\" } } ,\"name\" : \"a\"}", "/project a\nweb x - 1\n"},
		{"names after services", `{"services":{"b":{"image":"2"},"a":{"image":"1"}},"name":"x"}`, "/project x\nb 2 - 1\na 1 - 1\n"},
		{"escapes", `{"name":"x","services":{"web":{"command":["\"image\":\"no\"","\\","}\\\"{"],"image":"r/web:1"}}}`, "/project x\nweb r/web:1 - 1\n"},
		{"nested keys", `{"name":"x","services":{"web":{"environment":{"image":"no","build":"no","services":"no","name":"no"},"labels":{"services":{"other":{"image":"no"}}},"image":"yes"}}}`,
			"/project x\nweb yes - 1\n"},
		{"nested in lists", `{"name":"x","services":{"web":{"volumes":[{"image":"no","build":"no"},["image",{"image":"no"}]],"image":"yes","ports":[]}}}`, "/project x\nweb yes - 1\n"},
		{"services of such names", `{"name":"x","services":{"services":{"image":"1"},"project":{"image":"2"},"image":{"image":"3"},"build":{"image":"4"},"name":{"build":"."}}}`,
			"/project x\nservices 1 - 1\nproject 2 - 1\nimage 3 - 1\nbuild 4 - 1\nname - yes 1\n"},
		{"elsewhere", `{"name":"x","networks":{"web":{"image":"no","build":"no"}},"services":{"web":{}},"x-services":{"other":{"image":"no"}},"volumes":{"services":{"name":"no"}}}`,
			"/project x\nweb - - 1\n"},
		{"null and numbers", `{"name":"x","services":{"web":{"image":null,"scale":2,"tty":true,"cpus":-1.5e3,"build":null},"db":null,"c":{"image":"i"}}}`, "/project x\nweb - - 2\ndb - - 1\nc i - 1\n"},
		{"how many", `{"name":"x","services":{"a":{"image":"i","deploy":{"replicas":3,"resources":{"replicas":9}}},"b":{"image":"i","scale":0,"deploy":{"replicas":3}},"c":{"image":"i","deploy":{"replicas":0}}}}`,
			"/project x\na i - 3\nb i - 0\nc i - 0\n"},
		{"ports", `{"name":"x","services":{"web":{"image":"i","ports":[{"mode":"ingress","host_ip":"127.0.0.1","target":80,"published":"8080","protocol":"tcp"},{"target":90},{"target":53,"published":"53","protocol":"udp"}],"deploy":{"x":[[{"published":"1","protocol":"no"}]]}}}}`,
			"/project x\n/port 127.0.0.1 8080 tcp web\n/port - 53 udp web\nweb i - 1\n"},
		{"names of containers", `{"name":"x","services":{"web":{"image":"i","container_name":"the-web","labels":{"container_name":"no"}}}}`, "/project x\n/named the-web web\nweb i - 1\n"},
		{"mounts", `{"name":"x","services":{"web":{"image":"i","volumes":[{"type":"bind","source":"/srv/a b.conf","target":"/x","bind":{"source":"no","create_host_path":true}},{"type":"volume","source":"data","target":"/data"}]}},"volumes":{"data":{"type":"bind","source":"no"}}}`,
			"/project x\n/mount web /srv/a b.conf\n/volume web data\nweb i - 1\n"},
		{"secrets and configs", `{"name":"x","services":{"a":{"image":"i","secrets":[{"source":"tls","target":"/run/secrets/tls"},{"source":"ext"}],"configs":[{"source":"tls"}]},"b":{"image":"i","secrets":[{"source":"tls"}]}},"secrets":{"tls":{"name":"x_tls","file":"/srv/a b"},"ext":{"external":true},"no":{"file":"/no"}},"configs":{"tls":{"file":"/srv/c"}}}`,
			"/project x\n/mount a /srv/a b\n/mount a /srv/c\n/mount b /srv/a b\na i - 1\nb i - 1\n"},
		{"none", `{"name":"x","services":{}}`, "/project x\n"},
		{"empty", `{"name":"x"}`, "/project x\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachShell(t, func(t *testing.T, b *box) {
				b.write(t, "config", tt.json, 0o600)
				if out, status := b.sh(t, "set -eu\n"+Wants+"services <config"); status != 0 || sorted(out) != sorted(tt.want) {
					t.Errorf("status %d, got\n%swant\n%s", status, out, tt.want)
				} else if order := strings.TrimPrefix(out, "/project x\n"); strings.HasPrefix(out, "/project x\n") && order != strings.TrimPrefix(tt.want, "/project x\n") {
					t.Errorf("the order is\n%s", out)
				}
			})
		})
	}
	// What is no JSON ends as well.
	eachShell(t, func(t *testing.T, b *box) {
		b.write(t, "config", `{"name":"x`, 0o600)
		if out, _ := b.sh(t, Wants+"services <config"); out != "" {
			t.Errorf("of half a text it says %q", out)
		}
	})
}

func TestJudge(t *testing.T) {
	const cutoff = "2001-09-09T01:46:40" // five seconds before the time of the stub
	type state struct{ status, code, restarts, started, health, policy string }
	for _, tt := range []struct {
		state
		want string
	}{
		{state{"running", "0", "0", cutoff + ".5Z", "healthy", "always"}, "ok is healthy"},
		{state{"running", "0", "7", cutoff + ".5Z", "healthy", "no"}, "ok is healthy"},
		{state{"running", "0", "0", "2001-01-01T00:00:00Z", "unhealthy", "always"}, "bad is unhealthy"},
		{state{"running", "0", "0", "2001-01-01T00:00:00Z", "starting", "always"}, "wait is not healthy yet"},
		{state{"running", "0", "0", "2001-09-09T01:46:39.999999999Z", "none", "always"}, "ok runs"},
		{state{"running", "0", "3", "2001-09-09T01:46:39Z", "none", "always"}, "ok runs"},
		{state{"running", "0", "0", cutoff + "Z", "none", "always"}, "wait has just started"},
		{state{"running", "0", "0", cutoff + ".000000001Z", "none", "no"}, "wait has just started"},
		{state{"running", "0", "12", "2001-09-09T01:46:44Z", "none", "always"}, "wait was restarted 12 times"},
		{state{"restarting", "137", "3", cutoff + "Z", "none", "always"}, "wait keeps restarting, exit code 137"},
		{state{"exited", "0", "0", "2001-01-01T00:00:00Z", "none", "no"}, "ok has ended with 0"},
		{state{"exited", "0", "0", "2001-01-01T00:00:00Z", "none", ""}, "ok has ended with 0"},
		{state{"exited", "0", "0", "2001-01-01T00:00:00Z", "unhealthy", "on-failure"}, "ok has ended with 0"},
		{state{"exited", "1", "0", "2001-01-01T00:00:00Z", "none", "no"}, "bad has ended with exit code 1"},
		{state{"exited", "10", "5", "2001-01-01T00:00:00Z", "none", "on-failure"}, "bad has ended with exit code 10"},
		{state{"exited", "0", "0", "2001-01-01T00:00:00Z", "none", "always"}, "bad is stopped, exit code 0"},
		{state{"exited", "137", "0", "2001-01-01T00:00:00Z", "healthy", "unless-stopped"}, "bad is stopped, exit code 137"},
		{state{"created", "0", "0", "0001-01-01T00:00:00Z", "none", "always"}, "bad was never started"},
		{state{"paused", "0", "0", "2001-01-01T00:00:00Z", "healthy", "always"}, "bad is paused"},
		{state{"dead", "0", "0", "2001-01-01T00:00:00Z", "none", "no"}, "bad is dead"},
		{state{"removing", "0", "0", "2001-01-01T00:00:00Z", "none", "no"}, "bad is removing"},
	} {
		t.Run(strings.Join([]string{tt.status, tt.code, tt.started, tt.health, tt.policy}, " "), func(t *testing.T) {
			eachShell(t, func(t *testing.T, b *box) {
				b.stub(t, "date", `[ "$*" != +%s ] || { echo 1000000005; exit; }
exec /usr/bin/date "$@"`)
				line := strings.Join([]string{"id", tt.status, tt.code, tt.restarts, tt.started, tt.health, tt.policy, "sha256:1", "web", "app-web-1", "app", "web:1", "null"}, "\t")
				b.write(t, "lines", line+"\nno container\n\n", 0o600)
				verdict, reason, _ := strings.Cut(tt.want, " ")
				if out, status := b.sh(t, "set -eu\n"+Health+"judge <lines"); status != 0 || out != verdict+"\t"+reason+"\t"+line+"\n" {
					t.Errorf("status %d, got %q", status, out)
				}
			})
		})
	}
}

// alone runs functions of the deploy, with an end that says what it would end with.
func (d *deployBox) alone(t *testing.T, script string) (string, int) {
	t.Helper()
	state := quote(filepath.Join(d.home, d.state))
	d.write(t, d.state+"/x", "", 0o600)
	return d.sh(t, "set -eu\nset -f\nversion= variable= registry= keep=2 name=web label=web state="+state+" here="+quote(d.folder)+"\ncd \"$here\"\n"+
		Health+Wants+project+record+`
end() { printf 'end %s %s: %s\n' "$1" "$2" "$3"; exit "$1"; }
say() { printf '%s\n' "$1"; }
now() { echo now; }
`+script)
}

// A project in another folder than that of .env is read with both of theirs, of which
// the one of the clone wins: it is the last.
func TestComposeIn(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		script := "compose() { printf '%s|' \"$@\"; echo; }\ncompose_in \"$PWD\" up\ncompose_in \"$PWD/sub dir\" --file x up\n"
		check := func(want string) {
			t.Helper()
			if out, status := d.alone(t, script); status != 0 || out != strings.ReplaceAll(want, "HERE", d.folder) {
				t.Errorf("status %d, said\n%swant\n%s", status, out, want)
			}
		}
		check("--project-directory|HERE|up|\n--project-directory|HERE/sub dir|--file|x|up|\n")
		d.write(t, "web dir/.env", "A=1\n", 0o600)
		check("--project-directory|HERE|up|\n--project-directory|HERE/sub dir|--env-file|.env|--file|x|up|\n")
		d.write(t, "web dir/sub dir/.env", "A=1\n", 0o600)
		check("--project-directory|HERE|up|\n--project-directory|HERE/sub dir|--env-file|HERE/sub dir/.env|--env-file|.env|--file|x|up|\n")
	})
}

// Two folders with one Compose project would replace each other's containers.
func TestOwnProject(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		const script = "wanted='/project shop\nweb x -'\nown_project\necho fine\n"
		for _, tt := range []struct {
			folders, want string
			status        int
		}{
			{"", "fine\n", 0},
			{"\n\n", "fine\n", 0},
			{d.folder + "\n" + d.folder + "\n", "fine\n", 0},
			{d.folder + "\n/srv/shop\n/srv/x\n", "end 1 failed: nothing was changed, as " + d.folder + " and /srv/shop are one Compose project, shop, and would replace each other's containers\n" +
				"hint: give each a name of its own: name: in compose.yaml, or another directory\n", 1},
			{d.folder + "/sub\n", "fine\n", 0}, // as COMPOSE_FILE leads there
			{d.folder + "-other\n", "end 1 failed: nothing was changed, as " + d.folder + " and " + d.folder + "-other are one Compose project, shop, and would replace each other's containers\n" +
				"hint: give each a name of its own: name: in compose.yaml, or another directory\n", 1},
		} {
			d.set(t, "folders", tt.folders)
			if out, status := d.alone(t, script); status != tt.status || out != tt.want {
				t.Errorf("%q: status %d, said\n%swant\n%s", tt.folders, status, out, tt.want)
			}
		}
		d.set(t, "folders", "")
		d.write(t, d.state+"/good", "project last\n", 0o600)
		const beside, hint = " would start beside it, with volumes of its own\nhint: ", "; or move the data, and end the old one first: docker compose --project-name "
		for names, want := range map[string]string{
			"shop HERE\nold HERE\n":            "fine\n",
			"old HERE\n":                       "end 1 failed: nothing was changed, as the containers here are those of the Compose project old, and shop" + beside + `put "name: old" into compose.yaml` + hint + "old down\n",
			"tools HERE/tools\nx HERE-other\n": "fine\n",
			"last HERE/deploy\n":               "end 1 failed: nothing was changed, as the containers here are those of the Compose project last, and shop" + beside + `put "name: last" into compose.yaml` + hint + "last down\n",
		} {
			d.set(t, "names", strings.ReplaceAll(names, "HERE", d.folder))
			if out, _ := d.alone(t, script); out != want {
				t.Errorf("%q: said\n%swant\n%s", names, out, want)
			}
		}
		d.set(t, "fail-ps", "Cannot connect")
		d.set(t, "fail-version", "Cannot connect to the daemon\n")
		if out, status := d.alone(t, script); status != 1 || !strings.HasSuffix(out, "end 1 failed: nothing was changed, as Docker does not answer: Cannot connect to the daemon\n") {
			t.Errorf("status %d, said %s", status, out)
		}
	})
}

// What is chosen is written beside what stands in .env, whose mode stays.
func TestWriteVersion(t *testing.T) {
	const script = "variable=TAG version=1.2\nwrite_version\n"
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		for _, tt := range []struct{ before, after string }{
			{"-", "TAG=1.2\n"},
			{"", "TAG=1.2\n"},
			{"A=b\n\n# c\nXTAG=1\nTAGX=2\n", "A=b\n\n# c\nXTAG=1\nTAGX=2\nTAG=1.2\n"},
			{"TAG=1\nA=b\nTAG=0", "A=b\nTAG=1.2\n"},
			{"TAG=1\n", "TAG=1.2\n"},
			{"A=b", "A=b\nTAG=1.2\n"},
		} {
			os.Remove(filepath.Join(d.folder, ".env"))
			mode := os.FileMode(0o600)
			if tt.before != "-" {
				mode = 0o640
				d.write(t, "web dir/.env", tt.before, mode)
			}
			if out, status := d.alone(t, script); status != 0 || out != "" {
				t.Errorf("%q: status %d, said %s", tt.before, status, out)
			}
			if got := d.read(t, "web dir/.env"); got != tt.after || d.mode(t, "web dir/.env") != mode {
				t.Errorf("%q became %q, mode %o", tt.before, got, d.mode(t, "web dir/.env"))
			}
			if got := d.names(t, "web dir"); got != ".env compose.yaml" {
				t.Errorf("the folder has %s", got)
			}
		}
	})
}

// Of each service the newest images stay, and what is good; what others have
// given a name stays whatever becomes of ours.
func TestTidy(t *testing.T) {
	id := func(n string) string { return "sha256:" + strings.Repeat(n, 64) }
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		for _, tt := range []struct {
			name, good, kept, tried, images string // their ids are of one digit
			keptAfter, imagesAfter          string
		}{
			{"as many as are kept", "web:2", "web:1 web:2", "", "web-1:1 K1:1 web-2:2 K2:2", "web:1 web:2", "web-1:1 K1:1 web-2:2 K2:2"},
			{"one more", "web:3", "web:1 web:2 web:3", "", "web-1:1 K1:1 web-2:2 K2:2 web-3:3 K3:3", "web:2 web:3", "web-2:2 K2:2 web-3:3 K3:3"},
			{"deployed again", "web:1", "web:1 web:2 web:3 web:1", "", "web-1:1 K1:1 K2:2 K3:3", "web:3 web:1", "web-1:1 K1:1 K3:3"},
			{"the good one is the oldest", "web:1", "web:1 web:2 web:3", "", "K1:1 K2:2 K3:3", "web:1 web:2 web:3", "K1:1 K2:2 K3:3"},
			{"the name means another one now", "web:3", "web:1 web:2 web:3", "", "web-1:3 K1:1 K2:2 K3:3", "web:2 web:3", "web-1:3 K2:2 K3:3"},
			{"good for another service", "web:3 db:1", "web:1 db:1 web:2 web:3", "", "K1:1 K2:2 K3:3", "web:1 db:1 web:2 web:3", "K1:1 K2:2 K3:3"},
			{"kept for another service", "web:3 db:4", "web:1 db:1 web:2 db:4 web:3", "", "web-1:1 db-1:1 K1:1 K2:2 K3:3 K4:4", "db:1 web:2 db:4 web:3", "web-1:1 db-1:1 K1:1 K2:2 K3:3 K4:4"},
			{"its service is gone", "web:3", "web:2 db:1 db:3 web:3 db:4", "", "K1:1 K2:2 K3:3 K4:4", "web:2 db:3 web:3", "K2:2 K3:3"},
			{"a container uses it", "web:3", "web:1 web:2 web:3", "", "K1:1 K2:2 K3:3", "web:1 web:2 web:3", "K1:1 K2:2 K3:3"},
			{"another deployment has it", "web:3", "web:1 web:2 web:3", "", "K1:1 provision/kept:other_1:1 K2:2 K3:3", "web:2 web:3", "provision/kept:other_1:1 K2:2 K3:3"},
			{"somebody has a name of it", "web:3", "web:1 web:2 web:3", "", "K1:1 mine:1 K2:2 K3:3", "web:2 web:3", "mine:1 K2:2 K3:3"},
			{"tried in vain", "web:1", "web:1", "web:2", "web-1:1 K1:1 web-2:2 other:3", "web:1", "web-1:1 K1:1 other:3"},
			{"tried in vain, and good before", "web:2", "web:1 web:2", "web:1 web:2", "web-1:1 K1:1 web-2:2 K2:2", "web:1 web:2", "web-1:1 K1:1 web-2:2 K2:2"},
			{"tried in vain, and pulled anew since", "web:1", "web:1", "web:2", "K1:1 web-2:3 <none>:2", "web:1", "K1:1 web-2:3"},
			{"tried in vain, and of somebody else", "web:1", "web:1", "web:2", "K1:1 web-2:2 mine:2", "web:1", "K1:1 mine:2"},
		} {
			lines := func(text, form string) (lines string) {
				for _, word := range strings.Fields(text) {
					i := strings.LastIndex(word, ":")
					name, n := word[:i], word[i+1:]
					called := name
					if strings.HasPrefix(name, "K") {
						called = keptName(id(n))
					}
					lines += strings.NewReplacer("SERVICE", name, "NAME", called, "ID", id(n), "CALLED", name+"-"+n).Replace(form) + "\n"
				}
				return lines
			}
			d.write(t, d.state+"/good", "time then\n"+lines(tt.good, "service SERVICE 1 runs ID CALLED"), 0o600)
			d.write(t, d.state+"/kept", lines(tt.kept, "SERVICE ID CALLED"), 0o600)
			os.Remove(filepath.Join(d.home, d.state, "tried"))
			if tt.tried != "" {
				d.write(t, d.state+"/tried", lines(tt.tried, "ID CALLED"), 0o600)
			}
			d.set(t, "images", lines(tt.images, "NAME ID"))
			d.set(t, "containers", "")
			if tt.name == "a container uses it" {
				d.set(t, "containers", "x\t"+id("1")+"\t\n")
			}
			if out, status := d.alone(t, "keep=2\ntidy\n"); status != 0 || out != "" {
				t.Errorf("%s: status %d, said %s", tt.name, status, out)
			}
			if got, want := d.get(t, "images"), lines(tt.imagesAfter, "NAME ID"); got != want {
				t.Errorf("%s: left are the images\n%swant\n%s", tt.name, got, want)
			}
			if got, want := d.read(t, d.state+"/kept"), lines(tt.keptAfter, "SERVICE ID CALLED"); got != want {
				t.Errorf("%s: kept are\n%swant\n%s", tt.name, got, want)
			}
			if _, err := os.Stat(filepath.Join(d.home, d.state, "tried")); err == nil {
				t.Errorf("%s: what was tried is still noted", tt.name)
			}
		}
	})
}
