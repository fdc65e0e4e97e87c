package templates

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const (
	user     = "provision-17"
	password = "hush-5f3a'$(id)\\ "
)

// A stubDocker records how it was called, and looks for the password where
// every user of the host could read it. It fails if there is a file "denied".
func (b *box) stubDocker(t *testing.T) {
	t.Helper()
	b.stub(t, "docker", `cd "$HOME"
mkdir -p called
for word; do printf '%s\n' "$word"; done >called/argv
cat >called/stdin
cat "$DOCKER_CONFIG/config.json" >called/config
stat -c %a "$DOCKER_CONFIG" >called/mode
grep -als 'hush-[5]f3a' /proc/[0-9]*/cmdline /proc/[0-9]*/environ >called/leaks
[ ! -e denied ] || { echo 'Error: denied' >&2; exit 3; }
echo '{"auths": {"rewritten": "by docker"}}' >"$DOCKER_CONFIG/config.json"
echo 'Login Succeeded'`)
}

func (b *box) checkCalled(t *testing.T) {
	t.Helper()
	for file, want := range map[string]string{
		"argv":   "login\n--username\n" + user + "\n--password-stdin\n" + registry + "\n",
		"stdin":  password,
		"config": `{"auths": {"` + registry + `": {"auth": ""}}}`,
		"mode":   "700\n",
		"leaks":  "",
	} {
		if got := b.read(t, "called/"+file); got != want {
			t.Errorf("docker was called with the %s %q, want %q", file, got, want)
		}
	}
}

