package remote

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"provision/e2e/needs"
	"provision/provision/remote/sshconfig"
)

// The lab is a real sshd(8) on the loopback, with users, sudo and doas of its
// own: it has a copy of /etc in a mount namespace, so the machine stays as
// it is.
var lab struct {
	missing  error // why there is none
	dir      string
	port     int
	key      string // a key file that every user accepts
	hostKeys []string
	password string // of the users whom sudo asks

	authority ssh.Signer // whose certificates every user accepts
}

// The users of the lab. Those of loginShells are let in by sudo as "free" is.
var users = []string{"free", "asked", "stranger", "ttyless", "pty", "ptyasked", "misled", "bare", "doer", "doasked"}

var loginShells = []string{"dash", "bash", "mksh", "zsh", "tcsh", "fish", "busybox"}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		// The agent of whoever runs the tests is none of theirs.
		os.Unsetenv("SSH_AUTH_SOCK")
		var stop func()
		lab.missing = needs.CheckLab(func() (err error) {
			stop, err = startLab()
			return err
		})
		if lab.missing == nil {
			defer stop()
		}
		return m.Run()
	}())
}

func needLab(t *testing.T) {
	t.Helper()
	needs.Lab(t, lab.missing)
}

const labSetup = `set -eu
cd "$1"
cp -a /etc etc
mount --bind etc /etc
mount -t tmpfs none /run
mkdir -p /run/sshd /run/sudo
chmod 711 /run/sudo
mount -t tmpfs none /var/lib/sudo
# A user with "!" for a password is locked, one with "*" is not.
id=4000
while read -r user shell; do
	id=$((id + 1))
	echo "$user:x:$id:$id::$1/home:$shell" >>/etc/passwd
	echo "$user:x:$id:" >>/etc/group
	echo "$user:*:19000:0:99999:7:::" >>/etc/shadow
done <users
for user in asked ptyasked doasked stranger; do
	echo "$user:$2"
done | chpasswd
rm -f /etc/sudoers.d/*
cp sudoers /etc/sudoers
cp doas.conf /etc/doas.conf
chmod 440 /etc/sudoers
chmod 400 /etc/doas.conf
exec /usr/sbin/sshd -D -e -f "$1/sshd_config"
`

func startLab() (stop func(), err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("it takes root")
	}
	for _, program := range []string{"/usr/sbin/sshd", "sudo", "doas", "unshare", "ssh", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%w (apt-get install openssh-server openssh-client sudo opendoas)", err)
		}
	}
	if lab.dir, err = os.MkdirTemp("", "provision-lab-"); err != nil {
		return nil, err
	}
	remove := func() { os.RemoveAll(lab.dir) }
	defer func() {
		if err != nil {
			remove()
		}
	}()
	write := func(name, text string) {
		if e := os.WriteFile(filepath.Join(lab.dir, name), []byte(text), 0o600); e != nil {
			err = errors.Join(err, e)
		}
	}
	// sshd reads the keys as the user who logs in.
	if err := errors.Join(os.Chmod(lab.dir, 0o755), os.Mkdir(filepath.Join(lab.dir, "home"), 0o755)); err != nil {
		return nil, err
	}
	lab.password = rand.Text()
	lab.key = filepath.Join(lab.dir, "id")
	public, private := newKey()
	write("id", private)
	write("authorized_keys", public)
	if err := os.Chmod(filepath.Join(lab.dir, "authorized_keys"), 0o644); err != nil {
		return nil, err
	}

	authority, private := newKey()
	write("authority.pub", authority)
	if lab.authority, err = ssh.ParsePrivateKey([]byte(private)); err != nil {
		return nil, err
	}

	lab.port = freePort()
	config := fmt.Sprintf("ListenAddress 127.0.0.1\nPort %[1]d\nUsePAM no\nStrictModes no\nPidFile none\nLogLevel VERBOSE\n"+
		"PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\n"+
		"AuthorizedKeysFile %[2]s/authorized_keys\nTrustedUserCAKeys %[2]s/authority.pub\n", lab.port, lab.dir)
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		file := filepath.Join(lab.dir, "host_"+kind)
		if out, err := exec.Command("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", file).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
		key, err := os.ReadFile(file + ".pub")
		if err != nil {
			return nil, err
		}
		lab.hostKeys = append(lab.hostKeys, strings.TrimSpace(string(key)))
		config += "HostKey " + file + "\n"
	}
	config += "Match User bare\n\tSetEnv PATH=/nowhere\n"
	write("sshd_config", config)

	list := ""
	for _, user := range users {
		list += user + " /bin/sh\n"
	}
	sudoers := "Defaults env_reset\nDefaults secure_path=/usr/sbin:/usr/bin:/sbin:/bin\nroot ALL=(ALL:ALL) ALL\n" +
		"Defaults:ttyless requiretty\nDefaults:pty use_pty\nDefaults:ptyasked use_pty\nDefaults:asked,ptyasked lecture=always\n" +
		"Defaults:misled runas_default=stranger\n" +
		"free ALL=(ALL) NOPASSWD: ALL\nttyless ALL=(ALL) NOPASSWD: ALL\npty ALL=(ALL) NOPASSWD: ALL\n" +
		"misled ALL=(ALL) NOPASSWD: ALL\nasked ALL=(ALL) ALL\nptyasked ALL=(ALL) ALL\n"
	for _, shell := range loginShells {
		if path, err := exec.LookPath(shell); err == nil {
			if shell == "busybox" { // sh by its name
				path = filepath.Join(lab.dir, "ash")
				if err := os.Symlink("/bin/busybox", path); err != nil {
					return nil, err
				}
			}
			list += "in" + shell + " " + path + "\n"
			sudoers += "in" + shell + " ALL=(ALL) NOPASSWD: ALL\n"
		}
	}
	write("users", list)
	write("sudoers", sudoers)
	write("doas.conf", "permit nopass doer as root\npermit doasked as root\n")
	write("setup", labSetup)
	if err != nil {
		return nil, err
	}

	var log bytes.Buffer
	sshd := exec.Command("unshare", "--mount", "--propagation", "private", "/bin/sh", filepath.Join(lab.dir, "setup"), lab.dir, lab.password)
	// The lab ends with the tests, also where they do not end well. The signal
	// is bound to the thread that starts it.
	runtime.LockOSThread()
	sshd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := sshd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := sshd.Start(); err != nil {
		return nil, err
	}
	listening := make(chan bool, 1)
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := said.Read(buffer)
			log.Write(buffer[:n])
			if err != nil {
				listening <- false
				return
			}
			if bytes.Contains(log.Bytes(), []byte("Server listening")) {
				listening <- true
				break
			}
		}
		_, _ = io.Copy(io.Discard, said)
	}()
	if !<-listening {
		_ = sshd.Wait()
		return nil, fmt.Errorf("sshd does not start: %s", log.String())
	}
	return func() {
		_ = sshd.Process.Kill()
		_ = sshd.Wait()
		remove()
	}, nil
}

