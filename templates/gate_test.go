package templates

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"provision/e2e/needs"
)

// A gateBox has the gate, the settings of one deployment "web", a key that may
// use it, and a stub of the deploy. It is the gate as it stands, but for its
// constants: where the settings, the programs and what it looks with are.
type gateBox struct {
	*box
	settings string
	text     string
	args     []string // behind the name
}

const theKey = "SHA256:f1ng3r"

// keyLine is the line of a key in authorized_keys.
func keyLine(name, key string) string {
	return `restrict,command="/usr/local/lib/provision/gate ` + name + " " + key + `" ssh-ed25519 AAAA provision:` + name + "\n"
}

func newGate(t *testing.T, b *box) *gateBox {
	g := &gateBox{box: b, settings: filepath.Join(filepath.Dir(b.home), "settings"), args: []string{theKey}}
	text := Gate
	for _, constant := range [][2]string{
		{"settings=/etc/provision/deployments\n", "settings=" + g.settings + "\n"},
		{"look=/usr/local/lib/provision/look/$known\n", "look=" + g.settings + "/look-$known\n"},
		{"deploy=/usr/local/lib/provision/deploy\n", "deploy=" + g.settings + "/../deploy\n"},
		{"PATH=" + real + " ", "PATH=" + b.bin + ":" + real + " "},
		{"\t\ttimeout ", "\t\t" + b.bin + "/timeout "}, // the env of busybox prefers its own one, which outlives what it runs
	} {
		if strings.Count(text, constant[0]) != 1 {
			t.Fatalf("the gate has %d times %q", strings.Count(text, constant[0]), constant[0])
		}
		text = strings.Replace(text, constant[0], constant[1], 1)
	}
	g.text = text
	if err := os.Mkdir(g.settings, 0o755); err != nil {
		t.Fatal(err)
	}
	g.file(t, filepath.Join(g.settings, "web"), "user=deploy\ndirectory=web dir\n")
	b.stub(t, "timeout", `exec /usr/bin/timeout "$@"`)
	b.stub(t, "id", `[ "$*" = -un ]; echo deploy`)
	b.stub(t, "getent", `echo "$2:x:999:999::`+b.home+`:/bin/sh"`)
	b.stub(t, "logger", `printf '%s\n' "$*" >>`+quote(filepath.Join(b.home, "log")))
	g.deploy(t, `printf '%s|' "$@" >>"$HOME/called"; echo "out"; echo "error" >&2`)
	b.write(t, ".ssh/authorized_keys", keyLine("other", theKey)+keyLine("web", "SHA256:0ther")+keyLine("web", theKey), 0o600)
	if err := os.Mkdir(filepath.Join(b.home, "web dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *gateBox) file(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// deploy makes a script of the deploy that the gate begins.
func (g *gateBox) deploy(t *testing.T, text string) {
	t.Helper()
	g.file(t, filepath.Join(g.settings, "../deploy"), text+"\n")
}

// command is the gate as sshd runs it.
func (g *gateBox) command(t *testing.T, name string, env ...string) *exec.Cmd {
	t.Helper()
	gate := filepath.Join(g.settings, "..", "gate")
	g.file(t, gate, g.preferStubs(t)+g.text)
	cmd := exec.Command(g.shell[0], append(append(slices.Clone(g.shell[1:]), gate, name), g.args...)...)
	cmd.Dir = g.home
	cmd.Env = append([]string{"HOME=/nowhere", "PATH=/nowhere", "SSH_CLIENT=192.0.2.7 50000 22", "CDPATH=/", "IFS=e"}, env...)
	return cmd
}

// ask runs the gate, and returns what it says, its exit status, what the deploy
// was called with, and the log.
func (g *gateBox) ask(t *testing.T, name string, env ...string) (out string, status int, called, log string) {
	t.Helper()
	for _, file := range []string{"called", "log"} {
		os.Remove(filepath.Join(g.home, file))
	}
	cmd := g.command(t, name, env...)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	status = statusOf(t, cmd.Run(), &b)
	read := func(name string) string {
		text, _ := os.ReadFile(filepath.Join(g.home, name))
		return strings.ReplaceAll(string(text), g.home, "~")
	}
	return b.String(), status, read("called"), read("log")
}

const (
	suffix     = " (user deploy, key " + theKey + ", from 192.0.2.7)\n"
	deployed   = "ask|web|" + theKey + "|192.0.2.7|deploy||"
	notAllowed = "not-allowed: this key allows only: deploy, status, verify"
)

func eachGate(t *testing.T, f func(t *testing.T, g *gateBox)) {
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			needs.Program(t, shell[0])
			f(t, newGate(t, newBox(t, shell)))
		})
	}
}

