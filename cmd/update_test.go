package cmd

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"

	"provision/cmd/fleet/fleettest"
	"provision/e2e/sshtest"
)

// behind answers as a host whose clone is a commit behind, until something is
// changed there. What is shown is what is made, though the branch is newer by then.
func behind() func(string, []byte) []byte {
	const clone = "origin=git@127.0.0.1:transmogrify/frobnicator.git"
	var looks atomic.Int32
	return func(_ string, program []byte) []byte {
		switch {
		case bytes.Contains(program, []byte("/run/provision.lock\nchmod")):
			return sshtest.Bare("locked=yes")(program)
		case looks.Add(1) == 1:
			return sshtest.Bare("there=yes", clone, "branch=main", "head=1111111111", "to=2222222222", "ahead=1", "back=0", "commit=22222222 new")(program)
		}
		return sshtest.Bare("there=yes", clone, "branch=main", "head=2222222222", "to=3333333333", "ahead=1", "back=0")(program)
	}
}

// An update shows what it brings, asks, and looks once before it changes anything.
func TestUpdateAsks(t *testing.T) {
	f := newFleet(t, 1, bareHost, "")
	for _, tt := range []struct {
		name   string
		flags  []string
		answer string // "": there is no terminal
		code   int
		trips  int // a look, and a round that looks again
		want   string
	}{
		{"without a question", []string{"--yes"}, "", exitOK, 2, "update app: done: update "},
		{"with one", nil, "y", exitOK, 2, "1 change made"},
		{"with an answer that is no", nil, "n", exitFailed, 1, "nothing is updated"},
		{"without anybody", nil, "", exitMissing, 1, "nothing is updated, as there is no terminal to ask\n  hint: with --yes "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hosts := &fleettest.Hosts{Program: behind()}
			var out bytes.Buffer
			env := Env{Args: append(append([]string{"provision", "update"}, tt.flags...), f.file), Stdout: &out, Stderr: &out, dialer: hosts}
			if tt.answer != "" {
				term := newTypist(t, tt.answer)
				env.Stdin, env.Stderr = term.File, teeWriter{&out, term}
			}
			code := Run(t.Context(), env)
			if code != tt.code || !strings.Contains(out.String(), tt.want) || !strings.Contains(out.String(), "22222222 new\n") || hosts.Trips() != tt.trips || hosts.Open() != 0 || len(hosts.Logins()) != 1 {
				t.Errorf("exit code %d, %d trips, %d connections left open, %d logins; want %d, %d, 0, 1, and %q:\n%s", code, hosts.Trips(), hosts.Open(), len(hosts.Logins()), tt.code, tt.trips, tt.want, &out)
			}
			if strings.Contains(out.String(), "33333333") {
				t.Errorf("it tells of what is newer:\n%s", &out)
			}
		})
	}
}

// What is refused on one host is in nobody's way on another, and fails the run.
func TestUpdateOfSome(t *testing.T) {
	f := newFleet(t, 2, bareHost, "")
	answer := behind()
	hosts := &fleettest.Hosts{Program: func(host string, program []byte) []byte {
		if host == "h0" {
			return sshtest.Bare("there=yes", "origin=git@elsewhere.example.com:a/b.git", "branch=main", "head=1111111111")(program)
		}
		return answer(host, program)
	}}
	code, printed := f.runs(t, hosts, nil, "update", "--yes")
	if code != exitFailed || strings.Count(printed, "is a clone of git@elsewhere.example.com:a/b.git, not of ") != 1 || !strings.Contains(printed, "h1: update app: done: update ") || hosts.Open() != 0 {
		t.Errorf("exit code %d, %d connections left open\n%s", code, hosts.Open(), printed)
	}
}

func TestUpdateUsage(t *testing.T) {
	f := newFleet(t, 1, bareHost, "")
	for commit, want := range map[string]string{"main": `--commit wants the id of a commit, at least 7 digits of it, not "main"`, "-x": "--commit wants the id", "12345": "--commit wants the id"} {
		if code, printed := f.runs(t, &fleettest.Hosts{}, nil, "update", "--commit="+commit); code != exitUsage || !strings.Contains(printed, want) {
			t.Errorf("exit code %d\n%s", code, printed)
		}
	}
}
