# $1 is what to do with the deployment $2 of the user $3 in the directory $4, which moves
# from one host to another; each word of it stands below. What only one of the two hosts
# knows, it keeps in /var/lib/provision/moves/NAME:
#
#   state    which host is the one, and the other one. Without this file: this one is
#              held HOST      this one is, but it stands still, to be copied to HOST
#              gone HOST      it is HOST
#              arriving HOST  it is HOST; this is to be the next one
#            A deploy begins nothing where this file is, see deploy.sh
#   ran      held: the containers that ran, and their restart policies
#   lease    when the program that moves was last heard of, in seconds since the boot
#   lock     held by whoever writes the state
#   watch    this program; it goes back when the lease is over
#   V.…      what is in the volume V, see move_copy.sh
#
# Held for longer than its lease, the old host starts again; the new one has by then
# ended what it has started, as its lease is shorter. After gone there is no way back.
name=$2 user=$3 directory=$4
home=$(getent passwd "$user" | cut -d : -f 6) || home=''
folder=${home:-/home/$user}/$directory
move=/var/lib/provision/moves/$name
held=60 arriving=25 # seconds of a lease

state() {
	! [ -e "$move/state" ] || cat "$move/state"
}

# decide lets nobody else write the state, until this ends. It ends at once where
# there is none.
decide() {
	exec 8>>"$move/lock"
	flock 8
}

become() {
	printf '%s\n' "$1" | put "$move/state" 644
}

seconds() {
	cut -d . -f 1 /proc/uptime
}

renew() {
	seconds | put "$move/lease" 600
}

# alive SECONDS: whether the lease is younger. After a boot it is not.
alive() {
	_now=$(seconds) _then=$(cat "$move/lease" 2>/dev/null) || return 1
	[ "${_then:-x}" -le "$_now" ] 2>/dev/null && [ "$((_now - _then))" -lt "$1" ]
}

# ours prints the ids of the containers of the clone; running those that run. They fail
# where Docker does not tell: then nothing is known to stand still.
ours() {
	_all=$(containers "$folder") || return
	printf '%s\n' "$_all" | cut -f 1 | grep . || :
}
running() {
	_all=$(containers "$folder") || return
	printf '%s\n' "$_all" | awk -F '\t' '$2 == "running" || $2 == "restarting" || $2 == "paused" { print $1 }'
}

# watch_over WORD PROGRAM starts the watch of that state.
watch_over() {
	renew
	printf '%s\n' "$2" | put "$move/watch" 700
	setsid /bin/sh "$move/watch" watch "$name" "$user" "$directory" "$1" </dev/null >/dev/null 2>&1 8>&- &
}

# go_back starts what ran, on the old host.
go_back() {
	while read -r id policy count; do
		[ "$policy" != on-failure ] || [ "$count" = 0 ] || policy=on-failure:$count
		docker update --restart="$policy" "$id" >/dev/null || :
	done <"$move/ran"
	cut -d ' ' -f 1 "$move/ran" | xargs -r docker start >/dev/null || echo "not all containers of $name start again"
	log "$name: stays here, as its move has failed"
	forget
}

