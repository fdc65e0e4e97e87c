# What Compose wants of the project in this folder, and making it so.

# compose runs Docker Compose, with the version to deploy if one was chosen, for
# at most an hour. It gets none of the locks.
compose() {
	if [ -n "$version" ]; then
		env "$variable=$version" timeout "${limit:-3600}" docker compose "$@" </dev/null 5>&- 6>&- 7>&- 9>&-
	else
		timeout "${limit:-3600}" docker compose "$@" </dev/null 5>&- 6>&- 7>&- 9>&-
	fi
}

# compose_of_input is compose with a project of its input in this folder.
compose_of_input() {
	timeout 60 docker compose --project-directory . --file - "$@" 5>&- 6>&- 7>&- 9>&-
}

last_line() {
	grep -v '^[[:space:]]*$' | tail -n 1 | tr -c '\012\040-\176' '?' | cut -c 1-300
}

docker_error() {
	docker version --format '{{.Server.Version}}' 2>&1 >/dev/null | last_line
}

no_docker() {
	end 1 failed "nothing was changed, as Docker does not answer: $(docker_error)"
}

# pull_ill pulls the images of services that are not there, or not well.
pull_ill() {
	_ill=$(printf '%s\n' "$was" | judge | awk -F '\t' -v wanted="$wanted" '
		{ had[$11] = 1 }
		$1 != "ok" { ill[$11] = 1 }
		END {
			n = split(wanted, line, "\n")
			for (i = 1; i <= n; i++) { split(line[i], f, " "); if (f[1] !~ /^\// && (!(f[1] in had) || f[1] in ill)) print line[i] }
		}')
	[ -n "$_ill" ] || return 0
	# shellcheck disable=SC2046 # a word for each service
	compose pull $(printf '%s\n' "$_ill" | cut -d ' ' -f 1) || pull_each "$_ill"
}

# pull_each WANTED pulls one by one, to know which cannot be pulled. Of the
# registry of the deployment, images must be pulled. Another one may be away, if
# its image is here already; and what is built here need not be pulled.
pull_each() {
	docker version --format '{{.Server.Version}}' >/dev/null 2>&1 || no_docker
	while read -r service image build _; do
		case $service in
		/*) continue ;;
		esac
		[ "$image" != - ] || continue
		! _why=$(compose pull --quiet "$service" 2>&1) || continue
		_why=$(printf '%s\n' "$_why" | last_line)
		_ours=yes
		case $image in
		"$registry"/*) ;;
		*) [ -z "$registry" ] || _ours='' ;;
		esac
		if [ -n "$_ours" ]; then
			:
		elif docker image inspect "$image" >/dev/null 2>&1; then
			say "$service: $image could not be pulled, so the one that is here is used: $_why"
			continue
		elif [ "$build" = yes ]; then
			say "$service: $image is not pulled, but built here"
			continue
		fi
		end 1 failed "nothing was changed, as $service cannot be pulled: $_why"
	done <<-END
		$1
	END
}

# nothing_new tells whether all is as the last good deploy has left it: what
# Compose wants, what the names of the images mean, and the containers, which
# must be well.
nothing_new() {
	[ -e "$state/same" ] && read -r _digest <"$state/same" && [ "$_digest" = "$digest" ] || return 1
	_same=$(sed 1d "$state/same")
	_now=$(
		{
			printf '%s\n' "$_same" | sed -n 's/^container //p' | cut -f 1
			names
		} | xargs docker inspect --format "{{if index . \"State\"}}$container_line{{else}}image {{.Id}}{{end}}" 2>/dev/null
	) || return 1
	[ "$_same" = "$(printf '%s\n' "$_now" | same_lines)" ] || return 1
	! printf '%s\n' "$_now" | judge | grep -qv '^ok'
}

# names prints the names of the images that Compose wants.
names() {
	printf '%s\n' "$wanted" | awk '$1 !~ /^\// && $2 != "-" && !had[$2]++ { print $2 }'
}

# same_lines makes of inspected containers and images what must stay the same.
same_lines() {
	awk -F '\t' -v OFS='\t' 'NF > 1 { print "container " $1, $5; next } { print }'
}

# own_project: no other folder may have containers in the project of that name,
# which Compose would replace; and what runs here may not be a project of another
# name, which would run on beside it, and keep the volumes. What somebody has
# started in another folder of the clone is no concern of this one.
own_project() {
	_project=$(printf '%s\n' "$wanted" | sed -n 's,^/project ,,p')
	_folders=$(docker ps --all --filter "label=com.docker.compose.project=$_project" --format "- {{.Label \"$working_dir\"}}") || no_docker
	_other=$(printf '%s\n' "$_folders" | not_in_clone "$here" | cut -d ' ' -f 2- | head -n 1)
	[ -z "$_other" ] || end 1 failed "nothing was changed, as $here and $_other are one Compose project, $_project, and would replace each other's containers
hint: give each a name of its own: name: in $(main_file), or another directory"
	_names=$(docker ps --all --filter "label=$working_dir" --filter label=com.docker.compose.oneoff=False \
		--format "{{.Label \"com.docker.compose.project\"}} {{.Label \"$working_dir\"}}") || no_docker
	_base=$(project_folder)
	_names=$(printf '%s\n' "$_names" | in_clone "$here" | awk -v here="$here" -v base="$here/${_base%/}" -v last="$(recorded project)" '
		{ at = substr($0, index($0, " ") + 1) }
		at == here || at == base || $1 == last { print $1 }')
	! printf '%s\n' "$_names" | grep -qxF "$_project" || return 0
	_had=$(printf '%s\n' "$_names" | head -n 1)
	_advice="put \"name: $_had\" into $(main_file)"
	! grep -qs '^COMPOSE_PROJECT_NAME=' .env || _advice='take COMPOSE_PROJECT_NAME out of .env, which the inventory writes with its key compose'
	_end="docker compose --project-name $_had down"
	case $_had in *[!a-z0-9_-]* | -*) _end='remove its containers' ;; esac # a label can be anything
	[ -z "$_had" ] || end 1 failed "nothing was changed, as the containers here are those of the Compose project $_had, and $_project would start beside it, with volumes of its own
hint: $_advice; or move the data, and end the old one first: $_end"
}

# run_before runs the service that comes before the switch to its end.
run_before() {
	printf '%s\n' "$wanted" | grep -q "^$before " || compose pull "$before" || end 1 failed "nothing was changed, as $before cannot be pulled"
	_deps=--no-deps
	printf '%s\n' "$was" | cut -f 2 | grep -qx running || _deps='' # nothing runs that could be replaced
	say "running $before"
	compose run --rm -T ${_deps:+"$_deps"} "$before" && _status=0 || _status=$?
	# What was ended because it took too long may run on.
	docker ps --all --quiet --filter "label=com.docker.compose.project=$_project" --filter "label=com.docker.compose.service=$before" \
		--filter label=com.docker.compose.oneoff=True | xargs -r docker rm --force >/dev/null
	[ "$_status" = 0 ] || end 1 failed "nothing was changed, as $before has ended with exit code $_status"
}

# begin_saying and said: the last line that was said since.
begin_saying() {
	_mark=$(wc -c <"$state/$id.log")
}
said() {
	tail -c "+$((_mark + 1))" "$state/$id.log" | last_line
}

# of_project FIELD: of lines of containers, those of services that Compose wants;
# FIELD is where the service stands, and behind the next one the project, if the
# lines have one. What somebody has started by hand, of a profile or as a project
# of its own, is left alone.
of_project() {
	awk -F '\t' -v wanted="$wanted" -v field="$1" '
		BEGIN { n = split(wanted, line, "\n"); for (i = 1; i <= n; i++) { split(line[i], f, " "); wants[f[1]] = 1; if (f[1] == "/project") project = f[2] } }
		$field in wants && (project == "" || NF < field + 2 || $(field + 2) == project)'
}

# find_idle sets idle to what good has of services that are only of profiles which
# are no longer active. Compose takes their containers for no orphans. Of a service
# that somebody has started by hand, good has nothing.
find_idle() {
	idle=$(recorded service | awk -v wanted="$(wanted_services)" 'BEGIN { n = split(wanted, s, "\n"); for (i = 1; i <= n; i++) wants[s[i]] = 1 } !($1 in wants)')
	[ -n "$idle" ] || return 0
	_known=$(compose --profile '*' config --services 2>/dev/null) || _known=''
	idle=$(printf '%s\n' "$idle" | awk -v known="$_known" 'BEGIN { n = split(known, s, "\n"); for (i = 1; i <= n; i++) knows[s[i]] = 1 } $1 in knows')
}

# remove_idle removes their containers. What cannot be removed is no reason to go back: it
# stays in good, for verify to tell of and for the next deploy.
remove_idle() {
	[ -n "$idle" ] || return 0
	for _service in $(printf '%s\n' "$idle" | cut -d ' ' -f 1 | sort -u); do
		say "removing $_service, as none of its profiles is active any more"
		begin_saying
		if ! compose --profile '*' rm --stop --force "$_service"; then
			say "$_service stays: $(said)"
			return 0
		fi
	done
	idle=''
}

# wanted_services prints the names of the services that Compose wants.
wanted_services() {
	printf '%s\n' "$wanted" | sed '/^\//d; s/ .*//'
}

# judged_project: the containers of the project, judged.
judged_project() {
	_look=$(look "$here") || return
	printf '%s\n' "$_look" | of_project 11
}

# await waits until all containers are well, one of them cannot become well by
# itself any more, or the time is over.
await() {
	_end=$(($(date +%s) + wait))
	[ "$wait" -ge "$settled" ] || settled=$wait
	while :; do
		judged=$(judged_project) || judged="wait$_tab"
		[ -n "$judged" ] || return 1
		! printf '%s\n' "$judged" | grep -q '^bad' || return 1
		printf '%s\n' "$judged" | grep -q '^wait' || return 0
		[ "$(date +%s)" -lt "$_end" ] || return 1
		sleep 0.5
	done
}
