package cmd

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"provision/cmd/fleet/fleettest"
	"provision/e2e/sshtest"
)

// What was shown of each host is made there, side by side, and what fails on one is
// told of that one.
func TestUpdateOfHosts(t *testing.T) {
	const n = 8
	f := newFleet(t, n, bareHost, "")
	before := []string{"there=yes", "origin=ssh://127.0.0.1/transmogrify/frobnicator.git", "branch=main", "head=11111111", "to=22222222", "ahead=1", "back=0"}
	hosts := &fleettest.Hosts{Program: func(host string, program []byte) []byte {
		switch {
		case !bytes.Contains(program, []byte("--no-overwrite-ignore")):
			return sshtest.Bare(before...)(program)
		case host == "h3":
			return nil // it hangs up
		}
		return sshtest.Bare("branch=main", "head=22222222")(program)
	}}
	code, printed := f.runs(t, hosts, nil, "update", "--yes")
	if code != exitFailed || !strings.Contains(printed, fmt.Sprintf("%d hosts, %d changes made, 1 host failed", n, n-1)) {
		t.Fatalf("exit code %d:\n%s", code, printed)
	}
	for i := range n {
		host := fmt.Sprintf("h%d", i)
		if failed := strings.Contains(printed, "provision: "+host+": "); failed != (host == "h3") {
			t.Errorf("%s failed: %v\n%s", host, failed, printed)
		}
	}
}