func TestLogin(t *testing.T) {
	eachShell(t, func(t *testing.T, b *box) {
		b.stubDocker(t)
		for _, config := range []string{"-", "", "{}\n", `{"auths":{"other.example.com":{"auth":"b3RoZXI="}},"psFormat":"x"}`} {
			b.clear(t)
			if config != "-" {
				b.write(t, ".docker/config.json", config, 0o644)
			} else {
				config = ""
			}
			if out, status := b.run(t, Login, user+"\n"+password, registry, registry, ""); status != 0 || out != "" {
				t.Fatalf("status %d, said %s", status, out)
			}
			b.checkCalled(t)
			value, _ := want(config)
			value.(map[string]any)["auths"].(map[string]any)[registry] = map[string]any{
				"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))}
			got := b.read(t, ".docker/config.json")
			if !equalJSON([]byte(got), value) {
				t.Errorf("%q became %q", config, got)
			}
			if b.mode(t, ".docker/config.json") != 0o600 || b.mode(t, ".docker") != 0o700 {
				t.Errorf("modes %o and %o", b.mode(t, ".docker"), b.mode(t, ".docker/config.json"))
			}
			if got := b.names(t, ".docker"); got != "by-provision config.json" || b.read(t, ".docker/by-provision/"+registry) != user+"\n" || b.mode(t, ".docker/by-provision") != 0o700 {
				t.Errorf(".docker has %s", got)
			}

			// What was written is what the look sees, with whose token it is and what is not.
			sum := sha256.Sum256([]byte("salt" + user + ":" + password))
			seen := "@mark fact login=" + user + "\n@mark fact digest=" + hex.EncodeToString(sum[:]) + "\n"
			if out, status := b.run(t, Logins, "", registry, "salt", ".docker/before-provision/"+registry, ""); out != seen || status != 0 {
				t.Errorf("status %d, saw %q, want %q", status, out, seen)
			}
			b.run(t, Login, user+"\n"+password, registry, registry, "", "group a")
			if out, status := b.run(t, Logins, "", registry, "salt", ".docker/before-provision/"+registry, ""); out != seen+"@mark fact made=group a\n" || status != 0 {
				t.Errorf("status %d, saw %q, want %q", status, out, seen)
			}
		}
	})
}

// What was tried and never got into place is reported, until a login stands or all goes.
func TestLoginTried(t *testing.T) {
	eachShell(t, func(t *testing.T, b *box) {
		b.stubDocker(t)
		try := func(name string, more ...string) (string, int) {
			return b.run(t, Login, name+"\n"+password, append([]string{registry, registry, ""}, more...)...)
		}
		look := func() string {
			out, _ := b.run(t, Logins, "", registry, "", ".docker/before-provision/"+registry, "")
			return out
		}
		cut := func(name string) { // after docker login, before the login is in place
			b.stub(t, "chmod", `case "$*" in *.docker/login.*) exit 1 ;; esac; REAL chmod "$@"`)
			if _, status := try(name, "group a"); status == 0 {
				t.Error("it was not cut")
			}
			os.Remove(filepath.Join(b.bin, "chmod"))
		}
		b.clear(t)
		cut("provision-1")
		cut("provision-2")
		if got := look(); got != "@mark fact tried=provision-1\n@mark fact tried=provision-2\n" {
			t.Errorf("saw %q", got)
		}
		if out, _ := b.run(t, Logins, "", "other.example.com", "", ".docker/before-provision/other.example.com", "", "other.example.com"); strings.Contains(out, "elsewhere") {
			t.Errorf("what never got into place is a login elsewhere: %q", out)
		}
		if out, status := try("provision-3", "group a"); status != 0 {
			t.Fatalf("status %d, said %s", status, out)
		}
		if got := look(); got != "@mark fact login=provision-3\n@mark fact made=group a\n" {
			t.Errorf("saw %q", got)
		}
		b.write(t, "denied", "", 0o600)
		try("provision-4", "group a")
		os.Remove(filepath.Join(b.home, "denied"))
		if got := look(); strings.Contains(got, "tried") {
			t.Errorf("what the registry refused was tried: %q", got)
		}
		cut("provision-5")
		if out, status := b.run(t, Logout, "", registry, "provision-3", ""); status != 0 {
			t.Fatalf("status %d, said %s", status, out)
		}
		if got := b.names(t, ""); strings.Contains(got, ".docker") {
			t.Errorf("the home has %s", got)
		}
	})
}

func TestLoginRefuses(t *testing.T) {
	const there = `{"auths":{"other.example.com":{"auth":"b3RoZXI="}}}`
	tests := []struct {
		name, config string
		prepare      func(t *testing.T, b *box, config string)
		says         string
	}{
		{"wrong password", there, func(t *testing.T, b *box, config string) { b.write(t, "denied", "", 0o600) }, "Error: denied\n"},
		{"wrong password, nothing there", "-", func(t *testing.T, b *box, config string) { b.write(t, "denied", "", 0o600) }, "Error: denied\n"},
		{"no JSON", `{"auths":`, nil, ".docker/config.json is not valid JSON; mend it or move it away\n"},
		{"a link", "-", func(t *testing.T, b *box, config string) {
			if err := os.Symlink("elsewhere", config); err != nil {
				t.Fatal(err)
			}
		}, ".docker/config.json is a link; replace it by a file\n"},
		{"a FIFO", "-", func(t *testing.T, b *box, config string) {
			if err := syscall.Mkfifo(config, 0o600); err != nil {
				t.Fatal(err)
			}
		}, ".docker/config.json is not a file\n"},
		{"a lock that is not given back", there, func(t *testing.T, b *box, config string) { b.stub(t, "flock", "exit 1") },
			".docker/config.json is locked by another process; run again\n"},
		{"a change meanwhile", there, func(t *testing.T, b *box, config string) {
			b.stub(t, "chmod", "printf ' ' >>"+quote(config)+`; REAL chmod "$@"`)
		}, "somebody else changed .docker/config.json meanwhile; run again\n"},
		{"a file that comes meanwhile", "-", func(t *testing.T, b *box, config string) {
			b.stub(t, "chmod", "printf ' ' >>"+quote(config)+`; REAL chmod "$@"`)
		}, "somebody else changed .docker/config.json meanwhile; run again\n"},
	}
	eachShell(t, func(t *testing.T, b *box) {
		b.stubDocker(t)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				b.clear(t)
				if err := os.Mkdir(filepath.Join(b.home, ".docker"), 0o700); err != nil {
					t.Fatal(err)
				}
				config := filepath.Join(b.home, ".docker/config.json")
				if tt.config != "-" {
					b.write(t, ".docker/config.json", tt.config, 0o640)
				}
				if tt.prepare != nil {
					tt.prepare(t, b, config)
				}
				before, _ := os.Lstat(config)
				out, status := b.run(t, Login, user+"\n"+password, registry, registry, "")
				for _, name := range []string{"flock", "chmod"} {
					os.Remove(filepath.Join(b.bin, name))
				}
				if status != 1 || out != tt.says {
					t.Errorf("status %d, said %q, want %q", status, out, tt.says)
				}
				after, _ := os.Lstat(config)
				if strings.Contains(tt.says, "meanwhile") {
					if got := b.read(t, ".docker/config.json"); !strings.HasSuffix(got, " ") {
						t.Errorf("the late byte is lost: %q", got)
					}
				} else if (before == nil) != (after == nil) || before != nil && before.Mode() != after.Mode() {
					t.Errorf("it was %v and is %v", before, after)
				} else if tt.config != "-" && b.read(t, ".docker/config.json") != tt.config {
					t.Errorf("it is %q", b.read(t, ".docker/config.json"))
				}
				if got := b.names(t, ".docker"); got != "" && got != "config.json" {
					t.Errorf(".docker has %s", got)
				}
			})
		}
	})
}

