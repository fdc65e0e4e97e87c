package e2e_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"provision/e2e/gitlabtest"
	"provision/e2e/sample"
	"provision/inventory"
	"provision/provision/secret"
)

// Credentials are all that a deployment has, as they are used.
type credentials struct {
	private string // what SSH_AUTH holds
	lines   string // of authorized_keys that have a key
	repo    string // the public half of the key to clone with
	keys    string // the deploy keys of the project
	login   string // the registry's user name, which has the id of the token
	tokens  string // that work
}

// kinds are the fields of credentials that each kind changes.
var kinds = map[string]func(*credentials) []*string{
	"ci-key":         func(c *credentials) []*string { return []*string{&c.private, &c.lines} },
	"repo-key":       func(c *credentials) []*string { return []*string{&c.repo, &c.keys} },
	"registry-token": func(c *credentials) []*string { return []*string{&c.login, &c.tokens} },
}

func (w *world) credentials(t *testing.T, d *inventory.Deployment) credentials {
	t.Helper()
	c := credentials{private: w.variable(t, "transmogrify", "SSH_AUTH", d.Scope)}
	said := strings.Split(w.sh(t, d.Host.Name, `
cd "/home/$1"
grep -v '^#' .ssh/authorized_keys | tr '\n' ';'
echo
ssh-keygen -y -f .ssh/id_ed25519 | cut -d ' ' -f 1,2
ls .ssh | grep next || :
ls .ssh | grep retired || :
ls -d .ssh/key.* 2>/dev/null || :
sed -n 's/.*"auth": "\(.*\)"/\1/p' .docker/config.json | base64 -d | sed 's/:.*//'`, d.User), "\n")
	if len(said) != 3 {
		t.Fatalf("something is left over on the host: %q", said)
	}
	c.lines, c.repo, c.login = said[0], said[1], said[2]
	for _, k := range w.GitLab.DeployKeys(d.Project) {
		c.keys += fmt.Sprintf("%s can push: %t;", strings.Join(strings.Fields(k.Key)[:2], " "), k.CanPush)
	}
	for _, id := range w.active("transmogrify", d.User+"@"+d.Host.Name) {
		c.tokens += fmt.Sprintf("provision-%d;", id)
	}
	return c
}

// single fails the test unless there is one of each kind, and all that have to
// match do.
func (c credentials) single(t *testing.T) {
	t.Helper()
	key, err := ssh.ParsePrivateKey([]byte(c.private))
	if err != nil {
		t.Fatal(err)
	}
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
	if strings.Count(c.lines, ";") != 1 || !strings.Contains(c.lines, `" `+public+" provision:") || !strings.HasPrefix(c.lines, `restrict,command="/usr/local/lib/provision/gate `) {
		t.Errorf("authorized_keys has not one line, with the key of CI: %q", c.lines)
	}
	if c.keys != c.repo+" can push: false;" {
		t.Errorf("the deploy keys are %q, the host has %q", c.keys, c.repo)
	}
	if c.tokens != c.login+";" {
		t.Errorf("the tokens %q work, the host has %q", c.tokens, c.login)
	}
}

// works fails the test unless CI gets what it asks for, and the host can clone.
func (w *world) works(t *testing.T, d *inventory.Deployment, words string) {
	t.Helper()
	if out, err := w.CI(t.Context(), d, words); err != nil {
		t.Errorf("CI cannot %s: %v\n%s", words, err, out)
	}
	w.sh(t, d.Host.Name, `runuser -u "$1" -- env "HOME=/home/$1" git -C "/home/$1/$2" ls-remote --quiet origin HEAD >/dev/null`, d.User, d.Directory)
}