func (g *gateBox) check(t *testing.T, name string, env []string, wantOut string, wantStatus int, wantCalled, wantLog string) {
	t.Helper()
	out, status, called, log := g.ask(t, name, env...)
	if out != wantOut || status != wantStatus {
		t.Errorf("%s %q: status %d, said %q, want %d, %q", name, env, status, out, wantStatus, wantOut)
	}
	if called != wantCalled {
		t.Errorf("%s %q: the deploy was called with %q, want %q", name, env, called, wantCalled)
	}
	if log != wantLog {
		t.Errorf("%s %q: log\n got %q\nwant %q", name, env, log, wantLog)
	}
}

// refused asks for what is refused for that reason, and logged like that.
func (g *gateBox) refused(t *testing.T, name, command, why string) {
	t.Helper()
	logged := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, command[:min(len(command), 200)])
	code, _, _ := strings.Cut(why, ": ")
	g.check(t, name, []string{"SSH_ORIGINAL_COMMAND=" + command}, "provision: refused: "+why+"\n", 126, "",
		"-t provision -p auth.warning "+name+": refused: "+code+": "+logged+suffix)
}

func TestGateAllows(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gateBox) {
		const said = "out\nerror\n"
		g.check(t, "web", nil, said, 0, deployed, "")
		g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND="}, said, 0, deployed, "")
		g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=deploy"}, said, 0, deployed, "")
		g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=status"}, said, 0, "status|web|", "")
		if got := g.names(t, ".provision/web"); got != "session.0" || g.mode(t, ".provision/web") != 0o700 || g.mode(t, ".provision") != 0o700 {
			t.Errorf("it left %s, mode %o", got, g.mode(t, ".provision/web"))
		}
	})
}

// A version is chosen only where the inventory lets CI do so, and is nothing but
// a tag or a digest.
func TestGateVersions(t *testing.T) {
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	const form = "bad-version: a version is a tag or a digest"
	eachGate(t, func(t *testing.T, g *gateBox) {
		for _, version := range []string{"1.2.3", digest, "", ";"} {
			g.refused(t, "web", "deploy "+version, "no-version: the inventory lets nobody choose a version of this deployment")
		}
		g.file(t, filepath.Join(g.settings, "web"), "user=deploy\ndirectory=web dir\nversion=TAG\n")
		for _, version := range []string{"1.2.3", "v1", "_x", "a_B-c.", "latest", "deploy", "2", "sha256", digest, strings.Repeat("x", 128)} {
			g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=deploy " + version}, "out\nerror\n", 0, "ask|web|"+theKey+"|192.0.2.7|deploy|"+version+"|", "")
			if why := BadVersion(version); why != "" {
				t.Errorf("%q: %s, and the gate takes it", version, why)
			}
		}
		g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=deploy"}, "out\nerror\n", 0, deployed, "")
		for version, why := range map[string]string{
			"": form, "-x": form, ".x": form, " x": form, "x ": form, "a b": form, "a/b": form, "a:b": form, "a@" + digest: form, "x=y": form,
			"a;id": form, "$(id)": form, "a\nb": form, "*": form, "\xc3\xbc": form, "SHA256:" + digest[7:]: form, "sha512:" + digest[7:]: form,
			"sha256:": "bad-version: a digest has 64 digits", digest[:70]: "bad-version: a digest has 64 digits", digest + "0": "bad-version: a digest has 64 digits",
			digest[:70] + "g": form, digest[:70] + "A": form, digest[:70] + "\n": form, strings.Repeat("x", 129): "bad-version: a version has at most 128 characters",
		} {
			if got := "bad-version: " + BadVersion(version); got != why {
				t.Errorf("%q: the gate says %s, and we %s", version, why, got)
			}
			if version == "\xc3\xbc" { // a rune is two bytes
				g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=deploy " + version}, "provision: refused: "+form+"\n", 126, "",
					"-t provision -p auth.warning web: refused: bad-version: deploy ??"+suffix)
				continue
			}
			g.refused(t, "web", "deploy "+version, why)
		}
	})
}

