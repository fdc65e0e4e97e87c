# The variables of the deployment. Their names may have a prefix.
for name in SSH_AUTH SSH_KNOWN_HOSTS SSH_DEPLOY_TARGET; do
	if ! printenv "${PROVISION_PREFIX-}$name" >/dev/null; then
		echo "this job has no variable ${PROVISION_PREFIX-}$name for the environment ${CI_ENVIRONMENT_NAME:-(none)}: is the branch protected, and the job as provision render ci prints it?" >&2
		exit 1
	fi
done
SSH_AUTH=$(printenv "${PROVISION_PREFIX-}SSH_AUTH")
SSH_KNOWN_HOSTS=$(printenv "${PROVISION_PREFIX-}SSH_KNOWN_HOSTS")
SSH_DEPLOY_TARGET=$(printenv "${PROVISION_PREFIX-}SSH_DEPLOY_TARGET")