// Everything that is asked for is replaced, and nothing else. What it replaced
// works no longer.
func TestRotate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.run(t, "rotate-key").exits(t, 1).says(t, "web1: no credentials to rotate; run provision apply first\n")
	w.apply(t)
	d := w.deployment(t, "app")
	changed := func(t *testing.T, names []string, flags ...string) {
		t.Helper()
		before := w.credentials(t, d)
		w.run(t, append([]string{"rotate-key"}, flags...)...).exits(t, 0)
		after := w.credentials(t, d)
		after.single(t)
		for kind, fields := range kinds {
			was, is := fields(&before), fields(&after)
			for i := range was {
				if rotated := *was[i] != *is[i]; rotated != slices.Contains(names, kind) {
					t.Errorf("%s: field %d: replaced is %t: %q", kind, i, rotated, *is[i])
				}
			}
		}
		w.works(t, d, "deploy")
		if plan := w.missing(t); len(plan) > 0 {
			t.Errorf("after a rotation the plan has %q", plan)
		}
	}
	all := []string{"ci-key", "repo-key", "registry-token"}
	for _, kind := range all {
		t.Run(kind, func(t *testing.T) { changed(t, []string{kind}, "--only", kind) })
	}
	t.Run("over one connection", func(t *testing.T) {
		r := w.run(t, "rotate-key", "--only", "repo-key", "--output", "json").exits(t, 0)
		if s := r.summary(t); s.Connections != 1 {
			t.Errorf("%+v; want one connection", s)
		}
	})
	t.Run("two kinds", func(t *testing.T) { changed(t, all[:2], "--only", "ci-key", "--only", "repo-key") })
	t.Run("everything", func(t *testing.T) {
		old := []byte(w.variable(t, "transmogrify", "SSH_AUTH", d.Scope))
		w.login(t, "web1", d.User, old)
		changed(t, all)
		signer, err := ssh.ParsePrivateKey(old)
		if err != nil {
			t.Fatal(err)
		}
		h := w.Hosts["web1"]
		_, err = ssh.Dial("tcp", fmt.Sprintf("%s:%d", h.Address, h.Port), &ssh.ClientConfig{
			User: d.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		})
		if err == nil || !strings.Contains(err.Error(), "unable to authenticate") {
			t.Errorf("the old key gets in: %v", err)
		}
	})
	t.Run("what does not exist", func(t *testing.T) {
		before := w.credentials(t, d)
		w.run(t, "rotate-key", "--only", "password").exits(t, 2).says(t, "--only is ci-key, registry-token, repo-key")
		if w.credentials(t, d) != before {
			t.Error("something was rotated")
		}
	})
	verify(t, w.inventoryFile(t)).finds(t)
}

// A new key that the host does not take is not handed to CI, whose old one
// goes on to work.
func TestRotateToAKeyThatIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	d := w.deployment(t, "app")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	changeVariable(t, w, "SSH_AUTH", func(v *gitlabtest.Variable) { v.Value = secret.New(string(pem.EncodeToMemory(block))) })
	w.apply(t)
	w.sh(t, "web1", `
cp /etc/ssh/sshd_config /root
printf 'Match User deploy-user\nPubkeyAcceptedAlgorithms rsa-sha2-256,rsa-sha2-512\n' >>/etc/ssh/sshd_config
systemctl restart ssh`)
	before := w.credentials(t, d)
	before.single(t)

	r := w.run(t, "rotate-key", "--only", "ci-key").exits(t, 1)
	r.says(t, "ci-key app: test the new CI key for app (SSH login): ", "the host does not let deploy-user in")
	if got := w.variable(t, "transmogrify", "SSH_AUTH", d.Scope); got != before.private {
		t.Error("CI has a key that is refused")
	}
	w.works(t, d, "deploy")
	w.apply(t)
	w.works(t, d, "deploy")
	if w.credentials(t, d) != before {
		t.Error("an apply does not put the old key back in its place")
	}

	w.sh(t, "web1", "mv /root/sshd_config /etc/ssh; systemctl restart ssh")
	w.run(t, "rotate-key", "--only", "ci-key").exits(t, 0)
	w.credentials(t, d).single(t)
	w.works(t, d, "deploy")
}

// Deploys go on all through rotations of everything, and none fails.
func TestRotateUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	d := w.deployment(t, "app")
	const enough = 10
	var deploys atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if out, err := w.CI(t.Context(), d, ""); err != nil {
				t.Errorf("after %d deploys one fails: %v\n%s", deploys.Load(), err, out)
				return
			}
			deploys.Add(1)
		}
	})
	rotations := 0
	for deploys.Load() < enough && !t.Failed() {
		w.run(t, "rotate-key").exits(t, 0)
		rotations++
	}
	stop()
	wg.Wait()
	t.Logf("%d deploys during %d rotations", deploys.Load(), rotations)
	w.credentials(t, d).single(t)
	w.works(t, d, "deploy")
}

