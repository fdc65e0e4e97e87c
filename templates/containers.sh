# $1 is the directory of a deployment, $2 its name, $3 the variable of its version,
# $4 is "yes" where CI looks, and $5 is the digest of the override that is wanted.
# $6 is that of the names and of what Compose reads itself among our lines in .env, $7
# and $8 are COMPOSE_PROFILES and COMPOSE_FILE there, and then come the files that are
# wanted. What the facts mean:
#
#   compose                  where something is unset: the Compose file, if it is called otherwise
#   failed, unset, instead   what is wrong with the project, see wants.sh. What
#                            Compose says of it may quote a file, so CI is not told
#   wanted                   a service, and how many containers it is to have
#   profiles                 those that services have
#   soon                     a service that has no container, and is wanted once .env
#                            has our lines
#   service                  of each container: the verdict of health.sh, the
#                            service, the state, the reason
#   image                    of each container: the service, and the id of its image
#   good                     of each service of the last good deploy: the service,
#                            how many containers, whether they run, the id of
#                            their image
#   orphan                   a service that runs, and that compose.yaml has no more
#   idle                     a service that the last good deploy has left, that runs,
#                            and that is only of profiles which are no longer active
#   taken                    the folder of others that has this Compose project
#   name, port               a container name or a published port that others
#                            have: which, the service, and by whom
#   waits                    apply has written .env since the last good deploy
#   stale                    a service, and a file that is newer than its container
#   clone                    it is there; while it is not, GitLab is asked
#   unasked                  why Docker was not asked
#   deploying, unversioned   a deploy is under way; there was none with a version yet
unversioned=''
[ -z "$3" ] || { [ -f "$1/.env" ] && grep -q "^$3=" "$1/.env"; } || unversioned=yes
[ -z "$unversioned" ] || fact unversioned yes
! [ -d "$1" ] || fact clone yes
command -v docker >/dev/null && [ -d "$1" ] || return 0
if [ -e .docker/config.json ] && ! [ -f .docker/config.json ]; then # docker would wait for it
	fact unasked 'the .docker/config.json of its user is not a file'
	return 0
fi

# collisions reports what others on this host have, and a first start would need.
collisions() {
	ask_docker ps --all --format "{{.Names}}$_tab{{.Label \"com.docker.compose.project\"}}$_tab{{.Label \"com.docker.compose.project.working_dir\"}}$_tab{{.Ports}}" 2>/dev/null |
		awk -F '\t' -v wanted="$wanted" -v here="$here" -v at="$mark fact " -v asuser="$as_user" '
		BEGIN {
			n = split(wanted, line, "\n")
			for (i = 1; i <= n; i++) {
				m = split(line[i], f, " ")
				if (f[1] == "/project") project = f[2]
				if (f[1] == "/named") named[f[2]] = f[3]
				if (f[1] == "/port" && f[3] ~ /^[0-9]+$/) { ports++; ip[ports] = f[2]; port[ports] = f[3] + 0; protocol[ports] = f[4]; service[ports] = f[5] }
			}
		}
		function any(a) { return a == "-" || a == "0.0.0.0" || a == "::" || a == "[::]" || a == "*" }
		function tell(kind, what, who, by) {
			if (!told[kind, what]++) print at kind "=" what " " who " " (asuser == "" ? by : "")
		}
		function meets(i, address, first, last, kind) {
			return protocol[i] == kind && port[i] >= first && port[i] <= last && (any(ip[i]) || any(address) || ip[i] == address || "[" ip[i] "]" == address)
		}
		function hex(text,   v, k) {
			for (k = 1; k <= length(text); k++) v = v * 16 + index("0123456789ABCDEF", substr(text, k, 1)) - 1
			return v + 0
		}
		function dotted(text,   k, all) {
			if (text ~ /^0*$/) return "*"
			if (length(text) != 8) return text
			for (k = 7; k > 0; k -= 2) all = all (all == "" ? "" : ".") hex(substr(text, k, 2))
			return all
		}
		{
			mine = $3 == here || index($3, here "/") == 1
			if (!mine && $3 != "" && $2 == project && !taken[$3]++) print at "taken=" $3
			by = "container " $1 ($3 == "" ? "" : " of " $3)
			if (!mine && $1 in named) tell("name", $1, named[$1], by)
			n = split($4, published, ", ")
			for (i = 1; i <= n; i++) {
				if (published[i] !~ /->/) continue
				end = split(published[i], half, "->"); split(half[2], kind, "/")
				match(half[1], /:[0-9-]+$/)
				address = substr(half[1], 1, RSTART - 1)
				split(substr(half[1], RSTART + 1), range, "-")
				if (range[2] == "") range[2] = range[1]
				for (j = 1; j <= ports; j++) if (meets(j, address, range[1] + 0, range[2] + 0, kind[2])) {
					if (mine) own[j] = 1
					else tell("port", port[j] "/" protocol[j], service[j], by)
				}
				split("", range)
			}
		}
		END { # a container whose port Docker forwards by itself is in no list of the kernel
			split("tcp 0A,tcp6 0A,udp 07,udp6 07", list, ",")
			for (i = 1; ports && i <= 4; i++) {
				split(list[i], f, " ")
				file = "/proc/net/" f[1]
				kind[2] = substr(f[1], 1, 3)
				while ((getline entry < file) > 0) {
					split(entry, word, " ")
					if (word[4] != f[2]) continue
					split(word[2], place, ":")
					for (j = 1; j <= ports; j++)
						if (!own[j] && meets(j, dotted(place[1]), hex(place[2]), hex(place[2]), kind[2])) tell("port", port[j] "/" protocol[j], service[j], "another program")
				}
				close(file)
			}
		}'
}


