// Package lab makes throwaway Debian 13 hosts with real systemd, sshd, sudo,
// dockerd and git, a real container registry, and names and a network for
// them, all on one machine and all gone afterwards.
//
// A program calls [Enter], which puts it into namespaces of its own. In there,
// [Lab.Boot] boots hosts under systemd-nspawn on a private bridge, [Lab.Name]
// gives the program addresses and names to serve on, [Lab.NewRegistry] starts
// Debian's docker-registry and [Lab.Run] is where CI's scripts run. It needs
// root on a Debian machine, see [Check], and touches nothing of that machine
// but its cache of root file systems.
package lab

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

const (
	bridge  = "lab0"
	labDir  = "/run/lab"
	homeDir = "/run/lab/home"
)

// The control machine has the addresses below firstHost, hosts have those from
// there on. Nobody outside the namespaces can see them.
var (
	resolvConf     = "nameserver " + controlAddress.String() + "\n"
	network        = netip.MustParsePrefix("10.213.0.0/16")
	controlAddress = netip.MustParseAddr("10.213.0.1")
	firstHost      = netip.MustParseAddr("10.213.128.1")
)

// A Lab is the inside of the namespaces. Its methods may be called from many
// goroutines.
type Lab struct {
	cgroup string // below /sys/fs/cgroup
	root   string // the cached root file system
	pid    string // the init's, as the machine outside sees it
	names  *names

	mu          sync.Mutex
	nextControl netip.Addr
	nextHost    netip.Addr
	identity    string
	ca          *CA
	open        map[io.Closer]bool
}

func newLab(cgroup, root, pid string) (*Lab, error) {
	names, err := startNames()
	if err != nil {
		return nil, fmt.Errorf("the lab's name server: %w", err)
	}
	return &Lab{
		cgroup:      filepath.Join("/sys/fs/cgroup", cgroup),
		root:        root,
		pid:         pid,
		names:       names,
		nextControl: controlAddress,
		nextHost:    firstHost,
		open:        map[io.Closer]bool{},
	}, nil
}

// Name gives the control machine one more address, with names that resolve to
// it on the control machine and on every host. Whoever serves a name listens
// on that address, so every name can have its own port 22 or 443.
func (l *Lab) Name(names ...string) (netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	address := l.nextControl.Next()
	if address == firstHost {
		return netip.Addr{}, errors.New("the lab has no addresses left for the control machine")
	}
	if err := ip(fmt.Sprintf("address add %s/%d dev %s", address, network.Bits(), bridge)); err != nil {
		return netip.Addr{}, err
	}
	l.nextControl = address
	l.names.add(address, names...)
	return address, nil
}

// Identity returns the path of the private key that lets the admins of all
// hosts in. It is made anew in every lab and lies on the lab's tmpfs; its
// public half is beside it with the ending ".pub".
func (l *Lab) Identity() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.identity != "" {
		return l.identity, nil
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	path := filepath.Join(labDir, "id_ed25519")
	line, err := writeKey(path, private, public, "admin@lab")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path+".pub", []byte(line+"\n"), 0o644); err != nil {
		return "", err
	}
	l.identity = path
	return path, nil
}

// writeKey writes a private key as OpenSSH does and returns the public half
// as one line.
func writeKey(path string, private, public any, comment string) (string, error) {
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return "", err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
}

// Run runs a /bin/sh script on the control machine as a CI job would run: as
// root, with an empty home directory, nothing in the environment but PATH, HOME
// and env, and nothing on standard input. It returns what the script printed;
// the error of a failed one is an [*exec.ExitError] with its standard error.
func (l *Lab) Run(ctx context.Context, env map[string]string, script string) (string, error) {
	home, err := os.MkdirTemp(labDir, "run-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(home)
	// ssh asks passwd(5) for its home, so the private one must be at that place.
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "sh", "-euc",
		`mount --bind "$1" "$2" && cd "$2" && exec sh -c "$3"`, "sh", home, homeDir, script)
	cmd.Env = []string{"PATH=" + path, "HOME=" + homeDir}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return output(cmd)
}

const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// output runs a command in a process group of its own, so that a cancelled
// context ends all of it.
func output(cmd *exec.Cmd) (string, error) {
	killGroup(cmd)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		exit.Stderr = stderr.Bytes()
		err = fmt.Errorf("%w\n%s", err, bytes.TrimSpace(append(stdout.Bytes(), stderr.Bytes()...)))
	}
	return stdout.String(), err
}

// Shell returns the command by which root, on the machine outside and while
// the program runs, gets a shell on the control machine.
func (l *Lab) Shell() string {
	return "nsenter --target " + l.pid + " --mount --net --pid --uts env HOME=" + homeDir + " sh"
}

// Close ends all hosts and registries that are still there and waits for them.
// The end of the program does the same; Close gives their memory back sooner.
func (l *Lab) Close() error {
	l.mu.Lock()
	open := slices.Collect(maps.Keys(l.open))
	l.mu.Unlock()
	var errs []error
	for _, c := range open {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// opened has Close close c, unless that is closed before.
func (l *Lab) opened(c io.Closer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c] = true
}

func (l *Lab) closed(c io.Closer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}
