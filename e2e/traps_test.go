package e2e_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"provision/e2e/lab"
	"provision/e2e/sample"
)

// A trap is what a deploy user, or whoever has taken that account over, can put
// where provision reads and writes.
type trap struct {
	name    string
	host    string // a script of root, in the home of the deploy user
	undo    string
	plan    int      // exit codes
	apply   int      // 0: an apply mends it
	says    []string // the apply, or the plan that fails
	missing string   // what a plan wants to mend
}

const rootCanary = "canary of root 5c1e"

var traps = []trap{
	{name: "authorized_keys is a link to a file of root", host: `mv .ssh/authorized_keys aside; ln -s /root/trap .ssh/authorized_keys`, undo: `mv -T aside .ssh/authorized_keys`,
		apply: 1, says: []string{".ssh/authorized_keys is a link; replace it by a file"}},
	{name: "authorized_keys is a link to a file of all", host: `mv .ssh/authorized_keys aside; ln -s /etc/passwd .ssh/authorized_keys`, undo: `mv -T aside .ssh/authorized_keys`,
		apply: 1, says: []string{".ssh/authorized_keys is a link; replace it by a file"}},
	{name: "authorized_keys is a FIFO", host: `mv .ssh/authorized_keys aside; mkfifo -m 666 .ssh/authorized_keys`, undo: `mv -T aside .ssh/authorized_keys`,
		apply: 1, says: []string{".ssh/authorized_keys is not a file"}},
	{name: "authorized_keys is a device", host: `mv .ssh/authorized_keys aside; ln -s /dev/zero .ssh/authorized_keys`, undo: `mv -T aside .ssh/authorized_keys`,
		apply: 1, says: []string{".ssh/authorized_keys is a link; replace it by a file"}},
	{name: "authorized_keys is root's", host: `chown root: .ssh/authorized_keys`, undo: `chown deploy-user: .ssh/authorized_keys`,
		apply: 1, says: []string{"ci-key app: ", ".ssh/authorized_keys: Permission denied"}},
	{name: "anybody may write authorized_keys", host: `chmod 666 .ssh/authorized_keys`,
		missing: "ci-key app: chmod go-w ~deploy-user/.ssh/authorized_keys (sshd StrictModes)"},
	{name: "anybody may write .ssh", host: `chmod 777 .ssh`,
		missing: "ci-key app: chmod go-w ~deploy-user/.ssh (sshd StrictModes)"},
	{name: "a group may write the home", host: `chgrp docker .; chmod 770 .`, undo: `chgrp deploy-user .; chmod 700 .`,
		missing: "ci-key app: chmod go-w ~deploy-user (sshd StrictModes)"},
	{name: "the home is root's", host: `chown root: .`, undo: `chown deploy-user: .`,
		plan: 1, apply: 1, says: []string{"the home /home/deploy-user of the existing user does not belong to it"}},
	{name: "the home is somebody else's", host: `chown nobody: .`, undo: `chown deploy-user: .`,
		plan: 1, apply: 1, says: []string{"the home /home/deploy-user of the existing user does not belong to it"}},
	{name: ".ssh is a link to /etc", host: `mv .ssh aside; ln -s /etc .ssh`, undo: `rm .ssh; mv -T aside .ssh`,
		apply: 1, says: []string{"Permission denied"}},
	{name: ".ssh is a link to root's", host: `mv .ssh aside; ln -s /root/.ssh .ssh`, undo: `rm .ssh; mv -T aside .ssh`,
		apply: 1, says: []string{".ssh"}},
	{name: "the private key is a FIFO", host: `mv .ssh/id_ed25519 aside; mkfifo -m 666 .ssh/id_ed25519`, undo: `mv -T aside .ssh/id_ed25519`,
		plan: 1, apply: 1, says: []string{"~deploy-user/.ssh/id_ed25519 is there, but is no private key that can be used"}},
	{name: "the retired key is a FIFO", host: `mkfifo -m 666 .ssh/id_ed25519.retired.pub`, undo: `rm .ssh/id_ed25519.retired.pub`},
	{name: "known_hosts is a FIFO", host: `mv .ssh/known_hosts aside; mkfifo -m 666 .ssh/known_hosts`, undo: `mv -T aside .ssh/known_hosts`,
		apply: 1, says: []string{".ssh/known_hosts is not a file"}},
	{name: "known_hosts is a link", host: `mv .ssh/known_hosts aside; ln -s /root/trap .ssh/known_hosts`, undo: `mv -T aside .ssh/known_hosts`,
		apply: 1, says: []string{".ssh/known_hosts is a link; replace it by a file"}},
	{name: "config.json is a link", host: `mv .docker/config.json aside; ln -s /root/trap .docker/config.json`, undo: `mv -T aside .docker/config.json`,
		apply: 1, says: []string{".docker/config.json is a link; replace it by a file"}},
	{name: "config.json is a FIFO", host: `mv .docker/config.json aside; mkfifo -m 666 .docker/config.json`, undo: `mv -T aside .docker/config.json`,
		apply: 1, says: []string{".docker/config.json is not a file"}},
	{name: ".docker is a link to root's", host: `mv .docker aside; ln -s /root .docker`, undo: `rm .docker; mv -T aside .docker`,
		apply: 1, says: []string{".docker"}},
	{name: "the clone is a link to root's home", host: `mv frobnicator aside; ln -s /root frobnicator`, undo: `rm frobnicator; mv -T aside frobnicator`,
		plan: 1, apply: 1, says: []string{"~deploy-user/frobnicator is there, but is no clone with an origin"}},
	{name: "the clone is a link to /etc", host: `mv frobnicator aside; ln -s /etc frobnicator`, undo: `rm frobnicator; mv -T aside frobnicator`,
		plan: 1, apply: 1, says: []string{"~deploy-user/frobnicator is there, but is no clone with an origin"}},
	{name: "the clone leads nowhere", host: `mv frobnicator aside; ln -s nowhere frobnicator`, undo: `rm frobnicator; mv -T aside frobnicator`,
		apply: 1, says: []string{"frobnicator"}},
	{name: "the override is a link to a file of all", host: `ln -sf /etc/passwd frobnicator/compose.override.yaml`,
		missing: "override app: update ~deploy-user/frobnicator/compose.override.yaml (for the next deploy; the edited file is kept as a backup)"},
	{name: "the override is a link to a file of root", host: `ln -sf /root/trap frobnicator/compose.override.yaml`, undo: `rm frobnicator/compose.override.yaml`,
		missing: "override app: write ~deploy-user/frobnicator/compose.override.yaml"},
	{name: "the override is a FIFO", host: `rm frobnicator/compose.override.yaml; mkfifo -m 666 frobnicator/compose.override.yaml`, undo: `rm frobnicator/compose.override.yaml`,
		plan: 1, apply: 1, says: []string{"compose.override.yaml is there, but is no file that deploy-user can read"}},
	{name: "the override is endless", host: `ln -sf /dev/zero frobnicator/compose.override.yaml`, undo: `rm frobnicator/compose.override.yaml`,
		plan: 1, apply: 1, says: []string{"compose.override.yaml is there, but is no file that deploy-user can read"}},
}

