package cmd

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"provision/cmd/fleet"
	"provision/cmd/fleet/fleettest"
	"provision/e2e/gitlabtest"
	"provision/e2e/sshtest"
	"provision/provision"
	"provision/provision/remote"
	"provision/provision/secret"
)

// runs runs a command on the fleet of a test, whose hosts are no hosts.
func (f *fleetTest) runs(t *testing.T, hosts *fleettest.Hosts, stdin *os.File, args ...string) (code int, printed string) {
	t.Helper()
	var out bytes.Buffer
	env := Env{Args: append(append([]string{"provision"}, args...), f.file), Stdin: stdin, Stdout: &out, Stderr: &out, dialer: hosts}
	return Run(t.Context(), env), out.String()
}

// letsIn answers as a host that lets a key in for the deployment app, until
// something is changed there.
func letsIn(line string) func(string, []byte) []byte {
	var looks atomic.Int32
	return func(_ string, program []byte) []byte {
		switch {
		case bytes.Contains(program, []byte("/run/provision.lock\nchmod")):
			return sshtest.Bare("locked=yes")(program)
		case looks.Add(1) == 1:
			return sshtest.Bare("line=" + line)(program)
		}
		return sshtest.Bare()(program)
	}
}

// However it is asked for, remove logs in once and looks once before it changes
// anything: what is shown and confirmed is what is done.
func TestRemoveLooksOnce(t *testing.T) {
	f := newFleet(t, 1, bareHost, "")
	for _, tt := range []struct {
		name   string
		flags  []string
		answer string
		trips  int // a look, and a round that looks again
		want   string
	}{
		{"without a question", []string{"--yes"}, "", 2, "2 changes made"},
		{"with one", nil, "y", 2, "2 changes made"},
		{"with an answer that is no", nil, "n", 1, "nothing is removed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hosts := &fleettest.Hosts{Program: letsIn("restrict ssh-ed25519 AAAA provision:app")}
			term := newTypist(t, tt.answer)
			var out bytes.Buffer
			args := append([]string{"provision", "remove", "--deployment", "app"}, tt.flags...)
			Run(t.Context(), Env{Args: append(args, f.file), Stdin: term.File, Stdout: &out, Stderr: teeWriter{&out, term}, dialer: hosts})
			if !strings.Contains(out.String(), tt.want) || len(hosts.Logins()) != 1 || hosts.Trips() != tt.trips || hosts.Open() != 0 {
				t.Errorf("%d logins, %d trips, %d connections left open; want 1, %d, 0, and %q:\n%s", len(hosts.Logins()), hosts.Trips(), hosts.Open(), tt.trips, tt.want, &out)
			}
		})
	}
}

// A teeWriter writes what a typist reads to a buffer too.
type teeWriter struct {
	out    *bytes.Buffer
	typist *typist
}

func (w teeWriter) Write(text []byte) (int, error) {
	w.out.Write(text)
	return w.typist.Write(text)
}

// What only a host knows of is recalled once, too.
func TestRemoveRecallsOnce(t *testing.T) {
	f := newFleet(t, 1, bareHost, "")
	var looks atomic.Int32
	hosts := &fleettest.Hosts{Program: func(_ string, program []byte) []byte {
		switch {
		case bytes.Contains(program, []byte("/run/provision.lock\nchmod")):
			return sshtest.Bare("locked=yes")(program)
		case looks.Add(1) == 1:
			return sshtest.Bare("user=deploy-old", "directory=old", "carried=old")(program)
		case looks.Load() == 2:
			return sshtest.Bare("line=restrict ssh-ed25519 AAAA provision:old")(program)
		}
		return sshtest.Bare()(program)
	}}
	term := newTypist(t, "y")
	var out bytes.Buffer
	Run(t.Context(), Env{Args: []string{"provision", "remove", "--deployment", "old", "--limit", "h0", f.file}, Stdin: term.File, Stdout: &out, Stderr: teeWriter{&out, term}, dialer: hosts})
	if !strings.Contains(out.String(), "2 changes made") || len(hosts.Logins()) != 1 || hosts.Trips() != 3 {
		t.Errorf("%d logins, %d trips; want 1, 3:\n%s", len(hosts.Logins()), hosts.Trips(), &out)
	}
}

