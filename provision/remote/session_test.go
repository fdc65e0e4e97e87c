package remote

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"provision/e2e/sshtest"
)

// The session of a program is opened while the one before is at work, if the
// host allows that.
func TestSessionsAreOpenedAhead(t *testing.T) {
	for _, max := range []int{0, 1} {
		var servers *sshtest.Servers
		programs := 0
		servers, err := sshtest.New(sshtest.Programs(func(program []byte) []byte {
			programs++
			for max == 0 && servers.Count().Sessions <= programs { // for ever, if it is not opened now
				runtime.Gosched()
			}
			return bytes.ToUpper(program)
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer servers.Close()
		servers.MaxSessions = max
		conn := dialTest(t, newDialer(t, ""), servers)
		for range 4 {
			var out bytes.Buffer
			if err := conn.Run(t.Context(), strings.NewReader("program"), io.Writer(&out)); err != nil || !strings.HasPrefix(out.String(), "PROGRAM") {
				t.Fatalf("MaxSessions %d: %q, %v", max, &out, err)
			}
		}
		conn.Close()
		count := servers.Count()
		if programs != 4 || count.Logins != 1 || max == 0 && count.Sessions != 5 || count.Sessions < 4 || count.Sessions > 5 {
			t.Errorf("MaxSessions %d: %+v, %d programs; want four, and a session ahead where there may be one", max, count, programs)
		}
	}
}

func dialTest(t *testing.T, d *Dialer, servers *sshtest.Servers) *Conn {
	t.Helper()
	addresses, err := servers.Listen(1)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := servers.Identity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	host, text, _ := net.SplitHostPort(addresses[0])
	port, _ := strconv.Atoi(text)
	conn, err := d.Dial(t.Context(), Target{Name: "h", Address: host, Port: port, User: "root", Identity: identity, HostKeys: []string{servers.HostKey}})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// The word that a command runs is not waited for, so a host that starts none
// is one that stays silent after it has seen the command.
func TestNoCommands(t *testing.T) {
	servers, err := sshtest.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer servers.Close()
	d := newDialer(t, "")
	d.Handshake = time.Second
	conn := dialTest(t, d, servers)
	if err := conn.Run(t.Context(), strings.NewReader("program"), io.Discard); !errors.Is(err, errDenied) {
		t.Errorf("a host without commands: %v", err)
	}
}