func freePort() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// newKey makes an Ed25519 key pair: the line of authorized_keys, and the file.
func newKey() (public, private string) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		panic(err)
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		panic(err)
	}
	return keyLine(sshPub) + "\n", string(pem.EncodeToMemory(block))
}

// writeFile puts a file into a new directory.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newDialer returns a Dialer that knows nothing of this machine's
// configuration and agent but the given lines of ssh_config(5).
func newDialer(t *testing.T, config string) *Dialer {
	t.Helper()
	needs.Program(t, "ssh")
	d := &Dialer{Config: &sshconfig.Config{File: writeFile(t, "ssh_config", config)}}
	t.Cleanup(func() { d.Close() })
	return d
}

func labTarget(user string, become Become) Target {
	return Target{Name: "lab", Address: "127.0.0.1", Port: lab.port, User: user, Identity: lab.key,
		HostKeys: lab.hostKeys, Become: become}
}

// dialLab connects as a user of the lab.
func dialLab(t *testing.T, target Target) *Conn {
	t.Helper()
	needLab(t)
	d := newDialer(t, "")
	c, err := d.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func runs(ctx context.Context, c *Conn, program string) (string, error) {
	var out bytes.Buffer
	err := c.Run(ctx, strings.NewReader(program), &out)
	return out.String(), err
}

// A fifo tells of the processes that hold it open.
type fifo struct {
	path string
	file *os.File
}

func newFifo(t *testing.T) *fifo {
	t.Helper()
	f := &fifo{path: filepath.Join(t.TempDir(), "fifo")}
	if err := syscall.Mkfifo(f.path, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// opened waits until somebody writes.
func (f *fifo) opened(t *testing.T) {
	t.Helper()
	file, err := os.Open(f.path)
	if err != nil {
		t.Fatal(err)
	}
	f.file = file
	t.Cleanup(func() { file.Close() })
}

// closed waits until nobody can write any more.
func (f *fifo) closed() { _, _ = io.Copy(io.Discard, f.file) }

// isClosed reports whether nobody can write any more at this moment.
func (f *fifo) isClosed(t *testing.T) bool {
	t.Helper()
	fd := int(f.file.Fd())
	if err := syscall.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	n, err := syscall.Read(fd, make([]byte, 1))
	return n == 0 && err == nil
}

// A relay is a TCP proxy in front of the lab that can be cut or frozen.
type relay struct {
	port     int
	listener net.Listener
	mu       sync.Mutex
	frozen   bool
	conns    []net.Conn
}

func newRelay(t *testing.T) *relay { return newRelayTo(t, lab.port) }

func newRelayTo(t *testing.T, port int) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{port: l.Addr().(*net.TCPAddr).Port, listener: l}
	t.Cleanup(func() { l.Close(); r.cut() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
			if err != nil {
				in.Close()
				return
			}
			r.mu.Lock()
			r.conns = append(r.conns, in, out)
			r.mu.Unlock()
			go r.copy(in, out)
			go r.copy(out, in)
		}
	}()
	return r
}

func (r *relay) copy(to, from net.Conn) {
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		r.mu.Lock()
		frozen := r.frozen
		r.mu.Unlock()
		if err != nil {
			if !frozen {
				to.Close()
			}
			return
		}
		if !frozen {
			_, _ = to.Write(buffer[:n])
		}
	}
}

// cut ends all connections through the relay.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
}

// freeze swallows everything from now on.
func (r *relay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = true
}
