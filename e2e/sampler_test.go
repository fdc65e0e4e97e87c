package e2e_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
)

// A sampler reads, as fast as it can, the arguments and the environments of
// all processes: those of the hosts are among ours.
type sampler struct {
	quit, done chan struct{}
	seen       map[string]bool
	rounds     int
}

func startSampler(t *testing.T) *sampler {
	t.Helper()
	s := &sampler{quit: make(chan struct{}), done: make(chan struct{}), seen: map[string]bool{}}
	go s.run()
	t.Cleanup(func() { s.stop() })
	return s
}

// Most processes that are of interest live for some milliseconds, so the
// youngest ones are looked at all the time, and the others now and then.
func (s *sampler) run() {
	defer close(s.done)
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
			s.seen[string(text)] = true
		}
	}
}

// stop ends it, and returns all that it has seen, each once.
func (s *sampler) stop() []string {
	select {
	case <-s.quit:
	default:
		close(s.quit)
	}
	<-s.done
	return slices.Collect(maps.Keys(s.seen))
}
