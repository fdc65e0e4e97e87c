package steps

import (
	"fmt"
	"slices"

	"provision/provision"
	"provision/provision/hint"
)

// repoKey wants the user to have a key pair to clone with. The private half
// is made on the host and never leaves it; one that is there is never made
// again, unless it is to be retired. Then the new pair stands beside it, as
// id_ed25519.next, until the new one is registered and tried: see repoKeySwitch.
type repoKey struct {
	user, comment string
	retire        []string // the public half of a key not to be used any more
}

func repoKeyOf(t target) repoKey {
	s := repoKey{user: t.deployment.User, comment: keyMark + t.deployment.User + "@" + t.host.Name}
	s.retire = t.given.Retire[s.Name()]
	return s
}

func (s repoKey) Name() string { return "repo-key " + s.user }

func (s repoKey) Scope() provision.Scope { return provision.Scope{User: s.user} }

// lookAtRepoKeys reports the public halves of the keys of a user: the one in
// use, the next one, and the one that was in use. It asks the private halves,
// as the files beside them may say anything.
const lookAtRepoKeys = `
for name in public=id_ed25519 next=id_ed25519.next; do
	key=.ssh/${name#*=}
	[ -e "$key" ] || continue
	if [ -f "$key" ] && public=$(ssh-keygen -y -P '' -f "$key" 2>/dev/null </dev/null); then
		fact "${name%=*}" "$(printf '%s' "$public" | cut -d ' ' -f 1,2)"
	else
		fact unreadable "$key"
	fi
done
! [ -f .ssh/id_ed25519.retired.pub ] || fact retired "$(cut -d ' ' -f 1,2 .ssh/id_ed25519.retired.pub)"
`

func (s repoKey) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{User: s.user, Text: lookAtRepoKeys}}
}

func (s repoKey) Plan(f provision.Facts) ([]provision.Change, error) {
	if file := f.Get("unreadable"); file != "" {
		return nil, hint.Add(fmt.Errorf("~%s/%s is there, but is no private key that can be used without a passphrase", s.user, file),
			"move it away to have a new one made")
	}
	public := f.Get("public")
	switch {
	case public == "":
		return []provision.Change{s.generate("an SSH key pair for "+s.user, "", "id_ed25519")}, nil
	case slices.Contains(s.retire, public) && f.Get("next") == "":
		return []provision.Change{s.generate("a new SSH key pair for "+s.user, "(the old one stays active)", "id_ed25519.next")}, nil
	}
	return nil, nil
}

func (s repoKey) generate(object, remark, name string) provision.Change {
	return provision.Change{
		Verb: provision.Generate, Object: object, Remark: remark,
		Do: provision.Script{User: s.user, Args: []string{s.comment, name}, Text: `
[ -d .ssh ] || mkdir -m 700 .ssh
new=$(mktemp -u .ssh/key.XXXXXX)
trap 'rm -rf "$new"' EXIT
mkdir -m 700 "$new"
ssh-keygen -q -t ed25519 -N '' -C "$1" -f "$new/key"
[ ! -e ".ssh/$2" ] || fail "somebody else made .ssh/$2 meanwhile; run again"
half=.ssh/$2 # a public half alone would be found by nobody
trap 'rm -rf "$new"; [ -e "$half" ] || rm -f "$half.pub"' EXIT
mv -f "$new/key.pub" ".ssh/$2.pub"
mv "$new/key" ".ssh/$2"
`},
	}
}

// inUse returns the key that is in use. Where one is retired already, that
// rotation is gone on with, and no other begun.
func (s repoKey) inUse(f provision.Facts) []string {
	public, retired := f.Get("public"), f.Get("retired")
	switch {
	case public == "":
		return nil
	case retired != "":
		return []string{retired}
	}
	return []string{public}
}

// undo removes the pair, if it was made here, and what a rotation has left.
func (s repoKey) undo(t target) undo {
	script := provision.Script{User: s.user, Text: lookAtOthers + `
for key in id_ed25519 id_ed25519.next; do
	case $(ssh-keygen -y -P '' -f ".ssh/$key" 2>/dev/null </dev/null) in
	*' ` + keyMark + `'*) fact made "$key" ;;
	esac
done
! [ -e .ssh/id_ed25519.retired.pub ] || fact made id_ed25519.retired
`}
	return undo{s.Name(), provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if len(f["made"]) == 0 || len(t.others(f)) > 0 {
			return nil, nil
		}
		return []provision.Change{asUser(s.user, provision.Change{Verb: provision.Remove, Object: "the SSH key pair of " + s.user}, `
for key; do
	rm -f ".ssh/$key.pub"
	rm -f ".ssh/$key"
done
rmdir .ssh 2>/dev/null || :
`, f["made"]...)}, nil
	}}
}