form_of_env() {
	inside .env | awk '
		/^COMPOSE_(PROJECT_NAME|FILE|PROFILES)=/ { sub(/:compose\.override\.yaml\047$/, "\047"); print; next }
		{ sub(/=.*/, ""); print }' | sha256sum | cut -c 1-64
}
compose() { within 30 docker compose "$@" </dev/null; }
compose_of_input() { within 30 docker compose --project-directory . --file - "$@"; }
carried "$2" "$USER" "$1"
state=$PWD/.provision/${label:-.}
here=$PWD/$1
cd "$1" 2>/dev/null || return 0
wanted='' soon='' override=compose.override.yaml as_user=$4
# What Compose reads may be yet to come.
if [ -z "$unversioned" ] && { [ -z "$5" ] || { readable "$override" && [ "$(sha256sum <"$override" | cut -c 1-64)" = "$5" ]; }; } 2>/dev/null &&
	{ [ -z "$6" ] || { readable .env && [ "$(form_of_env)" = "$6" ]; }; }; then
	wanted=yes
	shift 8
	for file; do
		[ -e "$file" ] || wanted=''
	done
	[ -z "$wanted" ] || wanted=$(wants "$state/wants") || :
elif [ -z "$unversioned" ] && [ -z "$5" ] && [ -n "$6" ] && [ -z "$(odd_input)" ]; then
	soon=$(
		[ -z "$7" ] || export COMPOSE_PROFILES="$7"
		[ -z "$8" ] || export COMPOSE_FILE="$8"
		set -- # Compose would look for it beside the first file
		[ ! -e .env ] || set -- --env-file .env
		compose "$@" config --services 2>/dev/null
	) || soon=''
fi
case $wanted in
/failed*)
	if docker compose version >/dev/null 2>&1; then
		[ -n "$as_user" ] || fact failed "${wanted#/failed }"
		[ -z "$as_user" ] || fact failed yes
		! git submodule status 2>/dev/null | grep -q '^-' || fact submodules yes
	fi
	wanted=''
	;;
?*)
	ours=''
	! [ -f "$override" ] || ours=$(git config --local --get provision.override) || :
	printf '%s\n' "$wanted" | while read -r kind rest; do
		case $kind in
		/unset)
			fact unset "$rest"
			main=$(main_file)
			[ "$main" = compose.yaml ] || fact compose "$main"
			;;
		/profiles) fact profiles "$rest" ;;
		/instead) [ -z "$ours" ] || fact instead "$rest" ;;
		/*) ;;
		*) fact wanted "$kind ${rest##* }" ;;
		esac
	done
	;;
esac
ask_docker() { within 15 docker "$@"; }
look_or_why "$here"
if [ -n "$why" ]; then
	fact unasked "$why"
	return 0
fi
[ ! -e "$state/lock" ] || flock -n -s 9 9<"$state/lock" || fact deploying yes
if [ -e "$state/good" ]; then
	[ ! -e "$state/waits" ] || fact waits yes
	while read -r kind service number state_then image _; do
		[ "$kind" != service ] || fact good "$service $number $state_then $image"
	done <"$state/good"
elif [ -n "$wanted" ]; then
	collisions
fi
[ -n "$all" ] || return 0
[ -z "$soon" ] || printf '%s\n' "$soon" | grep -vxF "$(printf '%s\n' "$all" | cut -f 11)" | facts soon
# What is told of the containers, and then which of them are of services that are not
# wanted. Of several projects in the clone the others are somebody's own.
told=$(printf '%s\n' "$wanted" /end "$all" | awk -F '\t' -v at="$mark fact " '
	!end { split($0, f, " "); if (f[1] == "/project") project = f[2]; else wants[f[1]] = 1; end = f[1] == "/end"; next }
	{ row[++n] = $0; if ($13 == project) ours = 1 }
	END {
		for (i = 1; i <= n; i++) {
			split(row[i], c, "\t")
			if (ours && c[13] != project) continue
			print at "service=" c[1] " " c[11] " " c[4] " " c[2]
			if (!seen[c[11], c[10]]++) print at "image=" c[11] " " c[10]
			if (!(c[11] in wants)) others[c[11]] = 1
		}
		for (service in others) print "other " service
	}')
printf '%s\n' "$told" | while IFS= read -r line; do
	case $line in
	'other '*) ;;
	*) printf '%s\n' "$line" ;;
	esac
done
[ -n "$wanted" ] || return 0
case $told in
*"$_newline"'other '*) # those of a profile that is not active are no orphans
	if known=$(compose --profile '*' config --services 2>/dev/null); then
		others=$(printf '%s\n' "$told" | sed -n 's/^other //p' | sort)
		printf '%s\n' "$others" | grep -vxF "$known" | facts orphan
		left=$(grep '^service ' "$state/good" 2>/dev/null | cut -d ' ' -f 2)
		printf '%s\n' "$others" | grep -xF "$known" | grep -xF "$left" | while read -r service; do
			! printf '%s\n' "$all" | cut -f 4,11 | grep -qxF -e "running$_tab$service" -e "restarting$_tab$service" -e "paused$_tab$service" || printf '%s\n' "$service"
		done | facts idle
	fi
	;;
esac
printf '%s\n' "$wanted" | while read -r kind service file; do
	case "$kind $file" in
	"/mount $here"/*) [ -f "$file" ] || continue ;;
	*) continue ;;
	esac
	changed=$(date -u -d "@$(stat -c %Y "$file")" +%Y-%m-%dT%H:%M:%S)
	printf '%s\n' "$all" | awk -F '\t' -v service="$service" -v changed="$changed" -v file="${file#"$here"/}" \
		'$11 == service && $4 == "running" && substr($7, 1, 19) < changed { print service, file; exit }'
done | facts stale
