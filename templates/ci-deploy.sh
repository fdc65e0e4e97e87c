# The progress is in a collapsed section of the log, the outcome below it.
printf '\033[0Ksection_start:%s:provision[collapsed=true]\r\033[0Kdeploy to %s\n' "$(date +%s)" "$SSH_DEPLOY_TARGET"
for pause in 1 2 4 8 16 ''; do
	rm -f "$files/errors" "$files/failed"
	{
		ssh -nT -F "$files/config" -E "$files/errors" "$SSH_DEPLOY_TARGET" ${PROVISION_VERSION:+"deploy $PROVISION_VERSION"} 2>&1 >"$files/outcome" ||
			echo $? >"$files/failed"
	} | tee "$files/progress"
	# sshd drops some of many connections that come at once. Nothing has run on
	# the host before it let this job in, so only until then it is asked again.
	if [ -z "$pause" ] || [ -e "$files/connected" ] || ! grep -qsE 'Connection (closed|reset|refused|timed out)' "$files/errors"; then
		break
	fi
	cat "$files/errors"
	echo "connecting again in $pause s"
	sleep "$pause"
done
printf '\033[0Ksection_end:%s:provision\r\033[0K\n' "$(date +%s)"
if [ -s "$files/outcome" ]; then
	cat "$files/outcome"
else # of a host that tells it otherwise
	tail -n 10 "$files/progress"
fi
cat "$files/errors" 2>/dev/null || :
if [ -e "$files/failed" ]; then
	failed=$(cat "$files/failed")
	if [ "$failed" = 255 ] && [ -e "$files/connected" ]; then
		echo "the connection was lost after the deploy had begun: run this job again to learn its outcome"
	fi
	exit "$failed"
fi
