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
	only                        string   // see target.only
	version                     string   // the variable of the version, if CI chooses one
	asUser                      bool     // CI looks
	override                    string   // the digest of it; "" without one
	env                         string   // what tells that .env has our lines, see appEnv.form
	profiles                    []string // that are active
	files                       []string // that have to be there
	project, branch             string
	compose                     []string // the Compose files, where they are not those in the root
}

func containersOf(t target) containers {
	d := t.deployment
	s := containers{
		deployment: d.Name, user: d.User, directory: d.Directory, version: d.Version, asUser: t.probing || t.given.AsUser,
		env: appEnvOf(t).form(), files: appFilesOf(t).paths(), project: d.Project, branch: d.Branch, compose: d.Compose, profiles: d.Profiles, only: t.only(),
	}
	if o := overrideOf(t); o.wanted() {
		s.override = o.digest()
	}
	return s
}

func (s containers) Name() string { return "containers " + s.deployment }

func (s containers) Scope() provision.Scope {
	return provision.Scope{User: s.user, Deployment: s.deployment}
}

// The facts are those of templates/containers.sh.
func (s containers) Probe() provision.Probe {
	asUser := ""
	if s.asUser {
		asUser = "yes"
	}
	args := append([]string{s.directory, s.deployment, s.version, asUser, s.override, s.env, strings.Join(s.profiles, ","), strings.Join(s.compose, ":")}, s.files...)
	return provision.Probe{Script: provision.Script{User: s.user, Args: args, Text: templates.Containers}, Next: s.beforeClone}
}

func (s containers) Plan(f provision.Facts) ([]provision.Change, error) {
	home := "~" + s.user + "/" + s.directory
	stopped, ill := s.problems(f)
	err := s.unreadable(home, f)
	switch {
	case err != nil && len(f["unasked"])+len(f["deploying"]) == 0 && len(f["good"]) > 0 && len(stopped)+len(ill) > 0:
		return nil, &unreadable{err, joinAnd(slices.Concat(stopped, ill))}
	case err != nil:
		return nil, err
	case len(f["unasked"]) > 0:
		return []provision.Change{provision.Later(provision.Start, "the containers of "+s.deployment, "(if there are none, once docker can be asked: "+visible.String(f.Get("unasked"))+")")}, nil
	case f.Get("deploying") != "":
		return []provision.Change{provision.Note("a deploy of %s is running; its containers are not judged", s.deployment).WithHint("look again when it has ended")}, nil
	case len(f["service"])+len(f["good"]) == 0:
		if f.Get("unversioned") != "" || s.version != "" && f.Get("clone") == "" { // nor is there anything yet
			return []provision.Change{provision.Note("no containers of %s are running, as no version was deployed yet", s.deployment).WithHint("its deploy job starts them, with a version; or provision deploy --tag VERSION %s", s.deployment)}, nil
		}
		return []provision.Change{s.start("the containers of "+s.deployment, "", dockerCA{}.Name())}, nil
	}
	changes := s.drift(home, ill, f)
	if len(stopped) > 0 {
		changes = append(changes, s.start(plural(len(stopped), "service")+" of "+s.deployment, "("+joinAnd(stopped)+")", ""))
	}
	if soon := f["soon"]; len(soon) > 0 {
		changes = append(changes, provision.Later(provision.Start, plural(len(soon), "service")+" of "+s.deployment, "("+visible.String(joinAnd(soon))+", once .env is written)"))
	}
	return changes, nil
}

