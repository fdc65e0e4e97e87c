package steps

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"provision/provision"
	"provision/provision/hint"
	"provision/provision/visible"
	"provision/templates"
)

// containers wants the services of a deployment to run. What has never run, or
// has stopped, is started as the last good deploy has left it; a new version is
// for CI to deploy.
type containers struct {
	deployment, user, directory string
	version                     string // the variable of the version, if CI chooses one
}

func containersOf(t target) containers {
	d := t.deployment
	return containers{d.Name, d.User, d.Directory, d.Version}
}

func (s containers) Name() string { return "containers " + s.deployment }

func (s containers) Scope() provision.Scope {
	return provision.Scope{User: s.user, Deployment: s.deployment}
}

// The facts "service" are what templates/health.sh says of each container: the
// verdict, the service, the reason. "good" is what the last good deploy has
// left: the service, how many containers, and whether they run.
func (s containers) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{User: s.user, Args: []string{s.directory, s.deployment, s.version}, Text: templates.Health + `
[ -z "$3" ] || grep -q "^$3=" "$1/.env" 2>/dev/null || fact unversioned yes
command -v docker >/dev/null && [ -d "$1" ] || return 0
# Behind a socket docker starts when it is asked, and a look starts nothing.
case $(systemctl is-active docker.service 2>/dev/null) in
inactive | failed)
	fact unasked 'it does not run'
	return 0
	;;
esac
if [ -e .docker/config.json ] && ! [ -f .docker/config.json ]; then # docker would wait for it
	fact unasked 'the .docker/config.json of its user is not a file'
	return 0
fi
ask_docker() { within 15 docker "$@"; }
status=0
all=$(look "$PWD/$1" 2>/dev/null) || status=$?
case $status in
0)
	state=.provision/$2
	if [ -e "$state/lock" ] && ! flock -n -s "$state/lock" true; then
		fact deploying yes
	fi
	! [ -e "$state/good" ] || sed -n 's/^service \([^ ]* [^ ]* [^ ]*\) .*/\1/p' "$state/good" | facts good
	[ -z "$all" ] || printf '%s\n' "$all" | awk -F '\t' '{ print $1, $11, $4, $2 }' | facts service
	;;
124) fact unasked 'it does not answer' ;;
*)
	said=$(ask_docker ps 2>&1 >/dev/null | tail -n 1 | sed 's/^\(.\{200\}\)..*/\1…/')
	case $said in
	*'permission denied'*) said='its user may not ask it' ;;
	esac
	fact unasked "$said"
	;;
esac
`}}
}

func (s containers) Plan(f provision.Facts) ([]provision.Change, error) {
	switch {
	case len(f["unasked"]) > 0:
		return []provision.Change{provision.Later(provision.Start, "the containers of "+s.deployment, "(if there are none, once docker can be asked: "+visible.String(f.Get("unasked"))+")")}, nil
	case f.Get("deploying") != "":
		return []provision.Change{provision.Note("a deploy of %s is running; its containers are not judged", s.deployment).WithHint("look again when it has ended")}, nil
	case len(f["service"])+len(f["good"]) == 0:
		if f.Get("unversioned") != "" {
			return []provision.Change{provision.Note("no containers of %s are running, as no version was deployed yet", s.deployment).WithHint("its deploy job starts them, with a version")}, nil
		}
		return []provision.Change{s.start("the containers of "+s.deployment, "")}, nil
	}
	stopped, ill := s.problems(f)
	if len(stopped) > 0 {
		return []provision.Change{s.start(plural(len(stopped), "service")+" of "+s.deployment, "("+joinAnd(stopped)+")")}, nil
	}
	var notes []provision.Change
	for _, reason := range ill {
		notes = append(notes, provision.Note("service %s", reason))
	}
	return notes, nil
}

// problems tells what is wrong with services: stopped are those that a start can
// help, and ill those that it cannot.
func (s containers) problems(f provision.Facts) (stopped, ill []string) {
	add := func(texts *[]string, service, text string) { // of each service one
		service = visible.String(service) + " "
		if !slices.ContainsFunc(*texts, func(s string) bool { return strings.HasPrefix(s, service) }) {
			*texts = append(*texts, service+text)
		}
	}
	running, there, left := map[string]int{}, map[string]int{}, map[string]bool{}
	for _, line := range f["good"] {
		service, _, _ := strings.Cut(line, " ")
		left[service] = true
	}
	for _, line := range f["service"] {
		verdict, rest, _ := strings.Cut(line, " ")
		service, rest, _ := strings.Cut(rest, " ")
		state, reason, _ := strings.Cut(rest, " ")
		there[service]++
		if state == "running" || state == "restarting" || state == "paused" {
			running[service]++
		}
		reason = visible.String(reason)
		switch {
		case len(left) > 0 && !left[service]: // somebody has started it by hand, as one of a profile
		case verdict == "bad" && (state == "exited" || state == "created" || state == "dead"),
			len(left) == 0 && (verdict == "bad" || state == "restarting"): // a first start takes its image anew
			add(&stopped, service, reason)
		case verdict == "bad", state == "restarting":
			add(&ill, service, reason)
		}
	}
	for _, line := range f["good"] {
		words := strings.Fields(line)
		if len(words) != 3 {
			continue
		}
		service, state := words[0], words[2]
		n, _ := strconv.Atoi(words[1])
		switch {
		case there[service] < n:
			add(&stopped, service, fmt.Sprintf("has %s instead of %d", plural(there[service], "container"), n))
		case state == "runs" && running[service] < n:
			add(&stopped, service, "is stopped")
		}
	}
	return stopped, ill
}

