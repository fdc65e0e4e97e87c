package cmd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"provision/cmd/fleet/fleettest"
	"provision/e2e/sshtest"
	"provision/provision/remote"
)

// The table has a row for each deployment, whatever is known of it, and below it
// stands why less is up than is wanted. A host that is away fails the run, and
// nothing else does.
func TestStatusOfHosts(t *testing.T) {
	f := newFleet(t, 6, bareHost, "")
	t.Setenv("FLEET_TOKEN", "")
	const web = `{"name":"web","up":1,"wanted":1,"state":"running","health":"healthy","verdict":"ok","reason":"is healthy","image":"r.example.com:5000/a/web:1.4","digest":"sha256:0123456789abcdef","revision":"4d2491d0c1f2a3b4","since":"2026-01-02T03:04:05Z"}`
	hosts := &fleettest.Hosts{
		Login: func(target remote.Target) error {
			if target.Name == "h5" {
				return errors.New("no route to host")
			}
			return nil
		},
		Program: func(host string, program []byte) []byte {
			fact := map[string]string{
				"h0": `{"version":2,"event":"deployment","deployment":"app","up":2,"wanted":2,"services":[` + web + `,{"name":"db","up":1,"wanted":1,"state":"running","verdict":"ok","image":"postgres:16","since":"2026-02-02T03:04:05Z"}],"last":{"time":"2026-01-02T03:05:00Z","by":"SHA256:abcdefghijklmn","outcome":"same","text":"nothing new"},"branch":"main","commit":"4d2491d0c1f2a3b4c5d6e7f8091a2b3c4d5e6f70"}`,
				"h1": `{"version":2,"event":"deployment","deployment":"app","up":0,"wanted":2,"services":[{"name":"web","up":0,"wanted":1,"state":"exited","verdict":"bad","reason":"is stopped,\u001b[2J exit code 3","image":"web","digest":"sha256:0123456789abcdef","since":"2026-01-02T03:04:05Z","written":12345678},{"name":"debug","written":999999,"up":0,"wanted":0,"state":"created","verdict":"bad","reason":"was never started"}],"last":{"time":"2026-01-02T03:05:00Z","outcome":"cut","text":"ended from outside"}}`,
				"h2": `{"version":2,"event":"deployment","deployment":"app","wanted":2,"services":[],"deploying":{"since":"2026-01-02T03:04:05Z","by":"admin"},"last":{"time":"2026-01-02T03:05:00Z","by":"admin","outcome":"failed","text":"deploy failed"},"text":"docker cannot be asked: it does not run"}`,
				"h3": `{"Service":"web","State":"running"}`,
			}[host]
			if fact == "" {
				return sshtest.Bare()(program)
			}
			return sshtest.Bare("status=" + fact)(program)
		},
	}
	code, printed := f.runs(t, hosts, nil, "status", "--limit", "h0")
	if want := "h0: app: note: how far the clone is behind is not known: GitLab does not show 4d2491d0c1f2 among the newest commits of main of project transmogrify/frobnicator"; code != exitOK || !strings.Contains(printed, want) {
		t.Errorf("exit code %d, want in it\n%s\n%s", code, want, printed)
	}

	file, err := os.ReadFile(f.file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f.file, strings.Replace(string(file), fmt.Sprintf("{ file = %q }", filepath.Join(f.dir, "token")), `{ env = "FLEET_TOKEN" }`, 1))
	trips := hosts.Trips()
	code, printed = f.runs(t, hosts, nil, "status")
	if code != exitFailed || hosts.Trips()-trips != 5 {
		t.Errorf("exit code %d, %d trips", code, hosts.Trips()-trips)
	}
	want := `HOST  DEPLOYMENT  UP           VERSION             SINCE (UTC)       LAST DEPLOY (UTC)                                      BEHIND
h0    app         2/2          1.4 (4d2491d0c1f2)  2026-02-02 03:04  2026-01-02 03:05 changed nothing, by SHA256:abcdefgh…  -
h1    app         0/2          0123456789ab        -                 2026-01-02 03:05 cut                                   -
h2    app         ?/2          -                   -                 deploying since 2026-01-02 03:04, by admin             -
h3    app         -            -                   -                 -                                                      -
h4    app         -            -                   -                 -                                                      -
h5    app         unreachable  -                   -                 -                                                      -
h1: app: service web has written 12 MB into its container, which go when a deploy makes it anew
  hint: give it a volume for what it must keep
h1: app: service web is stopped,\x1b[2J exit code 3
h1: app: service debug was never started, and neither compose.yaml nor an active profile wants it
h1: app: the last deploy: ended from outside
h2: app: docker cannot be asked: it does not run
h3: app: the gate of the host is older than this program
  hint: upgrade it: provision apply
h4: app: it is not installed on the host
  hint: provision apply installs it
provision: no route to host
provision: how far clones are behind is not known: there is no token of GitLab: $FLEET_TOKEN is not set
6 hosts, 5 deployments, 4 of them not fully up, 1 host failed, `
	if !strings.HasPrefix(printed, want) {
		t.Errorf("it prints\n%s\nwant\n%s", printed, want)
	}

	code, printed = f.runs(t, hosts, nil, "status", "--output", "json", "--limit", "h0")
	if code != exitOK || !strings.Contains(printed, `{"version":2,"event":"deployment","host":"h0","deployment":"app","services":[{"name":"web","up":1,`) || strings.Contains(printed, `"behind"`) {
		t.Errorf("exit code %d:\n%s", code, printed)
	}
}
