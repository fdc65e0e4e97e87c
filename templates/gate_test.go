package templates

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A gateBox has the gate, the settings of one deployment "web", and stubs of
// what the gate runs. It is the gate as it stands, but for its constants:
// where the settings, what it looks with and the programs are.
type gateBox struct {
	*box
	settings string
	text     string
}

func newGate(t *testing.T, b *box) *gateBox {
	g := &gateBox{box: b, settings: filepath.Join(filepath.Dir(b.home), "settings")}
	text := Gate
	for _, constant := range [][2]string{
		{"settings=/etc/provision/deployments/$name\n", "settings=" + g.settings + "/$name\n"},
		{"look=/usr/local/lib/provision/look/$name\n", "look=" + g.settings + "/look-$name\n"},
		{"PATH=" + real + " ", "PATH=" + b.bin + ":" + real + " "},
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
	b.stub(t, "id", `[ "$*" = -un ]; echo deploy`)
	b.stub(t, "getent", `echo "$2:x:999:999::`+b.home+`:/bin/sh"`)
	b.stub(t, "logger", `printf '%s\n' "$*" >>`+quote(filepath.Join(b.home, "log")))
	b.stub(t, "docker", `printf '%s in %s\n' "$*" "$PWD" >>`+quote(filepath.Join(b.home, "called"))+`
[ ! -e "$HOME/fail-$2" ] || exit 5
[ "$2" != ps ] || echo '[{"State":"running"}]'`)
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

// ask runs the gate as sshd does, and returns what it says, its exit status,
// what docker was called with, and the log.
func (g *gateBox) ask(t *testing.T, name string, env ...string) (out string, status int, called, log string) {
	t.Helper()
	for _, file := range []string{"called", "log"} {
		os.Remove(filepath.Join(g.home, file))
	}
	gate := filepath.Join(g.settings, "..", "gate")
	g.file(t, gate, g.preferStubs(t)+g.text)
	cmd := exec.Command(g.shell[0], append(slices.Clone(g.shell[1:]), gate, name, "SHA256:f1ng3r")...)
	cmd.Dir = g.home
	cmd.Env = append([]string{"HOME=/nowhere", "PATH=/nowhere", "SSH_CLIENT=192.0.2.7 50000 22", "CDPATH=/", "IFS=e"}, env...)
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
	suffix     = " (user deploy, key SHA256:f1ng3r, from 192.0.2.7)\n"
	deployed   = "compose pull in ~/web dir\ncompose up --detach in ~/web dir\n"
	deployLog  = "-t provision -p auth.info web: deploy" + suffix + "-t provision -p auth.info web: deployed" + suffix
	notAllowed = "a deploy key can deploy, ask for the status and verify, and nothing else"
)

func eachGate(t *testing.T, f func(t *testing.T, g *gateBox)) {
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(shell[0]); err != nil {
				t.Skipf("NOT TESTED under %s: it is not installed (apt-get install dash bash busybox-static)", name)
			}
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
		t.Errorf("%s %q: docker was called with %q, want %q", name, env, called, wantCalled)
	}
	if log != wantLog {
		t.Errorf("%s %q: log\n got %q\nwant %q", name, env, log, wantLog)
	}
}

func TestGateAllows(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gateBox) {
		g.check(t, "web", nil, "", 0, deployed, deployLog)
		g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND="}, "", 0, deployed, deployLog)
		g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=deploy"}, "", 0, deployed, deployLog)
		g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=status"}, "[{\"State\":\"running\"}]\n", 0, "compose ps --all --format json in ~/web dir\n", "")
	})
}