// sshd has looked at a key when the connection began. Its line may be gone.
func TestGateKeys(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gateBox) {
		for what, text := range map[string]string{
			"an empty file": "", "another deployment": keyLine("other", theKey), "another key": keyLine("web", "SHA256:0ther"), "a longer key": keyLine("web", theKey+"0"),
			"a longer name": keyLine("web2", theKey), "a name that ends like it": keyLine("x web", theKey), "a line that is out of use": "# " + keyLine("web", theKey),
			"another program":  strings.Replace(keyLine("web", theKey), "/gate", "/my-gate", 1),
			"a key of no gate": "ssh-ed25519 AAAA gate web " + theKey + "\n",
		} {
			g.write(t, ".ssh/authorized_keys", text, 0o600)
			for _, word := range []string{"", "status", "verify 0123456789abcdef0123456789abcdef 2", "id"} {
				t.Log(what)
				g.refused(t, "web", word, "key-revoked: this key is no longer allowed")
			}
		}
		os.RemoveAll(filepath.Join(g.home, ".ssh"))
		g.refused(t, "web", "deploy", "key-revoked: this key is no longer allowed")
		g.file(t, filepath.Join(g.settings, "w.b"), "user=deploy\ndirectory=web dir\n")
		g.write(t, ".ssh/authorized_keys", keyLine("web", theKey), 0o600)
		g.refused(t, "w.b", "deploy", "key-revoked: this key is no longer allowed")
		g.check(t, "web", nil, "out\nerror\n", 0, deployed, "")
	})
}

// An admin who acts as the user needs no key, and is told apart. What there may be
// is the same.
func TestGateAdmin(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gateBox) {
		g.write(t, ".ssh/authorized_keys", "", 0o600)
		for who, from := range map[string]string{"anna@laptop with provision 1.0": "anna@laptop with provision 1.0", "": "an admin"} {
			g.args = []string{"-"}
			if who != "" {
				g.args = append(g.args, who)
			}
			g.check(t, "web", nil, "out\nerror\n", 0, "ask|web|-|"+from+"|deploy||", "")
			g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=status"}, "out\nerror\n", 0, "status|web|", "")
			for word, why := range map[string]string{"id": notAllowed, "deploy 1.2": "no-version: the inventory lets nobody choose a version of this deployment"} {
				code, _, _ := strings.Cut(why, ": ")
				g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=" + word}, "provision: refused: "+why+"\n", 126, "",
					"-t provision -p auth.warning web: refused: "+code+": "+word+" (user deploy, key -, from "+from+")\n")
			}
		}
		g.args = []string{theKey, "anna@laptop"} // who has a key is where that comes from
		g.write(t, ".ssh/authorized_keys", keyLine("web", theKey), 0o600)
		g.check(t, "web", nil, "out\nerror\n", 0, deployed, "")
	})
}

func TestGateRefuses(t *testing.T) {
	asked := map[string]string{ // and how it is logged
		" ": " ", " deploy": " deploy", "DEPLOY": "DEPLOY", "deploy;id": "deploy;id", "deploy\nid": "deploy?id",
		"sh": "sh", "/bin/sh -i": "/bin/sh -i", "bash": "bash", "status;id": "status;id", "status --all": "status --all", "*": "*", "d?ploy": "d?ploy", "[d]eploy": "[d]eploy",
		"$(touch ~/escaped)": "$(touch ~/escaped)", "`touch ~/escaped`": "`touch ~/escaped`", "'": "'", "\"": "\"", "\\": "\\", "-n": "-n", "%s%n": "%s%n", "--help": "--help",
		"\x1b[2J\r\x07": "?[2J??", "ü\xff": "???", "internal-sftp": "internal-sftp", "/usr/lib/openssh/sftp-server": "/usr/lib/openssh/sftp-server",
		"scp -t /": "scp -t /", "rsync --server": "rsync --server", "git-upload-pack 'x'": "git-upload-pack 'x'", "docker ps": "docker ps", "verify": "verify",
		strings.Repeat("x", 100_000): strings.Repeat("x", 200),
	}
	eachGate(t, func(t *testing.T, g *gateBox) {
		for command, logged := range asked {
			g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=" + command}, "provision: refused: "+notAllowed+"\n", 126, "",
				"-t provision -p auth.warning web: refused: not-allowed: "+logged+suffix)
		}
		if files, _ := filepath.Glob(filepath.Join(g.home, "escaped")); files != nil {
			t.Error("a command of the client was run")
		}
	})
}

