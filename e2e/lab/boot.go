package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// rebooted is how systemd-nspawn --keep-unit exits when the host wants to
// boot again.
const rebooted = 133

// A boot is the time from power on to power off or reboot.
type boot struct {
	started chan struct{} // closed when the host's systemd runs
	leader  int           // its PID; to be read after started
	ready   chan struct{} // closed when it has started everything
	done    chan struct{} // closed when the host is off
	err     error         // how systemd-nspawn ended; to be read after done
}

// powerOn boots the host and waits until it is ready.
func (h *Host) powerOn(ctx context.Context) error {
	b, err := h.start()
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.boot = b
	h.mu.Unlock()
	select {
	case <-b.ready:
		return nil
	case <-b.done:
		return h.failed("it did not boot", b.err)
	case <-ctx.Done():
		return h.failed("it is still booting", ctx.Err())
	}
}

func (h *Host) failed(what string, err error) error {
	console, _ := os.ReadFile(filepath.Join(h.dir, "console"))
	return fmt.Errorf("%s: %w; the end of its console:\n%s", what, err, tail(string(console), 20))
}

// start starts systemd-nspawn, which tells over its notification socket
// (sd_notify(3)) the PID of the host's systemd and when that one is ready.
func (h *Host) start() (*boot, error) {
	socket := filepath.Join(h.dir, "notify")
	os.Remove(socket) // of the boot before
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	console, err := os.OpenFile(filepath.Join(h.dir, "console"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		notify.Close()
		return nil, err
	}
	defer console.Close()
	cgroup, err := os.Open(h.cgroup)
	if err != nil {
		notify.Close()
		return nil, err
	}
	defer cgroup.Close()

	args := []string{
		"--quiet", "--boot", "--directory=" + h.root(), "--machine=" + h.Name,
		"--register=no", "--keep-unit", "--notify-ready=yes", "--console=pipe",
		"--link-journal=no", "--resolv-conf=off", "--timezone=off",
		"--network-bridge=" + bridge,
		// On an overlay docker would fall back to its slow vfs driver.
		"--bind=" + filepath.Join(h.dir, "docker") + ":/var/lib/docker",
		// What dockerd and its containers need.
		"--capability=all", "--system-call-filter=bpf keyctl add_key",
	}
	for _, device := range []string{"/dev/net/tun", "/dev/fuse"} {
		if _, err := os.Stat(device); err == nil {
			args = append(args, "--bind="+device)
		}
	}
	cmd := exec.Command("systemd-nspawn", args...)
	cmd.Env = []string{"PATH=" + path, "NOTIFY_SOCKET=" + socket, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1"}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	if err := cmd.Start(); err != nil {
		notify.Close()
		return nil, err
	}
	b := &boot{started: make(chan struct{}), ready: make(chan struct{}), done: make(chan struct{})}
	go b.listen(notify)
	go func() {
		b.err = cmd.Wait()
		notify.Close()
		close(b.done)
	}()
	return b, nil
}

// listen reads notifications until the socket is closed.
func (b *boot) listen(notify *net.UnixConn) {
	var started, ready bool
	message := make([]byte, 4096)
	for {
		n, err := notify.Read(message)
		if err != nil {
			return
		}
		for line := range bytes.Lines(message[:n]) {
			key, value, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
			switch {
			case key == "X_NSPAWN_LEADER_PID" && !started:
				if b.leader, err = strconv.Atoi(value); err == nil {
					started = true
					close(b.started)
				}
			case key == "READY" && value == "1" && !ready:
				ready = true
				close(b.ready)
			}
		}
	}
}

// current returns the boot that the host is in.
func (h *Host) current() (*boot, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.boot == nil {
		return nil, fmt.Errorf("%s was never booted", h.Name)
	}
	select {
	case <-h.boot.done:
		return nil, fmt.Errorf("%s is off", h.Name)
	default:
		return h.boot, nil
	}
}

// leader returns the PID of the host's systemd.
func (h *Host) leader() (int, error) {
	b, err := h.current()
	if err != nil {
		return 0, err
	}
	select {
	case <-b.started:
		return b.leader, nil
	default:
		return 0, fmt.Errorf("%s did not start", h.Name)
	}
}

// PowerOff shuts the host down in order and waits for the end.
func (h *Host) PowerOff(ctx context.Context) error {
	_, err := h.end(ctx, "poweroff")
	return err
}

// Reboot shuts the host down in order, boots it again and returns when it is
// ready, as [Lab.Boot] does. Its files, keys and address stay.
func (h *Host) Reboot(ctx context.Context) error {
	b, err := h.end(ctx, "reboot")
	if err != nil {
		return err
	}
	if exit, ok := errors.AsType[*exec.ExitError](b.err); !ok || exit.ExitCode() != rebooted {
		return fmt.Errorf("%s: it went down but does not want to reboot: %v", h.Name, b.err)
	}
	if err := h.powerOn(ctx); err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return nil
}

// end has systemctl take the host down.
func (h *Host) end(ctx context.Context, verb string) (*boot, error) {
	b, err := h.current()
	if err != nil {
		return nil, err
	}
	if _, err := h.Exec(ctx, `systemctl --no-block "$1"`, verb); err != nil {
		return nil, err
	}
	select {
	case <-b.done:
		return b, nil
	case <-ctx.Done():
		return nil, h.failed(h.Name+": it does not "+verb, ctx.Err())
	}
}

// cut takes the power away and waits until nothing of the host runs.
func (h *Host) cut() {
	b, err := h.current()
	if err != nil {
		return
	}
	select {
	case <-b.started:
		syscall.Kill(b.leader, syscall.SIGKILL)
		<-b.done
	case <-b.done:
	}
}
