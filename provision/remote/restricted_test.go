package remote

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"provision/provision/secret"
	"provision/templates"
)

// A deployHost is a real sshd(8) that lets in deploy keys, with all that they
// could wish for: a Docker socket, X11, and sftp.
type deployHost struct {
	dir     string
	port    int
	hostKey string
}

// The users of a deployHost differ in what sshd(8) allows them.
const (
	deployer = "deployer"
	lenient  = "lenient" // may set every variable
	narrow   = "narrow"  // has one session at a time
)

const deploySetup = `set -eu
cd "$1"
cp -a /etc etc
mount --bind etc /etc
mount -t tmpfs none /run
# Sockets that were forwarded are left in /tmp.
mkdir -p /run/sshd /run/deploy
mount --bind "$1" /run/deploy
mount -t tmpfs -o mode=1777 none /tmp
mkdir -p "$1"
mount --bind /run/deploy "$1"
cd "$1"
mkdir -p /etc/provision/deployments
: >/run/docker.sock
mount --bind docker.sock /run/docker.sock
id=4100
for user in deployer lenient narrow; do
	id=$((id + 1))
	echo "$user:x:$id:$id::$1/home:/bin/sh" >>/etc/passwd
	echo "$user:x:$id:" >>/etc/group
	echo "$user:*:19000:0:99999:7:::" >>/etc/shadow
	printf 'user=%s\ndirectory=web\n' "$user" >"/etc/provision/deployments/of-$user"
done
exec /usr/sbin/sshd -D -e -f "$1/sshd_config"
`

const deployConfig = `ListenAddress 127.0.0.1
Port %[1]d
UsePAM no
StrictModes no
PidFile none
LogLevel VERBOSE
HostKey %[2]s/host
AuthorizedKeysFile %[2]s/authorized_keys
Subsystem sftp internal-sftp
X11Forwarding yes
XAuthLocation /bin/true
Match User lenient
	AcceptEnv *
Match User narrow
	MaxSessions 1
`

// The gates, good and bad, that stand in for the real one.
const (
	stubGate = `case ${SSH_ORIGINAL_COMMAND-} in
'' | deploy) echo deployed; echo why >&2 ;;
status) exit 3 ;;
slow) echo started; read -r _ <"${0%/*}/hold" ;;
left) sleep 1000 & echo $! ;;
flood) head -c 100000 /dev/zero | tr '\0' x; head -c 100000 /dev/zero | tr '\0' '\033' >&2; echo end >&2; exit 7 ;;
input) cat; echo at the end ;;
*) echo 'provision: refused: nothing else' >&2; exit 126 ;;
esac
`
	// It thinks that a word at the beginning makes the rest harmless.
	evalGate = `deploy() { :; }
status() { :; }
verify() { :; }
case ${SSH_ORIGINAL_COMMAND-} in
deploy* | status* | verify*) eval "$SSH_ORIGINAL_COMMAND" ;;
*) echo 'provision: refused: nothing else' >&2; exit 126 ;;
esac
`
	echoGate = `echo welcome; echo 'provision: refused: nothing else' >&2; exit 126
`
)

func newDeployHost(t *testing.T) *deployHost {
	t.Helper()
	needLab(t)
	// sshd reads the keys as the user who logs in.
	dir, err := os.MkdirTemp("", "provision-deploy-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &deployHost{dir: dir, port: freePort()}
	if err := errors.Join(os.Chmod(dir, 0o755), os.MkdirAll(filepath.Join(dir, "home/web"), 0o755)); err != nil {
		t.Fatal(err)
	}
	public, private := newKey()
	h.hostKey = strings.TrimSpace(public)
	for name, text := range map[string]string{
		"host": private, "authorized_keys": "", "setup": deploySetup,
		"sshd_config": fmt.Sprintf(deployConfig, h.port, dir),
		"gate":        templates.Gate, "stub": stubGate, "eval": evalGate, "echo": echoGate,
	} {
		h.write(t, name, text)
	}
	if err := os.Chmod(filepath.Join(dir, "host"), 0o600); err != nil {
		t.Fatal(err)
	}

	// What reads from this fifo ends with the test.
	path := filepath.Join(dir, "hold")
	if err := errors.Join(syscall.Mkfifo(path, 0o600), os.Chmod(path, 0o644)); err != nil {
		t.Fatal(err)
	}
	hold, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		os.Remove(path) // so that nobody opens it and waits for a writer
		hold.Close()
	})

	docker, err := net.Listen("unix", filepath.Join(dir, "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { docker.Close() })
	if err := os.Chmod(filepath.Join(dir, "docker.sock"), 0o666); err != nil {
		t.Fatal(err)
	}

	said := &banner{listening: make(chan struct{})}
	sshd := exec.Command("unshare", "--mount", "--propagation", "private", "/bin/sh", filepath.Join(dir, "setup"), dir)
	sshd.Stderr = said
	sshd.WaitDelay = time.Second // what it leaves behind holds the stream
	if err := sshd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = sshd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = sshd.Process.Kill()
		<-ended
	})
	select {
	case <-said.listening:
	case <-ended:
		t.Fatalf("sshd does not start: %s", said.text)
	}
	return h
}

// A banner is the standard error of an sshd.
type banner struct {
	text      []byte
	listening chan struct{} // closed when sshd listens
	told      bool
}

func (b *banner) Write(p []byte) (int, error) {
	b.text = append(b.text, p...)
	if !b.told && bytes.Contains(b.text, []byte("Server listening")) {
		b.told = true
		close(b.listening)
	}
	return len(p), nil
}

func (h *deployHost) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// options are those of a line in authorized_keys; GATE stands for the real
// gate, and DIR for the folder with the others.
func (h *deployHost) target(t *testing.T, user, options string) Target {
	t.Helper()
	options = strings.ReplaceAll(options, "GATE", "/bin/sh DIR/gate of-"+user+" SHA256:x")
	public, private := newKey()
	h.write(t, "authorized_keys", strings.ReplaceAll(options, "DIR", h.dir)+" "+public)
	return Target{Name: "web1", Address: "127.0.0.1", Port: h.port, User: user, HostKeys: []string{h.hostKey}, Key: secret.New(private)}
}

// dial connects with a new deploy key, which is the only one.
func (h *deployHost) dial(t *testing.T, user, options string) *Conn {
	t.Helper()
	return dialKey(t, newDialer(t, ""), h.target(t, user, options))
}

func dialKey(t *testing.T, d *Dialer, target Target) *Conn {
	t.Helper()
	c, err := d.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// newFifo makes a fifo that all users of the host can open.
func (h *deployHost) newFifo(t *testing.T) *fifo {
	t.Helper()
	f := &fifo{path: filepath.Join(h.dir, "fifo-"+rand.Text())}
	if err := errors.Join(syscall.Mkfifo(f.path, 0o600), os.Chmod(f.path, 0o666)); err != nil {
		t.Fatal(err)
	}
	return f
}