// drift is what is not as it should be, and no start can help.
func (s containers) drift(home string, ill []string, f provision.Facts) []provision.Change {
	var changes []provision.Change
	for _, reason := range ill {
		changes = append(changes, provision.Drift("service %s", reason))
	}
	for _, service := range f["orphan"] {
		changes = append(changes, provision.Drift("service %s runs, and compose.yaml no longer has it", visible.String(service)).WithHint("the next deploy removes it"))
	}
	for _, service := range f["idle"] {
		changes = append(changes, provision.Drift("service %s runs, and is only of profiles that are no longer active", visible.String(service)).WithHint("the next deploy removes it; or name its profile in the inventory: profiles = […]"))
	}
	changes = append(changes, s.unknownProfiles(f)...)
	left, runs := map[string]bool{}, map[string][]string{}
	for _, line := range f["good"] {
		if words := strings.Fields(line); len(words) > 3 {
			left[words[0]] = true
			runs[words[0]] = append(runs[words[0]], words[3])
		}
	}
	for _, line := range f["image"] {
		service, image, _ := strings.Cut(line, " ")
		if left[service] && !slices.Contains(runs[service], image) {
			changes = append(changes, provision.Note("service %s runs another image than the one of the last good deploy", visible.String(service)).WithHint("somebody else has started it; the next deploy decides anew"))
		}
	}
	if f.Get("waits") != "" {
		changes = append(changes, provision.Note("%s/.env has changed since the last deploy", home).WithHint("the next deploy uses it"))
	}
	for _, line := range f["stale"] {
		service, file, _ := strings.Cut(line, " ")
		changes = append(changes, provision.Note("%s/%s has changed since service %s was started, which may still see the old one", home, visible.String(file), visible.String(service)).
			WithHint("docker compose up --detach --force-recreate %s, there and as %s", hint.Quote(visible.String(service)), s.user))
	}
	return changes
}

