package steps

import (
	"fmt"
	"slices"

	"provision/inventory"
	"provision/provision"
	"provision/provision/hint"
	"provision/templates"
)

// names wants a deployment to be called on the host as in the inventory. What is in
// its place under another name is renamed; what has its name, and is in another place,
// is left behind under a name of its own. Nothing else of the two is touched.
//
// It comes when the clone is there: until then, whoever asks for a deploy by the name
// means the one that has it.
type names struct {
	deployment *inventory.Deployment
	on         []*inventory.Deployment // all that the inventory has on this host
	script     verifyScript
	inventory  string // the path
}

func namesOf(t target) names {
	return names{t.deployment, t.inv.On(t.host), verifyScriptOf(t), t.inv.Path}
}

func (s names) Name() string { return "names " + s.deployment.Name }

func (s names) Scope() provision.Scope {
	return provision.Scope{User: s.deployment.User, Deployment: s.deployment.Name}
}

func (s names) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Args: carriedArgs(s.deployment), Text: templates.Settings + lookAtSettings}}
}

// A namesake is what the host carries under the name of a deployment, and is not it.
type namesake struct {
	carried
	renamed bool // it is another one of the inventory, which gets its name back
}

// naming tells what a host carries of a deployment: under its name, and under others.
func naming(d *inventory.Deployment, on []*inventory.Deployment, all []carried) (right bool, other []carried, has *namesake) {
	for _, c := range all {
		switch {
		case c.is(d) && c.name == d.Name:
			right = true
		case c.is(d):
			other = append(other, c)
		case c.name == d.Name:
			if renamed := c.among(on) != nil; renamed || c.there || c.keyed && c.user != d.User {
				has = &namesake{c, renamed}
			}
		}
	}
	return right, other, has
}

func isNamed(all []carried) func(string) bool {
	return func(name string) bool {
		return slices.ContainsFunc(all, func(c carried) bool { return c.name == name })
	}
}

func (s names) Plan(f provision.Facts) ([]provision.Change, error) {
	all := carriedBy(f)
	right, other, has := naming(s.deployment, s.on, all)
	name := s.deployment.Name
	var changes []provision.Change
	if right {
		for _, c := range other {
			changes = append(changes, asRoot(provision.Change{
				Verb: provision.Remove, Object: "the deploy settings of " + c.name, Remark: "(it is " + name + ")",
			}, `rm -f "/usr/local/lib/provision/look/$1" "/etc/provision/deployments/$1"`, c.name))
		}
		return changes, nil
	}
	left := ""
	if has != nil {
		left = leftName(name, isNamed(all))
	}
	rename := func(from, remark string) {
		changes = append(changes, asRoot(provision.Change{Verb: provision.Rename, Object: from, Remark: remark},
			templates.Rename, name, s.deployment.User, s.deployment.Directory, left, templates.Relabel, s.script.called(name)))
	}
	if has != nil && !has.renamed {
		rename(name, fmt.Sprintf("to %s (%s is left behind)", left, has.place()))
	}
	switch {
	case len(other) > 0:
		rename(other[0].name, "to "+name)
	case has != nil: // deploy-settings writes it
		rename(nextName(name, isNamed(all)), "to "+name)
	}
	return changes, nil
}

// undo changes nothing. It refuses a removal by a name that is another deployment's
// on this host than in the inventory: what is what, apply puts right.
func (s names) undo(target) undo {
	return undo{s.Name(), s.Probe(), func(f provision.Facts) ([]provision.Change, error) {
		apply := "provision apply " + hint.Quote(s.inventory)
		named := slices.ContainsFunc(s.on, func(d *inventory.Deployment) bool { return d.Name == s.deployment.Name })
		for _, c := range carriedBy(f) {
			of := c.among(s.on)
			switch {
			case c.name == s.deployment.Name && of != nil && of.Name != c.name:
				return nil, hint.Add(fmt.Errorf("%s is %s under its old name, which the inventory wants: nothing is removed", c.name, of.Name), "%s renames it", apply)
			case c.name == s.deployment.Name && !c.is(s.deployment) && (c.there || c.keyed && c.user != s.deployment.User):
				return nil, hint.Add(fmt.Errorf("the host has %s in %s, and the inventory in ~%s/%s: nothing is removed", c.name, c.place(), s.deployment.User, s.deployment.Directory),
					"%s gives the old one a name of its own", apply)
			case named && c.is(s.deployment) && c.name != s.deployment.Name:
				return nil, hint.Add(fmt.Errorf("the host has %s under its old name, %s: nothing is removed", s.deployment.Name, c.name), "%s renames it", apply)
			}
		}
		return nil, nil
	}}
}
