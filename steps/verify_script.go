package steps

import (
	"cmp"

	"provision/inventory"
	"provision/provision"
	"provision/templates"
)

// verifyScript wants the program that CI may start through the gate to see whether all
// is still as it should be: the probes of one deployment, as they are here.
type verifyScript struct {
	deployment, user, directory string
	called                      func(name string) string // its text for a deployment of that name
}

func verifyScriptOf(t target) verifyScript {
	d := t.deployment
	if t.probing {
		return verifyScript{deployment: d.Name, user: d.User, directory: d.Directory}
	}
	// It has no secrets, and no salts that would differ from run to run.
	return verifyScript{d.Name, d.User, d.Directory, func(name string) string {
		called := *d
		called.Name = name
		alone := target{inv: t.inv, host: t.host, deployment: &called, selected: []*inventory.Deployment{&called}, probing: true}
		var steps []provision.Step
		for _, k := range kinds() {
			steps = k.wanted(steps, alone)
		}
		text, err := provision.LookProgram(steps, d.User)
		if err != nil {
			return "" // the host has a name that is none
		}
		return text
	}}
}

func (s verifyScript) Name() string { return "verify-script " + s.deployment }

func (s verifyScript) Scope() provision.Scope {
	return provision.Scope{User: s.user, Deployment: s.deployment}
}

func (s verifyScript) file() string { return "/usr/local/lib/provision/look/" + s.deployment }

// The file is the one of the deployment, whatever the host calls it.
func (s verifyScript) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Args: []string{s.deployment, s.user, s.directory}, Text: templates.Settings + `
carried "$1" "$2" "$3"
[ -z "$known" ] || fact known "$known"
file=/usr/local/lib/provision/look/${known:-$1}
! [ -f "$file" ] || fact file "$(stat -c '%U %a' "$file") $(sha256sum <"$file" | cut -c 1-64)"
`}}
}

// A rename, see names, writes the one for the new name.
func (s verifyScript) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("file") == fileFact(s.called(cmp.Or(f.Get("known"), s.deployment)), "644") {
		return nil, nil
	}
	return []provision.Change{{
		Verb:   provision.Install,
		Object: "the verify script for " + s.deployment,
		Do:     install(s.file(), s.called(s.deployment), "644"),
	}}, nil
}

func (s verifyScript) undo(target) undo {
	return undo{s.Name(), provision.Probe{Script: digestOf(s.file())}, func(f provision.Facts) ([]provision.Change, error) {
		if f.Get("file") == "" {
			return nil, nil
		}
		return []provision.Change{asRoot(provision.Change{Verb: provision.Remove, Object: "the verify script for " + s.deployment}, removeFile, s.file(), "/usr/local/lib/provision")}, nil
	}}
}
