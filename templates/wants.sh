# What Compose wants of the project in this folder. Compose is asked, and its
# answer stays in ~/.provision/NAME/wants for as long as nothing changes that it
# has read: it takes a sixth of a second to ask.

# resolve asks Compose, and prints lines of these kinds:
#
#   SERVICE IMAGE BUILT N    a service: its image (- without one), whether it is
#                            built here (yes or -), how many containers
#   /project NAME            the Compose project
#   /digest D                of all that Compose said
#   /unset VARIABLE          is needed, and has no value
#   /profiles P Q…           those that services have, where .env names active ones
#   /instead FILE            is read in place of compose.override.yaml
#   /port IP PORT PROTOCOL SERVICE   is published; IP may be -
#   /named NAME SERVICE      a container with a name of its own
#   /mount SERVICE FILE      is mounted, also as a secret or a config
#   /volume SERVICE NAME     is mounted, as compose.yaml calls it
#   /failed REASON           Compose cannot read the project
resolve() {
	_odd=$(odd_input)
	if [ -n "$_odd" ]; then
		printf '/failed %s\n' "$_odd"
		return
	fi
	{
		{
			_json=$({ compose config --format json 2>&3 || echo FAILED; } | head -c 8388608)
			case $_json in
			*FAILED) echo FAILED >&3 ;;
			*'}')
				printf '%s\n' "$_json" | services
				printf '/digest %s\n' "$(printf '%s\n' "$_json" | sha256sum | cut -c 1-64)"
				;;
			?*) printf '/failed it is larger than 8 MiB\n' ;;
			esac
		} 3>&1 >&4 | warnings
	} 4>&1
	if grep -qs '^COMPOSE_PROFILES=' .env && _profiles=$(compose --profile '*' config --profiles 2>/dev/null); then
		printf '/profiles %s\n' "$(printf '%s\n' "$_profiles" | paste -s -d ' ' -)"
	fi
	_set=$(set_files)
	if [ -n "$_set" ] && ! printf '%s\n' "$_set" | grep -qxF -e compose.override.yaml -e ./compose.override.yaml -e "$PWD/compose.override.yaml"; then
		printf '/instead %s\n' "$(printf '%s\n' "$_set" | paste -s -d : -)"
	fi
}

# readable FILE: whether it is a file of a size that a Compose file may have.
readable() {
	[ -f "$1" ] && [ "$(stat -L -c %s "$1")" -le 4194304 ]
}

# odd_input prints why one of the files that Compose would read is none: it would
# wait for a pipe, and read a device for ever.
odd_input() {
	{
		printf '/input %s\n' .env compose.yaml compose.yml docker-compose.yaml docker-compose.yml \
			compose.override.yaml compose.override.yml docker-compose.override.yaml docker-compose.override.yml
		[ -e .env ] && ! readable .env || input_files || :
	} | while read -r _ _file; do
		if [ -e "$_file" ] && ! readable "$_file"; then
			printf '%s is no file of a size that is read here\n' "$_file" | tr -c '\012\040-\176' '?'
			break
		fi
	done
}

# set_files prints the files that COMPOSE_FILE names, as Compose knows it.
set_files() {
	grep -q COMPOSE_FILE .env 2>/dev/null || return 0
	# shellcheck disable=SC2016 # Compose expands it
	printf 'services: {a: {image: "${COMPOSE_PATH_SEPARATOR:-:}${COMPOSE_FILE:-}"}}\n' | compose_of_input config --images 2>/dev/null |
		awk '{ separator = substr($0, 1, 1); n = split(substr($0, 2), file, separator == ":" ? ":" : "[" separator "]"); for (i = 1; i <= n; i++) print file[i] }'
}

# project_folder prints where paths in Compose files start, with a slash: at the
# first of them, which stands in the root of the project unless COMPOSE_FILE says
# otherwise.
project_folder() {
	set_files | sed -n '1s,[^/]*$,,p'
}

# main_file prints the name of the first Compose file, for somebody to find it.
main_file() {
	for _file in "$(set_files | head -n 1)" compose.yaml compose.yml docker-compose.yml docker-compose.yaml; do
		if [ -n "$_file" ] && [ -e "$_file" ]; then
			printf '%s\n' "$_file"
			return
		fi
	done
	echo compose.yaml
}

# compose_in FOLDER: compose for a project in FOLDER whose files are named with
# --file. Then Compose reads no other .env than that one's; when COMPOSE_FILE in
# the .env of this folder leads there, it reads both, and this one wins.
compose_in() {
	_folder=$1
	shift
	if [ "$_folder" != "$PWD" ]; then
		[ ! -e .env ] || set -- --env-file .env "$@"
		[ ! -e "$_folder/.env" ] || set -- --env-file "$_folder/.env" "$@"
	fi
	compose --project-directory "$_folder" "$@"
}

