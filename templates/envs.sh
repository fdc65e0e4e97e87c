# $1 is a clone, $2 a salt, and $3 is "yes" where lines of ours are wanted; then come
# the Compose files that the project has to have. What the facts mean:
#
#   override         there is a compose.override.yaml
#   lacks            a Compose file that is not there
#   file, odd        there is an .env; why it cannot be written
#   name, digest     of each line of ours: the name; and with the salt a digest of the
#                    line, or without a salt of those lines that hold no secret
#   mode             that of the file, if others may read it
#   edited           the lines are not as they were written
#   later            a name of ours that stands behind our lines as well, where
#                    Compose takes that one
enter "$1" || return 0
[ -n "$3" ] || { [ -f .env ] && grep -qxsF '# provision begin' .env; } || return 0
[ ! -e compose.override.yaml ] || fact override yes
salt=$2
shift 3
for file; do
	[ -e "$file" ] || fact lacks "$file"
done
why=$(odd .env)
if [ -n "$why" ]; then
	fact odd "$why"
	return 0
fi
[ -e .env ] || return 0
fact file yes
[ -n "$(inside .env)" ] || return 0
[ "$(stat -c %a .env)" = 600 ] || fact mode "$(stat -c %a .env)"
as_written .env inside .env || fact edited yes
inside .env | while IFS= read -r line; do
	name=${line%%=*}
	case $name in
	'' | *[!A-Za-z0-9_]*) name='?' ;; # and it may be part of a secret
	esac
	fact name "$name"
	case $name in
	COMPOSE_PROJECT_NAME | COMPOSE_FILE | COMPOSE_PROFILES) ;;
	*) [ -n "$salt" ] || continue ;;
	esac
	fact digest "$name $(printf '%s' "$line" | salted "$salt")"
done
awk '
	on && $0 == "# provision end" { on = 0; next }
	$0 == "# provision begin" { on = 1; next }
	sub(/^[ \t]*(export[ \t]+)?/, "") && match($0, /^[A-Za-z_][A-Za-z0-9_]*[ \t]*[=:]/) {
		name = substr($0, 1, RLENGTH - 1)
		sub(/[ \t]+$/, "", name)
		if (on) ours[name] = 1
		else if (name in ours) print name
	}' .env | sort -u | facts later
