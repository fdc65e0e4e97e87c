package cmd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"provision/provision"
)

// Lines that a host has counted are told of as one, are no part of what was refused in one
// go, and count.
func TestReadLogCounted(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	entry := func(second int, uid, message string) string {
		return fmt.Sprintf(`{"__REALTIME_TIMESTAMP":"17672004%02d000000","_UID":%q,"MESSAGE":%q}`, second, uid, message)
	}
	const who = " (user u, key SHA256:x, from 192.0.2.1)"
	const nope = "app: refused: not-allowed: nope"
	l, err := readLog(provision.Facts{
		"user": {"u 998"}, "journal": {"/run/log/journal"},
		"entry":   {entry(1, "998", nope+who), entry(2, "998", nope+who), entry(9, "0", "gate: install it (by ann@laptop)")},
		"more":    {"9700 " + entry(5, "998", nope+who), "8 " + entry(6, "33", "forged"), "x " + entry(7, "998", nope+who), "-1 " + entry(7, "998", nope+who), "3"},
		"dropped": {"12"},
	}, now.AddDate(0, 0, -7), now)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range fold(l.entries) {
		got = append(got, fmt.Sprintf("%s|%s|%d|%d", e.by, e.text, e.times, e.more))
	}
	want := []string{
		"user u, key SHA256:x, from 192.0.2.1|app: refused 2 times in 1.0 s: nope|2|0",
		"user u, key SHA256:x, from 192.0.2.1|" + nope + " (the last of 9700 more like it in this hour)|0|9700",
		"not by provision: user with the id 33|forged (the last of 8 more like it in this hour)|0|8",
		"ann@laptop|gate: install it|0|0",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if want := "12 lines left out, as there are newer ones of the same key or user"; l.note != want {
		t.Errorf("the note is %q, want %q", l.note, want)
	}
	file, err := readLog(provision.Facts{"file": {"/var/log/auth.log"}, "zone": {"+0000"}, "more": {"7 Jan  1 18:00:00 web1 provision: " + nope + who}}, now.AddDate(0, 0, -7), now)
	if err != nil || len(file.entries) != 1 || file.entries[0].more != 7 || !strings.HasPrefix(file.entries[0].text, nope) {
		t.Errorf("of a file: %+v, %v", file, err)
	}
}