# warnings reads what Compose says beside its answer.
warnings() {
	awk '
	/^[ \t\r]*$/ { next }
	$0 == "FAILED" { failed = 1; next }
	/level=warning/ {
		if (match($0, /The \\"[^\\"]*\\" variable is not set/)) unset[substr($0, RSTART + 6, RLENGTH - 28)] = 1
		if (/Found multiple override files/) multiple = 1
		if (multiple && match($0, /msg="Using [^"]*"/)) {
			file = substr($0, RSTART + 11, RLENGTH - 12); multiple = 0
			sub(/.*\//, "", file)
			if (file != "compose.override.yaml") instead = file
		}
		next
	}
	{ said = $0 }
	END {
		if (!failed) for (variable in unset) print "/unset " variable
		if (failed) { gsub(/[^ -~]/, "?", said); print "/failed " substr(said, 1, 300) }
		else if (instead) print "/instead " instead
	}'
}

# services reads a project in JSON.
services() {
	awk '
	function pair(v) {
		if (depth == 1 && key[1] == "name") print "/project", v
		if (depth == 3 && (key[1] == "secrets" || key[1] == "configs") && key[3] == "file") stands[key[1], key[2]] = v
		if (key[1] != "services") return
		if (depth == 3) {
			if (key[3] == "image") image[key[2]] = v
			if (key[3] == "build") build[key[2]] = "yes"
			if (key[3] == "scale") scale[key[2]] = v
			if (key[3] == "container_name") print "/named", v, key[2]
		}
		if (depth == 4 && key[3] == "deploy" && key[4] == "replicas") replicas[key[2]] = v
		if (depth == 5 && key[3] ~ /^(ports|volumes|secrets|configs)$/) item[key[5]] = v
	}
	function close_item() {
		if (depth != 5 || key[1] != "services") return
		if (key[3] == "ports" && item["published"] != "") print "/port", item["host_ip"] == "" ? "-" : item["host_ip"], item["published"], item["protocol"], key[2]
		if (key[3] == "volumes" && item["type"] == "bind") print "/mount", key[2], item["source"]
		if (key[3] == "volumes" && item["type"] == "volume" && item["source"] != "") print "/volume", key[2], item["source"]
		if ((key[3] == "secrets" || key[3] == "configs") && item["source"] != "") { user[++uses] = key[2]; used[uses] = key[3] SUBSEP item["source"] }
		split("", item)
	}
	{
		line = $0
		for (;;) {
			sub(/^[ \t\r]+/, "", line)
			if (line == "") break
			c = substr(line, 1, 1)
			if (c == "\"") {
				if (!match(line, /^"([^"\\]|\\.)*"/)) exit 1
				token = substr(line, 2, RLENGTH - 2)
				line = substr(line, RLENGTH + 1)
				if (naming) {
					key[depth] = token; naming = 0
					if (depth == 2 && key[1] == "services") name[++n] = token
				} else if (kind[depth] == "{") pair(token)
				continue
			}
			if (match(line, /^-?[0-9][0-9.eE+-]*/)) {
				if (kind[depth] == "{") pair(substr(line, 1, RLENGTH))
				line = substr(line, RLENGTH + 1)
				continue
			}
			line = substr(line, 2)
			if (c == "{" || c == "[") {
				if (kind[depth] == "{") pair("")
				kind[++depth] = c; naming = c == "{"
			} else if (c == "}" || c == "]") {
				if (c == "}") close_item()
				depth--; naming = 0
			}
			else if (c == ",") naming = kind[depth] == "{"
		}
	}
	END {
		for (i = 1; i <= uses; i++) if (used[i] in stands) print "/mount", user[i], stands[used[i]]
		for (i = 1; i <= n; i++) {
			s = name[i]
			print s, image[s] == "" ? "-" : image[s], build[s] == "" ? "-" : "yes", scale[s] != "" ? scale[s] : replicas[s] != "" ? replicas[s] : 1
		}
	}'
}

# kept_wants FILE: what FILE has kept of an answer, if nothing has changed since. Every
# look comes by here, and each process would take it a millisecond.
kept_wants() {
	[ -f "$1" ] || return 1
	_were='' _answer=''
	while IFS= read -r _line; do
		case $_line in
		'/inputs '*) _were=${_line#/inputs } ;;
		'/input '*) ;;
		*) _answer="$_answer$_line$_newline" ;;
		esac
	done <"$1"
	[ "$_were" = "$(inputs "$1")" ] && printf '%s' "$_answer"
}
_newline='
'

