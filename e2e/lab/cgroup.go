package lab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// cgroupRoot returns where the cgroup v2 hierarchy is mounted. Of several
// places it takes the last, which no later mount hides.
func cgroupRoot() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	var root string
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		if strings.HasPrefix(after, "cgroup2 ") {
			root = strings.Fields(before)[4]
		}
	}
	if root != "" {
		return root, nil
	}
	return "", errors.New("no cgroup v2 hierarchy is mounted; run: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
}

// newCgroup makes the directory of a new lab in the cgroup hierarchy and
// removes those of labs that ended. The file stays locked while it is open:
// that is how a later lab knows.
func newCgroup() (*os.File, error) {
	mounted, err := cgroupRoot()
	if err != nil {
		return nil, err
	}
	hierarchy, err := lockDir(mounted, syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer hierarchy.Close()
	old, err := filepath.Glob(filepath.Join(mounted, "provision-lab-*"))
	if err != nil {
		return nil, err
	}
	for _, dir := range old {
		if lock, err := lockDir(dir, syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			removeCgroup(dir)
			lock.Close()
		}
	}
	dir, err := os.MkdirTemp(mounted, "provision-lab-")
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(dir, syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	if err := divideCgroup(dir); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// divideCgroup makes the cgroup of the control machine's own processes and
// hands all controllers that dir has to its children: only a cgroup without
// processes can do so (cgroups(7), "no internal processes").
func divideCgroup(dir string) error {
	if err := os.Mkdir(filepath.Join(dir, "control"), 0o755); err != nil {
		return err
	}
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, controller := range strings.Fields(string(controllers)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroup removes a cgroup and those below it. One that still has
// processes stays; that of a killed lab whose last ones are just dying does,
// and goes with the next lab.
func removeCgroup(dir string) {
	var dirs []string
	filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for i := len(dirs) - 1; i >= 0; i-- {
		syscall.Rmdir(dirs[i])
	}
}

// lockDir opens a directory and takes a flock(2) on it, which lasts until the
// file is closed.
func lockDir(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "flock", Path: dir, Err: err}
	}
	return f, nil
}
