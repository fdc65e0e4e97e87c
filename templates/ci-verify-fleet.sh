unset SSH_AUTH # the key of one deployment; GitLab has all
provision verify --junit verify.xml --html verify.html "$PROVISION_INVENTORY"
