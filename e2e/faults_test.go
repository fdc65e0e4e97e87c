package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"provision/e2e/sample"
)

// A fault is something that goes wrong on a host, or near it, before an apply
// or in the middle of one.
type fault struct {
	name string
	at   string // how the boundary begins where it comes; "": before the apply
	host string // a script of root that brings it
	mend string // one that takes it away
	do   func(*testing.T, *world)
	undo func(*testing.T, *world)
	code int      // the exit code of the apply
	says []string // and what it says
}

// away has nothing get through to a name, and back lets it.
func away(name string) string { return `ip route add unreachable ` + addressOf(name) }
func back(name string) string { return `ip route del unreachable ` + addressOf(name) }

func addressOf(name string) string {
	return `"$(getent ahostsv4 ` + name + ` | sed -n '1s/ .*//p')"`
}

var faults = []fault{
	{name: "sshd is restarted", at: "before git clone", host: `systemctl restart ssh`},
	{name: "sshd dies with all sessions", at: "before git clone", host: `pkill -KILL sshd; systemctl restart ssh`,
		code: 1, says: []string{"the connection is lost", "may or may not be done"}},
	{name: "the host boots", at: "before git clone", code: 1, says: []string{"web1: checkout app: ", "may or may not be done"},
		do: func(t *testing.T, w *world) {
			if err := w.Hosts["web1"].Reboot(t.Context()); err != nil {
				t.Error(err)
			}
		}},
	{name: "the host boots with half an account", at: "before usermod --append", code: 1, says: []string{"may or may not be done"},
		do: func(t *testing.T, w *world) {
			if err := w.Hosts["web1"].Reboot(t.Context()); err != nil {
				t.Error(err)
			}
		}},
	{name: "dockerd is stopped", at: "before docker compose up", host: `systemctl stop docker.socket docker.service`,
		code: 1, says: []string{"web1: containers app: start the containers of app: ", "docker daemon"}},
	{name: "dockerd hangs", host: `pkill -STOP -x dockerd`, mend: `pkill -CONT -x dockerd`,
		code: 1, says: []string{"docker login has not answered within 30 s"}},
	{name: "the registry is down", host: away("registry.WORLD"), mend: back("registry.WORLD"),
		code: 1, says: []string{"web1: registry-login ", "no route to host"}},
	{name: "the registry goes down", at: "before docker compose up", host: away("registry.WORLD"), mend: back("registry.WORLD"),
		code: 1, says: []string{"web1: containers ", "no route to host"}},
	{name: "the git server is down", at: "before git clone", host: away("git.WORLD"), mend: back("git.WORLD"),
		code: 1, says: []string{"web1: checkout app: clone ", "No route to host"}},
	{name: "GitLab is a day ahead", do: clock(24 * time.Hour), undo: clock(0)},
	{name: "GitLab is a day behind", do: clock(-24 * time.Hour), undo: clock(0)},
	{name: "/home is read-only", host: `mount --bind /home /home; mount -o remount,ro,bind /home`, mend: `umount /home`,
		code: 1, says: []string{"web1: user deploy-user: create system user deploy-user: "}},
}

// clock moves that of GitLab: the hosts of the lab have ours.
func clock(by time.Duration) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) { w.GitLab.SetNow(func() time.Time { return time.Now().Add(by) }) }
}

// Whatever goes wrong, what stood before stands, and the next apply makes all of
// it.
func TestFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lodger)
	s := moveIn(t, w)
	p := newPoints(t, w)
	s.complete(t, w)
	for _, f := range sample.Some(t, faults, 3) {
		t.Run(f.name, func(t *testing.T) {
			s.moveOut(t, w)
			came := make(chan struct{})
			come := sync.OnceFunc(func() {
				defer close(came)
				p.off(w)
				if f.host != "" {
					w.sh(t, "web1", strings.ReplaceAll(f.host, "WORLD", worldOf(w)))
				}
				if f.do != nil {
					f.do(t, w)
				}
			})
			var r result
			if f.at == "" {
				come()
				r = w.run(t, "apply")
			} else {
				p.during(t, w, func(point string) bool {
					if strings.HasPrefix(point, f.at) {
						come()
					}
					return true
				}, func() {
					r = w.run(t, "apply")
					select {
					case <-came:
					case <-time.After(time.Minute):
						t.Errorf("the apply did not come to %s", f.at)
					}
				})
			}
			if f.mend != "" {
				w.sh(t, "web1", strings.ReplaceAll(f.mend, "WORLD", worldOf(w)))
			}
			if f.undo != nil {
				f.undo(t, w)
			}
			if r.code != f.code {
				t.Errorf("the exit code is not %d: %v", f.code, r)
			}
			r.says(t, f.says...)
			s.check(t, w)
			s.complete(t, w)
		})
	}
}

func worldOf(w *world) string { return strings.TrimPrefix(w.Inventory.Registry.Host, "registry.") }

// A /home that has ever more room left: an apply gets ever farther, and whatever
// it could not write leaves what was there as it was.
func TestFull(t *testing.T) {
	t.Parallel()
	for _, c := range sample.Some(t, []struct {
		name, limit string
		steps       []int
	}{
		{"no space", `size=$(($(df -k --output=used /home | tail -n 1) + $1))k`, []int{0, 4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192}},
		{"no inodes", `nr_inodes=$(($(df --output=iused /home | tail -n 1) + $1))`, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 24, 32, 48, 64, 80, 96}},
	}, 1) {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, lodger)
			w.sh(t, "web1", `cp -a /home /run/home; mount -t tmpfs -o mode=755,size=1g tmpfs /home; cp -a /run/home/. /home`)
			s := moveIn(t, w)
			s.complete(t, w)
			s.moveOut(t, w)
			failed := map[string]bool{}
			finished := false
			for _, room := range c.steps {
				w.sh(t, "web1", `mount -o "remount,`+c.limit+`" /home`, fmt.Sprint(room))
				r := w.run(t, "apply", "--output", "json")
				finished = r.code == 0
				for _, l := range of("failed", r.lines(t)) {
					failed[l.Step] = true
				}
				s.check(t, w)
				if t.Failed() {
					t.Fatalf("with room for %d: %v", room, r)
				}
				if finished {
					break
				}
			}
			if !finished {
				t.Error("no apply got through")
			}
			t.Logf("steps that failed: %q", slices.Sorted(func(yield func(string) bool) {
				for step := range failed {
					if !yield(step) {
						return
					}
				}
			}))
			if len(failed) < 3 {
				t.Errorf("only %v failed for want of room", failed)
			}
			w.sh(t, "web1", `mount -o remount,size=1g,nr_inodes=0 /home`)
			s.complete(t, w)
		})
	}
}
