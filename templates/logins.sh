# $1 is what stands for the registry in config.json, $2 a salt, $3 where a login is
# kept that was there before ours. The password of the login is not reported, but a
# salted digest of it. One that we have made says whose token it is with. A login that
# was tried, and never got into place, is reported too.
#
# $4 is what a token of ours can read, REGISTRY/GROUP, or empty. Where there is another
# login than the one that we have made last, it is reported what runs here and needs
# that one.
#
# $5 are the registries that the inventory names, or empty. Logins that we have made to
# others are reported, and with a salt what runs here and needs them.
config=.docker/config.json
for file in .docker/by-provision/*; do
	if [ -z "${5-}" ] || ! [ -f "$file" ]; then continue; fi
	host=${file##*/}
	case " $5 " in *" $host "*) continue ;; esac
	read -r name <"$file"
	[ -n "$name" ] || continue # it never got into place
	[ "$(json look "$host" "$config" 2>/dev/null | sed -n 's/^auth //p' | base64 -d 2>/dev/null | sed 's/:.*//;q')" = "$name" ] || continue
	fact elsewhere "$host $name"
	[ -z "$2" ] || pulls "$host" | while read -r image folder; do
		fact "needed $host" "$image of $folder"
	done
done
! [ -f "$3" ] || fact kept yes
# about_made LOGIN: the last login of ours is that one, or never got into place; and what was
# tried since.
about_made() {
	[ -f ".docker/by-provision/$1" ] || return 0
	stands='' line=0
	while IFS= read -r name; do
		line=$((line + 1))
		if [ "$line" = 2 ]; then
			[ -z "$stands" ] || [ -z "$name" ] || fact made "$name"
		elif [ "$name" = "$2" ]; then
			[ "$line" != 1 ] || stands=yes
		else
			case $name in provision-* | gitlab+deploy-token-*) fact tried "$name" ;; esac
		fi
	done <".docker/by-provision/$1"
}
if ! [ -f "$config" ]; then
	about_made "$1" ''
	return 0
fi
if ! said=$(json look "$1" "$config"); then
	fact config broken
	return 0
fi
printf '%s\n' "$said" | while read -r word value; do
	case $word in
	store | helper) fact "$word" "$value" ;;
	other) fact other yes ;;
	auth)
		fact login "$(printf '%s' "$value" | base64 -d | sed 's/:.*//;q')"
		[ -z "$2" ] || fact digest "$({
			printf '%s' "$2"
			printf '%s' "$value" | base64 -d
		} | sha256sum | cut -c 1-64)"
		;;
	esac
done
about_made "$1" "$(printf '%s\n' "$said" | sed -n 's/^auth //p' | base64 -d 2>/dev/null | sed 's/:.*//;q')"
[ -n "$4" ] || return 0
made=provision-
! [ -f ".docker/by-provision/${4%%/*}" ] || read -r made <".docker/by-provision/${4%%/*}"
case $(printf '%s\n' "$said" | sed -n 's/^auth //p' | base64 -d 2>/dev/null | sed 's/:.*//;q') in
"$made" | provision-*) return 0 ;;
esac
pulls "${4%%/*}" | while read -r image folder; do
	case $image in "$4"/*) continue ;; esac
	if ! can .docker/none "$image" && can .docker "$image"; then
		fact needs "$image of $folder"
	fi
done