// patient runs a command that a trap may hold up: the time is far beyond what it
// needs.
func (w *world) patient(t *testing.T, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r := run(ctx, w.typed(t, args...)...)
	if ctx.Err() != nil {
		t.Fatalf("it hangs: %v", r)
	}
	return r
}

// outside is a snapshot of all that is not the deploy user's.
func (w *world) outside(t *testing.T) map[string]lab.File {
	t.Helper()
	files := w.snapshot(t, "web1")
	for name := range files {
		if name == "/home/deploy-user" || strings.HasPrefix(name, "/home/deploy-user/") || name == "/run/provision.lock" || ofDocker(name) {
			delete(files, name)
		}
	}
	return files
}

// Whatever a deploy user puts in the place of a file, root writes nothing
// elsewhere, nothing of root's comes back, and nothing hangs. Out of the way
// with it, an apply finishes the job.
func TestTraps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app+withOverride)
	w.apply(t)
	w.sh(t, "web1", `mkdir -p -m 700 /root/.ssh; echo "$1" >/root/trap; echo "$1" >/root/.ssh/authorized_keys; chmod 600 /root/trap`, rootCanary)
	for _, c := range sample.Some(t, traps, 3) {
		t.Run(c.name, func(t *testing.T) {
			before := w.outside(t)
			w.sh(t, "web1", "cd /home/deploy-user\n"+c.host)
			planned := w.patient(t, "plan")
			applied := w.patient(t, "apply")
			for _, r := range []result{planned, applied} {
				r.saysNot(t, rootCanary)
			}
			if planned.code != c.plan || applied.code != c.apply {
				t.Errorf("the exit codes are %d and %d, want %d and %d:\n%v%v", planned.code, applied.code, c.plan, c.apply, planned, applied)
			}
			applied.says(t, c.says...)
			if n := strings.Count(applied.errors, "provision: "); n != c.apply {
				t.Errorf("an apply reports %d errors: %v", n, applied)
			}
			planned.says(t, c.missing)
			compare(t, before, w.outside(t))
			if c.undo != "" {
				w.sh(t, "web1", "cd /home/deploy-user\n"+c.undo)
			}
			w.patient(t, "apply").exits(t, 0)
			w.converged(t)
		})
	}
	w.deploy(t, "app", "2")
}

