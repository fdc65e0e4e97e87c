package steps

import (
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/templates"
)

// move is what a host knows of a deployment that moves away from it, or to it: see
// templates/move.sh. Nothing of that is there before or after a move.
type move struct{ deployment, user, directory string }

func moveOf(t target) move {
	return move{t.deployment.Name, t.deployment.User, t.deployment.Directory}
}

func (s move) Name() string { return "move " + s.deployment }

func (s move) Scope() provision.Scope {
	return provision.Scope{User: s.user, Deployment: s.deployment}
}

func (s move) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Args: []string{s.deployment}, Text: `
file=/var/lib/provision/moves/$1/state
! [ -r "$file" ] || fact state "$(cat "$file")"
`}}
}

func (s move) Plan(f provision.Facts) ([]provision.Change, error) {
	state, host, _ := strings.Cut(f.Get("state"), " ")
	drift := func(format string, args ...any) []provision.Change {
		return []provision.Change{provision.Drift(format, args...).WithHint("provision move, run again as before, finishes that or goes back")}
	}
	switch state {
	case "held":
		return drift("%s stands still here, to be moved to %s", s.deployment, host), nil
	case "gone":
		return drift("%s has moved to %s, and is not removed here yet", s.deployment, host), nil
	case "arriving":
		return drift("%s is on its way here from %s, and runs there", s.deployment, host), nil
	}
	return nil, nil
}

// undo forgets the move, last of all: as long as the old host has something of the
// deployment, it knows that this is not the one that runs.
func (s move) undo(target) undo {
	return undo{s.Name(), s.Probe(), func(f provision.Facts) ([]provision.Change, error) {
		if f.Get("state") == "" {
			return nil, nil
		}
		return []provision.Change{asRoot(provision.Change{Verb: provision.Remove, Object: "the notes of the move of " + s.deployment}, `
rm -rf "/var/lib/provision/moves/$1"
rmdir /var/lib/provision/moves /var/lib/provision 2>/dev/null || :
`, s.deployment)}, nil
	}}
}

// Move returns a script that does on one host what a move of a deployment takes
// there: see templates/move.sh.
func Move(d *inventory.Deployment, what string, args ...string) provision.Script {
	return provision.Script{Text: templates.Move, Args: append([]string{what, d.Name, d.User, d.Directory}, args...)}
}

// MoveCopy returns a script that does on one host what the copy of a volume takes there:
// see templates/move_copy.sh.
func MoveCopy(d *inventory.Deployment, what, volume string, args ...string) provision.Script {
	return provision.Script{Text: templates.MoveCopy, Args: append([]string{what, d.Name, volume}, args...)}
}

// MoveProgram is an argument of some scripts of [Move].
func MoveProgram() string { return templates.MoveProgram }

// MoveStart returns a script that starts a deployment on the host where it arrives,
// with a version where CI has chosen one. It fails unless all is well then.
func MoveStart(d *inventory.Deployment, version string) provision.Script {
	return provision.Script{User: d.User, Args: []string{d.Name, version}, Text: `
told=$(/bin/sh ` + deployFile + ` ask "$1" - move start "$2" 2>/dev/null) && status=0 || status=$?
printf '%s\n' "$told"
return "$status"
`}
}

// MoveIn returns the steps of the host to which a deployment moves that can be made
// while it still runs on the other one: all but its start, and what leads CI there.
func MoveIn(inv *inventory.Inventory, host *inventory.Host, d *inventory.Deployment, given Given) []provision.Step {
	later := []string{"move", "ci-variables", "stale-variables", "overridden-variables", "ci-login", "containers"}
	return slices.DeleteFunc(For(inv, host, []*inventory.Deployment{d}, given), func(s provision.Step) bool { return slices.Contains(later, kindOf(s)) })
}

// MoveOut returns the steps that remove a deployment from the host that it has moved
// away from. What leads CI to it is of the other host by then.
func MoveOut(inv *inventory.Inventory, host *inventory.Host, d *inventory.Deployment, given Given) []provision.Step {
	given.From = nil
	return slices.DeleteFunc(Remove(inv, host, d, given), func(s provision.Step) bool { return kindOf(s) == "ci-variables" })
}

// kindOf is the first word of the name of a step.
func kindOf(s provision.Step) string {
	kind, _, _ := strings.Cut(s.Name(), " ")
	return kind
}
