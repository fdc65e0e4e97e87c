# deploy ask NAME KEY FROM deploy|start [VERSION]
# deploy run NAME KEY FROM deploy|start VERSION ID
# deploy status NAME
#
# What the gate, and apply for the first start, do with the deployment NAME, as
# its user. A deploy is a process of its own: ask begins one, or joins the one
# that waits already, and then copies what it says for as long as somebody
# listens. So it ends the same way whether the client is there, gone, or has
# stopped reading. What it says meanwhile comes on standard error, and how it
# ended on standard output.
#
# Where a deployment has moved away, or has yet to come, nothing is deployed but by the
# move itself: see move.sh.
#
# start starts what the last good deploy has left, and pulls nothing. Where there
# was none, it deploys, but what is well already stays as it is.
#
# In ~/.provision/NAME, with the name that the deployment had first, there are
#
#   lock, next, door   locks: of the deploy that runs, of the one that waits, and
#                      of whoever decides which of them to be
#   last, waiting      the ids of the newest deploy and of the one that waits
#   running            since when there is one, and by which key
#   ID.log             what a deploy said
#   ID.end             how it ended: the exit status; "ended", the outcome, when,
#                      and by which key (- is an admin); and what is told of it
#   good               the last good deploy, see record
#   same               what must be as it was for a deploy to have nothing to do
#   wants              what Compose wants of the project, see wants.sh
#   kept, tried        images: of good deploys, and of those that were not
#   waits              is there when apply has written .env since the last good deploy
set -eu
program=/usr/local/lib/provision/deploy
mode=$1
called "$2" "$USER" - || {
	echo 'provision: no such deployment'
	exit 1
}
set -f
name=$known
state=$HOME/.provision/$label moves=/var/lib/provision/moves/$name/state
[ "$mode" = status ] || [ -d "$state" ] || (umask 077 && mkdir -p "$state")
cd "$HOME/$directory"
here=$PWD
newline='
'

# say TEXT: progress, for whoever follows.
say() {
	printf 'provision: %s\n' "$1" >&2
}

now() {
	date -u +%Y-%m-%dT%H:%M:%SZ
}

# --- Asking -----------------------------------------------------------------

# ask begins a deploy, or joins one that has yet to begin and is to do the same:
# it will pull whatever was pushed before this one was asked for.
ask() {
	want="$what $version"
	tries=0
	while :; do
		exec 4>>"$state/door" 7>>"$state/next"
		flock 4
		if flock -n 7; then
			begin
			break
		fi
		id=$(cat "$state/waiting" 2>/dev/null) || id=''
		if [ -n "$id" ] && [ "$(cat "$state/$id.want")" = "$want" ]; then
			say "another deploy waits already, and does this one's work too"
			break
		fi
		exec 4>&-
		[ "$key" = - ] || still_let_in || fail_to "this key is no longer allowed"
		tries=$((tries + 1)) # of five seconds each
		[ "$tries" -lt 1440 ] || fail_to "another deploy waits, and does not begin; run the job again"
		! flock -s -w 5 7 || flock -u 7
	done
	exec 7>&-
	follow
}

# still_let_in: whether the key is let in, also if the deployment has got another name
# meanwhile.
still_let_in() (
	set +f
	called "$name" "$USER" - && let_in "$key"
)

# begin starts a deploy, which inherits the locks: its log is locked until it ends.
begin() {
	id=0
	! [ -s "$state/last" ] || read -r id <"$state/last"
	id=$((id + 1))
	[ ! -e "$state/$id.end" ] || rm -f "$state/$id.end" "$state/$id.told" # of a time before a full disk
	printf '%s\n' "$want" >"$state/$id.want"
	printf '%s\n' "$id" >"$state/last"
	printf '%s\n' "$id" >"$state/waiting"
	exec 9>"$state/$id.log"
	flock 9
	setsid /bin/sh "$program" run "$name" "$key" "$from" "$what" "$version" "$id" </dev/null >>"$state/$id.log" 2>&1 3>&- 4>&- &
	exec 9>&-
}

