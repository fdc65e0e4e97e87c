package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"provision/cmd"
	"provision/e2e/gitlabtest"
	"provision/e2e/lab"
	"provision/e2e/sample"
	"provision/provision/visible"
)

// A steering is what no terminal may ever be sent.
const steering = "\x1b]0;title\a\x1b[2J\x9b31m\xe2\x80\xae\r\b"

// harmless fails the test if what was printed could steer a terminal.
func (r result) harmless(t *testing.T) result {
	t.Helper()
	for line := range strings.Lines(r.out + r.errors) {
		if line = strings.TrimSuffix(line, "\n"); visible.String(line) != line {
			t.Errorf("what is printed could steer a terminal: %q", line)
		}
	}
	return r
}

// upload puts a program of this machine, with the libraries that it needs, onto a
// host that has no network to get it from.
func (w *world) upload(t *testing.T, host, name string) {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v (apt-get install fish tcsh)", err)
	}
	libraries, err := exec.Command("ldd", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := []string{program}
	for line := range strings.Lines(string(libraries)) {
		if _, path, ok := strings.Cut(line, "=> "); ok {
			files = append(files, strings.Fields(path)[0])
		}
	}
	key, err := os.ReadFile(w.Inventory.Host(host).Identity)
	if err != nil {
		t.Fatal(err)
	}
	client := w.login(t, host, w.Hosts[host].Admin, key)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		session.Stdin = bytes.NewReader(text)
		// A library that the host has is its own.
		if out, err := session.CombinedOutput(fmt.Sprintf(`sudo sh -c 'if ldconfig -p | grep -qF "%s "; then cat >/dev/null; else cat >"%s" && chmod 755 "%[2]s" && ldconfig; fi'`, file[strings.LastIndexByte(file, '/')+1:], file)); err != nil {
			t.Fatalf("%s: %v: %s", file, err, out)
		}
		session.Close()
	}
}

// However a host greets an admin, and whatever shell it gives, a plan comes out
// the same, and an apply works.
//
// Here and elsewhere sshd is restarted, not reloaded: systemctl waits until it
// listens again for the one, and for the other it does not.
func TestOddLogins(t *testing.T) {
	t.Parallel()
	const password = "right horse"
	w := newWorld(t, head+`
[defaults.host]
user = "admin"
[hosts.web1]
address = "web1.WORLD"
[hosts.web2]
address = "web2.WORLD"
become_password = { env = "UNUSED" }
`+strings.Replace(app, `host = "web1"`, `hosts = ["web1", "web2"]`, 1), hosts(func(name string, o *lab.Options) {
		if name == "web2" {
			o.Password = password
		}
	}))
	w.Inventory.Host("web2").BecomePassword = w.secretFile(t, password)
	for _, shell := range []string{"tcsh", "fish"} {
		w.upload(t, "web1", shell)
	}
	for _, host := range []string{"web1", "web2"} {
		w.sh(t, host, `printf %s "$1" >/etc/greeting`, steering)
	}
	want := map[string][]string{"web1": w.plan(t, "--limit", "web1"), "web2": w.plan(t, "--limit", "web2")}
	for _, c := range sample.Some(t, []struct{ name, host, script string }{
		{"csh", "web1", `usermod --shell "$(command -v tcsh)" admin; printf 'echo hello; cat /etc/greeting\n' >~admin/.cshrc`},
		{"fish", "web1", `usermod --shell "$(command -v fish)" admin; mkdir -p ~admin/.config/fish; printf 'echo hello; cat /etc/greeting\n' >~admin/.config/fish/config.fish; chown -R admin: ~admin/.config`},
		{"a .bashrc that prints", "web1", `usermod --shell /bin/bash admin; printf 'echo hello; cat /etc/greeting; echo oops >&2\n' >~admin/.bashrc`},
		{"a banner", "web1", `printf 'Banner /etc/greeting\n' >/etc/ssh/sshd_config.d/10-banner.conf; systemctl restart ssh`},
		{"a message of the day", "web1", `cp /etc/greeting /etc/motd`},
		{"a lecture", "web2", `printf 'Defaults lecture=always, lecture_file=/etc/greeting, insults\n' >/etc/sudoers.d/odd`},
		{"use_pty", "web2", `printf 'Defaults use_pty\n' >/etc/sudoers.d/odd`},
		{"a prompt of its own", "web2", `printf 'Defaults passprompt="%%u, please: ", passprompt_override, timestamp_timeout=0\n' >/etc/sudoers.d/odd`},
		{"no cached password", "web2", `printf 'Defaults timestamp_timeout=0, passwd_tries=1, env_reset\n' >/etc/sudoers.d/odd`},
	}, 2) {
		t.Run(c.name, func(t *testing.T) {
			w.sh(t, c.host, c.script)
			r := w.run(t, "plan", "--output", "json", "--limit", c.host)
			r.exits(t, 0).harmless(t)
			if got := w.plan(t, "--limit", c.host); !slices.Equal(got, want[c.host]) {
				t.Errorf("the plan is %q, and was %q", got, want[c.host])
			}
		})
	}
	t.Run("requiretty", func(t *testing.T) {
		w.sh(t, "web2", `printf 'Defaults requiretty\n' >/etc/sudoers.d/odd`)
		before := w.snapshot(t, "web2")
		for _, command := range []string{"plan", "apply"} {
			r := w.run(t, command, "--limit", "web2").exits(t, 1).harmless(t)
			r.says(t, "web2: no root shell by sudo", "hint: sudoers(5) has requiretty; add a line: Defaults:USER !requiretty")
		}
		compare(t, before, w.snapshot(t, "web2"))
	})
	w.sh(t, "web2", "rm /etc/sudoers.d/odd")
	w.apply(t)
	w.converged(t)
}