// A boundary is a moment in which a run may be killed: before or after the
// n-th request to GitLab, or the n-th program of the deploy user on the host.
type boundary struct {
	of    string // "request" or "program"
	after bool
	n     int
}

func (b boundary) String() string {
	when := "before"
	if b.after {
		when = "after"
	}
	return fmt.Sprintf("%s %s %d", when, b.of, b.n)
}

// trapPrograms has the programs of other users on a host counted, and stop at
// one of them, before or after it, until /run/trap is gone.
const trapPrograms = `
mv /usr/sbin/runuser /usr/sbin/runuser.real
cat >/usr/sbin/runuser <<'END'
#!/bin/sh
read -r trap </run/trap 2>/dev/null || exec /usr/sbin/runuser.real "$@"
echo >>/run/programs
n=$(wc -l </run/programs)
stop() {
	[ "$trap" = "$1 $n" ] || return 0
	: >/run/sprung
	while [ -e /run/trap ]; do sleep 0.02; done
}
stop before
/usr/sbin/runuser.real "$@"
status=$?
stop after
exit $status
END
chmod 755 /usr/sbin/runuser`

// trap sets the trap for programs on web1.
func (w *world) trap(t *testing.T, at boundary) {
	t.Helper()
	when, n := "before", 0
	if at.after {
		when = "after"
	}
	if at.of == "program" {
		n = at.n
	}
	w.sh(t, "web1", `rm -f /run/sprung; : >/run/programs; echo "$1 $2" >/run/trap`, when, fmt.Sprint(n))
}

// sprung waits until that trap is sprung.
func (w *world) sprung(ctx context.Context) error {
	_, err := w.Hosts["web1"].Exec(ctx, "until [ -e /run/sprung ]; do sleep 0.02; done")
	return err
}

// kill runs a command and kills it at a boundary, if it comes to that. It
// returns the methods of the requests, and how many programs there were, until then.
func (w *world) kill(t *testing.T, at boundary, args ...string) (killed bool, requests []string, programs int) {
	t.Helper()
	w.trap(t, at)
	var mu sync.Mutex
	var asked []string
	sprung, dead := make(chan struct{}), make(chan struct{})
	trap := w.GitLab.Fail("", "", 0, func(answer http.ResponseWriter, r *http.Request, gitlab http.Handler) {
		mu.Lock()
		asked = append(asked, r.Method)
		n := len(asked)
		mu.Unlock()
		if at.of != "request" || n < at.n {
			gitlab.ServeHTTP(answer, r)
			return
		}
		if n == at.n {
			if at.after {
				gitlab.ServeHTTP(httptest.NewRecorder(), r)
			}
			close(sprung)
		}
		<-dead
		panic(http.ErrAbortHandler)
	})
	command, out, errs := w.process(t, args...)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	watching, stop := context.WithCancel(t.Context())
	if at.of == "program" {
		go func() {
			if w.sprung(watching) == nil {
				close(sprung)
			}
		}()
	}
	select {
	case <-sprung:
		killed = true
		command.Process.Kill()
		<-ended
	case err := <-ended:
		if err != nil {
			t.Errorf("%v: %v\n%s%s", at, err, out, errs)
		}
	}
	stop()
	trap.Remove()
	close(dead)
	programs, err := strconv.Atoi(w.sh(t, "web1", "rm -f /run/trap; wc -l </run/programs"))
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return killed, slices.Clone(asked), programs
}

