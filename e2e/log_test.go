package e2e_test

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"testing"
)

// What apply has made and what the gate did stands in the log of the host, with
// who it was; and nothing hangs on there being one.
func TestLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	d := w.deployment(t, "app")
	w.deploy(t, "app", "2")
	if _, err := w.CI(t.Context(), d, "sh -i"); err == nil {
		t.Fatal("the gate lets a shell in")
	}
	w.sh(t, "web1", `runuser -u nobody -- logger -t provision 'gate: forged (by root@laptop with provision)'`)

	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	by := me.Username + "@" + machine + " with provision "
	// logged returns the lines of a log as "WHO: WHAT", where who is as much as can be known.
	logged := func(flags ...string) []string {
		t.Helper()
		r := w.run(t, append([]string{"log", "--output", "json"}, flags...)...).exits(t, 0)
		var all []string
		before := ""
		for _, l := range of("log", r.lines(t)) {
			if l.Host != "web1" || l.Time < before {
				t.Errorf("host %q, time %q after %q", l.Host, l.Time, before)
			}
			before = l.Time
			who, _, _ := strings.Cut(strings.Replace(l.By, by, "me ", 1), " ")
			if strings.HasPrefix(l.By, "user deploy-user, key SHA256:") && strings.Contains(l.By, ", from ") {
				who = "key"
			}
			all = append(all, who+": "+l.Text)
		}
		return all
	}
	has := func(all []string, want ...string) {
		t.Helper()
		for _, text := range want {
			if !slices.Contains(all, text) {
				t.Errorf("the log lacks %q:\n%s", text, strings.Join(all, "\n"))
			}
		}
	}
	all := logged()
	has(all, "me: repo-key deploy-user: generate an SSH key pair for deploy-user",
		"not: gate: forged (by root@laptop with provision)",
		"key: app: refused: not-allowed: sh -i")
	if deploys := slices.ContainsFunc(all, func(text string) bool {
		return strings.HasPrefix(text, "key: app: deployed 1 of 1 services in ") && strings.Contains(text, ": app registry.")
	}); !deploys {
		t.Errorf("the log does not say what was deployed:\n%s", strings.Join(all, "\n"))
	}

	if n := len(of("done", w.run(t, "apply", "--output", "json").lines(t))); n != 0 {
		t.Errorf("a second apply makes %d changes", n)
	}
	if again := logged(); len(again) != len(all) {
		t.Errorf("an apply that changes nothing is logged:\n%s", strings.Join(again[len(all):], "\n"))
	}
	if got := logged("--since", "2000-01-01"); len(got) != len(all) {
		t.Errorf("since 2000 there are %d lines, want %d", len(got), len(all))
	}
	if got := logged("--since", "0s"); len(got) > 0 {
		t.Errorf("since now there is\n%s", strings.Join(got, "\n"))
	}
	w.run(t, "log").exits(t, 0).says(t, ": "+by, "1 host, ")

	t.Run("of a verify", func(t *testing.T) {
		w.run(t, "verify").exits(t, 0)
		tried := logged()[len(all):]
		if len(tried) < 10 {
			t.Fatalf("what verify tried is not logged: %q", tried)
		}
		text := w.run(t, "log").exits(t, 0)
		text.says(t, fmt.Sprintf("app: refused %d times in ", len(tried)), ": all that verify tries\n", fmt.Sprintf(", %d of them shown as 1", len(tried)), "not-allowed: sh -i\n")
		if each := w.run(t, "log", "--verbose").exits(t, 0); strings.Count(each.out, ": refused: ") != len(tried)+1 {
			t.Errorf("not each refusal is shown:\n%s", each.out)
		}
		all = append(all, tried...)
	})

	t.Run("of other commands", func(t *testing.T) {
		r := w.run(t, "rotate-key", "--only", "repo-key", "--output", "json").exits(t, 0)
		if n := len(of("done", r.lines(t))); n == 0 {
			t.Fatalf("nothing is rotated: %v", r)
		}
		all = logged()
		has(all, "me: repo-key-switch deploy-user: switch deploy-user to the new SSH key (tested with git ls-remote)")
	})
	t.Run("without logger", func(t *testing.T) {
		w.sh(t, "web1", "mv /usr/bin/logger /usr/bin/logger.away; rm /usr/local/lib/provision/gate")
		w.apply(t)
		w.sh(t, "web1", "mv /usr/bin/logger.away /usr/bin/logger")
		if got := logged(); len(got) != len(all) {
			t.Errorf("%d lines, want %d", len(got), len(all))
		}
		w.converged(t)
	})
	t.Run("without a journal", func(t *testing.T) {
		w.sh(t, "web1", `
systemctl stop 'systemd-journald*' 2>/dev/null
rm -rf /run/log/journal /var/log/journal
date '+%b %e %H:%M:%S web1 provision[1]: app: deployed (user deploy-user, key SHA256:x, from 192.0.2.1)' >/var/log/auth.log
`)
		has(logged(), "key: app: deployed")
		w.run(t, "log").exits(t, 0).says(t, "web1: note: the host keeps no journal: this is from /var/log/auth.log")
		w.sh(t, "web1", "rm /var/log/auth.log")
		w.run(t, "log").exits(t, 1).says(t, "web1: the host keeps no log")
	})
}
