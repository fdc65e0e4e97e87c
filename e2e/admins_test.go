package e2e_test

import (
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"provision/e2e/sample"
)

// Two applies of one host at a time: the second is told who is at work, or
// waits; and one that is dead is in nobody's way.
func TestTwoOnOneHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lodger)
	s := moveIn(t, w)
	p := newPoints(t, w)
	s.complete(t, w)

	for _, c := range []struct {
		name   string
		second func(t *testing.T, first *os.Process, goOn func())
		code   int // of the first
	}{
		{"the second is told", func(t *testing.T, first *os.Process, goOn func()) {
			before := s.look(t, w)
			r := w.run(t, "apply").exits(t, 1)
			r.says(t, "hint: run again later, or let --lock-wait 10m wait for it")
			if !regexp.MustCompile(`web1: locked by \S+@control \(pid [0-9]+\) since 20[0-9T:-]+Z\n`).MatchString(r.errors) {
				t.Errorf("it does not say who is at work: %v", r)
			}
			compare(t, before, s.look(t, w))
			goOn()
		}, 0},
		{"the second waits", func(t *testing.T, first *os.Process, goOn func()) {
			done := make(chan result, 1)
			go func() { done <- w.run(t, "apply", "--lock-wait", "20m") }()
			w.sh(t, "web1", `until pgrep -f '^(/usr/bin/)?flock -w 1200 8' >/dev/null; do sleep 0.02; done`)
			goOn()
			if r := <-done; r.code != 0 || !strings.Contains(r.out, "web1: nothing to do\n") {
				t.Errorf("the second: %v", r)
			}
		}, 0},
		{"the first is dead", func(t *testing.T, first *os.Process, goOn func()) {
			if err := first.Kill(); err != nil {
				t.Fatal(err)
			}
			w.apply(t)
			goOn()
		}, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.moveOut(t, w)
			reached, released := make(chan struct{}), make(chan struct{})
			var held atomic.Bool
			p.during(t, w, func(point string) bool {
				if strings.HasPrefix(point, "before useradd ") && held.CompareAndSwap(false, true) {
					close(reached)
					<-released
				}
				return true
			}, func() {
				first, out, errors := w.process(t, "apply")
				if err := first.Start(); err != nil {
					t.Fatal(err)
				}
				<-reached
				c.second(t, first.Process, sync.OnceFunc(func() { close(released) }))
				first.Wait()
				if code := first.ProcessState.ExitCode(); code != c.code {
					t.Errorf("the first has the exit code %d: %s%s", code, out, errors)
				}
			})
			s.complete(t, w)
		})
	}
}

// Two applies of two hosts with the variables of one group: nothing of either is
// lost, in whatever order they come.
func TestTwoInOneGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+web2+strings.Replace(app, `host = "web1"`, `hosts = ["web1", "web2"]`, 1))
	p := newPoints(t, w)
	// The first that comes to its variables waits until the second has set its own.
	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	var held atomic.Bool
	var set atomic.Int32
	p.during(t, w, func(point string) bool {
		const variables = "POST /api/v4/groups/transmogrify/variables"
		switch {
		case strings.HasPrefix(point, "before "+variables) && held.CompareAndSwap(false, true):
			<-released
		case strings.HasPrefix(point, "after "+variables) && set.Add(1) == 3:
			release()
		}
		return true
	}, func() {
		var both sync.WaitGroup
		for _, host := range []string{"web1", "web2"} {
			both.Go(func() {
				defer release()
				if r := w.run(t, "apply", "--limit", host); r.code != 0 {
					t.Errorf("%s: %v", host, r)
				}
			})
		}
		both.Wait()
	})
	if n := set.Load(); n != 6 {
		t.Errorf("%d variables were set, want 6", n)
	}
	w.converged(t)
	if n := len(w.GitLab.Variables("transmogrify")); n != 6 {
		t.Errorf("the group has %d variables, want 6", n)
	}
	if a, b := len(w.active("transmogrify", "deploy-user@web1")), len(w.active("transmogrify", "deploy-user@web2")); a != 1 || b != 1 {
		t.Errorf("%d and %d tokens work, want one each", a, b)
	}
	if keys := w.GitLab.DeployKeys("transmogrify/frobnicator"); len(keys) != 2 {
		t.Errorf("the deploy keys are %v", keys)
	}
}

// Somebody else adds a line to a file of the lodger while an apply is about to
// change it: the line is there at the end, whether the apply has seen it
// or was told to look again.
func TestMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lodger)
	s := moveIn(t, w)
	p := newPoints(t, w)
	for _, c := range sample.Some(t, []struct{ name, file, edit, at, says string }{
		{"authorized_keys, replaced", merged[0], `sed -i '2i # carol' "$1"`, "after chmod 600 .ssh/authorized_keys", "somebody else changed .ssh/authorized_keys meanwhile; run again"},
		{"authorized_keys, added to", merged[0], `printf '\n# carol' >>"$1"`, "before chmod 600 .ssh/authorized_keys", "somebody else changed .ssh/authorized_keys meanwhile; run again"},
		{"authorized_keys, before the lock", merged[0], `printf '\n# carol' >>"$1"`, "before mkdir -p /etc/provision/deployments", ""},
		{"config.json, replaced", merged[1], `sed -i 's/"X-Team"/"X-Carol":"1",&/' "$1"`, "after chmod 600 .docker/", "somebody else changed .docker/config.json meanwhile; run again"},
		{"config.json, during the login", merged[1], `sed 's/"X-Team"/"X-Carol":"1",&/' "$1" >/run/new; cat /run/new >"$1"`, "after docker login", "somebody else changed .docker/config.json meanwhile; run again"},
		{"known_hosts, added to", merged[2], `printf '\n# carol' >>"$1"`, "after chmod 644 .ssh/known_hosts", "somebody else changed .ssh/known_hosts meanwhile; run again"},
		{"known_hosts, replaced", merged[2], `sed -i '1i # carol' "$1"`, "before chmod 644 .ssh/known_hosts", "somebody else changed .ssh/known_hosts meanwhile; run again"},
	}, 2) {
		t.Run(c.name, func(t *testing.T) {
			s.moveOut(t, w)
			var once sync.Once
			var edited string
			var r result
			p.during(t, w, func(point string) bool {
				if strings.HasPrefix(point, c.at) && (strings.HasSuffix(point, "(lodger)") || strings.Contains(point, "/etc/")) {
					once.Do(func() {
						edited = w.sh(t, "web1", "PATH=/usr/bin:/bin\n"+c.edit+"\n"+`cat "$1"; printf '\001'`, c.file)
					})
				}
				return true
			}, func() { r = w.run(t, "apply") })
			if edited == "" {
				t.Fatalf("the apply did not come to %s", c.at)
			}
			wants := 0
			if c.says != "" {
				wants = 1
			}
			r.exits(t, wants).says(t, c.says)
			w.apply(t)
			w.converged(t)
			original := map[string]*string{merged[0]: &s.keys, merged[1]: &s.config, merged[2]: &s.known}[c.file]
			before := *original
			*original = strings.TrimSuffix(edited, "\x01")
			s.check(t, w)
			*original = before
		})
	}
}
