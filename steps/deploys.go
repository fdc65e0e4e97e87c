package steps

import (
	"provision/provision"
	"provision/templates"
)

// deploys is what the deploys of a deployment have noted: see
// templates/deploy.sh. Nothing of that is wanted of a host, and all of it goes.
type deploys struct{ deployment, user, directory string }

func deploysOf(t target) deploys {
	return deploys{t.deployment.Name, t.deployment.User, t.deployment.Directory}
}

func (deploys) wanted() bool { return false }

func (s deploys) Name() string { return "deploys " + s.deployment }

func (s deploys) Scope() provision.Scope {
	return provision.Scope{User: s.user, Deployment: s.deployment}
}

func (s deploys) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{User: s.user, Args: []string{s.deployment, s.directory}, Text: templates.Settings + `
carried "$1" "$USER" "$2"
[ -z "$label" ] || [ ! -e ".provision/$label" ] || fact there "$label"
`}}
}

func (deploys) Plan(provision.Facts) ([]provision.Change, error) { return nil, nil }

func (s deploys) undo(target) undo {
	return undo{s.Name(), s.Probe(), func(f provision.Facts) ([]provision.Change, error) {
		label := f.Get("there")
		if label == "" {
			return nil, nil
		}
		return []provision.Change{asUser(s.user, provision.Change{Verb: provision.Remove, Object: "~" + s.user + "/.provision/" + label}, `
rm -rf ".provision/$1"
rmdir .provision 2>/dev/null || :
`, label)}, nil
	}}
}