// terminal returns the two ends of one: what a person sees and types, and what a
// program has.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// The password of sudo is asked for once, where it is for all hosts. A wrong one
// is sent to each of them once, and not again.
func TestPasswordAtTheTerminal(t *testing.T) {
	t.Parallel()
	const right, wrong = "right horse", "wrong horse"
	w := newWorld(t, head+web1+web2+strings.Replace(app, `host = "web1"`, `hosts = ["web1", "web2"]`, 1),
		hosts(func(_ string, o *lab.Options) { o.Become, o.Password = lab.SudoPassword, right }))
	for _, c := range []struct {
		typed string
		code  int
	}{{wrong, 1}, {right, 0}} {
		person, program := terminal(t)
		if _, err := person.WriteString(c.typed + "\ny\n" + c.typed + "\n"); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		code := cmd.Run(t.Context(), cmd.Env{Args: w.typed(t, "apply"), Stdin: program, Stdout: &out, Stderr: &errs})
		r := result{code, out.String(), errs.String()}.exits(t, c.code)
		if n := strings.Count(r.errors, "password of sudo on web"); n != 1 {
			t.Errorf("the password was asked for %d times: %v", n, r)
		}
		if c.code == 1 {
			r.says(t, "web1: sudo refused the password; it is not tried again", "web2: sudo refused the password; it is not tried again")
		}
		r.saysNot(t, "horse")
		for _, host := range []string{"web1", "web2"} {
			if n := w.sh(t, host, `journalctl --sync; journalctl -t sudo -o cat | sed -n 's/.* \([0-9]*\) incorrect password attempt.*/\1/p'`); n != "1" {
				t.Errorf("%s was given %s wrong passwords, want 1", host, n)
			}
		}
	}
}

// What a program of the host prints reaches the terminal only in a form that
// steers nothing, and only so much of it that no memory fills.
//
// It runs by itself: what a process has used counts its parent's memory too.
func TestHostileOutput(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	steer := `printf '` + strings.NewReplacer("\x1b", `\033`, "\a", `\007`, "\x9b", `\233`, "\xe2\x80\xae", `\342\200\256`, "\r", `\r`, "\b", `\b`).Replace(steering) + `'`
	for _, c := range sample.Some(t, []struct {
		name, program, text string
		plan                int
		says                string
	}{
		{"git steers", "git", steer + "; " + steer + " >&2\nexec /usr/bin/git \"$@\"", 0, `checkout app: note: ~deploy-user/frobnicator has local changes, left alone: ;title\a\x1b[2J\x9b31m\u202e\r\b`},
		{"git is binary", "git", "head -c 100000 /usr/bin/git; exec /usr/bin/git \"$@\"", 1, "checkout app: ~deploy-user/frobnicator is a clone of "},
		{"docker steers", "docker", steer + "; " + steer + " >&2; exit 1", 0, `once docker can be asked: `},
		{"getent steers", "getent", `/usr/bin/getent "$@" | sed "s|/home/deploy-user|/home/$(` + steer + ` | tr -d '\r')|"`, 0, "user deploy-user: create home directory /home/\\x1b]0;title"},
		{"systemctl steers", "systemctl", steer + "; " + steer + " >&2; exit 3", 0, "service: start docker.service"},
		{"systemctl is endless", "systemctl", "yes 2>/dev/null", 1, "the host reports more than 50000 facts"},
		{"a long line", "systemctl", `head -c 50000000 /dev/zero >&2; echo >&2; exec /usr/bin/systemctl "$@"`, 0, "nothing to do"},
		{"a line of 1 GiB", "systemctl", `head -c 1073741824 /dev/zero >&2; echo >&2; exec /usr/bin/systemctl "$@"`, 1, "the host says more than 64 MiB"},
		{"an endless line", "systemctl", `cat /dev/zero >&2`, 1, "the host says more than 64 MiB"},
		{"endless lines", "systemctl", `yes >&2`, 1, "the host says more than 1048576 lines"},
	}, 2) {
		t.Run(c.name, func(t *testing.T) {
			w.sh(t, "web1", `printf '#!/bin/sh\n%s\n' "$2" >"/usr/local/bin/$1"; chmod 755 "/usr/local/bin/$1"`, c.program, c.text)
			command, out, errors := w.process(t, "plan")
			memory := filepath.Join(t.TempDir(), "memory")
			command.Env = append(command.Env, memoryVariable+"="+memory)
			command.Run()
			r := result{command.ProcessState.ExitCode(), out.String(), errors.String()}
			w.sh(t, "web1", `rm "/usr/local/bin/$1"`, c.program)
			r.exits(t, c.plan).harmless(t).says(t, c.says)
			if len(r.out+r.errors) > 100_000 {
				t.Errorf("%d bytes were printed", len(r.out+r.errors))
			}
			var used int
			if text, err := os.ReadFile(memory); err != nil {
				t.Error(err)
			} else if _, err := fmt.Sscanf(string(text), "%d kB", &used); err != nil || used>>10 > 250 {
				t.Errorf("%d MiB of memory were used: %v", used>>10, err)
			}
			t.Logf("%d MiB of memory", used>>10)
		})
	}
	w.converged(t)
}

