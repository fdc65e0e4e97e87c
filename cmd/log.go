package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/provision"
	"provision/provision/remote"
	"provision/provision/visible"
	"provision/steps"
)

func logCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "log",
		Usage:     "show what was changed on hosts, and what CI keys asked for there",
		UsageText: "provision log [flags] [INVENTORY]",
		Description: "Reads the journal of each host: what apply, rotate-key and remove have made, and\n" +
			"who did; what the gate let CI keys do, and what it refused. What a key was\n" +
			"refused in one go, as verify is, is one line; --verbose shows each. It needs\n" +
			"the rights of an admin on the hosts, and nothing of GitLab.",
		Flags: append(fleetFlags(),
			&cli.StringFlag{Name: "since", Value: "7d", Usage: "`TIME`: no older than 90m, 24h, 7d, or a date as 2026-01-31"},
		),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			fleet, err := fleetOptionsOf(c)
			if err != nil {
				return err
			}
			since, err := sinceOf(c.String("since"), time.Now())
			if err != nil {
				return err
			}
			return runLog(c.Context, env, fleet, since)
		},
	}
}

// sinceOf reads how far back to look.
func sinceOf(text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("--since is %q; write 90m, 24h, 7d, or a date as %s", text, now.Format(time.DateOnly))
}

func runLog(ctx context.Context, env Env, o fleetOptions, since time.Time) error {
	r, err := begin(env, o)
	if err != nil {
		return err
	}
	parts, err := r.all()
	if err != nil {
		return err
	}
	f, err := r.open(ctx, fleet.Options{Parts: parts})
	if err != nil {
		return err
	}
	defer f.Close()
	report := r.report()
	logs := map[string]hostLog{}
	var mu sync.Mutex
	errs, err := f.Each(ctx, fleet.ThenClose, func(ctx context.Context, s *fleet.Site) error {
		journal := steps.Journal(since.Unix())
		l, err := lookFor(ctx, s, []provision.Step{journal})
		if err != nil {
			return err
		}
		read, err := readLog(l.seen.Of(journal.Name()), since, time.Now())
		if err != nil {
			return fmt.Errorf("%s: %w", s.Host.Name, err)
		}
		mu.Lock()
		defer mu.Unlock()
		logs[s.Host.Name] = read
		return nil
	})
	if err != nil {
		return err
	}
	lines, folded, folds := 0, 0, 0
	failed := outcomes(report, f.Sites, errs, func(s *fleet.Site, err error) {
		if err != nil {
			return
		}
		l := logs[s.Host.Name]
		lines += len(l.entries)
		if !report.JSON && !report.Verbose {
			l.entries = fold(l.entries)
			for _, e := range l.entries {
				if e.times > 1 {
					folded, folds = folded+e.times, folds+1
				}
			}
		}
		l.print(report, s.Host.Name)
	})
	text := fmt.Sprintf("%s, %s since %s", output.Count(report.Tally.Hosts+report.Tally.Failed, "host"), output.Count(lines, "line"), since.UTC().Format(time.RFC3339))
	if folds > 0 {
		text += fmt.Sprintf(", %d of them shown as %d (--verbose shows each)", folded, folds)
	}
	if report.Tally.Failed > 0 {
		text += fmt.Sprintf(", %s failed", output.Count(report.Tally.Failed, "host"))
	}
	report.Last(text, cost(f))
	if failed {
		return errReported
	}
	return nil
}

// A hostLog is what a host has logged.
type hostLog struct {
	entries []logEntry
	note    string
}

type logEntry struct {
	time     time.Time
	by, text string
	times    int // how many lines it stands for, if more than one: see fold
}

// print prints what one host has logged.
func (l hostLog) print(r *output.Report, host string) {
	r.Tally.Hosts++
	if l.note != "" {
		r.Tally.Notes++
		r.Say(output.Line{Event: "note", Host: host, Text: l.note})
	}
	for _, e := range l.entries {
		r.Say(output.Line{Event: "log", Host: host, Time: e.time.UTC().Format(time.RFC3339), By: e.by, Text: e.text})
	}
}

// refusalForm is how the gate logs that it refuses words that it does not know.
// What it refuses for another reason, such as a deploy while another one does not
// end, is not like that.
var refusalForm = regexp.MustCompile(`^(\S+): refused: (?:not-allowed|bad-nonce): (.*)$`)

const (
	// foldWithin is how long after one refusal the next is part of the same go.
	foldWithin = 5 * time.Second
	// foldWidth is how many columns of what was asked for are shown: more than
	// all that verify tries takes, so that what else is among it is seen.
	foldWidth = 300
)

