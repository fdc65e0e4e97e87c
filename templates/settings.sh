# What a host knows of its deployments. A deployment is what a user has in a
# directory; its name is a label, which may change.
settings=/etc/provision/deployments

# read_settings FILE sets what FILE says. $label is what the state folder and the
# kept images are called; $formerly has the names of before, and $keys each of these and
# the fingerprint of a key that it was the name for, with spaces around each.
read_settings() {
	[ -f "$1" ] || return 1
	user='' directory='' registry='' wait=300 rollback='' keep=2 logs=0 variable='' before=''
	label=${1##*/} formerly=' ' keys=' '
	while IFS='=' read -r word value; do
		case $word in
		user) user=$value ;;
		directory) directory=$value ;;
		registry) registry=$value ;;
		wait) wait=$value ;;
		rollback) rollback=$value ;;
		keep) keep=$value ;;
		logs) logs=$value ;;
		version) variable=$value ;;
		before) before=$value ;;
		state) label=$value ;;
		was) formerly="$formerly$value " ;;
		key) keys="$keys$value " ;;
		esac
	done <"$1"
}

# called NAME USER KEY reads the settings of the deployment of USER that is called NAME,
# or was, and sets $known to its name. It fails where there is none. KEY is the fingerprint
# of a key whose line says NAME no longer, else -: then the one that it was of counts.
called() {
	_found=''
	for _file in "$settings/$1" "$settings"/*; do
		read_settings "$_file" 2>/dev/null || continue
		case "$user $keys" in
		"$2 "*" $1 $3 "*)
			_found=$_file
			break
			;;
		esac
		case "$user $_file $formerly" in
		"$2 $settings/$1 "* | "$2 $settings/"*" $1 "*) _found=${_found:-$_file} ;;
		esac
	done
	known=${_found##*/}
	[ -n "$_found" ] && read_settings "$_found"
}

# carried NAME USER DIRECTORY reads the settings of what USER has in DIRECTORY, of
# two names the one that is NAME, and sets $known to it. Where there is none, that
# is "", and so is $label if another one of this user has what is called NAME.
carried() {
	_free=$1
	for _file in "$settings/$1" "$settings"/*; do
		known=${_file##*/}
		read_settings "$_file" 2>/dev/null || continue
		[ "$user/$directory" != "$2/$3" ] || return 0
		if [ "$user $label" = "$2 $1" ] && [ -e "${HOME:-/}/$directory" ]; then
			_free=''
		fi
	done
	known='' label=$_free formerly=' '
}

# gates HOME NAME prints how many keys that stand in a home open the gate of that name, for
# root: a user may have made anything of that file, and so no more is read than keys can be.
gates() {
	if [ -f "$1/.ssh/authorized_keys" ]; then
		head -c 1048576 "$1/.ssh/authorized_keys" 2>/dev/null | grep -cF "/gate $2 " || :
	else
		echo 0
	fi
}

# stands NAME KEY: whether authorized_keys has the line of a key, by that name.
stands() {
	grep -v '^[[:space:]]*#' "$HOME/.ssh/authorized_keys" 2>/dev/null | grep -qF "/gate $1 $2\""
}

# let_in KEY: whether authorized_keys still lets in the key of that fingerprint, for
# the deployment that was read, by any of its names.
let_in() {
	for _name in $known $formerly; do
		! stands "$_name" "$1" || return 0
	done
	return 1
}