// unknownProfiles tells of active profiles that no service has, which Compose does not
// mind.
func (s containers) unknownProfiles(f provision.Facts) (changes []provision.Change) {
	if len(f["profiles"]) == 0 {
		return nil
	}
	has := strings.Fields(f.Get("profiles"))
	for _, profile := range s.profiles {
		if slices.Contains(has, profile) {
			continue
		}
		note := provision.Note("no service of %s has the profile %s", s.deployment, profile)
		if len(has) > 0 {
			note = note.WithHint("the profiles there are %s; mend profiles in the inventory", visible.String(joinAnd(has)))
		}
		changes = append(changes, note)
	}
	return changes
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
	running, there, left, wants := map[string]int{}, map[string]int{}, map[string]bool{}, map[string]int{}
	for _, line := range f["good"] {
		service, _, _ := strings.Cut(line, " ")
		left[service] = true
	}
	for _, line := range f["wanted"] {
		service, n, _ := strings.Cut(line, " ")
		wants[service], _ = strconv.Atoi(n)
	}
	gone := func(service string) bool { // from compose.yaml
		_, ok := wants[service]
		return len(wants) > 0 && !ok
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
		case gone(service), len(left) > 0 && !left[service] && wants[service] == 0: // somebody has started it by hand, as one of a profile
		case verdict == "bad" && (state == "exited" || state == "created" || state == "dead"),
			len(left) == 0 && (verdict == "bad" || state == "restarting"): // a first start takes its image anew
			add(&stopped, service, reason)
		case verdict == "bad", state == "restarting":
			add(&ill, service, reason)
		}
	}
	for _, line := range f["good"] {
		words := strings.Fields(line)
		if len(words) < 3 || gone(words[0]) {
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
	for _, line := range f["wanted"] {
		service, _, _ := strings.Cut(line, " ")
		switch n := wants[service]; {
		case left[service] || there[service] >= n:
		case len(left) > 0 && there[service] == 0:
			add(&stopped, service, "was never started")
		default:
			add(&stopped, service, fmt.Sprintf("has %s instead of %d", plural(there[service], "container"), n))
		}
	}
	return stopped, ill
}

func (s containers) start(object, remark, needs string) provision.Change {
	return provision.Change{Verb: provision.Start, Object: object, Remark: remark, Needs: needs, Do: provision.Script{User: s.user, Args: []string{s.deployment}, Text: `
told=$(/bin/sh ` + deployFile + ` ask "$1" - apply start) && status=0 || status=$?
printf '%s\n' "$told" | grep '^hint: ' || : # before the outcome, which is the last line
printf '%s\n' "$told" | grep -v '^hint: '
return "$status"
`}}
}

// dockerOfUser has docker_of USER, by which root asks the Docker that the gate asks as
// this user: another one than that of the host where the user has chosen it.
const dockerOfUser = `
docker_of() {
	getent passwd "$1" >/dev/null && command -v docker >/dev/null || return 0
	_socket=$(as "$1" "timeout 30 docker context inspect --format '{{.Endpoints.docker.Host}}'" 2>/dev/null) || return 0
	[ -z "$_socket" ] || DOCKER_HOST=$_socket
}
`

// undo stops and removes what Compose has started. It goes by the labels of
// Compose, as the checkout may be half gone.
func (s containers) undo(t target) undo {
	script := provision.Script{Args: []string{s.user, s.directory, s.deployment}, Text: templates.Settings + templates.Health + dockerOfUser + `
carried "$3" "$1" "$2"
kept=$label
[ -z "$kept" ] || fact label "$kept"
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
docker_of "$1"
case $DOCKER_HOST in
unix://*) ;;
*)
	fact elsewhere "$DOCKER_HOST"
	return 0
	;;
esac
label=com.docker.compose.project
mine=$(within 30 docker ps --all --filter "label=$working_dir" --format "{{.Label \"$label\"}} {{.Label \"$working_dir\"}}" | in_clone "$folder" | cut -d ' ' -f 1)
for project in $(printf '%s\n' "$mine" "$2" | sort -u); do
	all=$(within 30 docker ps --all --filter "label=$label=$project" --format "- {{.Label \"$working_dir\"}}")
	other=$(printf '%s\n' "$all" | not_in_clone "$folder" | cut -d ' ' -f 2- | head -n 1)
	if [ -n "$other" ]; then
		! printf '%s\n' "$mine" | grep -qxF "$project" || fact other "$other"
		continue
	fi
	fact project "$project"
	docker ps --all --filter "label=$label=$project" --format '{{.Names}}' | facts container
	docker network ls --filter "label=$label=$project" --format '{{.Name}}' | facts network
	docker volume ls --filter "label=$label=$project" --format '{{.Name}}' | facts volume
done
docker image ls --filter 'reference=provision/kept' --format '{{.Tag}}' | awk -v mine="${kept:--}_" 'index($0, mine) == 1 && substr($0, length(mine) + 1) ~ /^[0-9a-f]+$/ && length($0) == length(mine) + 64' | facts kept
`}
	return undo{s.Name(), provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if f.Get("down") != "" {
			return nil, hint.Add(fmt.Errorf("docker does not run, so nobody can tell what %s has there", s.deployment), "systemctl start docker")
		}
		if at := f.Get("elsewhere"); at != "" {
			return nil, hint.Add(fmt.Errorf("the docker of %s is at %s, and not on this host: what %s has there is not removed", s.user, visible.String(at), s.deployment), "as %s: docker context use default", s.user)
		}
		if other := f.Get("other"); other != "" {
			return nil, hint.Add(fmt.Errorf("the containers of %s belong to one Compose project with those of %s", s.deployment, other), "remove them by hand")
		}
		var changes []provision.Change
		down := func(besides, flags string) {
			changes = append(changes, asRoot(provision.Change{Verb: provision.Remove, Object: "the containers and networks of " + s.deployment + besides}, dockerOfUser+`
docker_of "$1"
home=$(getent passwd "$1" | cut -d : -f 6)
folder=${home:-/home/$1}/$2
lock=$home/.provision/$4/lock
if [ -n "$4" ] && runuser -u "$1" -- test -f "$lock"; then
	runuser -u "$1" -- flock -w 1800 "$lock" true || fail 'a deploy does not end'
fi
flags=$3
shift 4
for project; do
	docker compose --project-name "$project" down ${flags:+"$flags"}
	[ -z "$flags" ] || docker volume ls --quiet --filter "label=com.docker.compose.project=$project" | xargs -r docker volume rm
done
`, append([]string{s.user, s.directory, flags, f.Get("label")}, f["project"]...)...))
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
			changes = append(changes, asRoot(provision.Change{Verb: provision.Remove, Object: plural(len(kept), "kept image") + " of " + s.deployment}, dockerOfUser+`
docker_of "$1"
shift
for tag; do
	docker image rm "provision/kept:$tag" || :
done
`, append([]string{s.user}, kept...)...))
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