// fold makes one entry of all that the gate refused one key of one deployment in
// one go. Verify tries a dozen commands of each deployment every night, and all
// else would drown in these.
func fold(entries []logEntry) (folded []logEntry) {
	for len(entries) > 0 {
		first := entries[0]
		n, name, asked := 0, "", []string(nil)
		for _, e := range entries {
			m := refusalForm.FindStringSubmatch(e.text)
			if m == nil || !strings.HasPrefix(e.by, "user ") || n > 0 &&
				(m[1] != name || e.by != first.by || e.time.Sub(entries[n-1].time) > foldWithin) {
				break
			}
			n, name = n+1, m[1]
			if !slices.Contains(asked, m[2]) {
				asked = append(asked, m[2])
			}
		}
		if n > 1 {
			took := entries[n-1].time.Sub(first.time)
			what := output.Cut(visible.String(strings.Join(asked, ", ")), foldWidth)
			if remote.Tried(asked) {
				what = "all that verify tries"
			}
			first.text, first.times = fmt.Sprintf("%s: refused %d times in %s: %s", name, n, output.Seconds(took), what), n
		}
		folded = append(folded, first)
		entries = entries[max(n, 1):]
	}
	return folded
}

// readLog reads what [steps.Journal] saw.
func readLog(f provision.Facts, since, now time.Time) (l hostLog, err error) {
	users := map[string]string{"0": ""} // by id
	for _, u := range f["user"] {
		name, id, _ := strings.Cut(u, " ")
		users[id] = name
	}
	for _, text := range f["entry"] {
		var e journalEntry
		if json.Unmarshal([]byte(text), &e) != nil {
			continue // it is too long to be one of ours
		}
		microseconds, err := strconv.ParseInt(e.Time, 10, 64)
		when := time.UnixMicro(microseconds)
		if err != nil || when.Before(since) {
			continue
		}
		entry := logEntry{time: when, text: e.message()}
		entry.attribute(e.UID, users)
		l.entries = append(l.entries, entry)
	}
	file := f.Get("file")
	switch {
	case len(f["entry"]) == steps.JournalLines || len(f["line"]) == steps.JournalLines:
		l.note = fmt.Sprintf("the newest %d lines only", steps.JournalLines)
	case file != "":
		l.note = fmt.Sprintf("the host keeps no journal: this is from %s, which does not tell who wrote a line", file)
	}
	if file == "" && f.Get("journal") == "" {
		return l, errors.New("the host keeps no log: there is neither a journal nor one of auth.log, secure, messages and syslog in /var/log")
	}
	zone := now.Location()
	if t, err := time.Parse("-0700", f.Get("zone")); err == nil {
		zone = t.Location()
	}
	for _, text := range f["line"] {
		when, message, ok := syslogLine(text, now, zone)
		if !ok || when.Before(since) {
			continue
		}
		entry := logEntry{time: when, text: message}
		entry.split()
		l.entries = append(l.entries, entry)
	}
	slices.SortStableFunc(l.entries, func(a, b logEntry) int { return a.time.Compare(b.time) })
	return l, nil
}

// A journalEntry is a line of journalctl --output=json. A message that is no
// text is a list of bytes there.
type journalEntry struct {
	Time    string          `json:"__REALTIME_TIMESTAMP"`
	UID     string          `json:"_UID"`
	Message json.RawMessage `json:"MESSAGE"`
}

func (e journalEntry) message() string {
	var text string
	if json.Unmarshal(e.Message, &text) == nil {
		return text
	}
	var bytes []int
	if json.Unmarshal(e.Message, &bytes) != nil {
		return ""
	}
	for _, b := range bytes {
		text += string([]byte{byte(b)})
	}
	return text
}

// split takes who did it out of a line: apply and the gate write it at the end.
func (e *logEntry) split() {
	at := max(strings.LastIndex(e.text, " (by "), strings.LastIndex(e.text, " (user "))
	if who, ok := strings.CutSuffix(e.text[max(at, 0):], ")"); at >= 0 && ok {
		e.text, e.by = e.text[:at], strings.TrimPrefix(strings.TrimPrefix(who, " ("), "by ")
	}
}

// attribute says who did it, if the line is from whom it says. Anybody on a
// host may write into its journal, but not in the name of another user.
func (e *logEntry) attribute(uid string, users map[string]string) {
	whole := *e
	e.split()
	name, known := users[uid]
	gate := strings.HasPrefix(e.by, "user ")
	switch {
	case known && uid == "0" && e.by != "" && !gate:
	case known && uid != "0" && gate && strings.HasPrefix(e.by, "user "+name+", "):
	default:
		*e = whole
		e.by = "not by provision: user " + cmp.Or(name, "with the id "+uid)
	}
}

var syslogForm = regexp.MustCompile(`^([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\S+) (?:[^\s:[]+ ){0,2}provision(?:\[\d+\])?: (.*)$`)

// syslogLine reads a line of a log file. The old form has no year: it is the
// last one in which that was.
func syslogLine(text string, now time.Time, zone *time.Location) (when time.Time, message string, ok bool) {
	m := syslogForm.FindStringSubmatch(text)
	if m == nil {
		return when, "", false
	}
	if when, err := time.Parse(time.RFC3339, m[1]); err == nil {
		return when, m[2], true
	}
	when, err := time.ParseInLocation(time.Stamp, m[1], zone)
	if err != nil {
		return when, "", false
	}
	when = when.AddDate(now.In(zone).Year(), 0, 0)
	if when.After(now.Add(24 * time.Hour)) {
		when = when.AddDate(-1, 0, 0)
	}
	return when, m[2], true
}
