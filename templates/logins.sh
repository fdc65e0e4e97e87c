# $1 is what stands for the registry in config.json, $2 a salt, $3 where a login is
# kept that was there before ours. The password of the login is not reported, but a
# salted digest of it.
config=.docker/config.json
! [ -f "$3" ] || fact kept yes
[ -f "$config" ] || return 0
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