# follow copies what the deploy says until it has ended. Whoever listens may stop
# reading at any time; then only this process waits.
follow() {
	exec 6<"$state/$id.log" 8<"$state/$id.log" 9<"$state/$id.want"
	flock -s 9 # for tell_untold: somebody still listens
	exec 4>&-
	until flock -s -w 0.3 6; do
		cat <&8 >&2
	done
	cat <&8 >&2
	[ -s "$state/$id.end" ] || fail_to "the deploy was ended from outside before it was done; run the job again"
	{
		read -r status
		read -r line
		case $line in
		'ended '*) ;;
		*) printf '%s\n' "$line" ;; # of an older version
		esac
		cat
	} <"$state/$id.end"
	: >"$state/$id.told"
	exit "$status"
}

fail_to() {
	printf 'provision: %s\n' "$1"
	exit 1
}

# --- Running ----------------------------------------------------------------

# run waits for the deploy that runs, if there is one, and then is the one. The
# next one may wait from then on.
run() {
	exec 5>>"$state/lock"
	if ! flock -n 5; then
		if moving=$(cat "$moves" 2>/dev/null); then
			say "waiting, as $name is being moved to ${moving#* }"
		else
			say "waiting for the deploy that began at $(cat "$state/running" 2>/dev/null || now)"
		fi
		flock -w 14400 5 || end 1 failed "another deploy does not end"
	fi
	began=$(date -u '+%s %Y-%m-%dT%H:%M:%SZ')
	since=${began#* } began=${began% *}
	rm -f "$state/waiting"
	exec 7>&-
	[ "$from" = move ] || may_deploy_here
	printf '%s (key %s, from %s)\n' "$since" "$key" "$from" >"$state/running"
	tell_untold
	if ! [ -e "$state/good" ]; then # a gate of an older version locked this
		exec 6<.
		flock -w 120 6 || : # whoever may read the folder can lock it, so no longer than that
	fi
	trap 'end 1 failed "the deploy program itself failed; see $state/$id.log"' EXIT
	deploy
}

may_deploy_here() {
	moving=$(cat "$moves" 2>/dev/null) || return 0
	case $moving in
	arriving*) end 1 failed "nothing was changed, as $name is on its way here from ${moving#* }" ;;
	held*) end 1 failed "nothing was changed, as $name is being moved to ${moving#* }" ;;
	esac
	end 1 failed "nothing was changed, as $name has moved to ${moving#* }
hint: run the job again: it deploys there"
}

# tell_untold says how the deploy before this one ended, if nobody listened.
tell_untold() {
	_last=$((id - 1))
	[ -e "$state/$_last.told" ] || ! [ -e "$state/$_last.want" ] || flock -w 5 "$state/$_last.want" true || :
	if ! [ -e "$state/$_last.want" ] || [ -e "$state/$_last.told" ]; then
		:
	elif [ -s "$state/$_last.end" ]; then
		say "nobody heard how the deploy before this one ended: $(sed -n 's/^provision: //p' "$state/$_last.end" | tail -n 1)"
	else
		say "the deploy before this one was ended from outside before it was done"
	fi
}

took() {
	_now=$(date +%s)
	echo "$((_now - ${began:-$_now}))"
}

# end STATUS OUTCOME TEXT: tells the outcome to whoever follows and to the log
# of the host, and ends the deploy. What stands in $told comes before it.
end() {
	trap - EXIT
	case $2 in
	same) _line="nothing new: $3" ;;
	good) _line="deployed $3 in $(took) s" ;;
	*) _line="deploy failed after $(took) s: $3" ;;
	esac
	{
		printf '%s\nended %s %s %s\n' "$1" "$2" "$(now)" "$key"
		[ -z "${told-}" ] || printf '%s\n' "$told"
		printf 'provision: %s\n' "$_line"
	} >"$state/$id.new"
	mv -f "$state/$id.new" "$state/$id.end"
	_level=info
	[ "$1" = 0 ] || _level=err
	logger -t provision -p "auth.$_level" "$(printf '%.700s' "$name: ${_line%%"$newline"*}${summary-}" | tr -c '\040-\176' '?') (user $USER, key $key, from $from)" || :
	_old=$((id - 10))
	while [ "$_old" -gt 0 ] && [ -e "$state/$_old.want" ]; do
		rm -f "$state/$_old.want" "$state/$_old.log" "$state/$_old.end" "$state/$_old.told"
		_old=$((_old - 1))
	done
	# What was written since this one began, it may not have read.
	[ "$1" != 0 ] || [ "$what" = start ] || [ -n "$(find "$state/waits" -newer "$state/running" 2>/dev/null)" ] || rm -f "$state/waits"
	if [ "$1" = 0 ] && ! keep_wants "$state/wants" "$wanted"; then # a version was written to .env
		watch_inputs "$state/wants"
		keep_wants "$state/wants" "$(resolve)" || rm -f "$state/wants"
	fi
	exit "$1"
}

