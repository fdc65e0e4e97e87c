package templates

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// Nobody deploys where a deployment is not, or not for now, but the move itself.
func TestDeployWhereItMoves(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		for state, want := range map[string]string{
			"held web2":     "provision: deploy failed after N s: nothing was changed, as web is being moved to web2\n",
			"gone web2":     "provision: deploy failed after N s: nothing was changed, as web has moved to web2\nhint: run the job again: it deploys there\n",
			"arriving web1": "provision: deploy failed after N s: nothing was changed, as web is on its way here from web1\n",
		} {
			d.write(t, "../moves/web/state", state+"\n", 0o644)
			for _, what := range []string{"deploy", "start"} {
				d.check(t, 1, want, what)
			}
			if got := d.calls(t); got != "" {
				t.Errorf("%s: docker was asked to\n%s", state, got)
			}
		}
		cmd := d.command("ask", "web", "-", "move", "start", "")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if status := statusOf(t, cmd.Run(), &out); status != 0 {
			t.Errorf("the move does not start it: %d\n%s", status, &out)
		}
		if err := os.RemoveAll(filepath.Join(d.home, "../moves")); err != nil {
			t.Fatal(err)
		}
		if status, outcome, said := d.ask(t, "deploy"); status != 0 {
			t.Errorf("afterwards: %d\n%s%s", status, outcome, said)
		}
	})
}
