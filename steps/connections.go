package steps

import (
	"slices"
	"strings"

	"provision/provision"
	"provision/templates"
)

// connections wants no SSH connection of a user to be open whose key is let in no more: sshd
// looks at a key once, and what was opened before goes on.
type connections struct {
	user string

	unseen bool // by whoever looks: only root sees them
}

func connectionsOf(t target) connections {
	return connections{t.deployment.User, t.probing || t.given.AsUser}
}

func (s connections) wanted() bool { return !s.unseen }

func (s connections) Name() string { return "connections " + s.user }

func (s connections) Scope() provision.Scope { return provision.Scope{User: s.user} }

func (s connections) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Args: []string{s.user}, Text: templates.Connections}}
}

func (s connections) Plan(f provision.Facts) ([]provision.Change, error) {
	var changes []provision.Change
	if args, keys := s.revoked(f); len(args) > 0 {
		changes = append(changes, asRoot(provision.Change{
			Verb: provision.Close, Object: "open SSH connections of " + s.user, Remark: "(" + plural(len(args), "connection") + " with a revoked key: " + joinAnd(keys) + ")",
		}, closeConnections, args...))
	}
	if n := len(f["unknown"]); n > 0 {
		changes = append(changes, provision.Note("nobody knows by which key %s of %s came in, as the log of sshd does not say", plural(n, "SSH connection"), s.user).
			WithHint("to end them all: pkill -u %s -x 'sshd|sshd-session'", s.user))
	}
	return changes, nil
}

// revoked returns the connections that are to be closed, each as "PID START", and their keys.
func (s connections) revoked(f provision.Facts) (open, keys []string) {
	for _, fact := range f["revoked"] {
		words := strings.Fields(fact)
		if len(words) != 3 {
			continue
		}
		open = append(open, words[0]+" "+words[1])
		if !slices.Contains(keys, words[2]) {
			keys = append(keys, words[2])
		}
	}
	slices.Sort(keys)
	return open, keys
}

// undo closes what the revoked key of the deployment has opened: its user may stay.
func (s connections) undo(target) undo {
	s.unseen = false
	return undo{s.Name(), s.Probe(), s.Plan}
}

// closeConnections ends the processes that are named by their number and when they started:
// the number may be another one's by now. They are those of sshd for one connection each, and
// what sshd has of root for it ends with them.
const closeConnections = `
same() {
	[ -r "/proc/$1/stat" ] && read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
	start=$2
	# shellcheck disable=SC2086 # it is fields
	set -- ${stat##*) }
	[ "$1" != Z ] && [ "${20}" = "$start" ]
}
for signal in TERM KILL; do
	for connection; do
		# shellcheck disable=SC2086 # it is two fields
		! same $connection || kill -s "$signal" "${connection% *}" 2>/dev/null || :
	done
	tries=0
	while [ "$tries" -lt 50 ]; do
		left=''
		for connection; do
			# shellcheck disable=SC2086 # it is two fields
			! same $connection || left=yes
		done
		[ -n "$left" ] || return 0
		tries=$((tries + 1))
		sleep 0.1
	done
done
fail 'a connection does not end'
`
