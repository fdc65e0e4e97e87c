package cmd

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/inventory"
	"provision/provision/hint"
)

// deploymentOf returns the deployment that a command is about, its first argument,
// and the flags of such commands.
func deploymentOf(c *cli.Context) (name string, o fleetOptions, err error) {
	name = c.Args().First()
	if name == "" {
		return "", o, hint.Add(usagef("which deployment?"), "%s", line(c, nil, "DEPLOYMENT"))
	}
	if err := deploymentFirst(c, name, c.Args().Tail()); err != nil {
		return "", o, err
	}
	o, err = hostOptionsOf(c, c.Args().Tail())
	return name, o, err
}

// partsOf returns the hosts of a deployment that --limit selects, in the order of
// the inventory.
func (r *run) partsOf(name string) ([]fleet.Part, error) {
	called := func(inv *inventory.Inventory) (some []*inventory.Deployment) {
		for _, d := range inv.Deployments {
			if d.Name == name {
				some = append(some, d)
			}
		}
		return some
	}
	all := called(r.inv)
	if len(all) == 0 {
		return nil, noDeployment(r.inventory, name, r.inv)
	}
	some := called(r.selected)
	if len(some) == 0 {
		var hosts []string
		for _, d := range all {
			hosts = append(hosts, d.Host.Name)
		}
		return nil, usagef("--limit leaves no host of %s, which is on %s", name, strings.Join(hosts, ", "))
	}
	return fleet.PartsOf(some), nil
}

// noDeployment tells that an inventory has no deployment of that name.
func noDeployment(file, name string, inv *inventory.Inventory) error {
	there := "the deployments there are " + strings.Join(deploymentNames(inv), ", ")
	if slices.Contains(hostNames(inv), name) {
		return hint.Add(usagef("%s is a host of %s, and no deployment", name, file), "%s", there)
	}
	if near := didYouMean(name, deploymentNames(inv)); near != "" {
		return usagef("%s has no deployment %q%s", file, name, near)
	}
	return hint.Add(usagef("%s has no deployment %q", file, name), "%s", there)
}

// lineOf returns a line about the deployment on a host. People know from the
// command which deployment that is.
func (r *run) lineOf(s *fleet.Site, l output.Line) output.Line {
	l.Host = s.Host.Name
	if r.output == "json" {
		l.Deployment = s.Deployments[0].Name
	}
	return l
}

// applyHint is what to do where a host lacks something, or has an older one.
func (r *run) applyHint(err error, s *fleet.Site) error {
	return hint.Add(err, "provision apply --limit %s %s", hint.Quote(s.Host.Name), hint.Quote(r.inventory))
}
