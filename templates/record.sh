# What the last good deploy was, and the way back to it. The file good has
#
#   time T                         when it was
#   project P                      the Compose project
#   files A,B                      what Compose read
#   service S N STATE ID IMAGE     of each service, how many containers there
#                                  are, whether they run or have ended, the id
#                                  of their image, and its name
#   override LINE                  of each line of the override of then
#
# An image of a good deploy has a name of this deployment's own,
# provision/kept:NAME_ID, so that it outlives whatever becomes of its other names,
# and no name that others use has to move.

recorded() {
	! [ -e "$state/good" ] || sed -n "s/^$1 //p" "$state/good"
}

kept_name() {
	printf 'provision/kept:%s_%s' "$label" "${1#sha256:}"
}

# record makes the containers that judged has the last good deploy.
record() {
	[ -z "$version" ] || write_version
	if [ "$what" = start ]; then # which is not what a deploy would make of it
		recorded override >"$state/override"
		write_good "$judged" "$state/override"
		rm -f "$state/same"
		return
	fi
	write_good "$judged" "$state/override"
	{
		printf '%s\n' "$digest"
		printf '%s\n' "$judged" | cut -f 3- | same_lines
		names | xargs docker image inspect --format 'image {{.Id}}' 2>/dev/null || :
	} >"$state/new" && mv -f "$state/new" "$state/same"
	tidy
}

# found makes what runs the last good deploy, where it is well and somebody else
# has put it there, or where there is no record yet.
found() {
	[ -n "$was" ] || return 0
	_judged=$(printf '%s\n' "$was" | judge)
	if [ -e "$state/good" ]; then
		! printf '%s\n' "$_judged" | grep -qv '^ok' || return 0
		[ "$(printf '%s\n' "$_judged" | images | sort -u)" != "$(recorded_images)" ] || return 0
	elif printf '%s\n' "$_judged" | grep -q '^bad' || ! printf '%s\n' "$was" | cut -f 2 | grep -qx running; then
		return 0
	fi
	write_good "$_judged" compose.override.yaml
}

# images prints the service and the id of the image of each judged container.
images() {
	awk -F '\t' '{ print $11, $10 }'
}

# recorded_images prints the same of the last good deploy, for what is wanted still.
recorded_images() {
	recorded service | awk '{ print $1 "\t" $4 }' | of_project 1 | tr '\t' ' ' | sort -u
}

# write_good JUDGED OVERRIDE
write_good() {
	_names=$(recorded service)
	_first=$(printf '%s\n' "$1" | sed 1q)
	# Compose leaves the label of a container alone that it does not make anew.
	_files=$(printf '%s\n' "$1" | cut -f 3 | xargs docker inspect --format '{{.Created}} {{index .Config.Labels "com.docker.compose.project.config_files"}}') &&
		_files=$(printf '%s\n' "$_files" | sort | tail -n 1 | cut -d ' ' -f 2-) || _files=$(recorded files)
	{
		printf 'time %s\nproject %s\nfiles %s\n' "$(now)" "$(printf '%s\n' "$_first" | cut -f 13)" "$_files"
		{
			printf '%s\n' "$_names" | awk 'NF { print "name\t" $1 " " $4 "\t" $5 }'
			printf '%s\n' "$1"
		} | awk -F '\t' '
			$1 == "name" { name[$2] = $3; next }
			{
				if ($14 ~ /^provision\/kept:/ && ($11 " " $10) in name) $14 = name[$11 " " $10]
				line = $11 "\t" ($4 == "exited" ? "ended" : "runs") "\t" $10 "\t" $14
				if (!n[line]++) order[++m] = line
			}
			END {
				for (i = 1; i <= m; i++) {
					split(order[i], f, "\t")
					print "service", f[1], n[order[i]], f[2], f[3], f[4]
				}
			}'
		printf '%s\n' "$idle" | sed -n 's/^./service &/p'
		! [ -f "$2" ] || sed 's/^/override /' "$2"
	} >"$state/new" && mv -f "$state/new" "$state/good"
	recorded service | while read -r service _ _ image called; do
		docker tag "$image" "$(kept_name "$image")" 2>/dev/null || # where images are containerd's, an id alone may not do
			{ [ "$(docker image inspect --format '{{.Id}}' "$called" 2>/dev/null)" = "$image" ] && docker tag "$called" "$(kept_name "$image")"; } ||
			say "$service: the way back to $called may be lost"
		printf '%s %s %s\n' "$service" "$image" "$called" >>"$state/kept"
	done
}

