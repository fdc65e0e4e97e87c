package steps

import (
	"strconv"

	"provision/provision"
)

// JournalLines is how many lines [Journal] reads at most: the newest.
const JournalLines = 10_000

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
func Journal(since int64) provision.Step { return journal{since} }

func (journal) Name() string { return "journal" }

func (s journal) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{
		Args: []string{strconv.FormatInt(s.since, 10), strconv.Itoa(JournalLines)}, Text: lookAtJournal,
	}}
}

func (journal) Plan(provision.Facts) ([]provision.Change, error) { return nil, nil }

const lookAtJournal = `
cat /etc/provision/deployments/* 2>/dev/null | sed -n 's/^user=//p' | sort -u | while IFS= read -r user; do
	id=$(id -u "$user" 2>/dev/null) || continue
	fact user "$user $id"
done
for directory in /run/log/journal /var/log/journal; do
	if [ -d "$directory" ] && command -v journalctl >/dev/null; then
		fact journal "$directory"
		journalctl --quiet --no-pager --identifier=provision --since="@$1" --lines="$2" \
			--output=json --output-fields=MESSAGE,_UID | facts entry
		return 0
	fi
done
for file in /var/log/auth.log /var/log/secure /var/log/messages /var/log/syslog; do
	[ -r "$file" ] || continue
	fact zone "$(date +%z)"
	fact file "$file"
	grep ' provision\(\[[0-9]*\]\)\{0,1\}: ' "$file" | tail -n "$2" | facts line
	return 0
done
`
