package templates

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"provision/e2e/needs"
)

// A real sshd is asked, in a /run of its own.
func stubSshd(t *testing.T, b *box, config string) {
	t.Helper()
	needs.Root(t)
	sshd := needs.Program(t, "/usr/sbin/sshd")
	b.write(t, "sshd_config", "HostKey "+b.home+"/host\nInclude "+b.home+"/sshd_config.d/*\n"+config, 0o600)
	if out, err := exec.Command(needs.Program(t, "ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(b.home, "host")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.stub(t, "sshd", `exec unshare --mount --propagation private sh -c 'mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec "$@"' sh `+sshd+" -f "+b.home+`/sshd_config "$@"`)
	b.stub(t, "getent", `echo "$2:x:4321:4321::`+b.home+`:/bin/sh"`)
	b.stub(t, "id", `case $1 in -nG) echo deploy docker ;; *) REAL id "$@" ;; esac`)
	b.stub(t, "runuser", `[ "$1 $2 $3" = "-u deploy --" ] || exit
shift 3
exec "$@"`)
}

// askSshd returns the facts without those of options of which nothing is asked.
func askSshd(t *testing.T, b *box, text string) []string {
	t.Helper()
	out, status := b.run(t, text, "", "deploy", " port ciphers ", " .ssh/authorized_keys .ssh/authorized_keys2 ")
	if status != 0 {
		t.Fatalf("exit status %d: %s", status, out)
	}
	var facts []string
	for _, line := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
		fact, ok := strings.CutPrefix(line, "@mark fact ")
		if !ok {
			t.Errorf("said %q", line)
		}
		option, found := strings.CutPrefix(fact, "sshd")
		_, option, _ = strings.Cut(option, "=")
		option, _, _ = strings.Cut(option, " ")
		if !found || slices.Contains([]string{"acceptenv", "permittunnel", "forcecommand", "allowgroups", "port", "ciphers", "authorizedkeysfile", "setenv"}, option) {
			facts = append(facts, fact)
		}
	}
	return facts
}

func inDash(t *testing.T, f func(t *testing.T, b *box)) {
	needs.Program(t, "dash")
	f(t, newBox(t, shells["dash"]))
}

func TestSshd(t *testing.T) {
	eachShell(t, func(t *testing.T, b *box) {
		b.write(t, "sshd_config.d/10-odd", `
AcceptEnv LANG "B* C"
Match User deploy Address 198.51.100.0/24,!198.51.100.7
	ForceCommand echo "two  words"
Match User other Address 192.168.0.1
	PermitTunnel yes
`, 0o600)
		b.write(t, "keys/deploy 4321%", "ssh-ed25519 AAAA one\n", 0o600) // as the blank is one between two files, it is not found
		b.write(t, "keys/deploy4321%", "ssh-ed25519 AAAA two\nssh-ed25519 BBBB three", 0o600)
		stubSshd(t, b, `AllowGroups docker
AllowGroups users
AuthorizedKeysFile %h/.ssh/authorized_keys .ssh/authorized_keys2 keys/%u%U%% /etc/none/%u
Match Host *.example.com,!*.test LocalPort 2222
	PermitTunnel ethernet
Match LocalAddress 203.0.113.*
	AcceptEnv none
Match Address 127.0.0.1 User nobody
	PermitTunnel yes
Match Host localhost
	ForceCommand only here
Match Address 2001:db8::/32
	X11Forwarding yes
Match Address *,!192.0.2.1,!0.0.0.0
	PermitTunnel yes
Match All
	SetEnv A=b
`)
		got := askSshd(t, b, strings.ReplaceAll(Sshd, "/run/sshd.pid", "/nowhere"))
		want := []string{
			"home=" + b.home,
			"sshd=allowgroups docker", "group=deploy", "group=docker",
			"sshd=authorizedkeysfile %h/.ssh/authorized_keys .ssh/authorized_keys2 keys/%u%U%% /etc/none/%u",
			"file 1=" + b.home + "/keys/deploy4321%", "line 1=ssh-ed25519 AAAA two", "line 1=ssh-ed25519 BBBB three",
			"sshd=acceptenv B* C", "sshd=acceptenv LANG", "sshd=allowgroups users", "sshd=forcecommand none", "sshd=permittunnel no", "sshd=setenv A=b",
			"match 1=User deploy Address 198.51.100.0/24,!198.51.100.7", `sshd 1=forcecommand echo "two  words"`,
			"match 2=Host *.example.com,!*.test LocalPort 2222", "sshd 2=permittunnel ethernet",
			"match 3=LocalAddress 203.0.113.*", "sshd 3=acceptenv none",
			"match 4=Host localhost", "sshd 4=forcecommand only here",
			"match 5=Address 2001:db8::/32",
			"unjudged=Address *,!192.0.2.1,!0.0.0.0",
		}
		for _, fact := range want {
			if !slices.Contains(got, fact) {
				t.Errorf("it does not report %q", fact)
			}
		}
		for _, fact := range got {
			if key, _, _ := strings.Cut(fact, "="); key != "sshd" && !strings.HasPrefix(key, "sshd ") && !slices.Contains(want, fact) {
				t.Errorf("it reports %q", fact)
			}
			if strings.HasSuffix(fact, "=port 22") || strings.Contains(fact, "=ciphers ") || strings.HasPrefix(fact, "sshd=permittunnel") && fact != "sshd=permittunnel no" || strings.HasPrefix(fact, "sshd 6=") {
				t.Errorf("it reports %q", fact)
			}
		}
		if t.Failed() {
			t.Logf("it reports\n%s", strings.Join(got, "\n"))
		}
	})
}

// What sshd was started with counts more than its file; a process that only says that it is
// one does not.
func TestSshdStarted(t *testing.T) {
	inDash(t, func(t *testing.T, b *box) {
		stubSshd(t, b, "PermitTunnel no\nForceCommand none\n")
		b.write(t, "other_config", "HostKey "+b.home+"/host\nForceCommand in the other file\n", 0o600)
		text := strings.ReplaceAll(strings.ReplaceAll(Sshd, "/run/sshd.pid", b.home+"/pid"), "/var"+b.home, "/nowhere")
		for _, c := range []struct {
			title, says string
			not         bool
		}{
			{title: "sshd: /usr/sbin/sshd -D -e -o PermitTunnel yes -oAcceptEnv=BASH_* -f " + b.home + "/other_config -4 [listener] 0 of 10-100 startups", says: "sshd=permittunnel yes"},
			{title: "sshd: /usr/sbin/sshd -D -e -o PermitTunnel yes -oAcceptEnv=BASH_* -f " + b.home + "/other_config -4 [listener] 0 of 10-100 startups", says: "sshd=acceptenv BASH_*"},
			{title: "sshd: /usr/sbin/sshd -f " + b.home + "/other_config [listener] 0 of 10-100 startups", says: "sshd=forcecommand in the other file"},
			{title: "/usr/sbin/sshd -D -o PermitTunnel=yes", says: "sshd=permittunnel yes"},
			{title: "nosshd -o PermitTunnel=yes", says: "sshd=permittunnel no"},
			{title: "sshd: /usr/sbin/sshd -D [listener] -o PermitTunnel=yes", says: "sshd=permittunnel no"},
		} {
			process := exec.Command("cat")
			process.Args = []string{c.title}
			in, err := process.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := process.Start(); err != nil {
				t.Fatal(err)
			}
			b.write(t, "pid", strconv.Itoa(process.Process.Pid)+"\n", 0o600)
			if got := askSshd(t, b, text); !slices.Contains(got, c.says) {
				t.Errorf("%s: it does not report %q:\n%s", c.title, c.says, strings.Join(got, "\n"))
			}
			in.Close()
			process.Wait()
		}
	})
}

func TestSshdFails(t *testing.T) {
	inDash(t, func(t *testing.T, b *box) {
		text := strings.ReplaceAll(Sshd, "/run/sshd.pid", "/nowhere")
		stubSshd(t, b, "NoSuchOption yes\n")
		if got := askSshd(t, b, text); len(got) != 2 || !strings.HasPrefix(got[1], "failed=") || !strings.Contains(got[1], "terminating") {
			t.Errorf("it reports %q", got)
		}
		if err := os.Remove(filepath.Join(b.bin, "sshd")); err != nil {
			t.Fatal(err)
		}
		if got := askSshd(t, b, strings.ReplaceAll(text, "command -v sshd", "command -v no-sshd")); !slices.Equal(got, []string{"without=sshd"}) {
			t.Errorf("without one, it reports %q", got)
		}
	})
}
