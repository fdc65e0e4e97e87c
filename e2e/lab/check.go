package lab

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Packages are the Debian packages that the lab needs on the machine that it
// runs on. Everything else (sshd, docker, …) is inside the hosts.
var Packages = []string{
	"busybox-static",
	"docker-registry",
	"git",
	"iproute2",
	"mmdebstrap",
	"openssh-client",
	"systemd-container",
}

// commands maps what the lab calls to the package that has it.
var commands = map[string]string{
	"busybox":         "busybox-static",
	"docker-registry": "docker-registry",
	"git":             "git",
	"ip":              "iproute2",
	"mmdebstrap":      "mmdebstrap",
	"ssh":             "openssh-client",
	"systemd-nspawn":  "systemd-container",
}

// Check reports, in one error, everything that keeps a lab from running on
// this machine, and the command that installs what is missing. It changes
// nothing. A test may skip on this error and on no other.
func Check() error {
	if os.Geteuid() != 0 {
		return errors.New("the lab needs root: it mounts, and it makes namespaces and network devices; run it with sudo on a throwaway machine")
	}
	var problems, packages []string
	for command, pkg := range commands {
		if _, err := exec.LookPath(command); err != nil {
			packages = append(packages, pkg)
		}
	}
	if len(packages) > 0 {
		slices.Sort(packages)
		problems = append(problems, "packages are missing; run: apt-get install --no-install-recommends "+strings.Join(packages, " "))
	}
	if filesystems, err := os.ReadFile("/proc/filesystems"); err == nil && !strings.Contains(string(filesystems), "\toverlay\n") {
		if err := exec.Command("modprobe", "overlay").Run(); err != nil {
			problems = append(problems, "the kernel has no overlay file system (modprobe overlay fails)")
		}
	}
	for _, namespace := range []string{"cgroup", "mnt", "net", "pid", "uts"} {
		if _, err := os.Lstat("/proc/self/ns/" + namespace); err != nil {
			problems = append(problems, "the kernel has no "+namespace+" namespaces")
		}
	}
	if !canMount() {
		problems = append(problems, "root here may not mount (CAP_SYS_ADMIN is missing); a container must be privileged")
	}
	if _, err := cgroupRoot(); err != nil {
		problems = append(problems, err.Error())
	}
	if problems != nil {
		return fmt.Errorf("the lab cannot run here: %s", strings.Join(problems, "; "))
	}
	return nil
}

// canMount reports whether this process has CAP_SYS_ADMIN, bit 21 of
// capabilities(7).
func canMount() bool {
	status, err := os.Open("/proc/self/status")
	if err != nil {
		return false
	}
	defer status.Close()
	for scanner := bufio.NewScanner(status); scanner.Scan(); {
		var effective uint64
		if n, _ := fmt.Sscanf(scanner.Text(), "CapEff: %x", &effective); n == 1 {
			return effective&(1<<21) != 0
		}
	}
	return false
}
