package lab

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

//go:embed host.sh
var hostScript string

// Become is how the admin of a host becomes root.
type Become string

const (
	Sudo         Become = "sudo"          // without a password
	SudoPassword Become = "sudo-password" // as a member of the group sudo, with Options.Password
	Doas         Become = "doas"          // without a password; sudo is there, but lets nobody in
	None         Become = "none"          // not at all, or the admin is root
)

// Options describe a host. All but Names has a default.
type Options struct {
	// Names resolve to the host, on the control machine and on every host.
	// The first label of the first one becomes its host name.
	Names []string
	// Port is sshd's. Default: 22.
	Port int
	// Docker says that docker, compose v2 and git are installed and dockerd
	// runs. Without it they are not there, but apt installs them offline.
	Docker bool
	// Packages are installed too. What is there to choose from is in root.sh.
	Packages []string
	// Admin is the user whom [Lab.Identity] lets in; it may be root.
	// Default: "admin".
	Admin string
	// Become is the admin's way to root. Default: [Sudo], for root [None].
	Become Become
	// Password is the admin's. Default: none, the account has only its key.
	Password string
}

// A Host is a booted machine. Its methods may be called from many goroutines,
// but not while PowerOff or Reboot is at work.
type Host struct {
	Name     string     // the first of Options.Names
	Address  netip.Addr // on the lab's network
	Port     int        // sshd's
	Admin    string     // who may log in with [Lab.Identity]
	HostKeys []string   // public host keys, each as "TYPE BASE64"

	lab    *Lab
	dir    string // on the lab's tmpfs
	cgroup string

	mu   sync.Mutex
	boot *boot
}

