package e2e_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A sampler reads the arguments and the environments of all processes: those of
// the hosts are among ours. It misses none that has the C library of a host. What
// is linked statically (docker, and the program itself) it reads as fast as it can.
type sampler struct {
	quit   chan struct{}
	done   sync.WaitGroup
	events *os.File // see [sampler.watch]
	rounds int

	mu   sync.Mutex
	seen map[string]bool
}

func startSampler(t *testing.T, w *world) *sampler {
	t.Helper()
	s := &sampler{quit: make(chan struct{}), events: libcOpened(t, w), seen: map[string]bool{}}
	s.done.Go(s.run)
	s.done.Go(func() {
		if err := s.watch(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { s.stop() })
	return s
}

// libcOpened tells each process that opens the C library of one of the hosts, and
// holds it until it is answered, see fanotify(7).
func libcOpened(t *testing.T, w *world) *os.File {
	t.Helper()
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_LARGEFILE|unix.O_CLOEXEC)
	if err != nil {
		t.Fatalf("fanotify_init: %v", err)
	}
	events := os.NewFile(uintptr(fd), "fanotify")
	for name, h := range w.Hosts {
		libs, err := filepath.Glob(h.File("/usr/lib/*/libc.so.6"))
		if err != nil || len(libs) != 1 {
			t.Fatalf("%s has the C libraries %q (%v)", name, libs, err)
		}
		if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM, unix.AT_FDCWD, libs[0]); err != nil {
			t.Fatalf("fanotify_mark %s: %v", libs[0], err)
		}
	}
	return events
}

// watch reads each process when its loader opens the C library: it has its
// arguments and its environment by then, and nothing of it has run.
func (s *sampler) watch() error {
	buffer := make([]byte, 4096)
	for {
		n, err := s.events.Read(buffer)
		if errors.Is(err, os.ErrClosed) {
			return nil
		} else if err != nil {
			return fmt.Errorf("fanotify: %w", err)
		}
		for r := bytes.NewReader(buffer[:n]); r.Len() > 0; {
			var event unix.FanotifyEventMetadata
			if err := binary.Read(r, binary.NativeEndian, &event); err != nil {
				return fmt.Errorf("fanotify: %w", err)
			}
			s.look(int(event.Pid))
			unix.Close(int(event.Fd))
			answer := unix.FanotifyResponse{Fd: event.Fd, Response: unix.FAN_ALLOW}
			if err := binary.Write(s.events, binary.NativeEndian, answer); err != nil && !errors.Is(err, os.ErrClosed) {
				return fmt.Errorf("fanotify: %w", err)
			}
		}
	}
}

// run looks at the youngest processes all the time, and at the others now and
// then.
func (s *sampler) run() {
	for {
		select {
		case <-s.quit:
			return
		default:
		}
		text, _ := os.ReadFile("/proc/sys/kernel/ns_last_pid")
		last, err := strconv.Atoi(string(bytes.TrimSpace(text)))
		if err != nil || s.rounds%100 == 0 {
			entries, _ := os.ReadDir("/proc")
			for _, entry := range entries {
				if pid, err := strconv.Atoi(entry.Name()); err == nil {
					s.look(pid)
				}
			}
		}
		for pid := last; pid > max(0, last-30); pid-- {
			s.look(pid)
		}
		s.rounds++
	}
}

func (s *sampler) look(pid int) {
	for _, file := range []string{"cmdline", "environ"} {
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file)); err == nil && len(text) > 0 {
			s.mu.Lock()
			s.seen[string(text)] = true
			s.mu.Unlock()
		}
	}
}

// stop ends it, and returns all that it has seen, each once. Whoever it holds goes
// on.
func (s *sampler) stop() []string {
	select {
	case <-s.quit:
	default:
		close(s.quit)
		s.events.Close()
	}
	s.done.Wait()
	return slices.Collect(maps.Keys(s.seen))
}