said_of_wants() {
	printf '%s\n' "$wanted" | sed -n "s,^/$1 ,,p"
}

# hints_of_unset prints how to set the variables that are not. That of the version is none of
# the inventory's.
hints_of_unset() {
	hint_of_version "$unset_"
	_env=$(printf '%s\n' "$unset_" | tr ' ' '\n' | grep -vxF -e "$variable" | sed 's/$/ = …/' | paste -s -d , - | sed 's/,/, /g')
	# shellcheck disable=SC2016 # as it is written there
	[ -z "$_env" ] || printf '\nhint: set them in the inventory: env = { %s }; or give them a default in %s: ${NAME:-}' "$_env" "$(main_file)"
}

# hint_of_version TEXT prints how to choose a version, where none was chosen and the text
# speaks of its variable. A program of an admin knows what INVENTORY is.
hint_of_version() {
	[ -n "$variable" ] && [ -z "$version" ] && printf '%s\n' "$1" | grep -qwF -e "$variable" || return 0
	if [ "$key" = - ]; then
		printf '\nhint: provision deploy --tag VERSION %s INVENTORY' "$name"
	else
		printf '\nhint: name the version to deploy: PROVISION_VERSION in the deploy job'
	fi
}

deploy() {
	pulled=0 pulling=''
	if [ "$what" = deploy ]; then
		[ -z "$version" ] || may_write_version
		odd=$(odd_input)
		[ -z "$odd" ] || end 1 failed "nothing was changed, as Compose cannot read the project: $odd"
		compose pull &
		pulling=$!
	fi
	watch_inputs "$state/wants"
	wanted=$(resolve)
	[ -z "$pulling" ] || wait "$pulling" || pulled=$?
	_failed=$(said_of_wants failed)
	[ -z "$_failed" ] || end 1 failed "nothing was changed, as Compose cannot read the project: $_failed$(hint_of_version "$_failed")"
	_instead=$(said_of_wants instead)
	if [ -n "$_instead" ] && [ -f compose.override.yaml ] && git config --local --get provision.override >/dev/null 2>&1; then
		end 1 failed "nothing was changed, as Compose reads $_instead in place of compose.override.yaml, which holds what is special about $name
hint: take that out of the project, or out of .env; or take the override out of the inventory"
	fi
	unset_=$(said_of_wants unset | sort | paste -s -d ' ' -)
	[ -z "$unset_" ] || end 1 failed "nothing was changed, as $(main_file) needs variables that are not set: $unset_$(hints_of_unset)"
	[ "$pulled" = 0 ] || pull_each "$wanted"
	digest=$(said_of_wants digest)
	if nothing_new; then
		[ -z "$version" ] || write_version # somebody may have changed it there
		end 0 same "what was deployed at $(recorded time) runs"
	fi
	rm -f "$state/same"

	own_project
	was=$(containers "$here") || no_docker
	was=$(printf '%s\n' "$was" | of_project 9)
	find_idle
	rm -f "$state/override"
	! [ -f compose.override.yaml ] || cp compose.override.yaml "$state/override"
	begin_saying
	if [ "$what" = start ] && [ -e "$state/good" ]; then
		again || not_well "$(said)"
	else
		[ "$what" = deploy ] || pull_ill
		what=deploy
		found
		names | while read -r called; do
			! image=$(docker image inspect --format '{{.Id}}' "$called" 2>/dev/null) || printf '%s %s\n' "$image" "$called" >>"$state/tried"
		done
		[ -z "$before" ] || run_before
		limit=$((wait + 600))
		compose up --detach --remove-orphans || not_well "$(said)"
	fi
	await || not_well
	[ "$what" = start ] || remove_idle
	record
	[ -z "$idle" ] || rm -f "$state/same" # the next deploy has something to do
	outcome
}

case $mode in
status) status ;;
ask | run)
	key=$3 from=$4 what=$5 version=${6-} id=${7-}
	"$mode"
	;;
esac
