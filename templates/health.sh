# What runs, and whether it is well. The rule, the same for deploy, the first
# start, verify and status: a container is well when it is healthy; or runs, and
# has run for a few seconds without a restart, where nobody checks its health;
# or has ended with 0 where its restart policy lets it end.

# How long, in seconds, a container without a health check must have run.
settled=5

# ask_docker runs Docker; a look may give it less time.
ask_docker() {
	docker "$@"
}

# working_dir is the label for the folder of a project.
working_dir=com.docker.compose.project.working_dir

# in_clone FOLDER and not_in_clone FOLDER pick of lines of a word and a folder those of a
# project in the clone FOLDER, and those of other folders. Of a project Compose
# takes the folder of its first file, which may be one below that of the clone; and
# it leaves a container as it is when only that folder becomes another one.
in_clone() {
	awk -v folder="$1" '{ at = substr($0, index($0, " ") + 1) } at == folder || index(at, folder "/") == 1'
}
not_in_clone() {
	awk -v folder="$1" '{ at = substr($0, index($0, " ") + 1) } at != "" && at != folder && index(at, folder "/") != 1'
}

# containers FOLDER: prints a line for each container that Compose has started
# from the clone FOLDER, but for those of "docker compose run". The fields, with a tab
# between them: id, state, exit code, restarts, started at, health, restart
# policy, id of the image, service, name, project, name of the image, revision
# (as JSON).
containers() {
	_tries=''
	while :; do
		_ids=$(ask_docker ps --all --no-trunc --filter "label=$working_dir" --filter label=com.docker.compose.oneoff=False \
			--format "{{.ID}} {{.Label \"$working_dir\"}}") || return
		_ids=$(printf '%s\n' "$_ids" | in_clone "$1" | cut -d ' ' -f 1)
		[ -n "$_ids" ] || return 0
		! _lines=$(printf '%s\n' "$_ids" | xargs docker inspect --type container --format "$container_line") || break
		_tries=x$_tries # one has gone meanwhile
		[ "$_tries" != xxxxx ] || return
	done
	printf '%s\n' "$_lines" | sort -t "$_tab" -k 9,9 -k 10,10
}
_tab=$(printf '\t')
_label='{{"\t"}}{{index .Config.Labels "com.docker.compose'
container_line='{{.Id}}{{"\t"}}{{.State.Status}}{{"\t"}}{{.State.ExitCode}}{{"\t"}}{{.RestartCount}}{{"\t"}}{{.State.StartedAt}}{{"\t"}}{{with index .State "Health"}}{{.Status}}{{else}}none{{end}}{{"\t"}}{{.HostConfig.RestartPolicy.Name}}{{"\t"}}{{.Image}}'"$_label.service\"}}"'{{"\t"}}{{slice .Name 1}}'"$_label.project\"}}"'{{"\t"}}{{.Config.Image}}{{"\t"}}{{json (index .Config.Labels "org.opencontainers.image.revision")}}'

# judge reads lines of containers, and prints each with two fields
# before it: ok, wait (it may become well by itself) or bad, and the reason.
judge() {
	awk -F '\t' -v OFS='\t' -v cutoff="$(date -u -d "@$(($(date +%s) - settled))" +%Y-%m-%dT%H:%M:%S)" '
	NF < 12 { next }
	{
		verdict = "bad"
		ends = $7 == "" || $7 == "no" || $7 == "on-failure"
		if ($2 == "running" && $6 == "healthy") { verdict = "ok"; reason = "is healthy" }
		else if ($2 == "running" && $6 == "unhealthy") reason = "is unhealthy"
		else if ($2 == "running" && $6 == "starting") { verdict = "wait"; reason = "is not healthy yet" }
		else if ($2 == "running" && substr($5, 1, 19) < cutoff) { verdict = "ok"; reason = "runs" }
		else if ($2 == "running") { verdict = "wait"; reason = $4 > 0 ? "was restarted " $4 " times" : "has just started" }
		else if ($2 == "restarting") { verdict = "wait"; reason = "keeps restarting, exit code " $3 }
		else if ($2 == "exited" && $3 == 0 && ends) { verdict = "ok"; reason = "has ended with 0" }
		else if ($2 == "exited" && ends) reason = "has ended with exit code " $3
		else if ($2 == "exited") reason = "is stopped, exit code " $3
		else if ($2 == "created") reason = "was never started"
		else reason = "is " $2
		print verdict, reason, $0
	}'
}

# look FOLDER: the containers of FOLDER, judged. It fails where Docker does not tell.
look() {
	_all=$(containers "$1") || return
	[ -z "$_all" ] || printf '%s\n' "$_all" | judge
}

# look_or_why FOLDER: sets all to what look prints of FOLDER, or else why to the
# reason why Docker does not tell.
look_or_why() {
	all='' why=''
	# Behind a socket docker starts when it is asked, and a look starts nothing.
	case $(systemctl is-active docker.service 2>/dev/null) in
	inactive | failed)
		why='it does not run'
		return 0
		;;
	esac
	all=$(look "$1" 2>/dev/null) && _looked=0 || _looked=$?
	case $_looked in
	0) ;;
	124) why='it does not answer' ;;
	*)
		why=$(ask_docker ps 2>&1 >/dev/null | tail -n 1 | sed 's/^\(.\{200\}\)..*/\1…/')
		case $why in
		'') why='it says nothing' ;;
		*'permission denied'*) why='its user may not ask it' ;;
		esac
		;;
	esac
}
