package e2e_test

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"provision/e2e/rehearsal"
	"provision/e2e/sample"
)

// database is a project with a service that numbers lines, each on disk before the
// next one, and makes and removes files all the time; one that serves; and a job.
func database(project, image string) map[string]string {
	if project != "transmogrify/frobnicator" {
		return nil
	}
	return map[string]string{"compose.yaml": strings.ReplaceAll(`services:
  migrate:
    image: IMAGE
    command: ["/bin/sh", "-c", "exit 0"]
    network_mode: none
  db:
    image: IMAGE
    init: true
    restart: always
    healthcheck: {disable: true}
    environment: {PASSWORD: "${PASSWORD:?}"}
    depends_on: {migrate: {condition: service_completed_successfully}}
    volumes: ["data:/data", "empty:/empty"]
    command:
      - /bin/sh
      - -c
      - |
        n=$$(/bin/busybox tail -n 1 /data/lines 2>/dev/null)
        while :; do
          n=$$((n + 1))
          echo $$n >>/data/lines
          /bin/busybox sync
          : >"/data/of a moment.$$((n % 9))"
          /bin/busybox rm -f "/data/of a moment.$$(((n + 4) % 9))"
        done
  web:
    image: IMAGE
    init: true
volumes: {data: {}, empty: {}}
`, "IMAGE", image)}
}

// moving is a world with a database on the host web1, and the inventory that says web2.
func moving(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	os.Setenv("MOVE_PASSWORD", "it is long enough for a password") // for parallel tests, it stays
	w := newWorld(t, head+web1+web2+app+`env = { PASSWORD = { env = "MOVE_PASSWORD" } }

[deployments.neighbour]
host = "web2"
project = "transmogrify/neighbour"
user = "deploy-neighbour"
directory = "neighbour"
environment = "neighbour"
variables = { group = "transmogrify" }
`, func(o *rehearsal.Options) { o.Files = database })
	w.apply(t)
	w.sh(t, "web1", `
cd "$(docker volume inspect --format '{{.Mountpoint}}' frobnicator_data)"
mkdir -p 'a folder/below' && chown -R 999:998 'a folder' && chmod 2750 'a folder'
echo one >'a folder/back\slash' && ln 'a folder/back\slash' 'a folder/below/hard link'
chown 1234:5678 'a folder/back\slash' && chmod 4751 'a folder/back\slash'
ln -s '/nowhere at all' 'a folder/link' && chown -h 77:78 'a folder/link'
mkfifo 'a folder/fifo'
truncate -s 64M sparse && echo end >>sparse
touch -d 2001-02-03 'a folder/below/old' ./-dash`)
	w.deployment(t, "app").Host = w.Inventory.Host("web2")
	return w
}

