package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"provision/cmd"
	"provision/e2e/lab"
	"provision/e2e/needs"
	"provision/e2e/sample"
)

// programVariable makes this test binary the program that is measured.
const programVariable = "PROVISION_BENCH_PROGRAM"

var (
	theLab *lab.Lab
	noLab  error // why theLab is nil
)

func TestMain(m *testing.M) {
	runItself()
	if os.Getenv(programVariable) != "" {
		os.Exit(cmd.Main())
	}
	if noLab = needs.CheckLab(lab.Check); noLab != nil {
		os.Exit(m.Run())
	}
	l, code, err := lab.Enter(context.Background(), os.Stderr)
	if err != nil {
		log.Fatal(err)
	}
	if l == nil {
		os.Exit(code)
	}
	theLab = l
	code = m.Run()
	if err := l.Close(); err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

// Every part that is drawn measures something; make bench has all. How long it takes
// does not matter.
func TestParts(t *testing.T) {
	needs.Lab(t, noLab)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(programVariable, "yes")
	for flag, value := range map[*int]int{rounds: 1, many: 5} {
		before := *flag
		t.Cleanup(func() { *flag = before })
		*flag = value
	}
	b, err := newBench(t.Context(), theLab, program)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := run(b, sample.Some(t, parts, 3))
	if err := errors.Join(err, b.Close()); err != nil {
		t.Error(err)
	}
	for _, r := range rows {
		t.Logf("%s: %s %s %s", r.what, r.ours, r.floor, r.compared)
		if r.ours == "" {
			t.Errorf("%s: nothing is measured", r.what)
		}
	}
}

// A part that cannot be measured fails the run, and has a row.
func TestNotMeasured(t *testing.T) {
	rows, err := run(nil, []part{
		{"first", func(*bench) ([]row, error) { return nil, errors.New("no host") }},
		{"second", func(*bench) ([]row, error) { return []row{{what: "second", ours: "1 s"}}, nil }},
	})
	if err == nil || err.Error() != "first: not measured: no host" {
		t.Errorf("the run ends with %v", err)
	}
	if len(rows) != 2 || rows[0].ours != "not measured" || rows[1].ours != "1 s" {
		t.Errorf("the rows are %+v", rows)
	}
}

// The addresses of a fleet are free when it is closed.
func TestFleetCloses(t *testing.T) {
	f := &fleet{}
	for range 2 {
		if _, err := f.listen("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again := &fleet{}
	for _, e := range f.hosts {
		if _, err := again.listen(e.address); err != nil {
			t.Error(err)
		}
	}
	again.Close()
}

// A host that is asked what another one was asked before gives the same answer,
// with the marks of who asks and a login of its own.
func TestFleetAnswers(t *testing.T) {
	ran := 0
	f := &fleet{answers: map[string]*answer{}, run: func(_ string, program []byte) ([]byte, int, error) {
		ran++
		var out strings.Builder
		for _, mark := range markOf.FindAllString(string(program), -1) {
			fmt.Fprintf(&out, "%s fact login=%s7\n", mark, deployToken)
		}
		return []byte(out.String()), 3, nil
	}, gate: func(command string) (string, error) {
		nonce, version, _ := strings.Cut(strings.TrimPrefix(command, "verify "), " ")
		return nonce + " look digest" + version + "\n", nil
	}}
	ask := func(user, token, command, program string) (string, int) {
		t.Helper()
		e, err := f.listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		e.token = token
		client, err := ssh.Dial("tcp", e.address, &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(newKey(t, ""))}, HostKeyCallback: ssh.FixedHostKey(e.key.PublicKey())})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		s, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if program != "" {
			s.Stdin = strings.NewReader(fmt.Sprintf("%d mark\n%s", len(program), program))
		}
		out, err := s.Output(command)
		if exit, ok := err.(*ssh.ExitError); ok {
			return string(out), exit.ExitStatus()
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(out), 0
	}
	mark := func(digit string) string { return "@" + strings.Repeat(digit, 32) }
	for i, c := range []struct {
		user, token, command, program string
		out                           string
		status, ran                   int
	}{
		{login, "first", "sh", mark("1") + " ABCDEFGHIJKLMNOPQRSTUVWXYZ " + mark("2"), mark("1") + " fact login=first\n" + mark("2") + " fact login=first\n", 3, 1},
		{login, "second", "sh", mark("b") + " ZYXWVUTSRQPONMLKJIHGFEDCBA " + mark("a"), mark("b") + " fact login=second\n" + mark("a") + " fact login=second\n", 3, 1},
		{login, "third", "sh", mark("1") + " another", mark("1") + " fact login=third\n", 3, 2},
		{login, "", "true", "", "", 0, 2},
		{"deploy-user", "", "verify 0123", "", "0123 look digest\n", 0, 2},
		{"deploy-user", "", "verify 4567", "", "4567 look digest\n", 0, 2},
		{"deploy-user", "", "verify 89ab 2", "", "89ab look digest2\n", 0, 2},
		{"deploy-user", "", "verify cdef 2", "", "cdef look digest2\n", 0, 2},
		{"deploy-user", "", "verify 4567; id", "", "", 126, 2},
		{"deploy-user", "", "true", "", "", 126, 2},
	} {
		if out, status := ask(c.user, c.token, c.command, c.program); out != c.out || status != c.status || ran != c.ran {
			t.Errorf("%d: status %d and %q after %d programs, want %d and %q after %d", i, status, out, ran, c.status, c.out, c.ran)
		}
	}
}

func newKey(t *testing.T, file string) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if file != "" {
		block, err := ssh.MarshalPrivateKey(private, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// The floor is no floor unless it logs in to every host.
func TestLogins(t *testing.T) {
	f := &fleet{}
	for range 20 {
		if _, err := f.listen("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{dir: t.TempDir()}
	b.identity = filepath.Join(b.dir, "id")
	newKey(t, b.identity)
	list, err := b.writeLogins(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := logins([]string{list}); err != nil {
		t.Error(err)
	}
	f.hosts[7].key = f.hosts[6].key // a host that is another one
	if list, err = b.writeLogins(f); err != nil {
		t.Fatal(err)
	}
	if err := logins([]string{list}); err == nil {
		t.Error("a host with another key is logged in to")
	}
}

// All bytes arrive, in order and both ways, and the end of them too.
func TestRelay(t *testing.T) {
	far, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	near, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go relay(near, far.Addr().String(), time.Millisecond)
	go func() {
		conn, err := far.Accept()
		if err != nil {
			return
		}
		io.Copy(conn, conn)
		conn.Close()
	}()
	conn, err := net.Dial("tcp", near.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 1<<20)
	rand.Read(sent)
	go func() {
		conn.Write(sent)
		conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes went, %d came back: %v", len(sent), len(got), err)
	}
}

// The playbook has as many settings as the table says.
func TestPlaybook(t *testing.T) {
	if n := len(regexp.MustCompile(`(?m)^    - name: `).FindAll(playbook, -1)); n != 9 {
		t.Errorf("the playbook has %d settings, not nine", n)
	}
}
