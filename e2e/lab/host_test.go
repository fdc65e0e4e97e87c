package lab_test

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"provision/e2e/lab"
	"provision/e2e/needs"
)

// login runs a script on a host through ssh, as its admin.
func login(t *testing.T, h *lab.Host, script string) (string, error) {
	t.Helper()
	identity, err := l.Identity()
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"IDENTITY": identity, "KNOWN_HOSTS": h.KnownHosts(), "SCRIPT": script,
		"PORT": fmt.Sprint(h.Port), "TARGET": h.Admin + "@" + h.Name,
	}
	return l.Run(t.Context(), env, `mkdir -m 700 ~/.ssh
		printf %s "$KNOWN_HOSTS" >~/.ssh/known_hosts
		ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -i "$IDENTITY" -p "$PORT" "$TARGET" "$SCRIPT"`)
}

func TestAdmins(t *testing.T) {
	needLab(t)
	for _, c := range []struct {
		name   string
		o      lab.Options
		script string
		want   string // "" means that the script must fail
	}{
		{"sudo", lab.Options{}, "sudo -n id -un", "root"},
		{"port", lab.Options{Port: 2222}, "id -un", "admin"},
		{"password", lab.Options{Become: lab.SudoPassword, Password: "correct horse"}, "echo correct horse | sudo -S -p '' id -un", "root"},
		{"wrong", lab.Options{Become: lab.SudoPassword, Password: "correct horse"}, "echo battery staple | sudo -S -p '' id -un", ""},
		{"asks", lab.Options{Become: lab.SudoPassword, Password: "correct horse"}, "sudo -n id -un", ""},
		{"doas", lab.Options{Admin: "alice", Become: lab.Doas}, "doas -n id -un", "root"},
		{"doas-only", lab.Options{Become: lab.Doas}, "sudo -n id -un", ""},
		{"none", lab.Options{Become: lab.None}, "sudo -n id -un", ""},
		{"root", lab.Options{Admin: "root"}, "id -un", "root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Names = []string{c.name + ".example.com"}
			h := boot(t, c.o)
			if _, err := login(t, h, "true"); err != nil {
				t.Fatal("the admin cannot log in:", err)
			}
			out, err := login(t, h, c.script)
			switch {
			case c.want == "" && err == nil:
				t.Errorf("%s should fail, and printed %q", c.script, out)
			case c.want != "" && (err != nil || strings.TrimSpace(out) != c.want):
				t.Errorf("%s printed %q (%v), want %q", c.script, out, err, c.want)
			}
		})
	}
}

// Docker and what belongs to it can be installed although there is no network.
func TestDistribution(t *testing.T) {
	needLab(t)
	h := boot(t, lab.Options{Names: []string{"bare.example.com"}})
	if out, err := h.Exec(t.Context(), "command -v docker || command -v git"); err == nil {
		t.Errorf("a host without docker has %s", out)
	}
	run(t, h, `apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes \
		docker.io docker-cli docker-compose git golang-docker-credential-helpers`)
	if got := run(t, h, `docker info --format '{{.Driver}}' && docker compose version --short && command -v docker-credential-secretservice`); !strings.HasPrefix(got, "overlay2\n2.") {
		t.Errorf("docker info, docker compose version: %q", got)
	}
}

// Names resolve as soon as they exist, from everywhere, and others do not.
func TestNames(t *testing.T) {
	needLab(t)
	first := boot(t, lab.Options{Names: []string{"first.example.com", "alias.example.com"}})
	var resolver net.Resolver
	if _, err := resolver.LookupHost(t.Context(), "late.example.com"); err == nil {
		t.Error("a name of nobody resolves")
	}
	late, err := l.Name("late.example.com", "LATER.example.com")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]netip.Addr{
		"late.example.com": late, "later.example.com": late, "first.example.com": first.Address, "alias.example.com": first.Address,
	} {
		if got, err := resolver.LookupHost(t.Context(), name); err != nil || !slices.Equal(got, []string{want.String()}) {
			t.Errorf("%s is %v (%v) for the program, want %s", name, got, err, want)
		}
		if got := run(t, first, `getent hosts "$1" | cut -d' ' -f1`, name); got != want.String() {
			t.Errorf("%s is %q for a host, want %s", name, got, want)
		}
	}
}

