package steps

import (
	"provision/inventory"
	"provision/provision"
	"provision/templates"
)

// Refused begins the line with which a gate refuses something; a code and a
// sentence follow.
const Refused = "provision: refused: "

// Deploy returns a script that asks the gate of a deployment to deploy, as its
// user. Version is a tag or a digest, "" for none, and by is who the host logs as
// asking. Which versions there may be, the gate decides.
//
// It prints what the deploy says as it goes. Its facts are "status", what the gate
// has ended with if that is not 0, and "outcome", a line each. It fails where the
// host lacks the user or the gate.
func Deploy(d *inventory.Deployment, version, by string) provision.Script {
	words := "deploy"
	if version != "" {
		words += " " + version
	}
	return provision.Script{User: d.User, Args: []string{d.Name, words, by}, Text: `
[ -r ` + gateFile + ` ] || fail 'the gate is not installed'
exec 3>&1
{
	SSH_ORIGINAL_COMMAND=$2 /bin/sh ` + gateFile + ` "$1" - "$3" 2>&3 || fact status "$?" >&3
} | facts outcome
`}
}

// A LogsQuery says which of the lines that containers have printed are wanted.
type LogsQuery struct {
	Services []string // without any: all
	Since    string   // as RFC 3339 writes it; "": from the beginning
	Tail     string   // how many of each container, the last ones; or "all"
	Follow   bool     // and those to come, until all containers have ended
}

// Logs returns a script that prints what the containers of a deployment have
// printed, as Compose does, which may erase the line before each. It asks for what
// there is, whatever compose.yaml says by now.
func Logs(d *inventory.Deployment, q LogsQuery) provision.Script {
	follow := ""
	if q.Follow {
		follow = "--follow"
	}
	return provision.Script{User: d.User, Args: append([]string{d.Directory, follow, q.Since, q.Tail}, q.Services...), Text: templates.Health + `
cd "$1" 2>/dev/null || fail 'the deployment is not there yet'
follow=$2 since=$3 tail=$4
shift 4
look_or_why "$PWD"
[ -z "$why" ] || fail "docker cannot be asked: $why"
[ -n "$all" ] || fail 'there are no containers'
services=$(printf '%s\n' "$all" | cut -f 11 | sort -u)
for service; do
	printf '%s\n' "$services" | grep -qxF -e "$service" ||
		fail "no such service: $service; there are containers of: $(printf '%s\n' "$services" | paste -s -d ' ' -)"
done
project=$(printf '%s\n' "$all" | cut -f 13 | sort -u | head -n 1)
cd / # the .env of the project is none of this
exec 3>&1
said=$(docker compose --project-name "$project" logs --no-color --tail "$tail" ${since:+--since "$since"} ${follow:+"$follow"} -- "$@" 2>&1 >&3) ||
	fail "docker compose logs has failed: $(printf '%s\n' "$said" | tail -n 1)"
`}
}
