package steps

// What is made on a host carries a mark where it stands, so that [Remove] can
// tell it from what somebody else has made, without a list that could
// disagree with the host:
//
//   - a user: the comment of the account
//   - a key pair, and a line of authorized_keys: the comment of the key
//   - a line of known_hosts: the comment at its end
//   - a clone: provision.deployment in its configuration; and for the
//     compose.override.yaml in any clone provision.override, its digest
//   - the login to a registry: its user name, or that it is the one of the inventory
//   - files of root: their place
//
// What is changed, and cannot carry a mark, is the account of somebody else's
// user. There the old value is kept first, in /etc/provision/made/USER. So is a login
// to a registry that ours takes the place of, in the home of the user. What
// has no mark is left alone; so are installed packages and the group docker.
const (
	madeBy   = "made by provision"
	keyMark  = "provision:"
	lineMark = "provision"
)

// keepBefore keeps that $2 of the user $1 was $3, unless an older value is kept.
const keepBefore = `
if [ "$(getent passwd "$1" | cut -d : -f 5)" != '` + madeBy + `' ] && [ ! -e "/etc/provision/made/$1/$2" ]; then
	mkdir -p "/etc/provision/made/$1"
	printf '%s\n' "$3" | put "/etc/provision/made/$1/$2" 644 root:root
fi
`