// Boot boots a new host and returns when systemd has started everything: sshd
// answers, and so does dockerd if it is there. Hosts may boot in parallel.
// The first use of a set of packages installs them into the cache.
func (l *Lab) Boot(ctx context.Context, o Options) (*Host, error) {
	if len(o.Names) == 0 {
		return nil, errors.New("a host needs a name")
	}
	if o.Port == 0 {
		o.Port = 22
	}
	if o.Admin == "" {
		o.Admin = "admin"
	}
	if o.Become == "" && o.Admin == "root" {
		o.Become = None
	} else if o.Become == "" {
		o.Become = Sudo
	}
	packages := o.Packages
	if o.Docker {
		packages = append([]string{"docker.io", "docker-cli", "docker-compose", "git"}, packages...)
	}
	if o.Become == Doas {
		packages = append([]string{"opendoas"}, packages...)
	}

	h := &Host{
		Name:   o.Names[0],
		Port:   o.Port,
		Admin:  o.Admin,
		lab:    l,
		dir:    filepath.Join(labDir, "host", o.Names[0]),
		cgroup: filepath.Join(l.cgroup, "host-"+o.Names[0]),
	}
	// Making the directory is what claims the name.
	if err := os.MkdirAll(filepath.Dir(h.dir), 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(h.dir, 0o755); errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s: there is a host of this name already", h.Name)
	} else if err != nil {
		return nil, err
	}
	err := l.prepare(ctx, h, o, packages)
	if err == nil {
		err = h.powerOn(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", h.Name, err), h.Close())
	}
	l.opened(h)
	return h, nil
}

// prepare makes the file system of a host that is still off.
func (l *Lab) prepare(ctx context.Context, h *Host, o Options, packages []string) error {
	identity, err := l.Identity()
	if err != nil {
		return err
	}
	key, err := os.ReadFile(identity + ".pub")
	if err != nil {
		return err
	}
	lower, err := l.layers(ctx, packages)
	if err != nil {
		return err
	}
	for _, name := range []string{"upper", "work", "root", "docker"} {
		if err := os.Mkdir(filepath.Join(h.dir, name), 0o755); err != nil {
			return err
		}
	}
	if err := os.Mkdir(h.cgroup, 0o755); err != nil {
		return err
	}
	overlay := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%[2]s/work", lower, h.dir)
	if err := syscall.Mount("overlay", h.root(), "overlay", 0, overlay); err != nil {
		return fmt.Errorf("mount %s: %w", h.root(), err)
	}
	if h.HostKeys, err = makeHostKeys(filepath.Join(h.root(), "etc/ssh")); err != nil {
		return err
	}

	l.mu.Lock()
	h.Address = l.nextHost
	l.nextHost = h.Address.Next()
	l.mu.Unlock()
	cmd := exec.CommandContext(ctx, "chroot", h.root(), "sh", "-c", hostScript, "sh",
		h.Name, netip.PrefixFrom(h.Address, network.Bits()).String(), strconv.Itoa(o.Port),
		o.Admin, string(o.Become), strings.TrimSpace(string(key)))
	cmd.Env = []string{"PATH=" + path}
	cmd.Stdin = strings.NewReader(o.Password + "\n")
	if _, err := output(cmd); err != nil {
		return err
	}
	l.names.add(h.Address, o.Names...)
	return os.WriteFile(filepath.Join(h.root(), "etc/resolv.conf"), []byte(resolvConf), 0o644)
}

// File returns where the control machine finds a file of the host, as long as
// that is not on a file system that the host has mounted.
func (h *Host) File(path string) string { return filepath.Join(h.root(), path) }

func (h *Host) root() string { return filepath.Join(h.dir, "root") }

// makeHostKeys writes the three host keys that Debian's sshd looks for.
func makeHostKeys(dir string) ([]string, error) {
	_, ed25519Key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, key := range []struct {
		kind            string
		private, public any
	}{
		{"ed25519", ed25519Key, ed25519Key.Public()},
		{"ecdsa", ecdsaKey, ecdsaKey.Public()},
		{"rsa", rsaKey, rsaKey.Public()},
	} {
		file := filepath.Join(dir, "ssh_host_"+key.kind+"_key")
		line, err := writeKey(file, key.private, key.public, "")
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(file+".pub", []byte(line+"\n"), 0o644); err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// KnownHosts returns the lines of a known_hosts file for all of the host's
// keys, under the name by which a client calls it.
func (h *Host) KnownHosts() string {
	name := h.Name
	if h.Port != 22 {
		name = fmt.Sprintf("[%s]:%d", h.Name, h.Port)
	}
	var b strings.Builder
	for _, key := range h.HostKeys {
		fmt.Fprintf(&b, "%s %s\n", name, key)
	}
	return b.String()
}

// Exec runs a /bin/sh script as root on the host, without sshd having a part
// in it. args are its $1, $2, …; it has a clean environment and nothing on
// standard input. It returns what the script printed; the error of a failed
// one wraps an [*exec.ExitError] and has all output in its text.
func (h *Host) Exec(ctx context.Context, script string, args ...string) (string, error) {
	return h.Feed(ctx, nil, script, args...)
}

// Feed is [Host.Exec] with something on standard input: what must not be seen
// among the arguments of a process.
func (h *Host) Feed(ctx context.Context, input io.Reader, script string, args ...string) (string, error) {
	leader, err := h.leader()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{
		"--target", strconv.Itoa(leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"--root", "--wd", "/bin/sh", "-c", script, "sh"}, args...)...)
	cmd.Env = []string{"PATH=" + path, "HOME=/root", "LC_ALL=C.UTF-8"}
	cmd.Stdin = input
	out, err := output(cmd)
	if err != nil {
		return out, fmt.Errorf("%s: %w", h.Name, err)
	}
	return out, nil
}

// Close ends the host at once, as a power cut would, and removes its files.
// A later host may have the same name, but will have another address.
func (h *Host) Close() error {
	h.lab.closed(h)
	h.cut()
	err := syscall.Unmount(h.root(), 0)
	if err == syscall.EINVAL || err == syscall.ENOENT { // it is not mounted
		err = nil
	}
	removeCgroup(h.cgroup)
	return errors.Join(err, os.RemoveAll(h.dir))
}