# forget moves it all away first: a watch may be about to write there.
forget() {
	_old=${move%/*}/.$name.$$
	mv "$move" "$_old"
	rm -rf "$_old"
	rmdir /var/lib/provision/moves /var/lib/provision 2>/dev/null || :
}

# give_up ends what was started on the new host. Its containers are new, and their
# volumes are copies. A deploy that is under way makes them until it ends.
give_up() {
	_lock=$home/.provision/$name/lock
	while :; do
		ours | xargs -r docker rm --force >/dev/null || :
		[ -f "$_lock" ] || return 0
		! flock -w 2 "$_lock" true || break
	done
	ours | xargs -r docker rm --force >/dev/null
}

may_hold() {
	case $(state) in
	'held '*) ! alive "$held" || fail "another program moves $name" ;;
	'') ;;
	*) fail "$name is not here: $(state)" ;;
	esac
}

place() {
	docker volume inspect --format '{{.Mountpoint}}' "$1"
}

mode=$1
shift 4
case $mode in
# --- Both hosts ---------------------------------------------------------------

# look [VARIABLE]: what there is of the deployment; VARIABLE is that of its version.
look)
	fact state "$(state)"
	file=/etc/provision/deployments/$name
	if [ -f "$file" ]; then
		fact user "$(sed -n 's/^user=//p' "$file")"
		fact directory "$(sed -n 's/^directory=//p' "$file")"
	fi
	if [ -n "${1-}" ] && [ -f "$folder/.env" ]; then
		fact version "$(sed -n "s/^$1=//p" "$folder/.env" | tail -n 1)"
	fi
	command -v docker >/dev/null || return 0
	case $(systemctl is-active docker.service 2>/dev/null) in
	inactive | failed) return 0 ;; # a look starts nothing
	esac
	fact free "$(df -Pk "$(docker info --format '{{.DockerRootDir}}')" | awk 'NR == 2 { print $4 }')"
	all=$(containers "$folder")
	[ -n "$all" ] || return 0
	running | facts running
	mounts=$(printf '%s\n' "$all" | cut -f 1 | xargs docker inspect --format '{{range .Mounts}}{{.Type}}{{"\t"}}{{.Name}}{{"\t"}}{{.Source}}{{"\n"}}{{end}}' | sort -u)
	printf '%s\n' "$mounts" | awk -F '\t' '$1 == "bind" { print $3 }' | while IFS= read -r source; do
		{ [ -f "$source" ] || [ -d "$source" ]; } || continue
		case $source in
		"$folder"/*) ! as "$user" "git -C '$folder' ls-files --error-unmatch -- '${source#"$folder"/}'" >/dev/null 2>&1 || continue ;;
		esac
		fact bind "$source"
	done
	tar -c -f /dev/null --no-recursion -T /dev/null 2>/dev/null || fact odd 'its tar takes no list of names; GNU tar does'
	{
		printf '%s\n' "$mounts" | awk -F '\t' '$1 == "volume" { print $2 }'
		printf '%s\n' "$all" | cut -f 11 | sort -u | while read -r project; do
			docker volume ls --quiet --filter "label=com.docker.compose.project=$project"
		done
	} | sort -u | while read -r volume; do
		[ "${#volume}" -ne 64 ] || {
			fact anonymous "$volume"
			continue
		}
		kind=$(docker volume inspect --format '{{.Driver}} {{len .Options}}' "$volume")
		[ "$kind" = 'local 0' ] || fact odd "the volume $volume is not kept by this Docker alone (driver $kind)"
		docker ps --quiet --no-trunc --filter "volume=$volume" | while read -r id; do
			printf '%s\n' "$all" | cut -f 1 | grep -qxF "$id" || fact odd "another container has the volume $volume: $(docker inspect --format '{{slice .Name 1}}' "$id")"
		done
		place=$(place "$volume")
		[ -z "$(find "$place" -name '*
*' | head -n 1)" ] || fact odd "a name of a file in the volume $volume has a line break"
		fact volume "$volume $(du -sk "$place" | cut -f 1)"
		docker volume inspect --format '{{range $key, $value := .Labels}}{{$key}}={{$value}}{{"\n"}}{{end}}' "$volume" |
			grep -v '^com\.docker\.compose\.config-hash=' | grep . | facts "label $volume" || :
	done
	;;

# renew: the program that moves is there.
renew)
	[ -d "$move" ] || return 0
	renew
	;;

# watch WORD: a process of its own, which goes back when the lease is over.
watch)
	while [ -d "$move" ]; do
		decide
		case $(state) in
		"$1 "*) ;;
		*) exit 0 ;;
		esac
		if [ "$1" = held ]; then
			alive "$held" || {
				go_back
				exit 0
			}
		else
			alive "$arriving" || {
				give_up
				exit 0
			}
		fi
		exec 8>&-
		sleep 1
	done
	;;

# --- The old host -------------------------------------------------------------

# hold HOST PROGRAM: nothing runs of the deployment from here on, and no deploy
# begins. The watch inherits the lock of deploys.
hold)
	may_hold
	lock=$home/.provision/$name/lock
	as "$user" "cd; umask 077; mkdir -p '.provision/$name'; : >>'.provision/$name/lock'"
	{ [ -f "$lock" ] && [ ! -L "$lock" ]; } || fail "$lock is no file"
	exec 5<"$lock"
	flock -n 5 || {
		echo 'waiting for the deploy that runs'
		flock -w 14400 5 || fail 'a deploy does not end'
	}
	mkdir -p "$move"
	decide # after that lock, which a watch that is about to end has, too
	may_hold
	ran=$(running) || fail 'Docker does not answer'
	[ -s "$move/ran" ] || printf '%s\n' "$ran" | xargs -r docker inspect --format '{{.Id}} {{or .HostConfig.RestartPolicy.Name "no"}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}' >"$move/ran"
	become "held $1"
	watch_over held "$2"
	cut -d ' ' -f 1 "$move/ran" | xargs -r docker update --restart=no >/dev/null
	cut -d ' ' -f 1 "$move/ran" | xargs -r docker stop >/dev/null
	ran=$(running) || fail 'Docker does not answer'
	[ -z "$ran" ] || fail 'a container does not stop'
	log "$name: stopped, to be moved to $1 (by $3)"
	;;

# back: it runs here again, if it was held.
back)
	[ -d "$move" ] || return 0
	decide
	case $(state) in
	'held '*) go_back ;;
	'') forget ;;
	*) fail "$name is not here: $(state)" ;;
	esac
	;;

# gone: the other host is the one.
gone)
	[ -d "$move" ] || fail "$name goes on here, as nobody was heard of for too long"
	decide
	case $(state) in
	'held '*) alive "$held" || fail "the lease is over, so $name goes on here" ;;
	'') fail "$name goes on here, as nobody was heard of for too long" ;;
	*) return 0 ;;
	esac
	become "gone $1"
	log "$name: has moved to $1 (by $2)"
	;;

# --- The new host -------------------------------------------------------------

# arrive HOST VOLUME…: it is to come here. What is here already is never overwritten.
arrive)
	mkdir -p "$move"
	decide
	peer=$1
	shift
	case $(state) in
	'arriving '*) give_up ;;
	'')
		there=$(ours) || fail 'Docker does not answer'
		[ -z "$there" ] || fail "there are containers of $name already"
		for volume; do
			! docker volume inspect "$volume" >/dev/null 2>&1 || fail "there is a volume $volume already; if nobody needs it: docker volume rm $volume"
		done
		;;
	*) fail "$name is not here: $(state)" ;;
	esac
	become "arriving $peer"
	;;

# pull [VARIABLE VERSION]: the images, so that nothing waits for them later.
pull)
	chosen=''
	[ -z "${2-}" ] || chosen="$1='$2'"
	case ${2-} in
	*[!A-Za-z0-9_.:-]*) fail 'the version is no tag and no digest' ;;
	esac
	as "$user" "cd && cd '$directory' && $chosen docker compose pull --quiet" || echo 'not all images can be pulled ahead'
	;;

# trial PROGRAM: it is about to be started here, and ends with the lease.
trial)
	[ -d "$move" ] || fail "$name does not arrive here"
	decide
	case $(state) in
	'arriving '*) ;;
	*) fail "$name does not arrive here" ;;
	esac
	watch_over arriving "$1"
	;;

# leave: it does not come here after all.
leave)
	[ -d "$move" ] || return 0
	decide
	case $(state) in
	'arriving '*) give_up ;;
	esac
	;;

# here: this host is the one.
here)
	[ -d "$move" ] || return 0
	decide
	forget
	log "$name: has come here (by $1)"
	;;
esac
