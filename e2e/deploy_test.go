package e2e_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"provision/inventory"
)

// A job is what a client of ssh gets.
type job struct {
	code        int
	out, errors string
}

// ci runs ssh as a deploy job, with words for the gate.
func (w *world) ci(t *testing.T, d *inventory.Deployment, words string) job {
	t.Helper()
	out, err := w.CI(t.Context(), d, words)
	if err == nil {
		return job{0, out, ""}
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return job{exit.ExitCode(), out, string(exit.Stderr)}
}

// The key of CI deploys, tells the status, and does nothing else.
func TestDeploy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, two)
	w.apply(t)
	d := w.deployment(t, "app")

	t.Run("deploy", func(t *testing.T) {
		w.runs(t, "app", "1")
		for i, words := range []string{"", "deploy"} {
			version := fmt.Sprint(i + 2)
			w.push(t, "app", version)
			w.push(t, "tool", version)
			if j := w.ci(t, d, words); j.code != 0 {
				t.Fatalf("ssh %q: %+v", words, j)
			}
			w.runs(t, "app", version)
			w.runs(t, "tool", "1") // the key is for one deployment only
		}
	})
	t.Run("status", func(t *testing.T) {
		s := w.status(t, d)
		if len(s.Services) != 1 || s.Services[0].Name != "app" || s.Services[0].State != "running" || s.Last.Outcome != "good" || !strings.HasPrefix(s.Last.By, "SHA256:") {
			t.Errorf("%+v", s)
		}
	})
	t.Run("refuse", func(t *testing.T) { testRefused(t, w, d) })
	t.Run("tools", func(t *testing.T) { testTools(t, w, d) })
	t.Run("channels", func(t *testing.T) { testChannels(t, w, d) })
	t.Run("wait", func(t *testing.T) { testLock(t, w, d) })

	if got := w.sh(t, "web1", "ls /tmp/pwned* 2>/dev/null || :"); got != "" {
		t.Errorf("the key of CI has made %s", got)
	}
}

// fingerprint is how logs name the key of a deployment.
func (w *world) fingerprint(t *testing.T, d *inventory.Deployment) string {
	t.Helper()
	key, err := ssh.ParsePrivateKey([]byte(w.variable(t, "transmogrify", d.Variables.Key("SSH_AUTH"), d.Scope)))
	if err != nil {
		t.Fatal(err)
	}
	return ssh.FingerprintSHA256(key.PublicKey())
}

// jobEnv is what GitLab gives to the deploy job of a deployment.
func (w *world) jobEnv(t *testing.T, d *inventory.Deployment) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, base := range []string{"SSH_AUTH", "SSH_KNOWN_HOSTS", "SSH_DEPLOY_TARGET"} {
		env[base] = w.variable(t, "transmogrify", d.Variables.Key(base), d.Scope)
	}
	return env
}

