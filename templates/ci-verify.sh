provision verify --key "$SSH_AUTH" --shard 1/1 --junit verify.xml --html verify.html ${PROVISION_DEPLOYMENT:+--limit "$PROVISION_DEPLOYMENT"} "$PROVISION_INVENTORY"
