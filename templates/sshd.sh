# Asks sshd(8) what it would do for the user $1, and reports all of its answer but the
# options in $2, a list of names between blanks, and the files of keys that other steps
# look at, which are in the list $3.
#
# An answer is of one connection. Where sshd_config(5) has blocks for some addresses,
# hosts or ports, sshd is asked for a connection of each such block, too: "sshd" is the
# answer for one that no block is likely to be about, and "sshd N" that for "match N". What
# cannot be asked for is "unjudged".
if [ "$(id -u)" != 0 ]; then
	fact unseen 'without rights of an admin: whom sshd_config lets in, and what it lets them do'
	return 0
fi
sshd=$(command -v sshd) || {
	fact without sshd
	return 0
}

home=/home/$1 uid=''
passwd=$(getent passwd "$1") || :
[ -z "$passwd" ] || IFS=: read -r _ _ uid _ _ home _ <<ENTRY
$passwd
ENTRY
fact home "$home"
! [ -f "/etc/ssh/provision/$1" ] || fact hardened yes
! [ -f /etc/krb5.keytab ] || fact keytab yes

# started prints the words behind which the sshd that listens was started, one a line, as
# far as they say what sshd_config says else. Its title is "sshd: /usr/sbin/sshd -D -o
# NAME=VALUE [listener] …", in which a value may have blanks.
started() {
	for file in /run/sshd.pid /var/run/sshd.pid; do
		! [ -f "$file" ] || break
	done
	[ -f "$file" ] || return 0
	read -r process <"$file" || return 0
	case $process in
	'' | *[!0-9]*) return 0 ;;
	esac
	[ "$(stat -c %u "/proc/$process" 2>/dev/null)" = 0 ] || return 0
	tr '\000' ' ' <"/proc/$process/cmdline" | awk '
		NR > 1 { exit }
		function option() { if (text != "") printf "%s\n%s\n", flag, text; flag = text = "" }
		$1 !~ /^(sshd:|\/.*\/sshd|sshd)$/ { exit }
		{
			for (i = 2; i <= NF && $i !~ /^\[/; i++) {
				if ($i ~ /^-[of]/) { option(); flag = substr($i, 1, 2); text = substr($i, 3) }
				else if ($i ~ /^-/) option()
				else if (flag != "") text = text (text == "" ? "" : " ") $i
			}
			option()
		}'
}
options=$(started) || :

# ask CONNECTION: what sshd says of it, and how it has come to that.
ask() (
	IFS='
'
	set -f
	# shellcheck disable=SC2086
	exec "$sshd" -T -ddd $options -C "user=$user,$1" 2>&1 </dev/null
)

