# --- Status -----------------------------------------------------------------

# status prints a line of JSON: what runs of the deployment, what is wanted of it,
# how the last deploy ended, and where its clone is. It is a "deployment" of
# docs/schema/output.schema.json, but for what only others know. CI reads it, so
# that no label or command line of a container stands in it, and nothing that
# Compose says of a file.
status() {
	ask_docker() { timeout 15 docker "$@"; }
	limit=30 version='' was='' _text=''
	look_or_why "$here"
	judged=$all
	wanted=$(wants "$state/wants") || :
	if [ -n "$variable" ] && ! grep -q "^$variable=" .env 2>/dev/null; then
		_text='no version was deployed yet'
	elif [ -z "$wanted" ] || printf '%s\n' "$wanted" | grep -q '^/failed'; then
		_text='docker compose cannot read the project'
	fi
	[ -z "$why" ] || _text="docker cannot be asked: $why${_text:+; $_text}"
	{
		printf 'name\t%s\n' "$name"
		[ -z "$_text" ] || printf 'text\t%s\n' "$_text"
		[ -z "$why" ] || printf 'unasked\n'
		printf '%s\n' "$wanted" | awk -v OFS='\t' '$1 == "/digest" { print "read" } !/^\// && NF { print "wanted", $1, $4 }'
		if [ -n "$judged" ]; then
			described | sed "s/^/image$_tab/"
			printf '%s\n' "$judged" | sed "s/^/container$_tab/"
			written
		fi
		this_deploy
		last_deploy
		printf 'branch\t%s\n' "$(git symbolic-ref --quiet --short HEAD 2>/dev/null)"
		printf 'commit\t%s\n' "$(git rev-parse --quiet --verify HEAD 2>/dev/null)"
	} | tr -c '\011\012\040-\176' '?' | deployment_json
}

# written prints of each container how many bytes it has written that are in no
# volume: they go when it is made anew.
written() {
	printf '%s\n' "$judged" | cut -f 3 | xargs timeout 15 docker inspect --size --type container --format "written$_tab{{index .Config.Labels \"com.docker.compose.service\"}}$_tab{{.SizeRw}}" 2>/dev/null || :
}

# this_deploy prints of a deploy that runs since when it does, and by which key.
this_deploy() {
	! [ -e "$state/lock" ] || flock -n -s "$state/lock" true ||
		{ cat "$state/running" 2>/dev/null || echo; } | awk -v OFS='\t' '{ sub(/,$/, "", $3); print "deploying", $1, $3 }'
}

# last_deploy prints of the newest deploy that is over when it ended, by which key,
# the outcome, and what was told last. The outcome is "cut" where somebody ended it
# from outside; then when it was asked for is all that is known.
last_deploy() {
	_id=$(cat "$state/last" 2>/dev/null) || return 0
	case $_id in
	'' | *[!0-9]*) return 0 ;;
	esac
	while [ "$_id" -gt 0 ] && [ -e "$state/$_id.want" ]; do
		! ended || return 0
		if [ "$_id" != "$(cat "$state/waiting" 2>/dev/null)" ] && [ -e "$state/$_id.log" ] && flock -n -s "$state/$_id.log" true; then
			ended || printf 'last\t%s\t\tcut\tended from outside before it was done\n' \
				"$(date -u -d "@$(stat -c %Y "$state/$_id.want")" +%Y-%m-%dT%H:%M:%SZ)"
			return 0
		fi
		_id=$((_id - 1))
	done
}

# ended prints how the deploy $_id has ended. It fails where it has not yet.
ended() {
	[ -s "$state/$_id.end" ] || return 1
	{
		read -r _
		read -r _word _outcome _when _by || :
		[ "$_word" != ended ] || # else it is of an older version
			printf 'last\t%s\t%s\t%s\t%s\n' "$_when" "$_by" "$_outcome" "$(sed -n 's/^provision: //p' | tail -n 1 | tr '\t' ' ' | cut -c 1-500)"
	} <"$state/$_id.end"
}

# deployment_json makes the JSON of lines of a word and values, with tabs between.
deployment_json() {
	awk -F '\t' '
	function quoted(v) { gsub(/[\\"]/, "\\\\&", v); return "\"" v "\"" }
	function text(key, v) { return v == "" ? "" : "," quoted(key) ":" quoted(v) }
	function who(v) { return v == "-" ? "admin" : v }
	function add(s) { if (!(s in there)) { there[s] = 1; order[++n] = s } }
	$1 == "name" { name = $2 }
	$1 == "text" { about = $2 }
	$1 == "unasked" { unasked = 1 }
	$1 == "read" { read = 1 }
	$1 == "wanted" { add($2); want[$2] = $3 }
	$1 == "image" { image[$2] = $4 }
	$1 == "written" { written[$2] += $3 }
	$1 == "branch" { branch = $2 }
	$1 == "commit" { commit = $2 }
	$1 == "deploying" { members = text("since", $2) text("by", who($3)); deploying = ",\"deploying\":{" substr(members, 2) "}" }
	$1 == "last" { last = ",\"last\":{\"time\":" quoted($2) text("by", who($3)) text("outcome", $4) text("text", $5) "}" }
	$1 == "container" && NF > 15 {
		s = $12; add(s); has[s]++
		if ($2 == "ok") ok[s]++
		bad = $2 == "bad" ? 3 : $2 == "wait" ? 2 : 1
		if (bad > worst[s]) { # that one is told of
			worst[s] = bad; verdict[s] = $2; reason[s] = $3; state[s] = $5; health[s] = $9
			since[s] = $8 ~ /^0001-/ ? "" : substr($8, 1, 19) "Z"
			revision[s] = $16 == "null" || length($16) > 200 ? "" : ",\"revision\":" $16
		}
	}
	END {
		if (read && about == "" && !n) about = "the project has no service that is to run"
		for (i = 1; i <= n; i++) {
			s = order[i]
			if (read && want[s] > 0) wanted++
			if (want[s] == 0 && !has[s]) continue
			if (!unasked && !has[s]) { state[s] = "missing"; verdict[s] = "bad"; reason[s] = "has no container" }
			if (has[s] && has[s] < want[s] && worst[s] == 1) { verdict[s] = "bad"; reason[s] = "has " has[s] " of " want[s] " containers" }
			if (verdict[s] == "ok" && (!read || want[s] > 0)) up++
			called = digest = image[s]; sub(/@.*/, "", called); sub(/^[^@]*@?/, "", digest)
			services = services (services == "" ? "" : ",") "{\"name\":" quoted(s) (unasked ? "" : ",\"up\":" ok[s] + 0) \
				(read ? ",\"wanted\":" want[s] + 0 : "") text("state", state[s]) text("health", health[s]) text("verdict", verdict[s]) \
				text("reason", reason[s]) text("image", called) text("digest", digest) revision[s] text("since", since[s]) \
				(written[s] > 0 ? sprintf(",\"written\":%.0f", written[s]) : "") "}"
		}
		print "{\"version\":2,\"event\":\"deployment\"" text("deployment", name) (unasked ? "" : ",\"up\":" up + 0) (read ? ",\"wanted\":" wanted + 0 : "") \
			",\"services\":[" services "]" deploying last text("branch", branch) text("commit", commit) text("text", about) "}"
	}'
}