func TestLogins(t *testing.T) {
	tests := []struct{ config, want string }{
		{"{}", ""},
		{"{", "@mark fact config=broken\n"},
		{`{"credsStore":"secretservice","credHelpers":{"` + registry + `":""}}`, "@mark fact store=secretservice\n@mark fact helper=\n"},
		// printf salt | sha256sum
		{`{"auths":{"` + registry + `":{"auth":""}}}`, "@mark fact login=\n@mark fact digest=" + hexSum("salt") + "\n"},
		{`{"auths":{"` + registry + `":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("u:p:q")) + `"}}}`,
			"@mark fact login=u\n@mark fact digest=" + hexSum("saltu:p:q") + "\n"},
		{`{"auths":{"` + registry + `":{"identitytoken":"x"}}}`, "@mark fact other=yes\n"},
	}
	eachShell(t, func(t *testing.T, b *box) {
		if out, status := b.run(t, Logins, "", registry, "salt", ".docker/before-provision/"+registry, ""); out != "" || status != 0 {
			t.Errorf("nothing there: status %d, saw %q", status, out)
		}
		for _, tt := range tests {
			b.write(t, ".docker/config.json", tt.config, 0o600)
			if out, status := b.run(t, Logins, "", registry, "salt", ".docker/before-provision/"+registry, ""); out != tt.want || status != 0 {
				t.Errorf("%s: status %d, saw %q, want %q", tt.config, status, out, tt.want)
			}
		}
		os.Remove(filepath.Join(b.home, ".docker/config.json"))
		if err := syscall.Mkfifo(filepath.Join(b.home, ".docker/config.json"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, status := b.run(t, Logins, "", registry, "salt", ".docker/before-provision/"+registry, ""); out != "" || status != 0 {
			t.Errorf("a FIFO: status %d, saw %q", status, out)
		}
	})
}

// A login of people is kept beside ours, and comes back when ours goes, to the byte.
func TestKeepsLogin(t *testing.T) {
	const (
		folder = ".docker/before-provision"
		kept   = folder + "/" + registry
	)
	entry := func(text string) string {
		return `{"x": 1, "auths":{"o":{"auth":"b"} , "` + registry + `" :` + text + ` , "p":{}} }`
	}
	eachShell(t, func(t *testing.T, b *box) {
		b.stub(t, "systemctl", "echo active")
		// Docker runs what the files running say. Logged in anew, it reads the images of
		// the file new; with the login that is there, those of the file old.
		b.stub(t, "docker", `case $1 in
ps) [ ! -e "$HOME/down" ] || exit 1; cat "$HOME/running" ;;
manifest)
	login=old
	case $DOCKER_CONFIG in */login.*) login=new ;; */none) login=none ;; esac
	grep -qxF "$3" "$HOME/$login"
	;;
*) cat >/dev/null ;;
esac`)
		images := registry + "/a/one\n" + registry + "/b/two:1\n"
		for _, theirs := range []string{`{"auth":"cm9ib3Q6eA=="}`, "{ \"identitytoken\" : \"x\",\n  \"auth\":\"\" }"} {
			for _, tt := range []struct{ name, running, old, new, says string }{
				{"nothing runs", "", images, images, ""},
				{"all can be read", registry + "/a/one " + b.home + "/one\n", images, images, ""},
				{"what of others cannot", registry + "/b/two:1 /home/alice/two\n", images, registry + "/a/one\n", ""},
				{"what is elsewhere cannot", "elsewhere.example.com/b/two " + b.home + "/two\n", images, "", ""},
				{"nobody can", registry + "/gone " + b.home + "/two\n", images, images, ""},
				{"Docker is down", "down", images, "", ""},
				{"one cannot be read", registry + "/a/one " + b.home + "/one\n" + registry + "/b/two:1 " + b.home + "/two of mine\n", images, registry + "/a/one\n",
					"the new login cannot read " + registry + "/b/two:1 of " + b.home + "/two of mine, and the one that is there can: that one stays\n"},
			} {
				b.clear(t)
				before := entry(theirs)
				b.write(t, ".docker/config.json", before, 0o640)
				b.write(t, "old", tt.old, 0o600)
				b.write(t, "new", tt.new, 0o600)
				b.write(t, "running", tt.running, 0o600)
				if tt.running == "down" {
					b.write(t, "down", "", 0o600)
				}
				out, status := b.run(t, Login, user+"\n"+password, registry, registry, folder)
				if tt.says != "" {
					if status != 1 || out != tt.says || b.read(t, ".docker/config.json") != before || b.names(t, ".docker") != "config.json" {
						t.Errorf("%s: status %d, said %s; .docker has %s", tt.name, status, out, b.names(t, ".docker"))
					}
					continue
				}
				if status != 0 || out != "" {
					t.Fatalf("%s: status %d, said %s", tt.name, status, out)
				}
				if got := b.read(t, kept); got != theirs+"\n" || b.mode(t, kept) != 0o600 || b.mode(t, folder) != 0o700 {
					t.Errorf("%s: kept %q with mode %o in %o", tt.name, got, b.mode(t, kept), b.mode(t, folder))
				}
				if out, _ := b.run(t, Logins, "", registry, "", kept, registry+"/a"); out != "@mark fact kept=yes\n@mark fact login="+user+"\n" {
					t.Errorf("%s: saw %q", tt.name, out)
				}
				if out, status := b.run(t, Logout, "", registry, user, kept); status != 0 || out != "" {
					t.Fatalf("%s: status %d, said %s", tt.name, status, out)
				}
				if got := b.read(t, ".docker/config.json"); got != before || b.names(t, ".docker") != "config.json" {
					t.Errorf("%s: %q became %q; .docker has %s", tt.name, before, got, b.names(t, ".docker"))
				}
			}
		}

		// What needs their login is seen, unless everybody can read it, or nobody.
		b.clear(t)
		b.write(t, ".docker/config.json", entry(`{"auth":"cm9ib3Q6eA=="}`), 0o600)
		b.write(t, "old", images+registry+"/b/public\n", 0o600)
		b.write(t, "none", registry+"/b/public\n", 0o600)
		var running []string
		for _, image := range []string{registry + "/a/one", registry + "/b/two:1", registry + "/b/public", registry + "/b/gone", "elsewhere.example.com/b/two"} {
			running = append(running, image+" "+b.home+"/some folder\n")
		}
		b.write(t, "running", strings.Join(running, ""), 0o600)
		for reads, want := range map[string]string{registry + "/a": "@mark fact needs=" + registry + "/b/two:1 of " + b.home + "/some folder\n", registry + "/b": "@mark fact needs=" + registry + "/a/one of " + b.home + "/some folder\n", "": ""} {
			if out, status := b.run(t, Logins, "", registry, "", kept, reads); status != 0 || out != "@mark fact login=robot\n"+want {
				t.Errorf("where %q can be read: status %d, saw %q", reads, status, out)
			}
		}

		// Where there is none, none is kept.
		for _, config := range []string{"-", "{}", entry(`{"auth":"cm9ib3Q6eA=="}`)} {
			b.clear(t)
			b.write(t, "running", "", 0o600)
			keep := folder
			if config != "-" {
				b.write(t, ".docker/config.json", config, 0o600)
			}
			if strings.Contains(config, registry) {
				keep = "" // it is ours, and nobody wants it back
			}
			if out, status := b.run(t, Login, user+"\n"+password, registry, registry, keep); status != 0 || b.names(t, ".docker") != "by-provision config.json" {
				t.Errorf("%s: status %d, said %s; .docker has %s", config, status, out, b.names(t, ".docker"))
			}
		}
	})
}

// What runs here and needs a login is asked of one that people have made, and of
// none that we have made last.
func TestNeeds(t *testing.T) {
	eachShell(t, func(t *testing.T, b *box) {
		b.stub(t, "docker", `case $1 in
ps) printf '%s %s\n' "`+registry+`/b/two" "$HOME/two" ;;
manifest) case $DOCKER_CONFIG in */none) exit 1 ;; esac ;;
esac`)
		b.stub(t, "systemctl", "echo active")
		needs := "@mark fact needs=" + registry + "/b/two of " + b.home + "/two\n"
		for _, tt := range []struct{ login, made, want string }{
			{"robot", "", needs},
			{"robot", "robot-2", needs},
			{"robot", "robot", ""},
			{"provision-7", "", ""},
		} {
			b.clear(t)
			b.write(t, ".docker/config.json", `{"auths":{"`+registry+`":{"auth":"`+base64.StdEncoding.EncodeToString([]byte(tt.login+":x"))+`"}}}`, 0o600)
			if tt.made != "" {
				b.write(t, ".docker/by-provision/"+registry, tt.made+"\n", 0o600)
			}
			if out, status := b.run(t, Logins, "", registry, "", "-", registry+"/a"); out != "@mark fact login="+tt.login+"\n"+tt.want || status != 0 {
				t.Errorf("%s, and ours is %q: status %d, said %s", tt.login, tt.made, status, out)
			}
		}
	})
}

// Whose token a login of ours is with is told as long as that login is there.
func TestMadeLogin(t *testing.T) {
	eachShell(t, func(t *testing.T, b *box) {
		b.stubDocker(t)
		if out, status := b.run(t, Login, user+"\n"+password, registry, registry, "", "group a/b"); status != 0 || out != "" {
			t.Fatalf("status %d, said %s", status, out)
		}
		const made = "@mark fact made=group a/b\n"
		if out, _ := b.run(t, Logins, "", registry, "", "-", "", ""); !strings.Contains(out, made) {
			t.Errorf("saw %q", out)
		}
		b.write(t, ".docker/by-provision/"+registry, "provision-9\ngroup a/b\n", 0o600)
		if out, _ := b.run(t, Logins, "", registry, "", "-", "", ""); strings.Contains(out, made) {
			t.Errorf("with another login: saw %q", out)
		}
	})
}

// A login that we have made to a registry with another host name is told, as is what needs it;
// those that the inventory names are not, nor one that somebody has made anew.
func TestFormerLogins(t *testing.T) {
	const old = "old.example.com"
	eachShell(t, func(t *testing.T, b *box) {
		b.stub(t, "docker", `printf '%s %s\n' `+old+`/b/two "$HOME/two"`)
		b.stub(t, "systemctl", "echo active")
		auth := func(login string) string { return base64.StdEncoding.EncodeToString([]byte(login + ":x")) }
		b.write(t, ".docker/config.json", `{"auths":{"`+old+`":{"auth":"`+auth("provision-7")+`"},"hub.example.com":{"auth":"`+auth("robot")+`"},"`+registry+`":{"auth":"`+auth("provision-8")+`"},"theirs.example.com":{"auth":"`+auth("alice")+`"}}}`, 0o600)
		for host, login := range map[string]string{old: "provision-7", "hub.example.com": "robot", registry: "provision-8", "theirs.example.com": "provision-6", "gone.example.com": "provision-5"} {
			b.write(t, ".docker/by-provision/"+host, login+"\n", 0o600)
		}
		known := registry + " hub.example.com"
		for _, tt := range []struct{ salt, known, want string }{
			{"salt", known, "@mark fact elsewhere=" + old + " provision-7\n@mark fact needed " + old + "=" + old + "/b/two of " + b.home + "/two\n"},
			{"", known, "@mark fact elsewhere=" + old + " provision-7\n"},
			{"salt", "", ""},
		} {
			out, status := b.run(t, Logins, "", registry, tt.salt, "-", "", tt.known)
			if out, _, _ = strings.Cut(out, "@mark fact login="); out != tt.want || status != 0 {
				t.Errorf("salt %q, known %q: status %d, saw %q, want %q", tt.salt, tt.known, status, out, tt.want)
			}
		}
	})
}

// The login of Docker Hub stands under another name than the one of its images.
func TestLoginHub(t *testing.T) {
	eachShell(t, func(t *testing.T, b *box) {
		b.stub(t, "docker", `cat >/dev/null; printf '%s\n' "$@" >"$HOME/argv"; cat "$DOCKER_CONFIG/config.json" >"$HOME/seed"`)
		const hub = "https://index.docker.io/v1/"
		b.clear(t)
		if out, status := b.run(t, Login, user+"\n"+password, "docker.io", hub, ""); status != 0 || out != "" {
			t.Fatalf("status %d, said %s", status, out)
		}
		if got := b.read(t, "argv"); !strings.HasSuffix(got, "\ndocker.io\n") {
			t.Errorf("docker was called with %q", got)
		}
		if got := b.read(t, "seed"); got != `{"auths": {"`+hub+`": {"auth": ""}}}` {
			t.Errorf("the configuration was %s", got)
		}
		if got := b.read(t, ".docker/config.json"); !strings.Contains(got, "\t\t\""+hub+"\": {\n") {
			t.Errorf("config.json is %s", got)
		}
		if out, status := b.run(t, Logout, "", hub, user, ".docker/before-provision/docker.io"); status != 0 || b.names(t, ".") != "argv seed" {
			t.Errorf("status %d, said %s; the home has %s", status, out, b.names(t, "."))
		}
	})
}

func hexSum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