# wants FILE: what resolve prints, from FILE if that holds.
wants() {
	kept_wants "$1" || resolve
}

# watch_inputs FILE notes, before Compose is asked, what it will read.
watch_inputs() {
	watched=''
	input_files >"$1.new" || return 0
	watched=$(inputs "$1.new")
}

# keep_wants FILE ANSWER keeps an answer, unless something that Compose reads has
# changed since watch_inputs, or it cannot be told what that is.
keep_wants() {
	[ -n "$watched" ] && [ "$watched" = "$(inputs "$1.new")" ] || return 1
	{
		printf '/inputs %s\n' "$watched"
		cat "$1.new"
		printf '%s\n' "$2"
	} >"$1.kept"
	mv -f "$1.kept" "$1"
}

# inputs FILE: a digest of the files that FILE names as read by Compose, and of
# which Compose that is.
inputs() {
	_named=$1
	set --
	while IFS= read -r _line; do
		case $_line in
		'/input '*) ! [ -f "${_line#/input }" ] || set -- "$@" "${_line#/input }" ;;
		esac
	done <"$_named"
	for _file in "$HOME/.docker" /usr/local/lib/docker /usr/local/libexec/docker /usr/lib/docker /usr/libexec/docker; do
		! [ -e "$_file/cli-plugins/docker-compose" ] || set -- "$@" "$_file/cli-plugins/docker-compose"
	done
	_sizes=$(stat -L -c '%s %Y %n' -- "$@" 2>/dev/null) || :
	_plugins=''
	set --
	while read -r _size _time _file; do
		case $_file in
		*/cli-plugins/docker-compose) _plugins="$_plugins$_file $_size $_time$_newline" ;;
		?*) [ "$_size" -gt 4194304 ] || set -- "$@" "$_file" ;;
		esac
	done <<-END
		$_sizes
	END
	_digest=$({
		[ $# = 0 ] || sha256sum -- "$@" 2>/dev/null
		printf '%s' "$_plugins"
	} | sha256sum)
	printf '%s\n' "${_digest%% *}"
}

# input_files prints the files that Compose reads, or would read if they were
# there: "/input FILE". It fails where that cannot be told.
input_files() {
	_todo=$(set_files)
	_all='compose.yaml
compose.yml
docker-compose.yaml
docker-compose.yml
compose.override.yaml
compose.override.yml
docker-compose.override.yaml
docker-compose.override.yml'
	_all=".env
$_all
$_todo"
	[ -n "$_todo" ] || _todo=$_all
	_base=$(project_folder)
	_depth=0
	while [ -n "$_todo" ]; do
		_depth=$((_depth + 1))
		[ "$_depth" -le 10 ] || return 1
		_next=''
		while IFS= read -r _file; do
			readable "$_file" || continue
			_more=$(named_files "$_file" "$_base") || return 1
			_next="$_next
$_more"
		done <<-END
			$_todo
		END
		_todo=$(printf '%s\n' "$_next" | grep -E '\.ya?ml$' | sort -u | grep -vxF "$_all") || :
		_all="$_all
$_next"
	done
	printf '%s\n' "$_all" | sed -n 's,^..*,/input &,p'
}

# named_files FILE FOLDER prints the files that a Compose file of a project in FOLDER
# says are to be read with it. It fails where a name stands only in a variable, or
# is of another machine.
named_files() {
	_folder=''
	case $1 in
	*/*) _folder=${1%/*}/ ;;
	esac
	[ -z "$_folder" ] || printf '%s.env\n' "$_folder"
	awk -v folder="$_folder" -v base="$2" '
	{ sub(/\r$/, ""); sub(/(^|[ \t])#.*/, "") }
	/^[ \t]*$/ { next }
	{
		match($0, /^[ \t]*/); indent = RLENGTH
		if (within && !(indent > at || indent == at && substr($0, indent + 1, 1) == "-")) within = 0
		if (!within && match($0, /(^|[ \t{,"-])(include|extends|env_file|label_file)["]?[ \t]*:/)) { within = 1; at = indent }
		if (!within) next
		if (/[$*&]|:\/\/|"[^" ]* [^"]*"/) exit 1
		gsub(/[][{},"\047]/, " ")
		n = split($0, word, /[ \t]+/)
		for (i = 1; i <= n; i++) {
			if (word[i] ~ /^-?$/ || word[i] ~ /:$/) continue
			print (word[i] ~ /^\// ? "" : folder) word[i]
			if (folder != "" && word[i] !~ /^\//) print word[i]
			if (base != "" && base != folder && word[i] !~ /^\//) print base word[i]
		}
	}' "$1"
}
