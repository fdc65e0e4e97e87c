package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/e2e/needs"
	"provision/inventory"
	"provision/provision"
	"provision/provision/remote"
)

// A folderHost is a host in a folder: with a Docker that has one container, which
// writes into one volume, and a deploy that starts it.
type folderHost struct {
	fleet.Conn
	dir  string
	fail map[string]error // what to do fails with, before it is done
	done []string         // what was done
}

func newFolderHost(t *testing.T, runs bool) *folderHost {
	t.Helper()
	h := &folderHost{dir: t.TempDir(), fail: map[string]error{}}
	for _, dir := range []string{"bin", "home/app", "home/.provision/app", "volume"} {
		if err := os.MkdirAll(filepath.Join(h.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if runs {
		write(t, filepath.Join(h.dir, "runs"), "")
		write(t, filepath.Join(h.dir, "volume/lines"), "1\n2\n")
	}
	for name, text := range map[string]string{
		"getent": `echo "deploy:x:0:0::DIR/home:/bin/sh"`,
		"logger": ":", "systemctl": "echo active",
		"runuser": `shift 3; exec "$@"`,
		"deploy":  `[ ! -e DIR/ill ] || { echo 'provision: deploy failed after 1 s: db is ill'; exit 1; }; touch DIR/runs; echo 'provision: deployed'`,
		"docker": `cd DIR
case "$*" in
'ps --all'*) [ ! -e there ] && [ ! -e runs ] || echo "c1 DIR/home/app" ;;
'volume ls'* | 'ps --quiet'*) ;;
'volume inspect --format {{.Mountpoint}}'*) echo DIR/volume ;;
'volume inspect --format {{.Driver}}'*) echo 'local 0' ;;
'volume inspect'*) [ -e created ] ;;
'volume create'*) touch created ;;
'inspect --type container'*) printf 'c1\t%s\t0\t0\t2026-01-01T00:00:00\tnone\talways\timage\tdb\tdb-1\tapp\tname\tnull\n' "$(if [ -e runs ]; then echo running; else echo exited; fi)" ;;
'inspect --format'*) echo 'c1 always 0' ;;
stop*) echo last >>volume/lines; touch there; rm -f runs ;;
start*) touch runs ;;
'rm --force'*) rm -f runs there ;;
esac`,
	} {
		write(t, filepath.Join(h.dir, "bin", name), "#!/bin/sh\n"+strings.ReplaceAll(text, "DIR", h.dir)+"\n")
		if err := os.Chmod(filepath.Join(h.dir, "bin", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *folderHost) run(ctx context.Context, program, in io.Reader, out io.Writer) error {
	raw, err := io.ReadAll(program)
	if err != nil {
		return err
	}
	what := "start"
	if before, after, ok := strings.Cut(string(raw), "\nscript0 '"); ok {
		_ = before
		what, _, _ = strings.Cut(after, "'")
	} else if _, after, ok := strings.Cut(string(raw), "\nscript '"); ok {
		what, _, _ = strings.Cut(after, "'")
	}
	if err := h.fail[what]; err != nil {
		return err
	}
	if what != "renew" && what != "look" {
		h.done = append(h.done, what)
	}
	text := strings.NewReplacer("/var/lib/provision", h.dir+"/var", "PATH=/usr/local/sbin", "PATH="+h.dir+"/bin:/usr/local/sbin", "/usr/local/lib/provision/deploy", h.dir+"/bin/deploy").Replace(string(raw))
	cmd := exec.CommandContext(ctx, "sh", "-c", text)
	cmd.Stdout = out
	if in != nil {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		cmd.ExtraFiles = []*os.File{r}
		go func() {
			io.Copy(w, in)
			w.Close()
		}()
	}
	err = cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.As(err, new(*exec.ExitError)) && bytes.Contains(raw, []byte("@")) { // the program tells how its scripts have ended
		return nil
	}
	return err
}

func (h *folderHost) Run(ctx context.Context, program io.Reader, out io.Writer) error {
	return h.run(ctx, program, nil, out)
}
func (h *folderHost) Hold(ctx context.Context, program io.Reader, out io.Writer) error {
	return h.run(ctx, program, nil, out)
}
func (h *folderHost) Feed(ctx context.Context, program, in io.Reader, out io.Writer) error {
	return h.run(ctx, program, in, out)
}
func (h *folderHost) Lost() bool   { return false }
func (h *folderHost) Close() error { return nil }

func (h *folderHost) has(name string) bool {
	_, err := os.Stat(filepath.Join(h.dir, name))
	return err == nil
}

// state is what a host knows of the move.
func (h *folderHost) state() string {
	text, _ := os.ReadFile(filepath.Join(h.dir, "var/moves/app/state"))
	return strings.TrimSpace(string(text))
}

// folders dials them by name.
type folders map[string]*folderHost

func (f folders) Dial(_ context.Context, t remote.Target) (fleet.Conn, error) { return f[t.Name], nil }

// newMoving moves app from web1 to web2, and makes nothing else there.
func newMoving(t *testing.T, hosts folders, printed io.Writer) *moving {
	t.Helper()
	inv := &inventory.Inventory{Hosts: []*inventory.Host{{Name: "web1"}, {Name: "web2"}}}
	old := &inventory.Deployment{Name: "app", Host: inv.Hosts[0], User: "deploy", Directory: "app"}
	now := *old
	now.Host = inv.Hosts[1]
	f, err := fleet.Open(t.Context(), fleet.Options{
		Inventory: inv, Changes: true, Parallel: 2, Dialer: hosts,
		Parts: []fleet.Part{{Host: old.Host, Deployments: []*inventory.Deployment{old}}, {Host: now.Host, Deployments: []*inventory.Deployment{&now}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	none := func() []provision.Step { return nil }
	return &moving{
		r: &run{}, new: &now, old: old, from: old.Host, volumes: []volume{{"app_data", "4", []string{"a=b"}}},
		report: output.New(output.Options{Out: printed, Errs: printed}), oldSite: f.Sites[0], newSite: f.Sites[1], ahead: none, all: none, out: none,
	}
}

// Whatever fails before the old host is told that it is not the one, the old one goes
// on and the new one has nothing that runs; and the next try moves it. After that it is
// the other way round.
func TestMoveFailsAnywhere(t *testing.T) {
	needs.Root(t)
	boom := errors.New("boom")
	for _, tt := range []struct {
		host, what string
		state      [2]string // of the hosts
		runs       [2]bool
	}{
		{"web2", "arrive", [2]string{"", ""}, [2]bool{true, false}},
		{"web2", "pull", [2]string{"", "arriving web1"}, [2]bool{true, false}},
		{"web1", "first", [2]string{"", "arriving web1"}, [2]bool{true, false}},
		{"web1", "send", [2]string{"", "arriving web1"}, [2]bool{true, false}},
		{"web2", "receive", [2]string{"", "arriving web1"}, [2]bool{true, false}},
		{"web1", "hold", [2]string{"", "arriving web1"}, [2]bool{true, false}},
		{"web1", "lists", [2]string{"", "arriving web1"}, [2]bool{true, false}},
		{"web2", "keep_lists", [2]string{"", "arriving web1"}, [2]bool{true, false}},
		{"web1", "changes", [2]string{"", "arriving web1"}, [2]bool{true, false}},
		{"web2", "renewed", [2]string{"", "arriving web1"}, [2]bool{true, false}},
		{"web2", "summary", [2]string{"", "arriving web1"}, [2]bool{true, false}},
		{"web2", "trial", [2]string{"", "arriving web1"}, [2]bool{true, false}},
		{"web2", "start", [2]string{"", "arriving web1"}, [2]bool{true, false}},
		{"web1", "gone", [2]string{"", "arriving web1"}, [2]bool{true, false}},
		{"web2", "here", [2]string{"gone web2", "arriving web1"}, [2]bool{false, true}},
	} {
		t.Run(fmt.Sprintf("%s of %s", tt.what, tt.host), func(t *testing.T) {
			hosts := folders{"web1": newFolderHost(t, true), "web2": newFolderHost(t, false)}
			hosts[tt.host].fail[tt.what] = boom
			var printed bytes.Buffer
			if err := newMoving(t, hosts, &printed).run(t.Context()); !errors.Is(err, boom) {
				t.Errorf("%v\n%s", err, &printed)
			}
			check := func(state [2]string, runs [2]bool) {
				t.Helper()
				if got := [2]string{hosts["web1"].state(), hosts["web2"].state()}; got != state {
					t.Errorf("the hosts say %q, want %q\n%s", got, state, &printed)
				}
				if got := [2]bool{hosts["web1"].has("runs"), hosts["web2"].has("runs")}; got != runs {
					t.Errorf("it runs: %v, want %v\n%s", got, runs, &printed)
				}
			}
			check(tt.state, tt.runs)
			delete(hosts[tt.host].fail, tt.what)
			m := newMoving(t, hosts, &printed)
			m.forward = tt.what == "here"
			if err := m.run(t.Context()); err != nil {
				t.Errorf("%v\n%s", err, &printed)
			}
			check([2]string{"gone web2", ""}, [2]bool{false, true})
			want, _ := os.ReadFile(filepath.Join(hosts["web1"].dir, "volume/lines"))
			if got, _ := os.ReadFile(filepath.Join(hosts["web2"].dir, "volume/lines")); !bytes.Equal(got, want) || !bytes.HasSuffix(got, []byte("last\n")) {
				t.Errorf("the volume has %q there and %q here", want, got)
			}
		})
	}
}

// What is not well on the new host goes on on the old one, which says why.
func TestMoveOfWhatIsIll(t *testing.T) {
	needs.Root(t)
	hosts := folders{"web1": newFolderHost(t, true), "web2": newFolderHost(t, false)}
	write(t, filepath.Join(hosts["web2"].dir, "ill"), "")
	var printed bytes.Buffer
	err := newMoving(t, hosts, &printed).run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "db is ill") || !strings.Contains(err.Error(), "app runs on web1 as before") {
		t.Errorf("%v\n%s", err, &printed)
	}
	if !hosts["web1"].has("runs") || hosts["web2"].has("runs") {
		t.Error("it does not run on web1 alone")
	}
}
