package steps

import (
	"strconv"

	"provision/provision"
)

// JournalLines is how many lines [Journal] reads at most of root: the newest. Other users
// may write as much as they like, so there are other bounds for them.
const (
	JournalLines   = 10_000
	journalKeyed   = 1_000 // lines of one key, of what it did or of what it was refused
	journalUsers   = 10    // of whom there are any
	journalBuckets = 25    // of such lines
	journalAlike   = 300   // lines of one hour that are alike
)

// journal looks what a host has logged about itself, and changes nothing.
type journal struct{ since int64 }

func journalOf(target) journal { return journal{} }

func (journal) wanted() bool { return false }

// Journal returns a step that looks what a host has logged about itself, of
// apply and of the gate, and changes nothing. Since is in seconds of Unix.
//
// The facts are "user", a name and an id of each deploy user; "journal",
// and "entry", a line of it as JSON with MESSAGE and _UID; or where the host keeps no journal,
// "file", which is read in its place, "line", and "zone", as date +%z says it.
//
// Noise hides nothing: what root says, what a key did and what a key was refused do not
// push each other out. Of what is alike in one hour some lines are told, and of the rest
// how many there are and the last of them: "more", a number and such a line. Alike is what
// one key did, or was refused, of one deployment, and what a user has written
// otherwise. "dropped" is how many lines are told of in no way, as there are newer ones.
func Journal(since int64) provision.Step { return journal{since} }

func (journal) Name() string { return "journal" }

func (s journal) Probe() provision.Probe {
	args := []string{strconv.FormatInt(s.since, 10)}
	for _, n := range []int{JournalLines, journalKeyed, journalUsers, journalBuckets, journalAlike} {
		args = append(args, strconv.Itoa(n))
	}
	return provision.Probe{Script: provision.Script{Args: args, Text: lookAtJournal}}
}

func (journal) Plan(provision.Facts) ([]provision.Change, error) { return nil, nil }

// In a journal the name of a field in a message has a backslash before its quotes.
const lookAtJournal = `
# chosen FACT ROOT KEYED USERS BUCKETS ALIKE: chooses lines, and reports them.
chosen() {
	awk -v at="$mark fact " -v fact="$1" -v root="$2" -v keyed="$3" -v users="$4" -v buckets="$5" -v alike="$6" '
	function keep(bucket, most) {
		bound[bucket] = most
		kept[bucket, count[bucket]++ % most] = $0
	}
	length($0) > 8192 { $0 = substr($0, 1, 8192) } # which is no line of ours
	{
		uid = "-"; hour = ""; text = $0
		if (fact == "entry") {
			if (match($0, /"_UID":"[0-9]+"/)) uid = substr($0, RSTART + 8, RLENGTH - 9)
			if (match($0, /"__REALTIME_TIMESTAMP":"[0-9]+"/)) hour = int(substr($0, RSTART + 24, RLENGTH - 25) / 3600000000)
			if (match($0, /"MESSAGE":"([^"\\]|\\.)*"/)) text = substr($0, RSTART + 11, RLENGTH - 12)
		} else {
			if (match($0, /^[^:]*/)) hour = substr($0, 1, RLENGTH)
			if (match($0, / provision(\[[0-9]*\])?: /)) text = substr($0, RSTART + RLENGTH)
		}
		if (uid == "0" || uid == "-" && text ~ /\(by .*\)$/) { keep("root", root); next } # as far as a file tells
		if (!(uid in known)) {
			if (all >= users) { dropped++; next }
			known[uid]; all++
		}
		who = ""
		if (match(text, /\(user [^ ,()]+, key [^ ,()]+, from [^ ,()]+\)$/)) { who = substr(text, RSTART, RLENGTH); sub(/, from .*/, "", who) }
		refused = text ~ /^[A-Za-z0-9._-]+: refused: /
		bucket = uid SUBSEP refused SUBSEP who
		if (!(bucket in bound) && made++ >= buckets) bucket = uid
		group = bucket SUBSEP hour SUBSEP (text ~ /^[A-Za-z0-9._-]+: / ? substr(text, 1, index(text, ":")) : "")
		if (!(group in n) && groups[uid]++ >= 400) group = uid SUBSEP "others"
		if (n[group]++ < alike) keep(bucket, keyed)
		else last[group] = $0
	}
	END {
		for (bucket in bound) {
			for (i = 0; i < count[bucket] && i < bound[bucket]; i++) print at fact "=" kept[bucket, i]
			if (count[bucket] > bound[bucket]) dropped += count[bucket] - bound[bucket]
		}
		for (group in last) print at "more=" n[group] - alike " " last[group]
		if (dropped) print at "dropped=" dropped
	}'
}
cat /etc/provision/deployments/* 2>/dev/null | sed -n 's/^user=//p' | sort -u | while IFS= read -r user; do
	id=$(id -u "$user" 2>/dev/null) || continue
	fact user "$user $id"
done
for directory in /run/log/journal /var/log/journal; do
	if [ -d "$directory" ] && command -v journalctl >/dev/null; then
		fact journal "$directory"
		journalctl --quiet --no-pager --identifier=provision --since="@$1" \
			--output=json --output-fields=MESSAGE,_UID | chosen entry "$2" "$3" "$4" "$5" "$6"
		return 0
	fi
done
for file in /var/log/auth.log /var/log/secure /var/log/messages /var/log/syslog; do
	[ -r "$file" ] || continue
	fact zone "$(date +%z)"
	fact file "$file"
	grep ' provision\(\[[0-9]*\]\)\{0,1\}: ' "$file" | chosen line "$2" "$3" "$4" "$5" "$6"
	return 0
done
`
