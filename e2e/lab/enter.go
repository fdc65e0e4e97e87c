package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// What the stages tell each other, in the environment.
const (
	stageVariable  = "PROVISION_LAB_STAGE" // "", "init" or "inside"
	cgroupVariable = "PROVISION_LAB_CGROUP"
	rootVariable   = "PROVISION_LAB_ROOT"
	pidVariable    = "PROVISION_LAB_PID"
)

// forwarded are the signals that the outer process and the init hand on.
var forwarded = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
}

// Enter moves the program into a lab. It is to be called once, early in main
// or TestMain, because everything before it runs twice:
//
//	l, code, err := lab.Enter(ctx, os.Stderr)
//	if err != nil {
//		log.Fatal(err)
//	}
//	if l == nil {
//		os.Exit(code)
//	}
//
// Outside, Enter runs the same program with the same arguments, streams and
// working directory once more, in new mount, network, PID and UTS namespaces,
// hands signals on, waits, and returns a nil Lab and the exit code. Inside, it
// returns the Lab. The first run on a machine also builds the root file
// system of the hosts, which takes about half a minute and a Debian mirror;
// it says so on progress.
//
// Inside there is no network but the lab's. /run is a tmpfs of the lab's own,
// changes below /etc are seen by nobody outside, and HOME, also for ssh, is an empty directory on it; no ssh agent is in
// reach. When the program ends, or any of its processes is killed in any way,
// the kernel removes all of this with it. Only empty cgroup directories can
// stay behind, until the next Enter.
//
// The inner program runs in a session of its own, without a controlling
// terminal: /dev/tty does not open, standard streams work as before.
func Enter(ctx context.Context, progress io.Writer) (l *Lab, code int, err error) {
	stage := os.Getenv(stageVariable)
	os.Unsetenv(stageVariable) // children of the lab are not part of its making
	switch stage {
	case "":
		code, err = runOutside(ctx, progress)
		return nil, code, err
	case "init":
		code, err = runInit()
		return nil, code, err
	default:
		l, err = newLab(os.Getenv(cgroupVariable), os.Getenv(rootVariable), os.Getenv(pidVariable))
		for _, name := range []string{cgroupVariable, rootVariable, pidVariable} {
			os.Unsetenv(name)
		}
		return l, 0, err
	}
}

// runOutside is the first stage: it builds what must be built with the
// machine's network, and starts the init.
func runOutside(ctx context.Context, progress io.Writer) (int, error) {
	if err := Check(); err != nil {
		return 0, err
	}
	root, err := openRoot(ctx, progress)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	cgroup, err := newCgroup()
	if err != nil {
		return 0, err
	}
	defer removeCgroup(cgroup.Name())
	defer cgroup.Close()
	control, err := os.Open(filepath.Join(cgroup.Name(), "control"))
	if err != nil {
		return 0, err
	}
	defer control.Close()

	pidReader, pidWriter, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer pidReader.Close()
	defer pidWriter.Close()

	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)

	// The parent death signal comes when the thread ends that started the
	// child, so that thread must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{pidReader}
	cmd.Env = append(os.Environ(), stageVariable+"=init",
		cgroupVariable+"="+filepath.Base(cgroup.Name()), rootVariable+"="+root.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS,
		Pdeathsig:   syscall.SIGKILL,
		Setsid:      true, // else a Ctrl-C arrives from the terminal and from us
		UseCgroupFD: true,
		CgroupFD:    int(control.Fd()),
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("the lab's namespaces: %w", err)
	}
	fmt.Fprint(pidWriter, cmd.Process.Pid)
	pidWriter.Close()
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	err = cmd.Wait()
	if _, died := errors.AsType[*exec.ExitError](err); err != nil && !died {
		return 0, err
	}
	return exitCode(cmd.ProcessState.Sys().(syscall.WaitStatus)), nil
}

// runInit is the second stage, PID 1 of the lab: it makes the place, starts
// the program proper, hands signals on and reaps orphans. It uses none of
// os/exec once that program runs, and so steals nobody's exit status.
func runInit() (int, error) {
	pidReader := os.NewFile(3, "pid")
	pid, err := io.ReadAll(pidReader)
	if err != nil || len(pid) == 0 {
		return 0, errors.New("lab: the outer process is gone")
	}
	pidReader.Close()
	if err := makePlace(); err != nil {
		return 0, fmt.Errorf("lab: %w", err)
	}
	os.Setenv("HOME", homeDir)
	os.Unsetenv("SSH_AUTH_SOCK")

	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)
	program, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Env:   append(os.Environ(), stageVariable+"=inside", pidVariable+"="+string(pid)),
	})
	if err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			syscall.Kill(program.Pid, s.(syscall.Signal))
		}
	}()
	for {
		var status syscall.WaitStatus
		reaped, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 0, fmt.Errorf("lab: wait: %w", err)
		case reaped == program.Pid:
			return exitCode(status), nil
		}
	}
}

// makePlace turns bare namespaces into the lab's control machine.
func makePlace() error {
	cgroups, err := cgroupRoot()
	if err != nil {
		return err
	}
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		{"", "/", "", syscall.MS_REC | syscall.MS_PRIVATE, ""},
		{"proc", "/proc", "proc", syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC, ""},
		{"tmpfs", "/run", "tmpfs", syscall.MS_NOSUID | syscall.MS_NODEV, "mode=755"},
		// On a machine with cgroup v1 beside v2, this hides v1 from
		// systemd-nspawn, which would leave directories in both.
		{cgroups, "/sys/fs/cgroup", "", syscall.MS_BIND, ""},
	} {
		if m.source == m.target {
			continue
		}
		if err := syscall.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for _, dir := range []string{labDir, homeDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := changeEtc(); err != nil {
		return err
	}
	if err := syscall.Sethostname([]byte("control")); err != nil {
		return err
	}
	// Without an address of its own a bridge takes that of one of its ports, and
	// the hosts lose the control machine when that port goes.
	return ip("link set lo up", "link add "+bridge+" address 02:00:00:00:00:01 type bridge", "link set "+bridge+" up",
		fmt.Sprintf("address add %s/%d dev %s", controlAddress, network.Bits(), bridge))
}

// changeEtc lays an overlay over /etc and says there who and where this is.
func changeEtc() error {
	upper, work := filepath.Join(labDir, "etc"), filepath.Join(labDir, "etc-work")
	for _, dir := range []string{upper, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := syscall.Mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir="+upper+",workdir="+work); err != nil {
		return fmt.Errorf("mount /etc: %w", err)
	}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return err
	}
	for file, text := range map[string]string{
		// ssh looks here, and not into HOME, for the way to known_hosts.
		"/etc/passwd":      moveHome(string(passwd)),
		"/etc/hosts":       "127.0.0.1 localhost\n" + controlAddress.String() + " control\n",
		"/etc/resolv.conf": resolvConf,
	} {
		// It may be a symbolic link to what a daemon outside writes.
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// moveHome gives root the lab's home in a passwd(5) file.
func moveHome(passwd string) string {
	var b strings.Builder
	for line := range strings.Lines(passwd) {
		if fields := strings.Split(line, ":"); len(fields) == 7 && fields[2] == "0" {
			fields[5] = homeDir
			line = strings.Join(fields, ":")
		}
		b.WriteString(line)
	}
	return b.String()
}

// ip runs commands of ip(8).
func ip(commands ...string) error {
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