func TestGateRefuses(t *testing.T) {
	asked := map[string]string{ // and how it is logged
		" ": " ", "deploy ": "deploy ", " deploy": " deploy", "DEPLOY": "DEPLOY", "deploy deploy": "deploy deploy", "deploy;id": "deploy;id", "deploy\nid": "deploy?id",
		"sh": "sh", "/bin/sh -i": "/bin/sh -i", "bash": "bash", "status;id": "status;id", "status --all": "status --all", "*": "*", "d?ploy": "d?ploy", "[d]eploy": "[d]eploy",
		"$(touch ~/escaped)": "$(touch ~/escaped)", "`touch ~/escaped`": "`touch ~/escaped`", "'": "'", "\"": "\"", "\\": "\\", "-n": "-n", "%s%n": "%s%n", "--help": "--help",
		"\x1b[2J\r\x07": "?[2J??", "ü\xff": "???", "internal-sftp": "internal-sftp", "/usr/lib/openssh/sftp-server": "/usr/lib/openssh/sftp-server",
		"scp -t /": "scp -t /", "rsync --server": "rsync --server", "git-upload-pack 'x'": "git-upload-pack 'x'", "docker ps": "docker ps", "verify": "verify",
		strings.Repeat("x", 100_000): strings.Repeat("x", 200),
	}
	eachGate(t, func(t *testing.T, g *gateBox) {
		for command, logged := range asked {
			g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=" + command}, "provision: refused: "+notAllowed+"\n", 126, "",
				"-t provision -p auth.warning web: refused: "+notAllowed+": "+logged+suffix)
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
		for name, why := range map[string]string{
			"": "no such deployment", "nobody": "no such deployment", ".": "no such deployment", "..": "no such deployment", "../outside": "no such deployment",
			"a/b": "no such deployment", "web ": "no such deployment", "$(id)": "no such deployment", "*": "no such deployment",
			"theirs": "this deployment belongs to another user", "empty": "this deployment belongs to another user", "away": "the deployment is not there yet",
		} {
			g.check(t, name, nil, "provision: refused: "+why+"\n", 126, "", "-t provision -p auth.warning "+name+": refused: "+why+": "+suffix)
		}
		g.check(t, "odd", nil, "", 0, deployed, strings.ReplaceAll(deployLog, "web:", "odd:"))
	})
}

func TestGateFailures(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gateBox) {
		const said = "provision: the deploy failed\n"
		failed := "-t provision -p auth.info web: deploy" + suffix + "-t provision -p auth.err web: the deploy failed" + suffix
		g.write(t, "fail-pull", "", 0o600)
		g.check(t, "web", nil, said, 1, "compose pull in ~/web dir\n", failed)
		os.Remove(filepath.Join(g.home, "fail-pull"))
		g.write(t, "fail-up", "", 0o600)
		g.check(t, "web", nil, said, 1, deployed, failed)
		os.Remove(filepath.Join(g.home, "fail-up"))
		g.write(t, "fail-ps", "", 0o600)
		g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=status"}, "", 5, "compose ps --all --format json in ~/web dir\n", "")

		// A host without syslog deploys all the same.
		g.stub(t, "logger", "exit 1")
		g.check(t, "web", nil, "", 0, deployed, "")
	})
}

