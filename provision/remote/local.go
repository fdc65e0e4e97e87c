package remote

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"syscall"
)

func root() bool { return os.Geteuid() == 0 }

// local starts a command on this machine, as a login over SSH would: in a
// session of its own, and with nothing of our environment, which may hold
// secrets.
func local(command string) (*shell, error) {
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.Dir = "/"
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + me.HomeDir, "USER=" + me.Username, "LOGNAME=" + me.Username, "SHELL=/bin/sh",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}

	var ours, theirs []*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			f.Close()
		}
	}
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(append(ours, theirs...))
			return nil, err
		}
		if len(ours) == 0 { // standard input is the one that we write to
			r, w = w, r
		}
		ours, theirs = append(ours, r), append(theirs, w)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
	err = cmd.Start()
	closeAll(theirs)
	if err != nil {
		closeAll(ours)
		return nil, err
	}
	exits := make(chan exit, 1)
	go func() {
		_ = cmd.Wait()
		if status := cmd.ProcessState.ExitCode(); status >= 0 {
			exits <- exit{status: status}
		} else {
			exits <- exit{err: fmt.Errorf("%w: the shell was killed (%v)", ErrLost, cmd.ProcessState)}
		}
	}()
	return &shell{
		in: ours[0], out: ours[1], stderr: ours[2], exit: exits,
		close: func() {
			closeAll(ours)
			_ = cmd.Process.Kill()
		},
	}, nil
}
