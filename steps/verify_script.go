package steps

import (
	"provision/inventory"
	"provision/provision"
)

// verifyScript wants the program that CI may start through the gate to see whether all
// is still as it should be: the probes of one deployment, as they are here.
type verifyScript struct{ deployment, user, text string }

func verifyScriptOf(t target) verifyScript {
	d := t.deployment
	if t.probing {
		return verifyScript{deployment: d.Name, user: d.User}
	}
	// It has no secrets, and no salts that would differ from run to run.
	alone := target{inv: t.inv, host: t.host, deployment: d, selected: []*inventory.Deployment{d}, probing: true}
	var steps []provision.Step
	for _, k := range kinds() {
		steps = k.wanted(steps, alone)
	}
	text, err := provision.LookProgram(steps, d.User)
	if err != nil {
		panic("a checked inventory has no NUL bytes: " + err.Error())
	}
	return verifyScript{d.Name, d.User, text}
}

func (s verifyScript) Name() string { return "verify-script " + s.deployment }

func (s verifyScript) Scope() provision.Scope {
	return provision.Scope{User: s.user, Deployment: s.deployment}
}

func (s verifyScript) file() string { return "/usr/local/lib/provision/look/" + s.deployment }

func (s verifyScript) Probe() provision.Probe { return provision.Probe{Script: digestOf(s.file())} }

func (s verifyScript) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("file") == fileFact(s.text, "644") {
		return nil, nil
	}
	return []provision.Change{{
		Verb:   provision.Install,
		Object: "the verify script for " + s.deployment,
		Do:     install(s.file(), s.text, "644"),
	}}, nil
}

func (s verifyScript) undo(target) undo {
	return undo{s.Name(), s.Probe(), func(f provision.Facts) ([]provision.Change, error) {
		if f.Get("file") == "" {
			return nil, nil
		}
		return []provision.Change{asRoot(provision.Change{Verb: provision.Remove, Object: "the verify script for " + s.deployment}, removeFile, s.file(), "/usr/local/lib/provision")}, nil
	}}
}
