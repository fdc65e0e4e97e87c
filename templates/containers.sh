# $1 is the directory of a deployment, $2 its name, $3 the variable of its version,
# $4 is "yes" where CI looks, and $5 is the digest of the override that is wanted.
# What the facts mean:
#
#   failed, unset, instead   what is wrong with the project, see wants.sh. What
#                            Compose says of it may quote a file, so CI is not told
#   wanted                   a service, and how many containers it is to have
#   service                  of each container: the verdict of health.sh, the
#                            service, the state, the reason
#   image                    of each container: the service, and the id of its image
#   good                     of each service of the last good deploy: the service,
#                            how many containers, whether they run, the id of
#                            their image
#   orphan                   a service that runs, and that compose.yaml has no more
#   taken                    the folder of others that has this Compose project
#   stale                    a service, and a file that is newer than its container
#   unasked                  why Docker was not asked
#   deploying, unversioned   a deploy is under way; there was none with a version yet
unversioned=''
[ -z "$3" ] || { [ -f "$1/.env" ] && grep -q "^$3=" "$1/.env"; } || unversioned=yes
[ -z "$unversioned" ] || fact unversioned yes
command -v docker >/dev/null && [ -d "$1" ] || return 0
if [ -e .docker/config.json ] && ! [ -f .docker/config.json ]; then # docker would wait for it
	fact unasked 'the .docker/config.json of its user is not a file'
	return 0
fi
compose() { within 30 docker compose "$@" </dev/null; }
compose_of_input() { within 30 docker compose --project-directory . --file - "$@"; }
state=$PWD/.provision/$2
here=$PWD/$1
cd "$1" 2>/dev/null || return 0
wanted='' override=compose.override.yaml
# What Compose reads is yet to come where the override is.
if [ -z "$unversioned" ] && { [ -z "$5" ] || { readable "$override" && [ "$(sha256sum <"$override" | cut -c 1-64)" = "$5" ]; }; } 2>/dev/null; then
	wanted=$(wants "$state/wants") || :
fi
case $wanted in
/failed*)
	if docker compose version >/dev/null 2>&1; then
		[ -n "$4" ] || fact failed "${wanted#/failed }"
		[ -z "$4" ] || fact failed yes
		! git submodule status 2>/dev/null | grep -q '^-' || fact submodules yes
	fi
	wanted=''
	;;
?*)
	ours=''
	! [ -f "$override" ] || ours=$(git config --local --get provision.override) || :
	printf '%s\n' "$wanted" | awk -v at="$mark fact " -v ours="$ours" '
		$1 == "/unset" { print at "unset=" $2 }
		$1 == "/instead" && ours != "" { print at "instead=" substr($0, 10) }
		!/^\// { print at "wanted=" $1 " " $4 }'
	;;
esac
ask_docker() { within 15 docker "$@"; }
look_or_why "$here"
if [ -n "$why" ]; then
	fact unasked "$why"
	return 0
fi
if [ -e "$state/lock" ] && ! flock -n -s "$state/lock" true; then
	fact deploying yes
fi
if [ -e "$state/good" ]; then
	sed -n 's/^service \([^ ]* [^ ]* [^ ]* [^ ]*\) .*/\1/p' "$state/good" | facts good
elif [ -n "$wanted" ]; then
	project=$(printf '%s\n' "$wanted" | sed -n 's,^/project ,,p')
	ask_docker ps --all --filter "label=com.docker.compose.project=$project" --format '{{.Label "com.docker.compose.project.working_dir"}}' 2>/dev/null |
		grep -vxF -e "$here" -e '' | sort -u | facts taken
fi
[ -n "$all" ] || return 0
printf '%s\n' "$all" | awk -F '\t' '{ print $1, $11, $4, $2 }' | facts service
printf '%s\n' "$all" | awk -F '\t' '{ print $11, $10 }' | sort -u | facts image
if [ -n "$wanted" ]; then
	others=$(printf '%s\n' "$all" | cut -f 11 | sort -u | awk -v wanted="$wanted" 'BEGIN { n = split(wanted, line, "\n"); for (i = 1; i <= n; i++) { split(line[i], f, " "); wants[f[1]] = 1 } } !($1 in wants)')
	if [ -n "$others" ]; then # those of a profile that is not active are no orphans
		known=$(compose --profile '*' config --services 2>/dev/null) && printf '%s\n' "$others" | grep -vxF "$known" | facts orphan
	fi
	printf '%s\n' "$wanted" | sed -n 's,^/mount ,,p' | while read -r service file; do
		case $file in
		"$here"/*) [ -f "$file" ] || continue ;;
		*) continue ;;
		esac
		changed=$(date -u -d "@$(stat -c %Y "$file")" +%Y-%m-%dT%H:%M:%S)
		printf '%s\n' "$all" | awk -F '\t' -v service="$service" -v changed="$changed" -v file="${file#"$here"/}" \
			'$11 == service && $4 == "running" && substr($7, 1, 19) < changed { print service, file; exit }'
	done | facts stale
fi
