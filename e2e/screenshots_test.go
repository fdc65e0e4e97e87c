package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"provision/e2e/needs"
	"provision/e2e/rehearsal"
	"provision/e2e/screen"
	"provision/inventory"
)

var screenshots = flag.String("screenshots", "", "draw what the program prints at a terminal, in `FOLDER`")

// TestScreenshots makes the pictures of the documents from real runs: see make
// screenshots.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("-screenshots FOLDER draws them")
	}
	needs.Lab(t, noLab)
	w := &world{dir: t.TempDir()}
	if err := os.CopyFS(w.dir, inventory.Example); err != nil {
		t.Fatal(err)
	}
	inv, err := inventory.Load(filepath.Join(w.dir, "example.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if w.World, err = rehearsal.New(t.Context(), theLab, inv, rehearsal.Options{}); err != nil {
		t.Fatal(err)
	}
	defer w.Close()

	w.shoot(t, "apply", "provision makes a bare host into a deployment target", 0, "apply", "--limit", "web2")
	w.apply(t)
	w.sh(t, "web1", `cd /home/deploy-user
sed -i '/frobnicator-staging/s/^restrict,//' .ssh/authorized_keys
echo '# by hand' >>frobnicator/compose.override.yaml
chmod 666 /etc/provision/deployments/frobnicator-production`)
	w.shoot(t, "verify", "provision verify finds what was changed behind its back", 3, "verify")
	w.apply(t)
	w.Inventory.Host("web1").HostKeys = w.Inventory.GitLab.HostKeys
	for _, d := range w.Inventory.Deployments {
		if d.Name == "frobnicator-production" {
			d.Project = "transmogrify/frobnicater"
		}
	}
	w.shoot(t, "error", "provision says what failed, where, why, and what to do", 1, "apply")
}

// shoot runs a command at a terminal and draws what is to be seen in the end.
func (w *world) shoot(t *testing.T, name, title string, code int, args ...string) {
	t.Helper()
	term, err := screen.Open(128, 40)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(term.File, "\x1b[1m$ provision %s inventory.toml\x1b[m\n", strings.Join(args, " "))
	command, _, _ := w.process(t, args...)
	command.Env = append(command.Env, "TERM=xterm", "CI=", "NO_COLOR=")
	command.Stdout, command.Stderr = term.File, term.File
	command.Run()
	term.Close()
	if got := command.ProcessState.ExitCode(); got != code || term.Unknown() != nil {
		t.Errorf("%s: exit code %d, want %d; not understood: %q\n%s", name, got, code, term.Unknown(), term)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".svg"), []byte(term.SVG(title)), 0o644); err != nil {
		t.Fatal(err)
	}
}
