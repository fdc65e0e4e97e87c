package steps

import (
	"slices"
	"strconv"
	"strings"

	"provision/provision"
	"provision/provision/hint"
	"provision/provision/shape"
)

// limits are what sshd(8) holds a CI key to besides its command: the networks that it comes
// from, and the time at which it ends. A key keeps the end that its line has, as long as that is
// not later than it would get now: nothing but another key moves it on.
type limits struct {
	networks []string
	days     int // until a new key ends; 0: none does

	now, soon, latest string            // times of the host, as it writes them in a line
	ends              map[string]string // of keys that have one in their line, by their fingerprint
}

// endForm stands for a time where no host was asked for one.
const endForm = "YYYYMMDDHHMMZ"

// warnDays is how many days before its end a key is spoken of.
func (l limits) warnDays() int { return min(l.days/4, 14) }

// lookAtTime reports the time of the host as sshd(8) takes it in expiry-time: in UTC from
// OpenSSH 9.1 on, and before in the time of the host. $1 is after how many days a key ends, and
// $2 how many days before it is spoken of.
const lookAtTime = `
read_time() {
	now=$(date +%s)
	for what in "now 0" "soon $2" "latest $1"; do
		at=@$((now + ${what#* } * 86400))
		if [ "$utc" = yes ]; then
			fact "${what% *}" "$(date -u -d "$at" +%Y%m%d%H%MZ)"
		else
			fact "${what% *}" "$(date -d "$at" +%Y%m%d%H%M)"
		fi
	done
}
utc=$(sshd -V 2>&1 </dev/null | sed -n 's/.*OpenSSH_\([0-9]*\)[.]\([0-9]*\).*/\1 \2/p' | awk 'NR == 1 { print ($1 > 9 || $1 == 9 && $2 >= 1) ? "yes" : "no" }')
`

// look returns the arguments and the script that report what the limits need.
func (l limits) look() (args []string, script string) {
	if l.days == 0 {
		return nil, ""
	}
	return []string{strconv.Itoa(l.days), strconv.Itoa(l.warnDays())}, lookAtTime + `read_time "$3" "$4"
`
}

// timeFacts are those of lookAtTime.
func timeFacts() shape.Facts {
	return shape.Facts{"now": timeForm, "soon": timeForm, "latest": timeForm}
}

const (
	timeForm     shape.Shape = `[0-9]{12}Z?`
	networksForm shape.Shape = `[0-9a-fA-F.:/,]+`
)

// seen returns the limits as they are on a host.
func (l limits) seen(f provision.Facts) limits {
	l.now, l.soon, l.latest = f.Get("now"), f.Get("soon"), f.Get("latest")
	l.ends = map[string]string{}
	for _, line := range fileLines(f, "line", "key") {
		if _, end, ok := strings.Cut(line.text, `,expiry-time="`); ok {
			l.ends[printOf(line.text)], _, _ = strings.Cut(end, `"`)
		}
	}
	return l
}

// end returns when a key ends.
func (l limits) end(public string) string {
	switch end := l.ends[fingerprintOf(public)]; {
	case l.latest == "":
		return endForm
	case len(end) == len(l.latest) && strings.HasSuffix(end, "Z") == strings.HasSuffix(l.latest, "Z") && end <= l.latest:
		return end
	}
	return l.latest
}

// options are those of the line of a key.
func (l limits) options(public string) string {
	var options string
	if len(l.networks) > 0 {
		options += `,from="` + strings.Join(l.networks, ",") + `"`
	}
	if l.days > 0 {
		options += `,expiry-time="` + l.end(public) + `"`
	}
	return options
}

// over tells whether a key has ended. Without a limit in the inventory, it is to end no more.
func (l limits) over(public string) bool {
	end := l.ends[fingerprintOf(public)]
	return l.days > 0 && end != "" && len(end) == len(l.now) && end <= l.now
}

// tell notes that a key is about to end.
func (l limits) tell(s ciKey, public string) []provision.Change {
	end := l.end(public)
	if l.days == 0 || len(end) != len(l.soon) || end > l.soon || end == endForm || slices.Contains(s.retire, public) {
		return nil
	}
	day := end[:4] + "-" + end[4:6] + "-" + end[6:8]
	return []provision.Change{provision.Note("the CI key of %s expires on %s", s.ci.deployment, day).
		WithHint("provision rotate-key --only ci-key --limit %s %s", s.ci.deployment, hint.Quote(s.former.inventory))}
}
