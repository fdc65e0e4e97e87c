package e2e_test

import (
	"strings"
	"testing"
)

// Another user of the host reads nothing of a deployment and holds no deploy up, also where
// the home was left open to all; and that it is open is told.
func TestOtherUserOfTheHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app+withOverride)
	w.apply(t)
	d := w.deployment(t, "app")
	if mode := w.sh(t, "web1", `stat -c %a "/home/$1"`, d.User); mode != "700" {
		t.Errorf("the home has the mode %s", mode)
	}
	w.sh(t, "web1", `
useradd --create-home --shell /bin/sh mallory
chmod 755 "/home/$1"
chmod 644 "/home/$1/$2/compose.override.yaml"`, d.User, d.Directory)
	const opened = "other users of the host can look into the home of deploy-user (mode 755)"
	w.run(t, "plan").exits(t, 0).says(t, opened, "web1: override app: chmod 600 ~deploy-user/frobnicator/compose.override.yaml (other users could read it)")
	w.apply(t)
	w.run(t, "verify").exits(t, 0).says(t, opened)

	if got := w.sh(t, "web1", `
cd "/home/$1"
for file in "$2/compose.override.yaml" ".provision/$3" ".provision/$3/lock" ".provision/$3/door" ".provision/$3/next" ".provision/$3/session.0"; do
	! runuser -u mallory -- test -r "$file" || echo "$file"
	! runuser -u mallory -- flock -n "$file" true 2>/dev/null || echo "$file can be locked"
done`, d.User, d.Directory, d.Name); got != "" {
		t.Errorf("another user can read\n%s", got)
	}
	w.sh(t, "web1", `setsid runuser -u mallory -- flock "/home/$1/$2" sleep 3000 >/dev/null 2>&1 </dev/null &
until ! flock -n "/home/$1/$2" true; do sleep 0.02; done`, d.User, d.Directory)
	if j := w.ci(t, d, "deploy"); j.code != 0 || strings.Contains(j.errors, "waiting") {
		t.Errorf("%+v", j)
	}
}