# again starts what the last good deploy was: its images, by the names that they
# have here, and its override. A start makes nothing anew that runs; what compose.yaml
# has gained since, it starts too.
again() {
	begin_saying
	_services=$(wanted_services)
	recorded service | sort -u -k 1,1 | while read -r service _ _ image called; do
		printf '%s\n' "$_services" | grep -qxF "$service" || continue
		if [ "$(docker image inspect --format '{{.Id}}' "$called" 2>/dev/null)" = "$image" ]; then
			_kept=$called # though compose.yaml may want another one by now
		else
			_kept=$(kept_name "$image")
			docker image inspect "$_kept" >/dev/null 2>&1 || _kept=$image
		fi
		[ "$what" != start ] || docker image inspect "$_kept" >/dev/null 2>&1 || continue # somebody has removed it
		printf '  "%s":\n    image: "%s"\n    pull_policy: never\n' "$service" "$_kept"
	done >"$state/pins"
	{
		echo 'services:'
		cat "$state/pins"
	} >"$state/pins.yaml"
	recorded override >"$state/pins.override"
	set --
	_files=$(recorded files | tr , '\n')
	_first=$(printf '%s\n' "$_files" | head -n 1)
	case $_first in
	*/*) _folder=${_first%/*} ;;
	*) _folder=$here ;;
	esac
	if [ -n "$_first" ] && [ ! -e "$_first" ]; then
		printf '%s is there no more\n' "$_first" >&2
		return 1
	fi
	while IFS= read -r file; do
		case $file in
		'' | "$state/pins.yaml") continue ;;
		"$here/compose.override.yaml" | "$state/pins.override") file=$state/pins.override ;;
		esac
		[ -s "$file" ] || continue
		set -- "$@" --file "$file"
	done <<-END
		$_files
	END
	! [ -s "$state/pins" ] || set -- "$@" --file "$state/pins.yaml"
	_asked=$version version='' # .env has the one of before
	if [ "$what" = start ]; then
		set -- "$@" up --detach --no-recreate --pull missing
	else
		set -- "$@" up --detach --pull never
	fi
	compose_in "$_folder" "$@" --remove-orphans && _status=0 || _status=$?
	version=$_asked
	return "$_status"
}

# tidy removes the images of this deployment that nobody goes back to: of each
# service all but the newest ones, those of services that are gone, and those that
# were tried in vain. Docker keeps what a container uses, and what has another name.
tidy() {
	[ -e "$state/kept" ] || return 0
	_good=$(recorded service | awk '{ print $1, $4 }')
	awk -v keep="$keep" -v good="$_good" '
		BEGIN { n = split(good, line, "\n"); for (i = 1; i <= n; i++) { split(line[i], f, " "); runs[f[1]] = 1; using[f[2]] = 1 } }
		{ line[NR] = $0; service[NR] = $1; id[NR] = $2 }
		END {
			for (i = NR; i > 0; i--) {
				if (had[service[i] " " id[i]]++) continue
				if (left[service[i]]++ < keep && service[i] in runs || id[i] in using) { stay[id[i]] = 1; kept[++m] = line[i] }
				else gone[++g] = line[i]
			}
			for (i = m; i > 0; i--) print "keep", kept[i]
			for (i = 1; i <= g; i++) { split(gone[i], f, " "); if (!(f[2] in stay)) print "drop", gone[i] }
		}' "$state/kept" >"$state/sorted"
	sed -n 's/^keep //p' "$state/sorted" >"$state/new" && mv -f "$state/new" "$state/kept"
	sed -n 's/^drop //p' "$state/sorted" | while read -r service image called; do
		forget "$image" "$called"
		! docker image inspect "$(kept_name "$image")" >/dev/null 2>&1 || printf '%s %s %s\n' "$service" "$image" "$called" >>"$state/left"
	done
	if [ -e "$state/left" ]; then # a container uses them: the next deploy tries again
		cat "$state/left" "$state/kept" >"$state/new" && mv -f "$state/new" "$state/kept"
		rm -f "$state/left"
	fi
	rm -f "$state/sorted"
	[ -e "$state/tried" ] || return 0
	sort -u "$state/tried" | while read -r image called; do
		grep -qF " $image " "$state/kept" || forget "$image" "$called"
	done
	rm -f "$state/tried"
}

# forget IMAGE NAME: takes the names of this deployment from an image, and
# removes it where it has no other. Docker takes no id of an image that two
# registries have, so that each digest is removed.
forget() {
	{
		[ "$(docker image inspect --format '{{.Id}}' "$2")" != "$1" ] || docker rmi "$2"
		docker rmi "$(kept_name "$1")"
		if [ "$(docker image inspect --format '{{len .RepoTags}}' "$1")" = 0 ]; then
			docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$1" | grep . | xargs docker rmi
			docker rmi "$1"
		fi
	} >/dev/null 2>&1 || :
}

# may_write_version: what is deployed is written to .env, which Compose reads.
may_write_version() {
	! [ -e .env ] || { [ -r .env ] && [ -w .env ]; } || end 1 failed "nothing was changed, as .env cannot be written, and the version is written there"
	! [ -L .env ] || end 1 failed "nothing was changed, as .env is a link, and the version is written there"
	! git ls-files --error-unmatch .env >/dev/null 2>&1 ||
		end 1 failed "nothing was changed, as git tracks .env, and the version is written there
hint: take .env out of the project, or choose no version"
}

# write_version keeps apply from writing its lines there at the same time.
write_version() {
	(
		umask 077
		exec 8<"$(git rev-parse --absolute-git-dir 2>/dev/null || pwd)"
		flock -w 60 8 || :
		if [ -e .env ]; then cp -p .env .env.new; else : >.env.new; fi
		[ ! -e .env ] || grep -v "^$variable=" .env >.env.new || [ "$?" = 1 ]
		printf '%s=%s\n' "$variable" "$version" >>.env.new
		mv -f .env.new .env
	)
}

# --- Saying -----------------------------------------------------------------

# described prints, for each judged container but one of a service, the service,
# whether it is as it was, the image with its digest, and the revision that the
# image says it was made from; with tabs between them.
described() {
	{
		recorded service | awk '{ print "name\t" $1 " " $4 "\t" $5 }'
		printf '%s\n' "$was" | awk -F '\t' 'NF > 1 { print "was\t" $1 " " $5 }'
		printf '%s\n' "$judged" | cut -f 10 | sort -u | xargs docker image inspect --format '{{"digests\t"}}{{.Id}}{{"\t"}}{{json .RepoDigests}}' 2>/dev/null || :
		printf '%s\n' "$judged"
	} | awk -F '\t' -v OFS='\t' '
		$1 == "name" { name[$2] = $3; next }
		$1 == "was" { was[$2] = 1; next }
		$1 == "digests" { digests[$2] = $3; next }
		NF < 14 || had[$11]++ { next }
		{
			image = $14
			if (image ~ /^provision\/kept:/ && ($11 " " $10) in name) image = name[$11 " " $10]
			repository = image; sub(/@.*/, "", repository)
			if (match(repository, /:[^\/]*$/)) repository = substr(repository, 1, RSTART - 1)
			digest = "@" $10
			n = split(digests[$10], all, /[][",]+/)
			for (i = 1; i <= n; i++) if (index(all[i], repository "@") == 1) digest = substr(all[i], length(repository) + 1)
			if (index(image, "@")) digest = ""
			revision = $15 == "null" ? "" : $15; gsub(/^"|"$/, "", revision)
			print $11, (($3 " " $7) in was ? "same" : "new"), image digest, revision
		}'
}