// Whatever else is asked of the gate is refused, with one line for the job and
// one for the journal.
func testRefused(t *testing.T, w *world, d *inventory.Deployment) {
	fingerprint := w.fingerprint(t, d)
	client := w.login(t, d.Host.Name, d.User, []byte(w.variable(t, "transmogrify", "SSH_AUTH", d.Scope)))
	for _, words := range []string{
		"id", "sh", "bash -i", "/bin/sh -c id", "deploy; id", "deploy\nid", "deploy id", "deploy ", " deploy", "Deploy",
		"$(touch /tmp/pwned1)", "`touch /tmp/pwned2`", "|| touch /tmp/pwned3", "status; id", "status app", "-h", "--", "*", "'", `\`,
		"scp -t /tmp", "sftp-server", "/usr/lib/openssh/sftp-server", "internal-sftp", "rsync --server . /tmp",
		"git-upload-pack 'transmogrify/frobnicator.git'", "docker ps", "../../../bin/sh", "tool",
		"\x1b[31mred\x07", "ünïcödé", strings.Repeat("x", 50_000),
	} {
		name := words[:min(len(words), 20)]
		mark := w.sh(t, "web1", "journalctl --sync; journalctl -n 0 --show-cursor | sed -n 's/^-- cursor: //p'")
		j := ask(t, client, words)
		if j.code != 126 || j.out != "" || strings.Count(j.errors, "\n") != 1 || !strings.HasPrefix(j.errors, "provision: refused: ") {
			t.Errorf("ssh %q: %+v; want exit code 126 and one line", name, j)
		}
		log := w.sh(t, "web1", `journalctl --sync; journalctl --after-cursor "$1" -t provision -o cat --all`, mark)
		if strings.Count(log, "\n") != 0 || !strings.HasPrefix(log, d.Name+": refused: ") || !strings.Contains(log, fingerprint) || !strings.Contains(log, "user "+d.User) {
			t.Errorf("ssh %q: the journal says %q", name, log)
		}
		if strings.ContainsFunc(log, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("ssh %q: what is logged is not plain: %q", name, log)
		}
	}
}

// What people would try with the tools of OpenSSH.
func testTools(t *testing.T, w *world, d *inventory.Deployment) {
	w.sh(t, "web1", `printf 'touch /tmp/pwned-rc\n' >"$(getent passwd "$1" | cut -d : -f 6)/.ssh/rc"`, d.User)
	env := w.jobEnv(t, d)
	for name, script := range map[string]string{
		// Without a command ssh asks for a shell, and gets a deploy.
		"shell":    `printf 'id\ntouch /tmp/pwned-shell\n' | ssh $o "$SSH_DEPLOY_TARGET"`,
		"terminal": `ssh -tt $o "$SSH_DEPLOY_TARGET" status 2>&1 | grep 'PTY allocation request failed'`,
		"command":  `ssh $o "$SSH_DEPLOY_TARGET" id 2>said || [ $? = 126 ]; grep '^provision: refused: ' said`,
		"sftp":     `! printf 'put /etc/hostname /tmp/pwned-sftp\n' | sftp $o -b - "$target"`,
		"scp":      `! scp $o /etc/hostname "$target:/tmp/pwned-scp"`,
		"old scp":  `! scp -O $o /etc/hostname "$target:/tmp/pwned-scp-O"`,
		"fetch":    `! scp -O $o "$target:.docker/config.json" stolen; [ ! -e stolen ]`,
		"env":      `ssh $o -o 'SetEnv LC_ALL=$(touch${IFS}/tmp/pwned-env) ENV=/tmp/pwned BASH_ENV=/tmp/pwned' "$SSH_DEPLOY_TARGET" status`,
	} {
		t.Run(name, func(t *testing.T) {
			out, err := w.Lab.Run(t.Context(), env, `
mkdir -m 700 ~/.ssh
echo "$SSH_KNOWN_HOSTS" >~/.ssh/known_hosts
printf %s "$SSH_AUTH" >key
chmod 600 key
o='-i key -o BatchMode=yes' target=${SSH_DEPLOY_TARGET#ssh://}
`+script)
			if err != nil || strings.Contains(out, "uid=") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// Of deploys that are asked for at once one runs, one waits, and the others join
// that one and end as it does. Nobody else on the host can be in their way.
func testLock(t *testing.T, w *world, d *inventory.Deployment) {
	if out, err := w.Hosts["web1"].Exec(t.Context(), `chmod 755 "/home/$1"; runuser -u deploy-tool -- flock -n "/home/$1/.provision/$2/lock" true 2>&1`, d.User, d.Name); err == nil {
		t.Errorf("another user can take the lock: %s", out)
	}
	w.push(t, "app", "9")
	held := make(chan error, 1)
	go func() {
		_, err := w.Hosts["web1"].Exec(t.Context(), `
exec 9<"/home/$1/.provision/$2/lock"
flock 9
touch /run/held
while [ -e /run/held ]; do sleep 0.02; done`, d.User, d.Name)
		held <- err
	}()
	w.sh(t, "web1", "until [ -e /run/held ]; do sleep 0.02; done")
	last := w.lastDeploy(t, d)

	// There may be as many as the gate lets in, and no more.
	const sessions = 32
	client := w.login(t, d.Host.Name, d.User, []byte(w.variable(t, "transmogrify", d.Variables.Key("SSH_AUTH"), d.Scope)))
	jobs := make(chan job, sessions+8)
	for n := range sessions + 8 {
		if n%8 == 7 {
			client = w.login(t, d.Host.Name, d.User, []byte(w.variable(t, "transmogrify", d.Variables.Key("SSH_AUTH"), d.Scope)))
		}
		go func(client *ssh.Client) { jobs <- ask(t, client, "deploy") }(client)
	}
	for range 8 {
		if j := <-jobs; j.code != 126 || !strings.Contains(j.errors, "too many sessions") {
			t.Errorf("one session too many: %+v", j)
		}
	}
	w.until(t, d, `grep -q 'waiting for the deploy that began at ' "$(cat last).log"`)
	w.runs(t, "app", "3")
	w.sh(t, "web1", "rm /run/held")
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	joined := 0
	for range sessions {
		j := <-jobs
		if j.code != 0 || !strings.Contains(j.out, "provision: deployed 1 of 1 services in ") {
			t.Errorf("%+v", j)
		}
		joined += strings.Count(j.errors, "another deploy waits already")
	}
	w.runs(t, "app", "9")
	before, _ := strconv.Atoi(last)
	if now := w.lastDeploy(t, d); now != strconv.Itoa(before+1) || joined != sessions-1 {
		t.Errorf("deploy %s was followed by %s, which %d have joined", last, now, joined)
	}
}
