# $1 is a clone of the deployment $3, and $2 is "yes" where it gets a
# compose.override.yaml; the secret is what is to stand between our marks in its .env:
# without any, the marks go, and the file if nothing else is in it.
#
# Compose takes the last line of a name, so that ours are at the end. All others
# stay as they are.
carried "$3" "$USER" "$1"
enter "$1" || fail "$1 is no clone"
lock_clone
why=$(odd .env)
[ -z "$why" ] || fail "$why"
override=''
[ "$2" != yes ] && [ ! -e compose.override.yaml ] || override=:compose.override.yaml
lines() { secret | sed "/^COMPOSE_FILE=/s/'\$/$override'/"; }
if [ -e .env ]; then
	[ "$(tr -d '\000' <.env | cksum)" = "$(cksum <.env)" ] || fail '.env has NUL bytes; take them out' # awk may read past one
	[ -z "$(inside .env)" ] || [ "$(inside .env | salted '')" = "$(lines | salted '')" ] || as_written .env inside .env || keep_backup .env
fi
# A value above that is not closed ends at one of its quotation marks: so Compose, which
# says what it could not read, quotes this line, and none of those with secrets.
comment="# From the inventory of \"provision\", which writes over what is changed here. Don't."
umask 077
[ -z "$label" ] || ! [ -d ~/".provision/$label" ] || : >~/".provision/$label/waits"
note .env lines
whole() {
	[ ! -e .env ] || outside .env
	[ -z "$(lines)" ] || {
		echo '# provision begin'
		echo "$comment"
		lines
		echo '# provision end'
	}
}
if [ -n "$(whole)" ]; then
	whole | put .env 600
else
	rm -f .env
fi
[ -n "$(lines)" ] || _new=''
keep_note .env "$_new"