// lines returns the numbers that the database has written on a host.
func (w *world) numbered(t *testing.T, host string) []int {
	t.Helper()
	var all []int
	for _, text := range strings.Fields(w.sh(t, host, `cat "$(docker volume inspect --format '{{.Mountpoint}}' frobnicator_data)/lines"`)) {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

// sides returns how many containers run of the project on each host.
func (w *world) sides(t *testing.T) string {
	t.Helper()
	count := `docker ps --quiet --filter label=com.docker.compose.project=frobnicator | wc -l`
	return fmt.Sprintf("web1 %s, web2 %s", w.sh(t, "web1", count), w.sh(t, "web2", count))
}

// A database moves under load, and no line is lost; nor is anything else of its volume.
func TestMove(t *testing.T) {
	w := moving(t)
	tree := func(host string) string {
		return w.sh(t, host, `cd "$(docker volume inspect --format '{{.Mountpoint}}' frobnicator_data)"
find . ! -name lines ! -name 'of a moment*' ! -name . | sort | while IFS= read -r f; do stat -c '%F %a %u %g %s %h %n' "$f"; done; stat -c '%y' 'a folder/below/old'; du -k sparse | cut -f 1`)
	}
	before := tree("web1")
	r := w.run(t, "move", "--to", "web2", "--volumes", "--yes", "app").exits(t, 0)
	t.Log(r)
	old, now := w.numbered(t, "web1"), w.numbered(t, "web2")
	if len(old) == 0 || len(now) <= len(old) {
		t.Errorf("web1 has %d lines, and web2 %d", len(old), len(now))
	}
	for i, n := range now {
		if n != i+1 {
			t.Fatalf("line %d is %d", i+1, n)
		}
	}
	if got := w.sides(t); got != "web1 0, web2 2" {
		t.Errorf("there run: %s", got)
	}
	if after := tree("web2"); after != before {
		t.Errorf("the volume was\n%s\nand is\n%s", before, after)
	}
	w.converged(t)
	w.run(t, "verify", "--as", "admin").exits(t, 0)
	w.deploy(t, "app", "2")
	if got := w.sh(t, "web1", `{ ls -A /etc/provision /var/lib/provision /usr/local/lib/provision; getent passwd deploy-user; } 2>/dev/null || :`); got != "" {
		t.Errorf("web1 still has %s", got)
	}
	w.run(t, "move", "--to", "web2", "--volumes", "--yes", "app").exits(t, 0).says(t, "nothing to do")
}

// whole fails the test unless the lines on a host are all there, without a gap.
func (w *world) whole(t *testing.T, host string) {
	t.Helper()
	all := w.numbered(t, host)
	for i, n := range all {
		if n != i+1 {
			t.Fatalf("%s: line %d is %d", host, i+1, n)
		}
	}
	if len(all) == 0 {
		t.Errorf("%s has no lines", host)
	}
}

// What is not well on the new host goes on where it was, and the next try moves it.
func TestMoveGoesBack(t *testing.T) {
	w := moving(t)
	if err := w.PushBroken(t.Context(), "transmogrify/frobnicator", "bad"); err != nil {
		t.Fatal(err)
	}
	w.sh(t, "web1", `docker ps --format '{{.ID}}' | sort >/run/ran`)
	w.run(t, "move", "--to", "web2", "--volumes", "--yes", "app").exits(t, 1).
		says(t, "web is unhealthy", "app runs on web1 as before")
	if got := w.sides(t); got != "web1 2, web2 0" {
		t.Errorf("there run: %s", got)
	}
	if got := w.sh(t, "web1", `docker ps --format '{{.ID}}' | sort | cmp - /run/ran; docker inspect --format '{{.HostConfig.RestartPolicy.Name}}' "$(docker ps --quiet --filter label=com.docker.compose.service=db)"; ls -A /var/lib/provision 2>/dev/null || :`); got != "always" {
		t.Errorf("web1 is not as it was: %s", got)
	}
	w.whole(t, "web1")
	// CI still leads there, and deploys.
	w.push(t, "app", "2")
	if out, err := w.CI(t.Context(), w.deployment(t, "app"), ""); err != nil {
		t.Errorf("a deploy fails: %v\n%s", err, out)
	}
	w.run(t, "move", "--to", "web2", "--volumes", "--yes", "app").exits(t, 0)
	if got := w.sides(t); got != "web1 0, web2 2" {
		t.Errorf("there run: %s", got)
	}
	w.whole(t, "web2")
	w.converged(t)
}

// Whenever the program is killed, one side runs before long, and run again it is done.
func TestMoveIsKilled(t *testing.T) {
	w := moving(t)
	for _, tt := range sample.Some(t, []struct{ at, then string }{
		{"while app runs", "web1 2, web2 0"},
		{"app is stopped", "web1 2, web2 0"},
		{"the copy is like it", "web1 2, web2 0"},
		{"app runs here, after", "web1 0, web2 2"},
	}, 2) {
		command, out, errors := w.process(t, "move", "--to", "web2", "--volumes", "--yes", "app")
		r, pipe, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		command.Stdout = pipe
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		pipe.Close()
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			out.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), tt.at) {
				command.Process.Kill()
				break
			}
		}
		if err := command.Wait(); err == nil {
			t.Fatalf("it was over before %q:\n%s%s", tt.at, out, errors)
		}
		r.Close()
		got := ""
		for range 120 {
			if got = w.sides(t); got == tt.then {
				break
			}
			w.sh(t, "web1", "sleep 1") // for the leases
		}
		if got != tt.then {
			t.Fatalf("killed at %q there run: %s, want %s\n%s%s", tt.at, got, tt.then, out, errors)
		}
	}
	w.run(t, "move", "--to", "web2", "--volumes", "--yes", "app").exits(t, 0)
	if got := w.sides(t); got != "web1 0, web2 2" {
		t.Errorf("there run: %s", got)
	}
	w.whole(t, "web2")
	w.converged(t)
	w.run(t, "verify", "--as", "admin").exits(t, 0)
}
