package steps

import "provision/provision"

// deploys is what the deploys of a deployment have noted: see
// templates/deploy.sh. Nothing of that is wanted of a host, and all of it goes.
type deploys struct{ deployment, user string }

func deploysOf(t target) deploys { return deploys{t.deployment.Name, t.deployment.User} }

func (deploys) wanted() bool { return false }

func (s deploys) Name() string { return "deploys " + s.deployment }

func (s deploys) Scope() provision.Scope {
	return provision.Scope{User: s.user, Deployment: s.deployment}
}

func (s deploys) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{User: s.user, Args: []string{s.deployment}, Text: `
! [ -e ".provision/$1" ] || fact there yes
`}}
}

func (deploys) Plan(provision.Facts) ([]provision.Change, error) { return nil, nil }

func (s deploys) undo(target) undo {
	return undo{s.Name(), s.Probe(), func(f provision.Facts) ([]provision.Change, error) {
		if f.Get("there") == "" {
			return nil, nil
		}
		return []provision.Change{asUser(s.user, provision.Change{Verb: provision.Remove, Object: "~" + s.user + "/.provision/" + s.deployment}, `
rm -rf ".provision/$1"
rmdir .provision 2>/dev/null || :
`, s.deployment)}, nil
	}}
}