func TestGateKnowsItsDeployments(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gateBox) {
		g.file(t, filepath.Join(filepath.Dir(g.settings), "outside"), "user=deploy\ndirectory=web dir\n")
		if err := os.Mkdir(filepath.Join(g.settings, "a"), 0o755); err != nil {
			t.Fatal(err)
		}
		g.file(t, filepath.Join(g.settings, "a/b"), "user=deploy\ndirectory=web dir\n")
		g.file(t, filepath.Join(g.settings, "theirs"), "user=other\ndirectory=web dir\n")
		g.file(t, filepath.Join(g.settings, "empty"), "")
		g.file(t, filepath.Join(g.settings, "away"), "user=deploy\ndirectory=away\n")
		g.file(t, filepath.Join(g.settings, "odd"), "\n# comment\nuser=other\nuser=deploy\nx=y\n directory=x\ndirectory=web dir\n")
		g.write(t, ".ssh/authorized_keys", keyLine("theirs", theKey)+keyLine("empty", theKey)+keyLine("away", theKey)+keyLine("odd", theKey)+keyLine("a/b", theKey), 0o600)
		for name, why := range map[string]string{
			"": "unknown-deployment: no such deployment", "nobody": "unknown-deployment: no such deployment", ".": "unknown-deployment: no such deployment", "..": "unknown-deployment: no such deployment", "../outside": "unknown-deployment: no such deployment",
			"a/b": "unknown-deployment: no such deployment", "web ": "unknown-deployment: no such deployment", "$(id)": "unknown-deployment: no such deployment", "*": "unknown-deployment: no such deployment",
			"theirs": "wrong-user: this deployment belongs to another user", "empty": "wrong-user: this deployment belongs to another user", "away": "not-cloned: the deployment is not there yet",
		} {
			g.refused(t, name, "", why)
		}
		g.check(t, "odd", nil, "out\nerror\n", 0, strings.ReplaceAll(deployed, "web", "odd"), "")
	})
}

// A deployment that has got another name is reached by the one of before, and a key
// means what it meant when it came in.
func TestGateKnowsFormerNames(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gateBox) {
		shop := strings.ReplaceAll(deployed, "web", "shop")
		g.file(t, filepath.Join(g.settings, "shop"), "user=deploy\ndirectory=web dir\nstate=web\nwas=web\nkey=web "+theKey+"\n")
		if err := os.Remove(filepath.Join(g.settings, "web")); err != nil {
			t.Fatal(err)
		}
		g.check(t, "web", nil, "out\nerror\n", 0, shop, "")
		if got := g.names(t, ".provision"); got != "web" {
			t.Errorf("its state is in %s", got)
		}
		g.write(t, ".ssh/authorized_keys", keyLine("shop", theKey), 0o600)
		g.check(t, "web", nil, "out\nerror\n", 0, shop, "")
		g.check(t, "shop", nil, "out\nerror\n", 0, shop, "")

		// The name is another one's by now.
		g.file(t, filepath.Join(g.settings, "web"), "user=deploy\ndirectory=web dir\n")
		g.check(t, "web", nil, "out\nerror\n", 0, shop, "")
		g.write(t, ".ssh/authorized_keys", keyLine("web", theKey), 0o600)
		g.check(t, "web", nil, "out\nerror\n", 0, deployed, "")

		// The line of a key has its new name, and its deployment not yet: it was that of another one.
		g.file(t, filepath.Join(g.settings, "web"), "user=deploy\ndirectory=away\nwas=blog\nkey=blog x\n")
		g.file(t, filepath.Join(g.settings, "shop"), "user=deploy\ndirectory=web dir\nwas=web\nkey=web "+theKey+"\nwas=blog\nkey=blog "+theKey+"\n")
		g.write(t, ".ssh/authorized_keys", keyLine("blog", theKey), 0o600)
		g.file(t, filepath.Join(g.settings, "alike"), "user=deploy\ndirectory=away\nwas=blog\n")
		g.check(t, "blog", nil, "out\nerror\n", 0, shop, "")
		g.write(t, ".ssh/authorized_keys", keyLine("web", theKey), 0o600)

		// Another user's is never meant.
		g.file(t, filepath.Join(g.settings, "web"), "user=other\ndirectory=web dir\n")
		g.check(t, "web", nil, "out\nerror\n", 0, shop, "")
		g.file(t, filepath.Join(g.settings, "shop"), "user=other\ndirectory=web dir\nwas=web\n")
		g.refused(t, "web", "", "wrong-user: this deployment belongs to another user")
	})
}