// A host that is not the one that the inventory means is told nothing: no
// password, and no program.
func TestWrongHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+web2+strings.Replace(app, `host = "web1"`, `hosts = ["web1", "web2"]`, 1))
	h := w.Inventory.Host("web1")
	other := w.Inventory.Host("web2")
	before, otherBefore := *h, *other
	kind := func(keys []string, kind string) []string {
		return slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return !strings.HasPrefix(key, kind) })
	}
	own, others := w.Hosts["web1"].HostKeys, w.Hosts["web2"].HostKeys
	for _, c := range sample.Some(t, []struct {
		name   string
		change func()
		code   int
	}{
		{"a key of each type", func() { h.HostKeys = own }, 0},
		{"RSA alone is known", func() { h.HostKeys = kind(own, "ssh-rsa") }, 0},
		{"the key has changed", func() { h.HostKeys = others }, 1},
		{"another key of another type", func() { h.HostKeys = kind(others, "ssh-rsa") }, 1},
		{"the address is another host's", func() { h.Address, other.Address = other.Address, h.Address }, 1},
		{"nothing is known", func() { h.HostKeys = nil }, 1},
	}, 2) {
		t.Run(c.name, func(t *testing.T) {
			defer func() { *h, *other = before, otherBefore }()
			c.change()
			logins := func() string { return w.sh(t, "web1", loginsCount) + w.sh(t, "web2", loginsCount) }
			count := logins()
			for _, command := range []string{"plan", "apply"} {
				if command == "apply" && c.code == 0 {
					continue
				}
				r := w.run(t, command, "--limit", "web1").exits(t, c.code)
				if c.code == 0 {
					return
				}
				r.says(t, "provision: web1: ", "host key")
				if n := strings.Count(r.errors, "provision: "); n != 1 {
					t.Errorf("one error is enough: %v", r)
				}
			}
			if now := logins(); now != count {
				t.Errorf("somebody has logged in: %s, and before %s", now, count)
			}
		})
	}
}

const loginsCount = `journalctl --sync; journalctl -o cat -t sshd -t sshd-session | grep -c 'Accepted' || :`

