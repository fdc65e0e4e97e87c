package steps

import (
	"provision/inventory"
	"provision/provision"
)

// look wants the program that CI may start through the gate to see whether all
// is still as it should be: the probes of one deployment, as they are here.
type look struct{ deployment, text string }

func lookOf(w wish) look {
	d := w.deployment
	if w.probing {
		return look{deployment: d.Name}
	}
	// It has no secrets, and no salts that would differ from run to run.
	alone := wish{inv: w.inv, host: w.host, deployment: d, selected: []*inventory.Deployment{d}, probing: true}
	var steps []provision.Step
	for _, k := range kinds() {
		steps = k.wanted(steps, alone)
	}
	text, err := provision.LookProgram(steps, d.User)
	if err != nil {
		panic("a checked inventory has no NUL bytes: " + err.Error())
	}
	return look{d.Name, text}
}

func (s look) Name() string { return "look " + s.deployment }

func (s look) file() string { return "/usr/local/lib/provision/look/" + s.deployment }

func (s look) Probe() provision.Probe { return provision.Probe{Script: digestOf(s.file())} }

func (s look) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("file") == fileFact(s.text, "644") {
		return nil, nil
	}
	return []provision.Change{{
		Summary: "install what verify looks at " + s.deployment + " with",
		Do:      install(s.file(), s.text, "644"),
	}}, nil
}

func (s look) undo(wish) undo {
	return undo{s.Name(), s.Probe(), func(f provision.Facts) ([]provision.Change, error) {
		if f.Get("file") == "" {
			return nil, nil
		}
		return []provision.Change{asRoot("remove what verify looks at "+s.deployment+" with", removeFile, s.file(), "/usr/local/lib/provision")}, nil
	}}
}
