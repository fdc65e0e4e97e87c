package steps

import (
	"context"

	"provision/provision"
	"provision/provision/forge"
)

// repoKeySwap ends a change of the key that a user clones with: once every
// project knows the next key, it is tried and takes the place of the one in
// use; once no project knows that one any more, it is forgotten.
type repoKeySwap struct {
	user     string
	projects []string
	urls     []string // of these
}

func repoKeySwapOf(w wish) repoKeySwap {
	s := repoKeySwap{user: w.deployment.User}
	for _, d := range w.selected {
		if d.User == s.user {
			s.projects = append(s.projects, d.Project)
			s.urls = append(s.urls, gitURL(w.inv.GitLab.SSH, d.Project))
		}
	}
	return s
}

func (s repoKeySwap) Name() string { return "repo-key-swap " + s.user }

func (s repoKeySwap) Probe() provision.Probe {
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

func (s repoKeySwap) Plan(f provision.Facts) ([]provision.Change, error) {
	next, retired := f.Get("next"), f.Get("retired")
	everywhere, somewhere := true, false
	for _, project := range s.projects {
		everywhere = everywhere && f.Has("registered "+project, next)
		somewhere = somewhere || f.Has("registered "+project, retired)
	}
	switch {
	case next != "" && !everywhere:
		return []provision.Change{provision.Later("use the next key of %s", s.user)}, nil
	case next != "":
		return []provision.Change{{
			Summary: "read the projects with the next key of " + s.user + ", and use it from now on",
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
		return []provision.Change{provision.Later("forget the retired key of %s", s.user)}, nil
	case retired != "":
		return []provision.Change{{
			Summary: "forget the retired key of " + s.user,
			Do:      provision.Script{User: s.user, Text: `rm -f .ssh/id_ed25519.retired.pub`},
		}}, nil
	}
	return nil, nil
}
