package cmd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"provision/cmd/usage"
	"provision/provision"
)

func TestSinceOf(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"7d":                   now.AddDate(0, 0, -7),
		"90m":                  now.Add(-90 * time.Minute),
		"0s":                   now,
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
		"2026-01-31T10:00:00Z": time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC),
		"":                     {}, "yesterday": {}, "-1h": {}, "-1d": {}, "7": {}, "7 d": {}, "99999999d": {}, "2026-02-31": {},
	} {
		got, err := sinceOf(text, now)
		if !got.Equal(want) || want.IsZero() != errors.As(err, new(usage.Error)) {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}

// A line is by whom it says only where the journal says the same.
func TestReadLog(t *testing.T) {
	const deploy = `app: deployed (user u, key SHA256:x, from 192.0.2.1)`
	const change = `gate: install it (now) (by ann@laptop with provision (devel))`
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	entry := func(uid, message string) string {
		return fmt.Sprintf(`{"__REALTIME_TIMESTAMP":"1767200400000000","_UID":%q,"MESSAGE":%s,"__CURSOR":"x"}`, uid, message)
	}
	for _, tt := range []struct {
		name, key, fact string
		want            string // time, by and text
	}{
		{"a change", "entry", entry("0", `"`+change+`"`), "2025-12-31T17:00:00Z|ann@laptop with provision (devel)|gate: install it (now)"},
		{"a deploy", "entry", entry("998", `"`+deploy+`"`), "2025-12-31T17:00:00Z|user u, key SHA256:x, from 192.0.2.1|app: deployed"},
		{"a change that a deploy user tells of", "entry", entry("998", `"`+change+`"`), "2025-12-31T17:00:00Z|not by provision: user u|" + change},
		{"a deploy that root tells of", "entry", entry("0", `"`+deploy+`"`), "2025-12-31T17:00:00Z|not by provision: user with the id 0|" + deploy},
		{"a deploy that another user tells of", "entry", entry("33", `"`+deploy+`"`), "2025-12-31T17:00:00Z|not by provision: user with the id 33|" + deploy},
		{"a refusal that pretends to be a change", "entry", entry("998", `"app: refused: no: x (by ann) (user u, key k, from a)"`), "2025-12-31T17:00:00Z|user u, key k, from a|app: refused: no: x (by ann)"},
		{"something else", "entry", entry("0", `"hello"`), "2025-12-31T17:00:00Z|not by provision: user with the id 0|hello"},
		{"bytes", "entry", entry("0", `[104,27,105]`), "2025-12-31T17:00:00Z|not by provision: user with the id 0|h\x1bi"},
		{"too old", "entry", strings.Replace(entry("0", `"`+change+`"`), "1767", "1766", 1), ""},
		{"no JSON", "entry", `{"MESSAGE":`, ""},
		{"a file, old form", "line", "Dec 31 18:00:00 web1 provision[7]: " + change, "2025-12-31T17:00:00Z|ann@laptop with provision (devel)|gate: install it (now)"},
		{"a file, old form, this year", "line", "Jan  1 18:00:00 web1 provision: " + deploy, "2026-01-01T17:00:00Z|user u, key SHA256:x, from 192.0.2.1|app: deployed"},
		{"a file, new form", "line", "2025-12-31T18:00:00.123+01:00 web1 provision: " + deploy, "2025-12-31T17:00:00Z|user u, key SHA256:x, from 192.0.2.1|app: deployed"},
		{"a file of busybox", "line", "Dec 31 18:00:00 web1 auth.notice provision: " + deploy, "2025-12-31T17:00:00Z|user u, key SHA256:x, from 192.0.2.1|app: deployed"},
		{"a file, too old", "line", "Jan  3 18:00:00 web1 provision: " + deploy, ""},
		{"a file, of another program", "line", "Jan  1 18:00:00 web1 sshd[1]: provision: x", ""},
	} {
		facts := provision.Facts{"user": {"u 998"}, "journal": {"/run/log/journal"}, tt.key: {tt.fact}}
		if tt.key == "line" {
			facts["zone"], facts["file"] = []string{"+0100"}, []string{"/var/log/auth.log"}
		}
		l, err := readLog(facts, now.AddDate(0, 0, -7), now)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		var got []string
		for _, e := range l.entries {
			got = append(got, e.time.UTC().Format(time.RFC3339)+"|"+e.by+"|"+e.text)
		}
		if strings.Join(got, "\n") != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if (l.note != "") != (tt.key == "line") {
			t.Errorf("%s: the note is %q", tt.name, l.note)
		}
	}
	if _, err := readLog(provision.Facts{"user": {"u 998"}}, now, now); err == nil || !strings.Contains(err.Error(), "keeps no log") {
		t.Errorf("a host without any log: %v", err)
	}
	if l, err := readLog(provision.Facts{"journal": {"/run/log/journal"}}, now, now); err != nil || len(l.entries) > 0 {
		t.Errorf("a journal without a line: %v, %v", l, err)
	}
}

// What a key is refused in one go is one line, and nothing else is.
func TestFold(t *testing.T) {
	const key, no = "user u, key SHA256:x, from 192.0.2.1", "refused: not-allowed: "
	at := func(seconds float64, by, text string) logEntry {
		return logEntry{time: time.Unix(0, 0).Add(time.Duration(seconds * float64(time.Second))), by: by, text: text}
	}
	verifyTries := []string{"id", "/usr/lib/openssh/sftp-server", "/bin/sh", "bash -i", "true", "deploy; id", "status && id || id", "$(id)", "`id`", "status?id",
		"verify 00000000000000000000000000000000; id", "scp -t /tmp"}
	var nightly []logEntry
	for _, words := range verifyTries {
		nightly = append(nightly, at(0, key, "app: "+no+words))
	}
	for _, tt := range []struct {
		name    string
		entries []logEntry
		want    []string
	}{
		{"nothing", nil, nil},
		{"one", []logEntry{at(0, key, "app: "+no+"id")}, []string{"app: " + no + "id"}},
		{"in one go", []logEntry{at(0, key, "app: "+no+"id"), at(0.4, key, "app: refused: bad-nonce: verify x; id"), at(5, key, "app: "+no+"id"), at(6, key, "app: "+no+"a: b")},
			[]string{"app: refused 4 times in 6.0 s: id, verify x; id, a: b"}},
		{"a version", []logEntry{at(0, key, "app: refused: bad-version: deploy ;"), at(0, key, "app: refused: bad-version: deploy ;")},
			[]string{"app: refused: bad-version: deploy ;", "app: refused: bad-version: deploy ;"}},
		{"later", []logEntry{at(0, key, "app: "+no+"id"), at(1, key, "app: "+no+"sh"), at(6.1, key, "app: "+no+"id")},
			[]string{"app: refused 2 times in 1.0 s: id, sh", "app: " + no + "id"}},
		{"of two deployments", []logEntry{at(0, key, "app: "+no+"id"), at(0, key, "web: "+no+"id"), at(0, key, "web: "+no+"sh")},
			[]string{"app: " + no + "id", "web: refused 2 times in 0.0 s: id, sh"}},
		{"from two clients", []logEntry{at(0, key, "app: "+no+"id"), at(0, key+"0", "app: "+no+"id")},
			[]string{"app: " + no + "id", "app: " + no + "id"}},
		{"what verify tries", nightly, []string{"app: refused 12 times in 0.0 s: all that verify tries"}},
		{"less than that", nightly[1:], []string{"app: refused 11 times in 0.0 s: " + strings.Join(verifyTries[1:], ", ")}},
		{"more than that", append(nightly, at(0, key, "app: "+no+"sh -i")), []string{"app: refused 13 times in 0.0 s: " + strings.Join(verifyTries, ", ") + ", sh -i"}},
		{"with a deploy between", []logEntry{at(0, key, "app: "+no+"id"), at(0, key, "app: deploy"), at(0, key, "app: "+no+"id")},
			[]string{"app: " + no + "id", "app: deploy", "app: " + no + "id"}},
		{"for another reason", []logEntry{at(0, key, "app: refused: too-many-sessions: "), at(0, key, "app: refused: too-many-sessions: ")},
			[]string{"app: refused: too-many-sessions: ", "app: refused: too-many-sessions: "}},
		{"forged", []logEntry{at(0, "not by provision: user v", "app: "+no+"id"), at(0, "not by provision: user v", "app: "+no+"id")},
			[]string{"app: " + no + "id", "app: " + no + "id"}},
		{"long", []logEntry{at(0, key, "app: "+no+"id"), at(0, key, "app: "+no+strings.Repeat("x", 200)), at(0, key, "app: "+no+strings.Repeat("y", 200))},
			[]string{"app: refused 3 times in 0.0 s: id, " + strings.Repeat("x", 200) + ", " + strings.Repeat("y", 93) + "…"}},
	} {
		var got []string
		lines := 0
		for _, e := range fold(tt.entries) {
			got = append(got, e.text)
			lines += max(e.times, 1)
		}
		if !slices.Equal(got, tt.want) || lines != len(tt.entries) {
			t.Errorf("%s: got %d lines\n%s\nwant %d\n%s", tt.name, lines, strings.Join(got, "\n"), len(tt.entries), strings.Join(tt.want, "\n"))
		}
	}
}
