package cmd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"provision/cmd/fleet/fleettest"
	"provision/e2e/sshtest"
	"provision/provision/remote"
)

// onTwo makes the inventory of a fleet one of two hosts, with a deployment on h1.
func (f *fleetTest) onTwo(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(f.file)
	if err != nil {
		t.Fatal(err)
	}
	f.file = filepath.Join(f.dir, "two.toml")
	write(t, f.file, strings.Replace(string(text), `hosts = ["h0", "h1"]`, `host = "h1"`, 1))
}

// What cannot be moved is told before anybody is asked anything.
func TestMoveRefuses(t *testing.T) {
	list := newFleet(t, 2, bareHost, "")
	for _, tt := range []struct {
		args []string
		list bool
		want []string
	}{
		{[]string{"--yes", "app"}, false, []string{"where to?", "provision move --to HOST app"}},
		{[]string{"--to", "h7", "--yes", "app"}, false, []string{`has no host "h7"`}},
		{[]string{"--to", "h1", "--yes", "ap"}, false, []string{`has no deployment "ap"; did you mean app?`}},
		{[]string{"--to", "h0", "--yes", "app"}, false, []string{"names h1 as the host of app", `write host = "h0" into deployments.app first`}},
		{[]string{"--to", "h1", "app"}, false, []string{"there is no terminal to ask whether to move app", "--yes"}},
		{[]string{"--to", "h1", "--yes", "app"}, true, []string{"has a list of hosts", "provision remove --deployment app --limit HOST"}},
	} {
		f := *list
		if !tt.list {
			f.onTwo(t)
		}
		hosts := &fleettest.Hosts{}
		code, printed := f.runs(t, hosts, nil, append([]string{"move"}, tt.args...)...)
		if code != exitUsage || len(hosts.Logins()) > 0 {
			t.Errorf("%q: exit code %d, logins %v", tt.args, code, hosts.Logins())
		}
		for _, want := range tt.want {
			if !strings.Contains(printed, want) {
				t.Errorf("%q does not say %q:\n%s", tt.args, want, printed)
			}
		}
	}
}

// Which host is the one is asked of all, and where that is not clear nothing is done.
func TestMoveLooksForTheOldHost(t *testing.T) {
	f := newFleet(t, 2, bareHost, "")
	f.onTwo(t)
	carries := []string{"user=deploy-user", "directory=frobnicator"}
	for _, tt := range []struct {
		name     string
		old, new []string
		away     bool // the old host
		code     int
		want     string
	}{
		{"nobody has it", nil, nil, false, exitFailed, "no other host of "},
		{"the new host has it", nil, carries, false, exitOK, "nothing to do: app is here"},
		{"the old host is away", nil, nil, true, exitFailed, "h0: it is away"},
		{"the old host is away, and the new one has it", nil, carries, true, exitFailed, "h0: it is away"},
		{"another user", []string{"user=other", "directory=frobnicator"}, nil, false, exitFailed, "app is of the user other in frobnicator there"},
		{"both run", carries, append([]string{"running=1"}, carries...), false, exitFailed, "h1: containers of app run here already"},
		{"a volume of another driver", append([]string{"odd=the volume x is kept by nfs"}, carries...), nil, false, exitFailed, "h0: the volume x is kept by nfs"},
		{"too little room", append([]string{"volume=data 9000000"}, carries...), []string{"free=1000000"}, false, exitFailed, "976 MiB free"},
	} {
		hosts := &fleettest.Hosts{
			Login: func(target remote.Target) error {
				if tt.away && target.Name == "h0" {
					return errAway
				}
				return nil
			},
			Program: func(host string, program []byte) []byte {
				if host == "h0" {
					return sshtest.Bare(tt.old...)(program)
				}
				return sshtest.Bare(tt.new...)(program)
			},
		}
		code, printed := f.runs(t, hosts, nil, "move", "--to", "h1", "--volumes", "--yes", "app")
		if code != tt.code || !strings.Contains(printed, tt.want) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s", tt.name, code, tt.code, tt.want, printed)
		}
	}
}

var errAway = errors.New("h0: it is away")