# outcome ends a good deploy.
outcome() {
	_lines=$(described)
	told=$(printf '%s\n' "$_lines" | awk -F '\t' 'NF { print $1 ": " $3 ($4 == "" ? "" : " revision " $4) ($2 == "same" ? " (unchanged)" : "") }')
	summary=$(printf '%s\n' "$_lines" | awk -F '\t' '$2 == "new" {
		image = $3
		if (match(image, /@sha256:/)) image = substr(image, 1, RSTART + 19)
		printf "%s %s %s%s", (n++ ? "," : ":"), $1, image, $4 == "" ? "" : " revision " substr($4, 1, 12)
	}')
	_full=$(df -P "$(docker info --format '{{.DockerRootDir}}' 2>/dev/null)" 2>/dev/null | awk 'NR == 2 && $5 + 0 >= 85 { print $5 + 0 }')
	[ -z "$_full" ] || told="$told
note: the disk that Docker uses is $_full % full"
	_new=$(printf '%s\n' "$_lines" | awk -F '\t' '$2 == "new"' | wc -l)
	if [ "$_new" -eq 0 ] && [ "$(printf '%s\n' "$was" | grep -c .)" -eq "$(printf '%s\n' "$judged" | grep -c .)" ]; then
		end 0 same "what was deployed at $(recorded time) runs"
	fi
	end 0 good "$((_new)) of $(($(printf '%s\n' "$_lines" | grep -c .))) services"
}

