package sshconfig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"provision/e2e/needs"
)

// countSSH puts an ssh into the path that counts how often it runs.
func countSSH(t *testing.T) (runs func() int) {
	t.Helper()
	ssh := needs.Program(t, "ssh")
	dir := t.TempDir()
	log := filepath.Join(dir, "runs")
	script := fmt.Sprintf("#!/bin/sh\necho run >>'%s'\nexec '%s' \"$@\"\n", log, ssh)
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() int {
		text, _ := os.ReadFile(log)
		return strings.Count(string(text), "\n")
	}
}

// What ssh -G said of one host holds for those that are like it, and whatever
// ssh_config(5) says, every host gets what ssh -G says of it.
func TestSettingsAreShared(t *testing.T) {
	addresses := []string{"a", "b.example.com", "c.example.com", "UPPER.example.com", "d.lab", "e.lab", "10.0.0.1", "::1", "not.example.com"}
	included := writeFile(t, "included", "Host *.lab\n\tIdentityFile ~/.ssh/included\n")
	for name, test := range map[string]struct {
		config string
		runs   int // for all addresses, each twice; once more for the defaults where the files may choose algorithms
	}{
		"nothing":      {"", 1},
		"algorithms":   {"Host *.lab\n\tCiphers -aes*\n\tRevokedHostKeys /revoked\n", 2 + 1},
		"for all":      {"Host *\n\tUser me\n\tControlPath ~/.ssh/%r@%h:%p\n", 1},
		"by pattern":   {"Port 2222\nHost *.example.com !not.example.com\n\tUser boss\n\tProxyJump a\nHost ?.lab\n\tUser lab\n", 3},
		"HostName":     {"Host b.example.com c.example.com\n\tHostName b.example.com\n", 1 + 4},
		"HostName=":    {"Host *.lab\nHostName=%h.example.com\n", 1 + 4},
		"for everyone": {"HostName one.example.com\n", 18 + 1},
		"token":        {"Host *.lab\n\tIdentityFile ~/.ssh/%h\n", 1 + 4},
		"quotation":    {"Host \"a\"\n\tUser quoted\n", 18 + 1},
		"Match":        {"Match host d.lab\n\tUser matched\n", 18 + 1},
		"Match again":  {"Host a\n\tUser x\nMatch originalhost e.lab\n\tPort 99\n", 18 + 1},
		"include":      {"Include " + included + "\nHost a\n\tUser me\n", 3},
		"in a block":   {"Host d.lab\n\tInclude " + included + "\n", 3},
		"canonical":    {"CanonicalizeHostname no\n", 18 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			runs := countSSH(t)
			c := newConfig(t, test.config)
			got := map[string]Host{}
			for _, login := range []string{"", "admin"} {
				for _, address := range addresses {
					e, err := c.Resolve(t.Context(), address, Given{User: login})
					if err != nil {
						t.Fatal(err)
					}
					got[login+"@"+address] = e
				}
			}
			if n := runs(); n != test.runs {
				t.Errorf("ssh -G ran %d times, want %d", n, test.runs)
			}
			for _, login := range []string{"", "admin"} {
				for _, address := range addresses {
					printed, err := c.askSSH(t.Context(), "ssh", address, Given{User: login})
					if err != nil {
						t.Fatal(err)
					}
					own := Host{Alias: address}
					if err := own.parse(printed); err != nil {
						t.Fatal(err)
					}
					if e := got[login+"@"+address]; fmt.Sprintf("%+v", e) != fmt.Sprintf("%+v", own) {
						t.Errorf("%q of %s: %+v\nwant %+v", login, address, e, own)
					}
				}
			}
		})
	}
}