func TestReboot(t *testing.T) {
	needLab(t)
	h := boot(t, lab.Options{Names: []string{"reboot.example.com"}})
	const id = "cat /proc/sys/kernel/random/boot_id"
	before := run(t, h, "echo kept >/etc/kept; touch /run/lost; "+id)
	if err := h.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := run(t, h, "cat /etc/kept; test ! -e /run/lost; "+id); after == "kept\n"+before || !strings.HasPrefix(after, "kept\n") {
		t.Errorf("after a reboot: %q, before: %q", after, before)
	}
	if _, err := login(t, h, "true"); err != nil {
		t.Error("after a reboot:", err)
	}
	if err := h.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Exec(t.Context(), "true"); err == nil || !strings.Contains(err.Error(), "is off") {
		t.Error("Exec on a host that is off:", err)
	}
}

func TestSnapshot(t *testing.T) {
	needLab(t)
	h := boot(t, lab.Options{Names: []string{"snapshot.example.com"}})
	run(t, h, "mkdir /srv/d; echo one >/srv/d/f; ln -s f /srv/d/l; chown admin /srv/d/f; chmod 640 /srv/d/f")
	snapshot := func() map[string]lab.File {
		t.Helper()
		files, err := h.Snapshot(t.Context(), "/srv", "/etc", "/not/there")
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	start := snapshot()
	want := lab.File{Owner: "1000:0", Mode: "-rw-r-----",
		Content: "2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806"} // printf 'one\n' | sha256sum
	if got := start["/srv/d/f"]; got != want {
		t.Errorf("/srv/d/f is %+v, want %+v", got, want)
	}
	if got := start["/srv/d/l"]; got.Content != "f" || got.Mode[0] != 'L' {
		t.Errorf("/srv/d/l is %+v", got)
	}
	if !maps.Equal(start, snapshot()) {
		t.Error("two snapshots differ although nothing happened")
	}
	for _, change := range []string{
		"echo two >/srv/d/f", "chmod 600 /srv/d/f", "chown root /srv/d/f", "ln -sf g /srv/d/l", "mkdir /srv/e", "rm -r /srv/d",
	} {
		before := snapshot()
		run(t, h, change)
		if maps.Equal(before, snapshot()) {
			t.Errorf("%s: the snapshot does not show it", change)
		}
	}
}

// A failed script says how it ended and what it printed.
func TestExecFails(t *testing.T) {
	needLab(t)
	h := boot(t, lab.Options{Names: []string{"fails.example.com"}})
	if got := run(t, h, `printf '%s|' "$@"`, "a b", "$c", ""); got != "a b|$c||" {
		t.Errorf("arguments arrive as %q", got)
	}
	_, err := h.Exec(t.Context(), "echo out; echo err >&2; exit 5")
	for _, want := range []string{"fails.example.com", "exit status 5", "out", "err"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to say %q", err, want)
		}
	}
	if _, err := l.Boot(t.Context(), lab.Options{Names: []string{h.Name}}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Error("a second host of the same name:", err)
	}
	if _, err := l.Boot(t.Context(), lab.Options{Names: []string{"unknown.example.com"}, Packages: []string{"no-such-package"}}); err == nil || !strings.Contains(err.Error(), "no-such-package") {
		t.Error("a package that does not exist:", err)
	}
}

// A CI job has an empty home and nothing of the environment around it.
func TestRun(t *testing.T) {
	needLab(t)
	t.Setenv("AROUND", "x")
	out, err := l.Run(t.Context(), map[string]string{"GIVEN": "y"},
		`echo "${AROUND-unset} $GIVEN"; ls -A ~; eval echo ~root; pwd; touch ~/left`)
	if want := "unset y\n" + os.Getenv("HOME") + "\n" + os.Getenv("HOME") + "\n"; err != nil || out != want {
		t.Errorf("printed %q (%v), want %q", out, err, want)
	}
	if left, _ := filepath.Glob(os.Getenv("HOME") + "/*"); left != nil {
		t.Error("the job left", left)
	}
}

func TestCheckNamesPackages(t *testing.T) {
	needs.Root(t) // without, Check says nothing of packages
	t.Setenv("PATH", t.TempDir())
	err := lab.Check()
	want := "apt-get install --no-install-recommends " + strings.Join(lab.Packages, " ")
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("without any tool, Check says %v; want it to say %s", err, want)
	}
}
