package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

var (
	//go:embed root.sh
	rootScript string
	//go:embed layer.sh
	layerScript string
)

// cacheDir returns where root file systems are kept: PROVISION_LAB_CACHE if
// that is set, else /var/cache/provision-lab. They are full of files of other
// owners, so no user's own cache directory is a place for them.
func cacheDir() string {
	if dir := os.Getenv("PROVISION_LAB_CACHE"); dir != "" {
		return dir
	}
	return "/var/cache/provision-lab"
}

// openRoot returns the directory of the root file system that these scripts
// describe, built if need be. It is locked against removal until closed.
func openRoot(ctx context.Context, progress io.Writer) (*os.File, error) {
	cache, err := filepath.Abs(cacheDir())
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("the lab's cache: %w; set PROVISION_LAB_CACHE to a directory that root may write", err)
	}
	// One at a time: the second of two labs finds what the first one built.
	lock, err := lockDir(cache, syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer lock.Close()

	dir := filepath.Join(cache, digest(rootScript, layerScript))
	if err := removeOthers(cache, dir); err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(progress, "lab: building the root file system of the hosts in %s; this happens once\n", dir)
		if err := build(ctx, dir, rootScript, mirror(ctx)...); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return lockDir(dir, syscall.LOCK_SH)
}

// removeOthers removes what older recipes or killed builds left in the
// cache, unless a lab still runs on it.
func removeOthers(cache, keep string) error {
	entries, err := os.ReadDir(cache)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		dir := filepath.Join(cache, entry.Name())
		if dir == keep || !entry.IsDir() || !ours(entry.Name()) {
			continue
		}
		lock, err := lockDir(dir, syscall.LOCK_EX|syscall.LOCK_NB)
		if err != nil {
			continue
		}
		err = os.RemoveAll(dir)
		lock.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// ours reports whether a directory in the cache has a name that only this
// package gives: somebody may point PROVISION_LAB_CACHE at a place of theirs.
func ours(name string) bool {
	name = strings.TrimPrefix(name, buildPrefix)
	_, err := hex.DecodeString(name[:min(len(name), digestLength)])
	return err == nil && len(name) >= digestLength
}

// layers returns the lower directories of an overlay, topmost first: the root
// file system, and above it a layer with more packages if any are wanted.
func (l *Lab) layers(ctx context.Context, packages []string) (string, error) {
	root := filepath.Join(l.root, "root")
	if len(packages) == 0 {
		return root, nil
	}
	packages = slices.Clone(packages)
	slices.Sort(packages)
	packages = slices.Compact(packages)

	lock, err := os.OpenFile(filepath.Join(l.root, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	killed, err := filepath.Glob(filepath.Join(l.root, buildPrefix+"*"))
	if err != nil {
		return "", err
	}
	for _, dir := range killed {
		if err := os.RemoveAll(dir); err != nil {
			return "", err
		}
	}
	dir := filepath.Join(l.root, digest(packages...))
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if err := build(ctx, dir, layerScript, append([]string{root}, packages...)...); err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	return filepath.Join(dir, "upper") + ":" + root, nil
}

const buildPrefix = "build-"

// build fills dir by means of a script, or leaves nothing. The script works
// in a temporary directory beside dir, its first argument, and in namespaces
// of its own, so that a killed build leaves no process and no mount.
func build(ctx context.Context, dir, script string, args ...string) error {
	temp, err := os.MkdirTemp(filepath.Dir(dir), buildPrefix+filepath.Base(dir)+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o755); err != nil { // it becomes a root directory's parent
		return err
	}
	cmd := exec.CommandContext(ctx, "unshare", slices.Concat(
		[]string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "sh", temp},
		args)...)
	killGroup(cmd)
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.Env = append(os.Environ(), "PATH="+path, "LC_ALL=C.UTF-8")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building %s: %w; the end of its output:\n%s", dir, err, tail(log.String(), 30))
	}
	return os.Rename(temp, dir)
}

// mirror returns, as arguments for root.sh, the Debian mirror that this
// machine's apt uses; none if it uses none, which means deb.debian.org.
func mirror(ctx context.Context) []string {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages", "Origin: Debian", "Component: main").Output()
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(out)) {
		if uri, ok := strings.CutPrefix(line, "Debian "); ok {
			return []string{strings.TrimSpace(uri)}
		}
	}
	return nil
}

const digestLength = 16

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])[:digestLength]
}

// killGroup has a cancelled context end a command with all its children.
func killGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// tail returns the last n lines of text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
