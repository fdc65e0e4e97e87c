# $1 is a clone, $2 the path of a file in it, and $3 says how the secret is encoded
# that becomes the file: base64, or not at all. A file that is there, and is not
# as we have written it, is kept beside it.
enter "$1" || fail "$1 is no clone"
lock_clone
path=$2 encoding=$3
why=$(odd "$path")
[ -z "$why" ] || fail "$why"
content() {
	case $encoding in
	base64) secret | base64 -d ;;
	*) secret ;;
	esac
}
umask 077
missing='' up=$path
while [ "$up" != "${up%/*}" ]; do
	up=${up%/*}
	[ -d "$up" ] || missing="$up $missing"
done
for folder in $missing; do
	mkdir "$folder"
	printf 'made %s\n' "$folder" >>"$notes"
done
if [ -e "$path" ] && [ "$(salted '' <"$path")" != "$(content | salted '')" ] && ! as_written "$path" cat "$path"; then
	keep_backup "$path"
fi
note "$path" content
content | put "$path" 600
keep_note "$path" "$_new"