// A host that is gone is not connected to, and what it has in GitLab is looked at
// all the same.
func TestRemoveGone(t *testing.T) {
	f := newFleet(t, 1, bareHost, "")
	f.giveKeyToCI(t)
	hosts := &fleettest.Hosts{}
	code, printed := f.runs(t, hosts, nil, "remove", "--gone", "h0", "--yes")
	if code != exitOK || len(hosts.Logins()) != 0 || !strings.Contains(printed, "SSH_AUTH (group transmogrify, environment production/h0)") {
		t.Errorf("exit code %d, %d logins\n%s", code, len(hosts.Logins()), printed)
	}
	for host, want := range map[string]string{"h1": `GitLab has nothing of h1 where `, "nowhere": `nowhere: nothing to do`} {
		if code, printed := f.runs(t, hosts, nil, "remove", "--gone", host, "--yes"); code != exitOK || !strings.Contains(printed, want) {
			t.Errorf("%s: exit code %d\n%s", host, code, printed)
		}
	}
}

// A deployment goes from the one host that is named, though the inventory does not name
// it; a slip of the pen is none.
func TestRemoveFromUnnamed(t *testing.T) {
	f := newFleet(t, 1, bareHost, "")
	f.leaves("web9", "ssh://deploy-user@web9.example.com")
	hosts := &fleettest.Hosts{Program: func(_ string, program []byte) []byte { return sshtest.Bare()(program) }}
	for _, tt := range []struct {
		deployment, host string
		code             int
		want             string
	}{
		{"app", "web8", exitUsage, `no host or deployment is called "web8"`},
		{"shop", "web9", exitOK, "web9: nothing to do"},
		{"app", "web9", exitOK, "3 changes made"},
	} {
		if code, printed := f.runs(t, hosts, nil, "remove", "--deployment", tt.deployment, "--limit", tt.host, "--yes"); code != tt.code || !strings.Contains(printed, tt.want) {
			t.Errorf("%s on %s: exit code %d\n%s", tt.deployment, tt.host, code, printed)
		}
	}
}

// What nobody can be asked about is not removed, and before that is known neither
// a secret is read nor anybody connected to.
func TestRemoveWithoutATerminal(t *testing.T) {
	f := newFleet(t, 2, bareHost, "")
	if err := os.Remove(filepath.Join(f.dir, "token")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--deployment", "app"}, "there is no terminal to ask whether to remove app from h0, h1\n  hint: with --yes"},
		{[]string{"--gone", "h1"}, "there is no terminal to ask whether to remove what h1 has in GitLab\n"},
		{[]string{"--deployment", "old", "--yes"}, "hint: one that only a host still carries is removed with its name: provision remove --deployment old --limit HOST "},
		{[]string{"--deployment", "old", "--limit", "h*", "--yes"}, "--limit wants the name of one host, to remove old there"},
	} {
		hosts := &fleettest.Hosts{}
		if code, printed := f.runs(t, hosts, nil, append([]string{"remove"}, tt.args...)...); code != exitUsage || !strings.Contains(printed, tt.want) || len(hosts.Logins()) != 0 {
			t.Errorf("%v: exit code %d, %d logins\n%s", tt.args, code, len(hosts.Logins()), printed)
		}
	}
}

