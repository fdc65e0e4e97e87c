package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"provision/e2e/lab"
)

// A listener is a job that waits for a deploy which Compose cannot finish yet.
type listener struct {
	job    chan job
	cancel context.CancelFunc // kills the client
}

// listen starts a deploy of a slow service, and returns when its old container is
// told to stop: Compose is in the middle of replacing it.
func (z *zoo) listen(t *testing.T, name string) listener {
	t.Helper()
	z.sh(t, "web1", `rm -f "/run/zoo/$1/stopping"; : >"/run/zoo/$1/hold"; : >"/run/zoo/$1/ill"; chmod -R 777 "/run/zoo/$1"`, name)
	l := z.ask(t, name)
	z.await(t, "web1", `[ -e "/run/zoo/$1/stopping" ]`, name)
	return l
}

func (z *zoo) ask(t *testing.T, name string) listener {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := listener{make(chan job, 1), cancel}
	go func() {
		j, _ := z.start(ctx, t, name, "")
		l.job <- j
	}()
	return l
}

// goOn lets the old container of a slow service end, or its health be told.
func (z *zoo) goOn(t *testing.T, name, what string) {
	t.Helper()
	z.sh(t, "web1", `rm "/run/zoo/$1/$2"`, name, what)
}

// finished waits until no deploy runs any more.
func (z *zoo) deployEnded(t *testing.T, name string) {
	t.Helper()
	z.sh(t, "web1", `timeout 60 flock "/home/zoo/.provision/$1/lock" true`, name)
}

// clientOf returns the process of the client of a job.
func clientOf(t *testing.T, name string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if words := strings.Split(string(text), "\x00"); words[0] == "ssh" && strings.Contains(string(text), "SendEnv=zoo-"+name+"\x00") {
			pid, err := strconv.Atoi(strings.Split(file, "/")[2])
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("no client of %s runs", name)
	return 0
}

// A client that is killed while Compose stops the old container: the new one runs,
// its health is judged, and here found wanting. The next job hears of it.
func testKilledClient(t *testing.T, z *zoo) {
	const name = "killed"
	z.pushImage(t, name, lab.Image{Version: "2"})
	l := z.listen(t, name)
	l.cancel()
	<-l.job
	z.goOn(t, name, "hold")
	z.goOn(t, name, "ill")
	z.deployEnded(t, name)
	z.has(t, name, "app 1 running")
	if log := z.journal(t, name); !matches(log, "killed: deploy failed after …: app is unhealthy: the database is away; went back to the deploy of …, which runs (user zoo, …") {
		t.Errorf("the journal ends with %q", log)
	}
	z.pushImage(t, name, lab.Image{Version: "3"})
	z.deploys(t, name, "", 0, "provision: nobody heard how the deploy before this one ended: deploy failed after ")
	z.has(t, name, "app 3 running")
}

// A client that has stopped reading holds nothing up.
func testStoppedClient(t *testing.T, z *zoo) {
	const name = "stopped"
	z.pushImage(t, name, lab.Image{Version: "3"})
	l := z.listen(t, name)
	client := clientOf(t, name)
	if err := syscall.Kill(client, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	z.goOn(t, name, "hold")
	z.goOn(t, name, "ill")
	z.deployEnded(t, name)
	z.has(t, name, "app 3 running")
	if err := syscall.Kill(client, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	j := <-l.job
	if j.code != 0 {
		t.Errorf("the job that reads on: %+v", j)
	}
	endsWith(t, j, "provision: deployed 1 of 1 services in … s")
}

// A link that is cut is not even noticed on the host.
func testCutLink(t *testing.T, z *zoo) {
	const name = "cut"
	z.pushImage(t, name, lab.Image{Version: "3"})
	l := z.listen(t, name)
	port := clientPort(t, clientOf(t, name))
	z.sh(t, "web1", `
iptables -I INPUT -p tcp --sport "$1" -j DROP
iptables -I OUTPUT -p tcp --dport "$1" -j DROP`, port)
	z.goOn(t, name, "hold")
	z.goOn(t, name, "ill")
	z.deployEnded(t, name)
	z.has(t, name, "app 3 running")
	l.cancel()
	<-l.job
	if log := z.journal(t, name); !matches(log, "cut: deployed 1 of 1 services in …") {
		t.Errorf("the journal ends with %q", log)
	}
	z.deploys(t, name, "", 0, "provision: nothing new: what was deployed at ")
	z.has(t, name, "app 3 running")
}

// clientPort returns the port of the connection of a client.
func clientPort(t *testing.T, pid int) string {
	t.Helper()
	out, err := theLab.Run(t.Context(), map[string]string{"CLIENT": fmt.Sprint(pid)},
		`ss -Htnp state established | sed -n "s/.*:\([0-9]*\) *[0-9.]*:22 .*pid=$CLIENT,.*/\1/p" | head -n 1`)
	if err != nil {
		t.Fatal(err)
	}
	port := strings.TrimSpace(out)
	if port == "" {
		all, _ := theLab.Run(t.Context(), nil, "ss -Htnp")
		t.Fatalf("process %d has no connection:\n%s", pid, all)
	}
	return port
}

// A client that goes once the new container runs, before its health is known: it
// is judged all the same.
func testGoneBeforeHealth(t *testing.T, z *zoo) {
	for name, c := range map[string]struct {
		version, state, log string
	}{
		"health-good": {"3", "app 3 running", "deployed 1 of 1 services in …"},
		"health-bad":  {"2", "app 2 running", "deploy failed after … s: app is unhealthy: the database is away (user …"},
		"health-back": {"2", "app 1 running", "deploy failed after … s: app is unhealthy: the database is away; went back to the deploy of …, which runs (…"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			z.pushImage(t, name, lab.Image{Version: c.version})
			z.sh(t, "web1", `: >"/run/zoo/$1/ill"; chmod -R 777 "/run/zoo/$1"`, name)
			l := z.ask(t, name)
			z.await(t, "web1", `docker ps --filter "label=com.docker.compose.project=$1" --filter "label=version=$2" --format '{{.Status}}' | grep -q starting`, name, c.version)
			l.cancel()
			<-l.job
			z.goOn(t, name, "ill")
			z.deployEnded(t, name)
			z.has(t, name, c.state)
			if log := z.journal(t, name); !matches(log, name+": "+c.log) {
				t.Errorf("the journal ends with %q", log)
			}
		})
	}
}
