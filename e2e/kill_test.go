package e2e_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"provision/e2e/sample"
)

// An end is a way in which a run ends before its time.
type end struct {
	name string
	now  func(link *relay, program *os.Process)
	lost bool // the program goes on, and may even finish
}

var ends = []end{
	{name: "kill -9", now: func(_ *relay, p *os.Process) { p.Signal(syscall.SIGKILL) }},
	{name: "interrupt", now: func(_ *relay, p *os.Process) { p.Signal(syscall.SIGINT) }},
	{name: "cut link", now: func(link *relay, _ *os.Process) { link.cut() }, lost: true},
}

// boundaries is how many an apply has, at least.
const boundaries = 130

// An apply that ends at a boundary is gone on with by the next one, which ends
// at the first boundary that none has ended at, and so on, until one gets
// through. Nothing that stood before is lost at any time, and what the last one
// leaves is what one alone would have made.
func TestEnded(t *testing.T) {
	t.Parallel()
	for _, end := range ends {
		t.Run(end.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, lodger)
			s := moveIn(t, w)
			link := newRelay(t, w, "web1")
			p := newPoints(t, w)
			all := w.boundaries(t, p)
			if len(all) < boundaries {
				t.Errorf("an apply has %d boundaries, want %d: are all commands stopped that change something?", len(all), boundaries)
			}
			s.complete(t, w)
			s.moveOut(t, w)

			been := map[string]bool{} // where no apply is to end any more
			drawn := sample.Some(t, all, 3)
			for _, point := range all {
				been[point] = !slices.Contains(drawn, point)
			}
			for {
				link.mend()
				point, code := w.applyUntil(t, p, been, func(program *os.Process) { end.now(link, program) }, end.lost)
				if point == "" {
					if code != 0 {
						t.Fatalf("the exit code of an apply that nothing ended is %d", code)
					}
					break
				}
				if code == 0 && !end.lost || code > 1 {
					t.Errorf("the exit code is %d", code)
				}
				s.check(t, w, "/home", "/etc/docker", "/etc/not-ours")
				if t.Failed() {
					t.Fatal("the end came " + point)
				}
			}
			var missed []string
			for _, point := range drawn {
				if !been[point] && !(end.lost && inGitLab(point)) { // where the next request was made before the end
					missed = append(missed, point)
				}
			}
			t.Logf("of %d boundaries there was no end at %q", len(drawn), missed)
			if len(missed) > len(drawn)/20 {
				t.Errorf("no apply ended at %d boundaries", len(missed))
			}
			s.complete(t, w)
			w.deploy(t, "app", "2")
		})
	}
}

// boundaries applies, and returns the boundaries that this has, sorted: in every
// world they are the same.
func (w *world) boundaries(t *testing.T, p *points) (all []string) {
	t.Helper()
	var mu sync.Mutex
	p.during(t, w, func(point string) bool {
		mu.Lock()
		defer mu.Unlock()
		if isEdge(point) && !slices.Contains(all, point) {
			all = append(all, point)
		}
		return true
	}, func() { w.apply(t) })
	slices.Sort(all)
	return all
}

// isEdge tells whether anything is different on the two sides of a boundary that
// another one does not have too: looking changes nothing, and what mktemp makes
// counts when it is renamed. A deploy goes on when what has asked for it ends, and so
// does the gate.
func isEdge(point string) bool {
	return !within.MatchString(point) && !strings.HasSuffix(point, ", a deploy)") && !strings.HasSuffix(point, ", the gate)")
}

var within = regexp.MustCompile(`^(before|after) (chmod|chown|mktemp|rm|systemctl|docker ps|flock -s|flock -w [0-9]{2}|git .*--(get|porcelain)|ssh-keygen -[Fy]) `)

// applyUntil applies in a process of its own until it comes to a boundary that
// no apply has been at, and does there what is to be done. What waits at that
// boundary goes on only if it is GitLab, and only if the program lives on.
func (w *world) applyUntil(t *testing.T, p *points, been map[string]bool, do func(*os.Process), lives bool) (reached string, code int) {
	t.Helper()
	started := make(chan *exec.Cmd, 1)
	var mu sync.Mutex
	p.during(t, w, func(point string) bool {
		mu.Lock()
		defer mu.Unlock()
		if reached != "" || been[point] || !isEdge(point) {
			return true
		}
		been[point], reached = true, point
		do((<-started).Process)
		return lives && inGitLab(point)
	}, func() {
		command, out, errors := w.process(t, "apply")
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		started <- command
		command.Wait()
		mu.Lock()
		defer mu.Unlock()
		if code = command.ProcessState.ExitCode(); code > 1 || code != 0 && reached == "" {
			t.Logf("%s%s", out, errors)
		}
	})
	return reached, code
}
