package steps

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"provision/provision"
)

// Noise pushes nothing out of a log: neither what a key is refused without end, nor what
// users write who need no key, hides what root, or another key, or the same one has
// done. All is told, or counted.
func TestJournal(t *testing.T) {
	const first = 1767200400000000
	var journal, file strings.Builder
	lines := 0
	add := func(minutes int, uid, message string) {
		lines++
		fmt.Fprintf(&journal, `{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"%d","_UID":"%s","MESSAGE":%q}`+"\n", first+minutes*60_000_000, uid, message)
		fmt.Fprintf(&file, "2026-01-%02dT%02d:%02d:00+00:00 web1 provision[7]: %s\n", 1+minutes/1440, minutes/60%24, minutes%60, message)
	}
	who := func(key string, from int) string {
		return fmt.Sprintf(" (user u, key SHA256:%s, from 192.0.2.%d)", key, from%250)
	}
	var told []string
	tell := func(minutes int, uid, message string) {
		told = append(told, message)
		add(minutes, uid, message)
	}
	tell(0, "0", "gate: install it (by ann@laptop)")
	for i := range 5 {
		tell(i, "998", fmt.Sprintf("app: deployed %d of 1 services%s", i, who("a", i)))
		tell(i, "998", fmt.Sprintf("web: deployed %d of 1 services%s", i, who("b", i)))
		tell(i, "998", fmt.Sprintf("web: refused: not-allowed: x%d%s", i, who("b", i)))
	}
	for i := range 20_000 {
		add(i/10, "998", "app: refused: not-allowed: nope \"_UID\":\"0\""+who("a", i))
	}
	for i := range 4_000 {
		add(i/10, "33", "noise"+strconv.Itoa(i))
		add(i/10, "998", fmt.Sprintf("app%d: deployed%s", i, who(strconv.Itoa(i), i))) // forged by the user
		add(i/10, strconv.Itoa(2000+i), "noise of many")
	}
	add(400, "33", strings.Repeat("x", 100_000))
	tell(2200, "0", "user: create it (by ann@laptop)")

	eachSandbox(t, func(t *testing.T, s *sandbox) {
		if err := os.WriteFile(filepath.Join(s.dir, "journal.json"), []byte(journal.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, "auth.log"), []byte(file.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		s.stub(t, "journalctl", "cat "+s.dir+"/journal.json")
		for _, key := range []string{"entry", "line"} {
			script := Journal(0).Probe().Script
			from, to := "/run/log/journal /var/log/journal", s.dir
			if key == "line" {
				to = s.dir + "/none"
			}
			script.Text = strings.NewReplacer(from, to, "/var/log/auth.log", s.dir+"/auth.log").Replace(script.Text)
			seen, err := provision.Look(t.Context(), s.target(newFake()), []provision.Step{probing{script}})
			if err != nil {
				t.Fatal(err)
			}
			f := seen.Of("probing")
			counted, _ := strconv.Atoi(f.Get("dropped"))
			for _, fact := range f["more"] {
				n, err := strconv.Atoi(strings.SplitN(fact, " ", 2)[0])
				if err != nil || n < 1 {
					t.Errorf("%s: more is %.100s", key, fact)
				}
				counted += n
			}
			if got := len(f[key]) + counted; got != lines {
				t.Errorf("%s: %d lines are told, and %d counted, of %d", key, len(f[key]), counted, lines)
			}
			if len(f[key]) > 40_000 || len(f["more"]) > 5_000 {
				t.Errorf("%s: %d lines and %d counts are too many", key, len(f[key]), len(f["more"]))
			}
			all := strings.Join(f[key], "\n")
			for _, message := range told {
				if key == "entry" {
					message = strings.Trim(strconv.Quote(message), `"`)
				}
				if !strings.Contains(all, message) {
					t.Errorf("%s: it does not tell %q", key, message)
				}
			}
		}
	})
}
