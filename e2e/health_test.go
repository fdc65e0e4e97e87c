package e2e_test

import (
	"strings"
	"testing"
	"time"
)

// Of three deployments one goes back where health does not come, one has a limit
// of its own, and one says nothing of either.
const health = head + web1 + `
[defaults.deployment]
host = "web1"
environment = "production"
[deployments.back]
project = "transmogrify/back"
user = "deploy-back"
directory = "back"
variables = { group = "transmogrify", prefix = "BACK_" }
wait = "2m"
rollback = true
[deployments.wait]
project = "transmogrify/wait"
user = "deploy-wait"
directory = "wait"
variables = { group = "transmogrify", prefix = "WAIT_" }
wait = "2m"
[deployments.plain]
project = "transmogrify/plain"
user = "deploy-plain"
directory = "plain"
variables = { group = "transmogrify", prefix = "PLAIN_" }
`

func TestHealth(t *testing.T) {
	t.Parallel()
	w := newWorld(t, health)
	r := w.apply(t)
	r.says(t,
		"write the deploy settings of back (~deploy-back/back, health timeout 120s, rollback)\n",
		"write the deploy settings of wait (~deploy-wait/wait, health timeout 120s)\n",
		"write the deploy settings of plain (~deploy-plain/plain, health timeout 300s)\n",
	)
	names := []string{"back", "wait", "plain"}
	for _, name := range names {
		w.runs(t, name, "1")
		w.deploy(t, name, "2")
	}

	// A broken version: what the job sees, what runs then, and what is logged.
	for name, want := range map[string]struct{ runs, outcome string }{
		"back":  {"2", "; went back to the deploy of "},
		"wait":  {"3", "app is unhealthy: wget: server returned error: HTTP/1.1 404 Not Found"},
		"plain": {"3", "app is unhealthy: wget: server returned error: HTTP/1.1 404 Not Found"},
	} {
		t.Run(name, func(t *testing.T) {
			d := w.deployment(t, name)
			if err := w.PushBroken(t.Context(), d.Project, "3"); err != nil {
				t.Fatal(err)
			}
			j := w.ci(t, d, "")
			outcome := lastLine(j.out)
			if j.code != 1 || !strings.HasPrefix(outcome, "provision: deploy failed after ") || !strings.Contains(outcome, want.outcome) || strings.Contains(outcome, "went back") != d.Rollback {
				t.Errorf("the job: %+v; want exit code 1 and %q", j, want.outcome)
			}
			w.runs(t, name, want.runs)
			log := w.sh(t, "web1", `journalctl --sync; journalctl -t provision -o cat --all | grep "^$1: " | tail -n 1`, name)
			if !strings.HasPrefix(log, name+strings.TrimPrefix(outcome, "provision")+" (user deploy-"+name+",") {
				t.Errorf("the journal ends with %q, want %q", log, outcome)
			}
		})
	}

	planned(t, w.plan(t), "containers wait: note: service app is unhealthy")

	// What is broken is mended by the next deploy.
	for _, name := range names {
		w.deploy(t, name, "4")
	}

	// An apply changes neither what runs nor what else the gate knows.
	w.converged(t)
	w.deployment(t, "wait").Rollback = true
	w.deployment(t, "plain").Wait = 30 * time.Second
	if got := w.missing(t); len(got) != 2 || got[0] != "deploy-settings wait" || got[1] != "deploy-settings plain" {
		t.Errorf("with other settings the plan has %q", got)
	}
	w.apply(t).says(t,
		"write the deploy settings of wait (~deploy-wait/wait, health timeout 120s, rollback)\n",
		"write the deploy settings of plain (~deploy-plain/plain, health timeout 30s)\n",
	)
	w.converged(t)
	for _, name := range names[1:] {
		d := w.deployment(t, name)
		if err := w.PushBroken(t.Context(), d.Project, "5"); err != nil {
			t.Fatal(err)
		}
		if j := w.ci(t, d, ""); j.code != 1 {
			t.Errorf("with other settings the job of %s does not fail: %+v", name, j)
		}
	}
	w.runs(t, "wait", "4")
	w.runs(t, "plain", "5")
}

func lastLine(text string) string {
	text = strings.TrimSuffix(text, "\n")
	return text[strings.LastIndexByte(text, '\n')+1:]
}
