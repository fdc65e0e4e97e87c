# $1 is a clone, $2 a salt, and then come the files that are wanted in it. What
# the facts mean; each but odd is about one file:
#
#   there            it is there
#   odd              FILE REASON: it cannot be written
#   mode             FILE MODE, if others may read it
#   digest           FILE DIGEST, with the salt
#   ours             it is as it was written
#   left, changed    it was written once, and is not wanted any more: it is as it
#                    was written, or is not
enter "$1" || return 0
salt=$2
shift 2
for file; do
	why=$(odd "$file")
	if [ -n "$why" ]; then
		fact odd "$file $why"
		continue
	fi
	[ -e "$file" ] || continue
	fact there "$file"
	[ "$(stat -c %a "$file")" = 600 ] || fact mode "$file $(stat -c %a "$file")"
	! as_written "$file" cat "$file" || fact ours "$file"
	[ -z "$salt" ] || fact digest "$file $(salted "$salt" <"$file")"
done
! [ -f "$notes" ] || sed -n 's/^wrote \([^ ]*\) .*/\1/p' "$notes" | sort -u | while read -r file; do
	case " $* .env " in
	*" $file "*) continue ;;
	esac
	if ! [ -e "$file" ] || as_written "$file" cat "$file"; then
		fact left "$file"
	else
		fact changed "$file"
	fi
done