func (s containers) start(object, remark string) provision.Change {
	return provision.Change{Verb: provision.Start, Object: object, Remark: remark, Do: provision.Script{User: s.user, Args: []string{s.deployment}, Text: `
told=$(/bin/sh ` + deployFile + ` ask "$1" - apply start) && status=0 || status=$?
printf '%s\n' "$told" | grep '^hint: ' || : # before the outcome, which is the last line
printf '%s\n' "$told" | grep -v '^hint: '
return "$status"
`}}
}

// undo stops and removes what Compose has started. It goes by the labels of
// Compose, as the checkout may be half gone.
func (s containers) undo(t target) undo {
	script := provision.Script{Args: []string{s.user, s.directory, s.deployment}, Text: `
command -v docker >/dev/null || return 0
# Behind a socket docker starts when it is asked, and a look starts nothing.
case $(systemctl is-active docker.service 2>/dev/null) in
inactive | failed)
	fact down yes
	return 0
	;;
esac
home=$(getent passwd "$1" | cut -d : -f 6)
folder=${home:-/home/$1}/$2
label=com.docker.compose.project
mine=$(within 30 docker ps --all --filter "label=$label.working_dir=$folder" --format "{{.Label \"$label\"}}")
for project in $(printf '%s\n' "$mine" "$2" | sort -u); do
	all=$(within 30 docker ps --all --filter "label=$label=$project" --format "{{.Label \"$label.working_dir\"}}")
	if other=$(printf '%s\n' "$all" | grep -vxF -e "$folder" -e ''); then
		! printf '%s\n' "$mine" | grep -qxF "$project" || fact other "$(printf '%s\n' "$other" | head -n 1)"
		continue
	fi
	fact project "$project"
	docker ps --all --filter "label=$label=$project" --format '{{.Names}}' | facts container
	docker network ls --filter "label=$label=$project" --format '{{.Name}}' | facts network
	docker volume ls --filter "label=$label=$project" --format '{{.Name}}' | facts volume
done
docker image ls --filter 'reference=provision/kept' --format '{{.Tag}}' | awk -v mine="$3_" 'index($0, mine) == 1 && substr($0, length(mine) + 1) ~ /^[0-9a-f]+$/ && length($0) == length(mine) + 64' | facts kept
`}
	return undo{s.Name(), provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if f.Get("down") != "" {
			return nil, hint.Add(fmt.Errorf("docker does not run, so nobody can tell what %s has there", s.deployment), "systemctl start docker")
		}
		if other := f.Get("other"); other != "" {
			return nil, hint.Add(fmt.Errorf("the containers of %s belong to one Compose project with those of %s", s.deployment, other), "remove them by hand")
		}
		var changes []provision.Change
		down := func(besides, flags string) {
			changes = append(changes, asRoot(provision.Change{Verb: provision.Remove, Object: "the containers and networks of " + s.deployment + besides}, `
home=$(getent passwd "$1" | cut -d : -f 6)
folder=${home:-/home/$1}/$2
lock=$home/.provision/$4/lock
if runuser -u "$1" -- test -f "$lock"; then
	runuser -u "$1" -- flock -w 1800 "$lock" true || fail 'a deploy does not end'
fi
flags=$3
shift 4
for project; do
	docker compose --project-name "$project" down ${flags:+"$flags"}
	[ -z "$flags" ] || docker volume ls --quiet --filter "label=com.docker.compose.project=$project" | xargs -r docker volume rm
done
`, append([]string{s.user, s.directory, flags, s.deployment}, f["project"]...)...))
		}
		volumes := joinAnd(f["volume"])
		switch there := len(f["container"])+len(f["network"]) > 0; {
		case t.given.Volumes && volumes != "":
			down(", and the data in "+volumes, "--volumes")
		case t.given.Volumes && there:
			down("", "--volumes")
		case there:
			down("", "")
		}
		if kept := f["kept"]; len(kept) > 0 {
			changes = append(changes, asRoot(provision.Change{Verb: provision.Remove, Object: plural(len(kept), "kept image") + " of " + s.deployment}, `
for tag; do
	docker image rm "provision/kept:$tag" || :
done
`, kept...))
		}
		if volumes != "" && !t.given.Volumes {
			changes = append(changes, provision.Note("%s with data of %s: --volumes removes it", volumesLeft(f["volume"]), s.deployment))
		}
		return changes, nil
	}}
}

func volumesLeft(volumes []string) string {
	if len(volumes) == 1 {
		return "the volume " + volumes[0] + " stays"
	}
	return "the volumes " + joinAnd(volumes) + " stay"
}
