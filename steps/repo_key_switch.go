package steps

import (
	"context"

	"provision/provision"
	"provision/provision/forge"
)

// repoKeySwitch ends a change of the key that a user clones with: once every
// project knows the new key, it is tested and takes the place of the old one;
// once no project knows that one any more, its public half is deleted.
type repoKeySwitch struct {
	user     string
	projects []string
	urls     []string // of these
}

func repoKeySwitchOf(t target) repoKeySwitch {
	s := repoKeySwitch{user: t.deployment.User}
	for _, d := range t.selected {
		if d.User == s.user {
			s.projects = append(s.projects, d.Project)
			s.urls = append(s.urls, gitURL(t.inv.GitLab.SSH, d.Project))
		}
	}
	return s
}

func (s repoKeySwitch) Name() string { return "repo-key-switch " + s.user }

func (s repoKeySwitch) Scope() provision.Scope { return provision.Scope{User: s.user} }

func (s repoKeySwitch) Probe() provision.Probe {
	return provision.Probe{
		Script: provision.Script{User: s.user, Text: lookAtRepoKeys},
		Ask: func(ctx context.Context, f forge.Forge) (provision.Facts, error) {
			facts := provision.Facts{}
			for _, project := range s.projects {
				keys, err := f.DeployKeys(ctx, project)
				if err != nil {
					return nil, err
				}
				for _, k := range keys {
					facts.Add("registered "+project, keyOf(k.Key))
				}
			}
			return facts, nil
		},
	}
}

func (s repoKeySwitch) newKey() string { return s.user + " to the new SSH key" }

func (s repoKeySwitch) oldKey() string { return s.user + "'s old public key" }

const testedWith = "(tested with git ls-remote)"

func (s repoKeySwitch) Plan(f provision.Facts) ([]provision.Change, error) {
	next, retired := f.Get("next"), f.Get("retired")
	everywhere, somewhere := true, false
	for _, project := range s.projects {
		everywhere = everywhere && f.Has("registered "+project, next)
		somewhere = somewhere || f.Has("registered "+project, retired)
	}
	switch {
	case next != "" && !everywhere:
		return []provision.Change{provision.Later(provision.Switch, s.newKey(), testedWith)}, nil
	case next != "":
		return []provision.Change{{
			Verb: provision.Switch, Object: s.newKey(), Remark: testedWith,
			Do: provision.Script{User: s.user, Args: s.urls, Text: `
export GIT_TERMINAL_PROMPT=0 GIT_SSH_COMMAND='ssh -i .ssh/id_ed25519.next -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes -o StrictHostKeyChecking=yes'
for url; do
	git ls-remote --quiet "$url" HEAD >/dev/null
done
ssh-keygen -y -P '' -f .ssh/id_ed25519 | put .ssh/id_ed25519.retired.pub 644
[ ! -e .ssh/id_ed25519.next.pub ] || mv -f .ssh/id_ed25519.next.pub .ssh/id_ed25519.pub
mv -f .ssh/id_ed25519.next .ssh/id_ed25519
`},
		}}, nil
	case retired != "" && somewhere:
		return []provision.Change{provision.Later(provision.Delete, s.oldKey(), "")}, nil
	case retired != "":
		return []provision.Change{{
			Verb:   provision.Delete,
			Object: s.oldKey(),
			Do:     provision.Script{User: s.user, Text: `rm -f .ssh/id_ed25519.retired.pub`},
		}}, nil
	}
	return nil, nil
}