// The gate takes nothing from the environment of a client, where sshd lets it
// through; and verify tells that sshd does.
func TestGateEnvironment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	d := w.deployment(t, "app")
	w.sh(t, "web1", `printf 'AcceptEnv *\nPermitUserEnvironment yes\n' >/etc/ssh/sshd_config.d/10-test.conf
systemctl restart ssh
mkdir -m 777 /tmp/evil
for name in docker id getent cut tr logger env flock sha256sum git sh; do
	printf '#!/bin/sh\necho "$0 $*" >>/tmp/evil/pwned\n' >"/tmp/evil/$name"
done
chmod 755 /tmp/evil/*
printf 'touch /tmp/evil/pwned\n' >/tmp/evil/rc
printf 'services:\n  evil:\n    image: evil\n' >/tmp/evil/compose.yaml
runuser -u deploy-user -- sh -c 'printf "PATH=/tmp/evil\nDOCKER_HOST=tcp://192.0.2.1:1\nENV=/tmp/evil/rc\n" >/home/deploy-user/.ssh/environment'`)
	hostile := `-o SetEnv='LD_PRELOAD=/tmp/evil/nothing.so LD_LIBRARY_PATH=/tmp/evil IFS=eo/ PATH=/tmp/evil BASH_ENV=/tmp/evil/rc ENV=/tmp/evil/rc CDPATH=/tmp HOME=/tmp/evil
COMPOSE_FILE=/tmp/evil/compose.yaml COMPOSE_PROJECT_NAME=evil DOCKER_HOST=tcp://192.0.2.1:1 DOCKER_CONFIG=/tmp/evil DOCKER_CONTEXT=evil
GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=core.fsmonitor GIT_CONFIG_VALUE_0=/tmp/evil/git SHELLOPTS=xtrace PS4=$(touch$IFS/tmp/evil/pwned)'`
	for i, words := range []string{"", "status", "deploy"} {
		version := fmt.Sprint(i + 2)
		w.push(t, "app", version)
		out, err := w.Lab.Run(t.Context(), w.jobEnv(t, d), `
mkdir -m 700 ~/.ssh
echo "$SSH_KNOWN_HOSTS" >~/.ssh/known_hosts
printf %s "$SSH_AUTH" >key
chmod 600 key
ssh -i key -o BatchMode=yes `+strings.ReplaceAll(hostile, "\n", " ")+` "$SSH_DEPLOY_TARGET" `+words)
		if err != nil {
			t.Errorf("%q: %v %s", words, err, out)
		}
		if words != "status" {
			w.runs(t, "app", version)
		}
	}
	if got := w.sh(t, "web1", "cat /tmp/evil/pwned 2>/dev/null || :; docker ps --all --format '{{.Names}}' | grep evil || :"); got != "" {
		t.Errorf("the environment has run %s", got)
	}
	r := w.run(t, "verify").exits(t, 3)
	r.says(t, "BREACH: the CI key can do what it must not: a variable of the environment")
	w.sh(t, "web1", "rm -r /etc/ssh/sshd_config.d/10-test.conf /home/deploy-user/.ssh/environment /tmp/evil; systemctl restart ssh")
	w.run(t, "verify").exits(t, 0)
}

// Deploys at once come one after the other, or are one; one without Docker, or on a host
// that boots meanwhile, fails, and the next one works.
func TestDeploysAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	d := w.deployment(t, "app")
	cursor := w.sh(t, "web1", "journalctl --sync; journalctl -n 0 --show-cursor | sed -n 's/^-- cursor: //p'")
	w.push(t, "app", "2")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if j := w.ci(t, d, ""); j.code != 0 {
				t.Errorf("%+v", j)
			}
		})
	}
	wg.Wait()
	w.runs(t, "app", "2")
	log := w.sh(t, "web1", `journalctl --sync; journalctl --after-cursor "$1" -t provision -o cat`, cursor)
	if runs := strings.Count(log, "app: deployed ") + strings.Count(log, "app: nothing new: "); runs < 1 || runs > 4 || strings.Count(log, "app: deployed ") != 1 {
		t.Errorf("the journal says %q", log)
	}

	w.push(t, "app", "3")
	w.sh(t, "web1", "systemctl stop docker.socket docker.service 2>&1")
	j := w.ci(t, d, "")
	if j.code != 1 || !strings.Contains(j.out, "nothing was changed, as Docker does not answer: ") || strings.Count(j.out, "\n") != 1 {
		t.Errorf("without docker: %+v", j)
	}
	// While it starts again, a deploy waits at its socket or fails; it does
	// nothing by halves.
	started := make(chan error, 1)
	go func() {
		_, err := w.Hosts["web1"].Exec(t.Context(), "systemctl start docker.socket docker.service 2>&1")
		started <- err
	}()
	if j = w.ci(t, d, ""); j.code == 0 {
		w.runs(t, "app", "3")
	} else if j.code != 1 || !strings.HasPrefix(j.out, "provision: deploy failed after ") {
		t.Errorf("while docker starts: %+v", j)
	}
	if err := <-started; err != nil {
		t.Fatal(err)
	}

	// The host boots in the middle of a deploy: that one fails, and the next one works.
	w.push(t, "app", "4")
	trap := w.GitLab.Fail(http.MethodGet, "/jwt/auth", 1, gitlabtest.Slow(nil))
	ended := make(chan job, 1)
	go func() { ended <- w.ci(t, d, "") }()
	<-trap.Sprung()
	if err := w.Hosts["web1"].Reboot(t.Context()); err != nil {
		t.Error(err)
	}
	if j := <-ended; j.code == 0 {
		t.Errorf("the host has booted, and the deploy: %+v", j)
	}
	w.deploy(t, "app", "5")
	w.converged(t)
}