// Killed at any boundary there is, and run again as rotate-key or as apply:
// it ends with one of each, and at no time a deploy would have failed.
func TestRotateKilled(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ci-key", "repo-key", "registry-token"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, head+web1+app)
			w.apply(t)
			w.sh(t, "web1", trapPrograms)
			d := w.deployment(t, "app")
			// The host may notice the end of the one before a moment later.
			rotate := []string{"rotate-key", "--only", kind, "--lock-wait", "1m"}
			words := "status" // a login will do
			if kind == "registry-token" {
				words = "deploy" // pulls
			}
			_, requests, programs := w.kill(t, boundary{}, rotate...)
			if len(requests) < 5 || programs < 3 {
				t.Fatalf("only %d requests and %d programs", len(requests), programs)
			}
			var all []boundary
			for i, method := range requests {
				all = append(all, boundary{"request", false, i + 1})
				if method != http.MethodGet { // after which all is as before
					all = append(all, boundary{"request", true, i + 1})
				}
			}
			for n := range programs {
				all = append(all, boundary{"program", false, n + 1}, boundary{"program", true, n + 1})
			}
			all = sample.Some(t, all, 4)
			killed := 0
			for i, at := range all {
				before := w.credentials(t, d)
				if was, _, _ := w.kill(t, at, rotate...); was {
					killed++
				}
				if out, err := w.CI(t.Context(), d, words); err != nil {
					t.Errorf("%v: a deploy right after it fails: %v\n%s", at, err, out)
				}
				if i%2 == 0 {
					w.run(t, rotate...).exits(t, 0)
				} else {
					w.apply(t, "--lock-wait", "1m")
				}
				after := w.credentials(t, d)
				after.single(t)
				w.works(t, d, words)
				if plan := w.missing(t); len(plan) > 0 {
					t.Errorf("the plan has %q", plan)
				}
				for _, field := range kinds[kind](&after) {
					if i%2 == 0 && slices.ContainsFunc(kinds[kind](&before), func(was *string) bool { return *was == *field }) {
						t.Errorf("what was rotated in the end is as before: %q", *field)
					}
				}
				if t.Failed() {
					t.Fatalf("killed %v, run again %s", at, map[bool]string{true: "as rotate-key", false: "as apply"}[i%2 == 0])
				}
			}
			t.Logf("%d requests and %d programs: killed at %d of %d boundaries", len(requests), programs, killed, len(all))
			if killed < len(all)-min(2, len(all)/4) {
				t.Errorf("killed at %d of %d boundaries only", killed, len(all))
			}
		})
	}
}

// The second of two learns who is at work, or waits; a dead one is no obstacle.
func TestRotateTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	w.sh(t, "web1", trapPrograms)
	d := w.deployment(t, "app")
	before := w.credentials(t, d)

	// One look comes before the first program that changes something.
	w.trap(t, boundary{"program", false, 2})
	first := w.caught(t, "rotate-key")
	r := w.run(t, "rotate-key").exits(t, 1)
	r.says(t, "locked by ", "@control (pid "+strconv.Itoa(first.Process.Pid)+") since 20", "hint: run again later, or let --lock-wait 10m wait for it")
	w.run(t, "apply").exits(t, 0) // which has nothing to change

	second := w.inTurn(t, first, "rotate-key")
	t.Log(second)
	after := w.credentials(t, d)
	after.single(t)
	if after.private == before.private || after.repo == before.repo || after.login == before.login {
		t.Error("not everything is rotated")
	}
	w.works(t, d, "deploy")
	if plan := w.missing(t); len(plan) > 0 {
		t.Errorf("the plan has %q", plan)
	}
}

// caught runs a command until it is in the trap.
func (w *world) caught(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	command, _, _ := w.process(t, args...)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.sprung(t.Context()); err != nil {
		t.Fatal(err)
	}
	return command
}

// inTurn runs a second command that waits until the first one is through, which
// then is let out of its trap; and returns what the second one prints.
func (w *world) inTurn(t *testing.T, first *exec.Cmd, verb string) string {
	t.Helper()
	second, out, errs := w.process(t, verb, "--lock-wait", "10m")
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	w.sh(t, "web1", "until pgrep -xf 'flock -w 600 8'; do sleep 0.02; done; rm /run/trap")
	if err := first.Wait(); err != nil {
		t.Fatalf("%v\n%s%s", err, first.Stdout, first.Stderr)
	}
	if err := second.Wait(); err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs)
	}
	return out.String()
}

// An apply that has waited for a rotation takes nothing of what GitLab said
// before for granted: the key that CI had then is not let in again in place of
// the one that it has now.
func TestApplyWaitsForARotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	w.sh(t, "web1", trapPrograms)
	d := w.deployment(t, "app")

	// The new key is let in beside the old one.
	w.trap(t, boundary{"program", true, 2})
	first := w.caught(t, "rotate-key", "--only", "ci-key")
	second := w.inTurn(t, first, "apply")
	w.credentials(t, d).single(t)
	w.works(t, d, "deploy")
	if strings.Contains(second, "done") {
		t.Errorf("the apply found something to do: %s", second)
	}
}