func TestGateFailures(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gateBox) {
		g.deploy(t, `echo failed; exit 5`)
		for _, word := range []string{"deploy", "status"} {
			g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=" + word}, "failed\n", 5, "", "")
		}
		if err := os.RemoveAll(filepath.Join(g.home, ".provision")); err != nil {
			t.Fatal(err)
		}
		g.write(t, ".provision", "", 0o600)
		g.refused(t, "web", "deploy", "home-read-only: the home of the user cannot be written: is the disk full?")

		// A host without syslog refuses all the same.
		g.stub(t, "logger", "exit 1")
		g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=id"}, "provision: refused: "+notAllowed+"\n", 126, "", "")
	})
}

func TestGateVerifies(t *testing.T) {
	const nonce = "0123456789abcdef0123456789abcdef"
	const look = "printf '%s begin 0 %s\\n' \"$1\" \"$#\"; cat; echo error >&2\n"
	eachGate(t, func(t *testing.T, g *gateBox) {
		g.refused(t, "web", "verify "+nonce+" 2", "not-installed: there is nothing installed to look with")
		g.file(t, filepath.Join(g.settings, "look-web"), look)
		g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=verify " + nonce + " 2"}, nonce+" look "+hexSum(look)+"\n"+nonce+" begin 0 1\nerror\n", 0, "", "")

		// It needs no clone.
		g.file(t, filepath.Join(g.settings, "web"), "user=deploy\ndirectory=away\n")
		g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=verify " + nonce + " 2"}, nonce+" look "+hexSum(look)+"\n"+nonce+" begin 0 1\nerror\n", 0, "", "")

		// A program of an older version asks without that of the protocol.
		g.refused(t, "web", "verify "+nonce, "old-program: the program that asks is older than this gate: upgrade provision there")
		for _, bad := range []string{nonce + "0 2", nonce[1:] + " 2", nonce + "0", nonce[1:], "", " 2", "2"} {
			g.refused(t, "web", "verify "+bad, "bad-nonce: a nonce has 32 digits")
		}
		for _, bad := range []string{nonce[1:] + "g 2", nonce[1:] + "A 2", nonce[1:] + "\n 2", nonce + " x", nonce + " 1", nonce + " 3", nonce + " 22", nonce + "  2", nonce + " 2 2",
			nonce + " 2 ", " " + nonce + " 2", "../" + nonce + " 2", nonce + " 2\n", "$(id)", "*"} {
			if bad == " 2" {
				continue
			}
			g.refused(t, "web", "verify "+bad, "bad-nonce: a nonce has hexadecimal digits")
		}
	})
}

// What the gate runs ends some time, even if it hangs.
func TestGateLimits(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gateBox) {
		g.stub(t, "timeout", `echo "$1" >>"$HOME/limits"; shift; exec "$@"`)
		g.file(t, filepath.Join(g.settings, "look-web"), ":\n")
		for _, word := range []string{"deploy", "status", "verify 0123456789abcdef0123456789abcdef 2"} {
			g.ask(t, "web", "SSH_ORIGINAL_COMMAND="+word)
		}
		if got := g.read(t, "limits"); got != "14400\n60\n300\n" {
			t.Errorf("the limits are %q", got)
		}
	})
}

// A key that leaks cannot fill the host with sessions.
func TestGateSessions(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gateBox) {
		g.file(t, filepath.Join(g.settings, "look-web"), ":\n")
		g.deploy(t, "echo begun; cat")
		type session struct {
			cmd *exec.Cmd
			in  io.WriteCloser
		}
		var sessions []session
		begin := func(word string) {
			t.Helper()
			cmd := g.command(t, "web", "SSH_ORIGINAL_COMMAND="+word)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			sessions = append(sessions, session{cmd, in})
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "begun\n" {
				t.Fatalf("session %d said %q, %v", len(sessions), line, err)
			}
		}
		end := func(s session) {
			t.Helper()
			s.in.Close()
			if err := s.cmd.Wait(); err != nil {
				t.Error(err)
			}
		}
		for len(sessions) < 32 {
			begin([]string{"deploy", "status"}[len(sessions)%2])
		}
		full := func() {
			t.Helper()
			for _, word := range []string{"", "status", "verify 0123456789abcdef0123456789abcdef 2"} {
				g.refused(t, "web", word, "too-many-sessions: too many sessions; try again later")
			}
		}
		full()
		end(sessions[7])
		sessions = slices.Delete(sessions, 7, 8)
		begin("status")
		full()
		for _, s := range sessions {
			end(s)
		}
		if got := len(strings.Fields(g.names(t, ".provision/web"))); got != 32 {
			t.Errorf("%d files of sessions", got)
		}
	})
}
