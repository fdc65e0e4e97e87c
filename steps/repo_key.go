package steps

import (
	"fmt"

	"provision/inventory"
	"provision/provision"
)

// repoKey wants the user to have a key pair to clone with. The private half
// is made on the host and never leaves it; one that is there is never made
// again.
type repoKey struct{ user, comment string }

func repoKeySteps(w wish) []provision.Step {
	return each(w, func(d *inventory.Deployment) repoKey { return repoKey{d.User, d.User + "@" + w.host.Name} })
}

func (s repoKey) Name() string { return "repo-key " + s.user }

// lookAtRepoKey reports the public half of the key of a user. It asks the
// private half, as the file beside it may say anything.
const lookAtRepoKey = `
key=.ssh/id_ed25519
[ -e "$key" ] || return 0
if public=$(ssh-keygen -y -P '' -f "$key" 2>/dev/null </dev/null); then
	fact public "$(printf '%s' "$public" | cut -d ' ' -f 1,2)"
else
	fact unreadable "$key"
fi
`

func (s repoKey) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{User: s.user, Text: lookAtRepoKey}}
}

func (s repoKey) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("unreadable") != "" {
		return nil, provision.Hint(fmt.Errorf("~%s/.ssh/id_ed25519 is there, but is no private key that can be used without a passphrase", s.user),
			"move it away to have a new one made")
	}
	if f.Get("public") != "" {
		return nil, nil
	}
	return []provision.Change{{
		Summary: "make a key pair for " + s.user,
		Do: provision.Script{User: s.user, Args: []string{s.comment}, Text: `
[ -d .ssh ] || mkdir -m 700 .ssh
new=$(mktemp -d .ssh/key.XXXXXX)
trap 'rm -rf "$new"' EXIT
ssh-keygen -q -t ed25519 -N '' -C "$1" -f "$new/id_ed25519"
[ ! -e .ssh/id_ed25519 ] || fail 'somebody else made .ssh/id_ed25519 meanwhile; run again'
mv -f "$new/id_ed25519.pub" .ssh/
mv "$new/id_ed25519" .ssh/
`},
	}}, nil
}
