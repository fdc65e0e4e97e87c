ssh -nT -i "$SSH_AUTH" -o IdentitiesOnly=yes -o BatchMode=yes -o ServerAliveInterval=30 \
	-o StrictHostKeyChecking=yes -o UserKnownHostsFile="$HOME/.ssh/known_hosts" "$SSH_DEPLOY_TARGET"