func TestGateWaitsAndGoesBack(t *testing.T) {
	const running = "compose ps --quiet in ~/web dir\ninspect --format {{.Image}} {{.Config.Image}} one in ~/web dir\ninspect --format {{.Image}} {{.Config.Image}} two in ~/web dir\n"
	const pull, up = "compose pull in ~/web dir\n", "compose up --detach --wait --wait-timeout 90 in ~/web dir\n"
	const back = "tag sha256:one example/one in ~/web dir\ntag sha256:two example/two in ~/web dir\n"
	const again = "compose up --detach --pull never in ~/web dir\ncompose up --detach --pull never --wait --wait-timeout 90 in ~/web dir\n"
	log := func(outcome string) string {
		return "-t provision -p auth.info web: deploy" + suffix + "-t provision -p " + outcome + suffix
	}
	eachGate(t, func(t *testing.T, g *gateBox) {
		g.file(t, filepath.Join(g.settings, "web"), "user=deploy\ndirectory=web dir\nwait=90\nrollback=yes\n")
		g.stub(t, "docker", `printf '%s in %s\n' "$*" "$PWD" >>`+quote(filepath.Join(g.home, "called"))+`
case "$*" in
*--quiet) [ -e "$HOME/nothing-runs" ] || printf 'one\ntwo\n' ;;
inspect*)
	echo "sha256:$4 example/$4"
	echo "sha256:$4 example/pinned@sha256:$4"
	echo "sha256:$4 sha256:$4"
	[ ! -e "$HOME/ended" ] || exit 1
	;;
*'never --wait'*) [ ! -e "$HOME/never-healthy" ] || exit 1 ;;
*--wait*) [ ! -e "$HOME/unhealthy" ] || exit 1 ;;
tag*) [ ! -e "$HOME/untaggable" ] || exit 1 ;;
esac`)
		g.check(t, "web", nil, "", 0, running+pull+up, log("auth.info web: deployed"))

		g.write(t, "unhealthy", "", 0o600)
		const restored = "the deploy failed, and the images that ran before run again"
		g.check(t, "web", nil, "provision: "+restored+"\n", 1, running+pull+up+back+again, log("auth.err web: "+restored))

		g.write(t, "never-healthy", "", 0o600)
		g.check(t, "web", nil, "provision: "+restored+", but are not healthy either\n", 1, running+pull+up+back+again, log("auth.err web: "+restored+", but are not healthy either"))
		os.Remove(filepath.Join(g.home, "never-healthy"))

		g.write(t, "ended", "", 0o600) // containers, while they are looked at
		g.check(t, "web", nil, "provision: "+restored+"\n", 1, running+pull+up+back+again, log("auth.err web: "+restored))

		const lost = "the deploy failed, and going back to the images before it failed too"
		g.write(t, "untaggable", "", 0o600)
		g.check(t, "web", nil, "provision: "+lost+"\n", 1, running+pull+up+"tag sha256:one example/one in ~/web dir\n", log("auth.err web: "+lost))
		g.write(t, "nothing-runs", "", 0o600)
		g.check(t, "web", nil, "provision: "+lost+"\n", 1, "compose ps --quiet in ~/web dir\n"+pull+up, log("auth.err web: "+lost))
	})
}

func TestGateVerifies(t *testing.T) {
	const nonce = "0123456789abcdef0123456789abcdef"
	const look = "printf '%s begin 0 %s\\n' \"$1\" \"$#\"; cat; echo error >&2\n"
	eachGate(t, func(t *testing.T, g *gateBox) {
		refused := func(command, why string) {
			t.Helper()
			g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=" + command}, "provision: refused: "+why+"\n", 126, "",
				"-t provision -p auth.warning web: refused: "+why+": "+strings.ReplaceAll(command, "\n", "?")+suffix)
		}
		refused("verify "+nonce, "there is nothing installed to look with")
		g.file(t, filepath.Join(g.settings, "look-web"), look)
		g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=verify " + nonce}, nonce+" look "+hexSum(look)+"\n"+nonce+" begin 0 1\nerror\n", 0, "", "")

		refused("verify "+nonce+"0", "a nonce has 32 digits")
		refused("verify "+nonce[1:], "a nonce has 32 digits")
		refused("verify ", "a nonce has 32 digits")
		for _, bad := range []string{nonce[1:] + "g", nonce[1:] + "A", nonce[1:] + "\n", nonce + " x", " " + nonce, "../" + nonce, "$(id)", "*"} {
			refused("verify "+bad, "a nonce has hexadecimal digits")
		}
	})
}

// Two deploys never run at the same time, and Docker does not inherit the lock.
func TestGateLocks(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gateBox) {
		g.stub(t, "docker", `cd "$HOME"
[ ! -e /proc/self/fd/9 ] || echo inherited >>locks
flock -n 'web dir' true && echo free >>locks || echo "taken at $2" >>locks`)
		g.check(t, "web", nil, "", 0, "", deployLog)
		if got := g.read(t, "locks"); got != "taken at pull\ntaken at up\n" {
			t.Errorf("locks: %q", got)
		}
		g.stub(t, "flock", "exit 1")
		g.check(t, "web", nil, "provision: refused: another deploy does not end\n", 126, "",
			"-t provision -p auth.warning web: refused: another deploy does not end: "+suffix)
		g.check(t, "web", []string{"SSH_ORIGINAL_COMMAND=status"}, "", 0, "", "") // needs no lock
	})
}
