package e2e_test

import (
	"strings"
	"sync"
	"testing"

	"golang.org/x/tools/txtar"
)

const olderWorld = head + web1 + `
[defaults.deployment]
host = "web1"
environment = "production"
[deployments.back]
project = "transmogrify/back"
user = "deploy-back"
directory = "back"
variables = { group = "transmogrify", prefix = "BACK_" }
wait = "30s"
rollback = true
[deployments.plain]
project = "transmogrify/plain"
user = "deploy-plain"
directory = "plain"
variables = { group = "transmogrify", prefix = "PLAIN_" }
`

// older makes a host what an older version has left: its gate, its settings
// and its look programs, and nothing of what it did not know.
func (w *world) older(t *testing.T) {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/older.txtar")
	if err != nil {
		t.Fatal(err)
	}
	_, domain, _ := strings.Cut(w.Inventory.Registry.Host, ".")
	w.sh(t, "web1", `
rm -rf /usr/local/lib/provision /etc/provision/deployments /home/deploy-*/.provision
docker image ls --filter reference=provision/kept --format '{{.Repository}}:{{.Tag}}' | xargs docker image rm >/dev/null`)
	for _, file := range archive.Files {
		mode, name, _ := strings.Cut(file.Name, " ")
		text := strings.ReplaceAll(string(file.Data), "WORLD", domain)
		text = strings.TrimSuffix(text, "\n") // the archive has one more
		w.sh(t, "web1", `mkdir -p "/${1%/*}"; printf '%s' "$2" >"/$1"; chmod "$3" "/$1"`, name, text, mode)
	}
}

// A host of an older version is brought forward by apply, while deploys go on of
// which none fails, and goes back to what ran before.
func TestOlder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, olderWorld)
	w.apply(t)
	w.older(t)
	names := []string{"back", "plain"}
	for _, name := range names {
		w.deploy(t, name, "2") // with the old gate
	}

	// Each side says which of the two is to be upgraded.
	w.run(t, "verify").exits(t, 3).says(t, "the gate of the host is older than this program\n", "hint: upgrade it: provision apply")
	var wg sync.WaitGroup
	begun, done := make(chan struct{}, 2), make(chan struct{})
	for _, name := range names {
		wg.Go(func() {
			d := w.deployment(t, name)
			for n := 0; ; n++ {
				if j := w.ci(t, d, "deploy"); j.code != 0 {
					t.Errorf("a deploy of %s failed meanwhile: %+v", name, j)
				}
				if n == 0 {
					begun <- struct{}{}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	<-begun
	<-begun
	r := w.apply(t)
	close(done)
	wg.Wait()
	r.says(t, "update /usr/local/lib/provision/gate", "install /usr/local/lib/provision/deploy", "write the deploy settings of back")
	w.converged(t)
	w.run(t, "verify").exits(t, 0)
	j := w.ci(t, w.deployment(t, "back"), "verify "+strings.Repeat("0", 32))
	if j.code != 126 || !strings.Contains(j.errors, "the program that asks is older than this gate: upgrade provision there") {
		t.Errorf("what an older program is told: %+v", j)
	}

	if err := w.PushBroken(t.Context(), "transmogrify/back", "3"); err != nil {
		t.Fatal(err)
	}
	if j := w.ci(t, w.deployment(t, "back"), "deploy"); j.code != 1 || !strings.Contains(j.out, "went back to") {
		t.Errorf("%+v", j)
	}
	w.runs(t, "back", "2")
}