// rotates looks at the one host of a fleet, to rotate the key of CI.
func rotates(t *testing.T, hosts *fleettest.Hosts) (f *fleet.Fleet, l look) {
	t.Helper()
	test := newFleet(t, 1, bareHost, "")
	hosts.Program = letsIn("restrict " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(test.servers.Signer.PublicKey()))) + " provision:app")
	test.giveKeyToCI(t)
	r, err := begin(Env{Args: []string{"provision"}, Stdout: new(bytes.Buffer), Stderr: new(bytes.Buffer), dialer: hosts}, fleetOptions{inventory: test.file, parallel: 1, output: "text"})
	if err != nil {
		t.Fatal(err)
	}
	parts, err := r.deployed()
	if err != nil {
		t.Fatal(err)
	}
	if f, err = r.open(t.Context(), fleet.Options{Parts: parts, Changes: true, Scopes: []string{"api"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	logsIn(f)
	if l, err = lookToRotate(t.Context(), f, f.Sites[0], []string{"ci-key"}); err != nil {
		t.Fatal(err)
	}
	return f, l
}

// giveKeyToCI gives GitLab the key that the servers of the test let in.
func (f *fleetTest) giveKeyToCI(t *testing.T) {
	t.Helper()
	identity, err := f.servers.Identity(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(identity)
	if err != nil {
		t.Fatal(err)
	}
	f.gitlab.AddVariable("transmogrify", gitlabtest.Variable{Key: "SSH_AUTH", Value: secret.New(string(key)), File: true, Scope: "production/h0"})
}

// A rotation looks once, over one connection. Before CI gets the new key, it logs
// in with it as CI does, and asks for the status; where that fails, so does the
// rotation.
func TestRotateTriesTheNewKey(t *testing.T) {
	kept := errors.New("kept out")
	for _, tt := range []struct {
		name        string
		login, gate error
		want        error
	}{
		{name: "let in"},
		{name: "kept out", login: kept, want: kept},
		{name: "refused by the gate", gate: kept, want: kept},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked string
			hosts := &fleettest.Hosts{
				Login: func(to remote.Target) error {
					if to.User == "root" {
						return nil
					}
					return tt.login
				},
				Gate: func(words string) (string, error) { asked += words; return "", tt.gate },
			}
			f, l := rotates(t, hosts)
			if len(hosts.Logins()) != 1 || hosts.Trips() != 1 {
				t.Errorf("%d logins, %d trips", len(hosts.Logins()), hosts.Trips())
			}
			plan, _ := provision.CheckSeen(l.target, l.steps, l.seen)
			i := slices.IndexFunc(plan, func(p provision.StepPlan) bool { return p.Step == "ci-key app" })
			if i < 0 {
				t.Fatalf("%+v", plan)
			}
			calls := plan[i].Changes
			j := slices.IndexFunc(calls, func(c provision.Change) bool { _, ok := c.Do.(provision.Call); return ok })
			if err := calls[j].Do.(provision.Call)(t.Context(), f.Forge); !errors.Is(err, tt.want) {
				t.Errorf("the first call ends with %v, want %v", err, tt.want)
			}
			logins := hosts.Logins()
			if last := logins[len(logins)-1]; len(logins) != 2 || last.User != "deploy-user" || last.Key.IsZero() {
				t.Errorf("%d logins, the last one %+v", len(logins), last)
			}
			if want := "status"; tt.login == nil && asked != want {
				t.Errorf("the gate was asked %q", asked)
			}
			if hosts.Open() != 1 {
				t.Errorf("%d connections are open, besides that of the admin", hosts.Open()-1)
			}
		})
	}
}

func TestRotateNothing(t *testing.T) {
	hosts := &fleettest.Hosts{Program: func(_ string, program []byte) []byte { return sshtest.Bare()(program) }}
	code, printed := newFleet(t, 1, bareHost, "").runs(t, hosts, nil, "rotate-key")
	if code != exitFailed || !strings.Contains(printed, "h0: no credentials to rotate; run provision apply first") || len(hosts.Logins()) != 1 || hosts.Trips() != 1 {
		t.Errorf("exit code %d, %d logins, %d trips\n%s", code, len(hosts.Logins()), hosts.Trips(), printed)
	}
}

// What a host carries and the inventory does not name is drift, also where it has
// nothing else.
func TestVerifyUnmanaged(t *testing.T) {
	f := newFleet(t, 2, bareHost, "")
	text, err := os.ReadFile(f.file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f.file, strings.Replace(string(text), `hosts = ["h0", "h1"]`, `hosts = ["h0"]`, 1))
	for facts, want := range map[string]struct {
		code int
		says string
	}{
		"carried=old": {exitMissing, "h1: unmanaged: DRIFT: old is installed on this host but not in the inventory"},
		"":            {exitOK, "1 host, 1 step ok, "},
	} {
		hosts := &fleettest.Hosts{Program: func(_ string, program []byte) []byte { return sshtest.Bare(strings.Fields(facts)...)(program) }}
		if code, printed := f.runs(t, hosts, nil, "verify", "--as", "admin", "--limit", "h1"); code != want.code || !strings.Contains(printed, want.says) {
			t.Errorf("%q: exit code %d, want %d\n%s", facts, code, want.code, printed)
		}
		if hosts.Open() != 0 {
			t.Errorf("%d connections are left open", hosts.Open())
		}
	}
}

// Notes are a reason to fail for --strict, and for nothing else.
func TestVerifyStrict(t *testing.T) {
	hosts := &fleettest.Hosts{Program: func(_ string, program []byte) []byte { return sshtest.Bare("line=unreadable")(program) }}
	for _, strict := range []bool{false, true} {
		args := []string{"verify", "--as", "admin"}
		if strict {
			args = append(args, "--strict")
		}
		_, printed := newFleet(t, 1, bareHost, "").runs(t, hosts, nil, args...)
		if !strings.Contains(printed, "1 note") || strings.Contains(printed, "1 note that --strict FAILS FOR") != strict {
			t.Errorf("%v:\n%s", args, printed)
		}
	}
}

// Whatever else fails, what a key could do is told.
func TestVerifyTellsEveryBreach(t *testing.T) {
	f := newFleet(t, 1, bareHost, "")
	f.giveKeyToCI(t)
	breach := []remote.Attempt{{Name: "a terminal", Refused: true}, {Name: "a shell", How: "exit status 0: uid=0"}}
	none := breach[:1]
	failed := errors.New("agent forwarding: no answer")
	nothingInstalled := &remote.ExitError{Status: 126, Stderr: "provision: refused: not-installed: there is nothing to look with\n"}
	for _, tt := range []struct {
		name     string
		gate     error
		attempts []remote.Attempt
		proof    error
		breach   bool
		code     int
	}{
		{"nothing else fails", nothingInstalled, breach, nil, true, exitMissing},
		{"the look fails", remote.ErrLost, breach, nil, true, exitFailed},
		{"other attempts fail", nothingInstalled, breach, failed, true, exitMissing},
		{"the look and other attempts fail", remote.ErrLost, breach, failed, true, exitFailed},
		{"there is none", nothingInstalled, none, nil, false, exitMissing},
		{"there is none, as far as is known", nothingInstalled, none, failed, false, exitFailed},
	} {
		hosts := &fleettest.Hosts{
			Gate:    func(string) (string, error) { return "", tt.gate },
			Attempt: func() ([]remote.Attempt, error) { return tt.attempts, tt.proof },
		}
		code, printed := f.runs(t, hosts, nil, "verify")
		if code != tt.code || strings.Contains(printed, "BREACH: ") != tt.breach || tt.breach && !strings.Contains(printed, "a shell: exit status 0: uid=0") {
			t.Errorf("%s: exit code %d\n%s", tt.name, code, printed)
		}
		if tt.proof != nil && !strings.Contains(printed, failed.Error()) {
			t.Errorf("%s: what failed is not told\n%s", tt.name, printed)
		}
	}
}

// What opens something else than the gate is asked for one harmless word, and
// tried only where that is done.
func TestVerifyWithoutAGate(t *testing.T) {
	f := newFleet(t, 1, bareHost, "")
	f.giveKeyToCI(t)
	for _, tt := range []struct {
		name     string
		id       string
		err      error
		attempts int
		want     string
	}{
		{"a shell", "uid=0(root)\n", nil, 1, "the CI key opens something else than the gate: "},
		{"another program", "welcome\x1b[2J\nmore", nil, 0, `: welcome\x1b[2J`},
		{"no shell", "", &remote.ExitError{Status: 1}, 0, "that is what nologin(8) and false(1) do"},
		{"no answer", "", remote.ErrLost, 0, "1 host UNREACHABLE"},
		{"the gate after all", "", &remote.ExitError{Status: 126, Stderr: "provision: refused: no\n"}, 0, "1 host UNREACHABLE"},
	} {
		attempts := 0
		hosts := &fleettest.Hosts{
			Gate: func(words string) (string, error) {
				if words == "id" {
					return tt.id, tt.err
				}
				return "something else\n", nil
			},
			Attempt: func() ([]remote.Attempt, error) { attempts++; return nil, nil },
		}
		if _, printed := f.runs(t, hosts, nil, "verify"); attempts != tt.attempts || !strings.Contains(printed, tt.want) {
			t.Errorf("%s: tried %d times\n%s", tt.name, attempts, printed)
		}
	}
}
