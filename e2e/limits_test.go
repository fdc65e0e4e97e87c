package e2e_test

import (
	"strings"
	"testing"
)

// A CI key opens nothing from a network that is not CI's, nor when its time is over; the same
// key goes on working while it lasts, and apply changes nothing meanwhile.
func TestLimitsOfTheCIKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	d := w.deployment(t, "app")
	d.CINetworks, d.CIKeyDays = []string{"192.0.2.0/24"}, 90
	w.apply(t)
	w.converged(t)
	const refused = "Permission denied"
	if j := w.ci(t, d, "status"); j.code != 255 || !strings.Contains(j.errors, refused) {
		t.Errorf("from elsewhere: %+v", j)
	}
	d.CINetworks = []string{"10.0.0.0/8", "192.0.2.0/24"}
	key := w.variable(t, "transmogrify", "SSH_AUTH", d.Scope)
	w.apply(t)
	if j := w.ci(t, d, "status"); j.code != 0 || key != w.variable(t, "transmogrify", "SSH_AUTH", d.Scope) {
		t.Errorf("from a network of CI: %+v, or the key is another one", j)
	}
	w.converged(t)

	connected := w.connect(t, d.User, key)
	ends := func(when string) {
		w.sh(t, "web1", `sed -i "s/expiry-time=\"[0-9]*Z\"/expiry-time=\"$(date -u -d "$2" +%Y%m%d%H%MZ)\"/" "/home/$1/.ssh/authorized_keys"`, d.User, when)
	}
	ends("10 days")
	w.run(t, "verify").exits(t, 0).says(t, "the CI key of app expires on ")
	w.converged(t)
	ends("1 minute ago")
	if j := w.ci(t, d, "status"); j.code != 255 || !strings.Contains(j.errors, refused) {
		t.Errorf("when its time is over: %+v", j)
	}
	w.run(t, "verify", "--as", "admin").exits(t, 3).says(t, "DRIFT: apply would authorize the new CI key for app", "DRIFT: apply would close open SSH connections of deploy-user")
	w.apply(t)
	open(t, connected, false)
	if j := w.ci(t, d, "status"); j.code != 0 || key == w.variable(t, "transmogrify", "SSH_AUTH", d.Scope) {
		t.Errorf("after apply: %+v, or the key is the old one", j)
	}
	w.converged(t)
}