# judge HARMLESS BLOCK: reads what ask prints. Without a BLOCK it prints "sshd OPTION …" for
# each option, and "match CONNECTION BLOCK" for each block that is of other connections.
# With one, it prints "sshd OPTION …" where the block is of this connection, nothing
# where it is of another user, and else "unjudged BLOCK".
judge() {
	awk '
	function named(list, other,    i, n, pattern) {
		n = split(list, pattern, ",")
		for (i = 1; i <= n && pattern[i] ~ /^!/; i++);
		if (i > n) return other
		sub(/\/.*/, "", pattern[i])
		return pattern[i]
	}
	function address(list,    a) {
		a = named(list, "192.0.2.1")
		gsub(/\*/, "0", a)
		gsub(/\?/, "1", a)
		if (a !~ /:/) while (a != "" && split(a, part, /[.]/) < 4) a = a ".0"
		return a
	}
	function host(list,    h) {
		h = named(list, "nowhere.invalid")
		gsub(/[*?]/, "x", h)
		return h
	}
	# criteria counts those of a block that are about the connection, and sets one that has them.
	function criteria(block,    i, n, word, key, count, from, name, to, port, domain) {
		gsub(/[="\t]/, " ", block)
		n = split(block, word, / +/)
		from = "192.0.2.1"; to = "192.0.2.2"; name = "nowhere.invalid"; port = 1; domain = ""
		for (i = 1; i <= n; i++) {
			key = tolower(word[i])
			if (key == "all" || key == "invalid-user") continue
			count++
			if (key == "address") from = address(word[i + 1])
			else if (key == "host") name = host(word[i + 1])
			else if (key == "localaddress") to = address(word[i + 1])
			else if (key == "localport") port = named(word[i + 1], 1)
			else if (key == "rdomain") domain = host(word[i + 1])
			else count--
			i++
		}
		connection = "host=" name ",addr=" from ",laddr=" to ",lport=" port ",rdomain=" domain
		return count
	}
	function skip() { return block == "" || wanted != "" && block != wanted }
	BEGIN { harmless = ARGV[1]; wanted = ARGV[2]; ARGC = 1 }
	{ sub(/\r$/, "") }
	/^debug[0-9]: checking match for / {
		block = $0
		sub(/^[^\047]*\047/, "", block)
		sub(/\047 user .*/, "", block)
		met = 0
		next
	}
	/^debug[0-9]: .* matched \047(Address|Host|LocalAddress|LocalPort|RDomain) / { met++; next }
	/^debug[0-9]: match found/ { if (!skip()) found = 1; block = ""; next }
	/^debug[0-9]: match not found/ {
		if (!skip() && criteria(block) > met)
			if (wanted != "") unjudged = 1
			else if (!(block in blocks)) { blocks[block]; print "match", connection, block }
		block = ""
		next
	}
	/^debug[0-9]: / || /^[^ ]*[^a-z0-9 ]/ || /^[^ ]+( config)? line [0-9]+: / { next }
	NF > 1 && index(harmless, " " $1 " ") == 0 { answer = answer "sshd " $0 "\n" }
	END {
		if (wanted == "" || found) printf "%s", answer
		else if (unjudged) print "unjudged", wanted
	}' "$1" "$2"
}

# keys FILES: reports the keys in files that sshd takes the keys of the user from. It reads
# them as that user, and so does sshd.
keys() {
	set -f
	for file in $1; do
		expanded=''
		while [ "$file" != "${file#*%}" ]; do
			expanded=$expanded${file%%%*} file=${file#*%}
			case $file in
			h*) expanded=$expanded$home ;;
			u*) expanded=$expanded$user ;;
			U*) expanded=$expanded$uid ;;
			%*) expanded=$expanded% ;;
			esac
			file=${file#?}
		done
		file=$expanded$file
		case $file in
		/*) ;;
		*) file=$home/$file ;;
		esac
		case $looked in
		*" ${file#"$home"/} "*) continue ;;
		esac
		looked="$looked$file "
		if [ -z "$passwd" ] || ! [ -f "$file" ]; then
			continue
		fi
		files=$((files + 1))
		fact "file $files" "$file"
		within 5 runuser -u "$user" -- head -c 1048576 "$file" 2>/dev/null </dev/null | facts "line $files"
	done
	set +f
}

user=$1 harmless=$2 looked=$3 files=0 blocks=0 asked=0 grouped=''
anywhere=host=nowhere.invalid,addr=192.0.2.1,laddr=192.0.2.2,lport=1,rdomain=
answer=$(ask "$anywhere") || {
	fact failed "$(printf '%s\n' "$answer" | tr -d '\r' | grep -v '^debug' | tail -n 1)"
	return 0
}
printf '%s\n' "$answer" | judge "$harmless" '' | while IFS= read -r line; do
	case $line in
	'sshd authorizedkeysfile '*)
		fact sshd "${line#sshd }"
		keys "${line#sshd authorizedkeysfile }"
		;;
	'sshd allowgroups '* | 'sshd denygroups '*)
		fact sshd "${line#sshd }"
		if [ -n "$grouped" ]; then
			continue
		fi
		grouped=yes
		if [ -n "$passwd" ]; then
			id -nG "$user" | tr ' ' '\n' | facts group
		else
			fact group "$user" # as it will be
			fact group docker
		fi
		;;
	'sshd '*) fact sshd "${line#sshd }" ;;
	*)
		line=${line#match } asked=$((asked + 1))
		block=${line#* }
		judged="unjudged $block"
		! [ "$asked" -le 16 ] || ! answer=$(ask "${line%% *}") || judged=$(printf '%s\n' "$answer" | judge "$harmless" "$block")
		case $judged in
		'') ;;
		unjudged*) fact unjudged "$block" ;;
		*)
			blocks=$((blocks + 1))
			fact "match $blocks" "$block"
			printf '%s\n' "$judged" | sed 's/^sshd //' | facts "sshd $blocks"
			;;
		esac
		;;
	esac
done