# ill prints, for each container that is to blame, the service, the reason and
# what its health check said last, and its logs if the inventory wants them.
# While one is bad, those that may yet become well are not.
ill() {
	_blame='wait'
	! printf '%s\n' "$judged" | grep -q '^bad' || _blame=bad
	printf '%s\n' "$judged" | awk -F '\t' -v blame="$_blame" '$1 == blame && NF > 2 { print $3 "\t" $11 "\t" $2 "\t" $8 }' |
		while IFS=$_tab read -r _id service reason health; do
			_output=''
			if [ "$health" = unhealthy ] || [ "$health" = starting ]; then
				_output=$(docker inspect --format '{{with index .State "Health"}}{{range .Log}}{{json .Output}}{{"\n"}}{{end}}{{end}}' "$_id" 2>/dev/null |
					grep -v '^$' | tail -n 1 | sed 's/^"//; s/"$//; s/\\n/ /g; s/\\[rt]/ /g; s/  *$//' | tr -c '\012\040-\176' '?' | cut -c 1-300) || :
			fi
			printf '%s %s%s\n' "$service" "$reason" "${_output:+: $_output}"
			[ "$logs" -eq 0 ] || docker logs --tail "$logs" "$_id" 2>&1 | tr -c '\011\012\040-\176' '?' | cut -c 1-2000 | sed "s/^/  | /"
		done
}

# not_well [SAID] ends a deploy whose containers are not well, or could not be
# made, of which Compose has said why. Nothing is put back before that is told.
not_well() {
	judged=$(judged_project) || end 1 failed "Docker does not answer any more, so nobody knows what runs: $(docker_error)"
	told=$(ill)
	_why=$(printf '%s\n' "$told" | sed '/^  | /d' | paste -s -d ';' - | sed 's/;/; /g')
	_why="$_why${_why:+${1:+; }}${1-}"
	[ -n "$judged$_why" ] || _why="Compose has started nothing from this folder; is COMPOSE_FILE in .env of another one?"
	if ! [ -e "$state/good" ] || [ "$what" = start ]; then
		end 1 failed "$_why"
	elif [ "$(printf '%s\n' "$judged" | cut -f 3,7)" = "$(printf '%s\n' "$was" | cut -f 1,5)" ]; then
		end 1 failed "nothing was changed: $_why"
	elif [ "$rollback" != yes ]; then
		end 1 failed "$_why"
	fi
	say "$_why; going back to the deploy of $(recorded time)"
	_outcome="went back to the deploy of $(recorded time), which runs"
	if ! again; then
		_outcome="going back to the deploy of $(recorded time) failed: $(said)"
	elif ! await; then
		_ill=$(ill | sed '/^  | /d' | paste -s -d ';' - | sed 's/;/; /g')
		_outcome="went back to the deploy of $(recorded time), but $_ill"
	elif [ "$(printf '%s\n' "$judged" | images | sort -u)" != "$(recorded_images)" ]; then
		_outcome="went back to the deploy of $(recorded time), but not all of it could be made again"
	fi
	judged=$(judged_project) || judged=''
	told="$told
$(described | awk -F '\t' 'NF { print "now " $1 ": " $3 ($4 == "" ? "" : " revision " $4) }')"
	end 1 failed "$_why; $_outcome"
}