// flip is run by the deploy user: it makes $1 a link to one of the other
// arguments and a directory again, as fast as it can.
const flip = `
cd
name=$1
shift
trap 'rm -f "$name"; mv -T "$name.real" "$name"; exit' TERM
mv -T "$name" "$name.real"
n=0
while :; do
	for target; do
		ln -s "$target" "$name"
		rm "$name"
		mv -T "$name.real" "$name"
		mv -T "$name" "$name.real"
	done
	n=$((n + 1))
	echo "$n" >flips.new
	mv flips.new flips # whoever reads it sees a number
done
`

// While a deploy user swaps directories for links and back, all through
// several applies, root writes nothing outside, and reads nothing back.
func TestSymlinkRaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app+withOverride)
	w.apply(t)
	w.sh(t, "web1", `mkdir -p -m 700 /root/.ssh; echo "$1" >/root/trap; for f in authorized_keys known_hosts id_ed25519 config.json compose.override.yaml; do cp /root/trap "/root/.ssh/$f"; cp /root/trap "/root/$f"; done`, rootCanary)
	before := w.outside(t)
	for _, name := range []string{".ssh", ".docker", "frobnicator"} {
		t.Run(name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			ended := make(chan error, 1)
			go func() {
				_, err := w.Hosts["web1"].Exec(ctx, `exec runuser -u deploy-user -- env HOME=/home/deploy-user sh -c "$1" flipper "$2" /root /root/.ssh /etc`, flip, name)
				ended <- err
			}()
			flips := func() int {
				n, _ := strconv.Atoi(w.sh(t, "web1", "cat /home/deploy-user/flips 2>/dev/null || :"))
				return n
			}
			for flips() == 0 { // it has begun
				select {
				case err := <-ended:
					t.Fatal(err)
				default:
				}
			}
			for i := range 8 {
				// There is something to do in every place that is flipped. It is the
				// user who removes it: root would run into the trap.
				w.sh(t, "web1", `rm -f /etc/provision/deployments/app
exec runuser -u deploy-user -- sh -c '
cd
for dir in .ssh .ssh.real; do rm -f "$dir/authorized_keys" "$dir/known_hosts"; done
for dir in .docker .docker.real; do rm -f "$dir/config.json"; done
for dir in frobnicator frobnicator.real; do rm -f "$dir/compose.override.yaml"; done
:' 2>/dev/null`)
				first := flips()
				r := w.patient(t, "apply", "--output", "json")
				r.saysNot(t, rootCanary)
				if n := flips(); n <= first {
					t.Errorf("apply %d: nothing was flipped meanwhile (%d)", i, n)
				}
			}
			w.sh(t, "web1", `pkill -TERM -u deploy-user -f flipper; while pgrep -u deploy-user -f flipper >/dev/null; do sleep 0.02; done; rm -f /home/deploy-user/flips /home/deploy-user/flips.new`)
			<-ended
			r := w.patient(t, "apply")
			if r.code != 0 {
				// What was made within a directory that was a link for a moment may be in the way.
				t.Fatal(fmt.Sprint("an apply does not finish the job: ", r, w.sh(t, "web1", "ls -laR /home/deploy-user | head -60")))
			}
			w.converged(t)
			after := w.outside(t)
			compare(t, before, after)
		})
	}
	w.deploy(t, "app", "2")
}

// A deploy user cannot hold the lock that keeps two runs apart.
func TestLockIsRoots(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	if got := w.sh(t, "web1", `stat -c '%U %a' /run/provision.lock; runuser -u deploy-user -- flock -n /run/provision.lock true 2>&1 || :`); !strings.HasPrefix(got, "root 600\n") || !strings.Contains(got, "Permission denied") {
		t.Errorf("the lock: %s", got)
	}
}
