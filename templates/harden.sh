# $1 is a user, and $2 what sshd_config(5) says of its login from now on, or empty: then it says
# nothing any more. The keys are there by then, and with $3 only since now. sshd reads them
# as that user: the file has the group.
#
# Sessions go on: sshd is told to read its configuration, not started anew. Until that was
# so, the new file has a mode that no other one has there, and whoever looks sees that it
# is not done.
conf=/etc/ssh/sshd_config.d/00-provision-$1.conf keys=/etc/ssh/provision/$1 was=/etc/ssh/provision/.$1.before

# reread has the sshd that listens read its configuration. Where there is none, each
# connection does.
reread() {
	for _unit in ssh.service sshd.service; do
		if [ "$(systemctl is-active "$_unit" 2>/dev/null)" = active ]; then
			systemctl reload "$_unit"
			return
		fi
	done
	for _file in /run/sshd.pid /var/run/sshd.pid; do
		[ -f "$_file" ] || continue
		read -r _pid <"$_file" || continue
		case $(cat "/proc/$_pid/comm" 2>/dev/null) in sshd) kill -HUP "$_pid" && return ;; esac
	done
}

if [ -z "$2" ]; then
	rm -f "$conf"
	reread
	rm -f "$keys" "$was"
	rmdir /etc/ssh/provision 2>/dev/null || :
	return 0
fi

sshd=$(command -v sshd) || fail 'there is no sshd on this host'
back() {
	if [ -e "$was" ]; then
		mv -f "$was" "$conf"
	else
		rm -f "$conf"
		[ -z "$3" ] || rm -f "$keys"
	fi
}
group=$(id -g "$1")
[ -d /etc/ssh/provision ] || mkdir -m 755 /etc/ssh/provision
if [ -e "$keys" ]; then
	chown "root:$group" "$keys"
	chmod 640 "$keys"
else
	: | put "$keys" 640 "root:$group"
fi
[ ! -e "$conf" ] || cp -p "$conf" "$was"
printf '%s' "$2" | put "$conf" 600 root:root
said=$("$sshd" -t 2>&1) || {
	back
	fail "$(printf '%s\n' "$said" | head -n 1)"
}
"$sshd" -T -C "user=$1,host=nowhere.invalid,addr=192.0.2.1,laddr=192.0.2.2,lport=22" 2>/dev/null | grep -qxF "authorizedkeysfile $keys" || {
	back
	fail "sshd_config says something else of $1 before it comes to $conf"
}
reread
rm -f "$was"
chmod 644 "$conf"
