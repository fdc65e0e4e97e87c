package inventory

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Select returns the part of inv that patterns choose: globs as of
// [path.Match] over the names of hosts and of deployments. A host that is
// chosen comes with all its deployments; a deployment that is chosen comes
// with its hosts, but brings no other deployment on them. Without patterns
// everything is chosen.
//
// A pattern that matches nothing is an error, so that a slip of the pen does
// not pass for a converged host.
//
// What else inv says of a host is not in the answer: who must know all
// deployments of a host asks inv itself.
func (inv *Inventory) Select(patterns []string) (*Inventory, error) {
	if len(patterns) == 0 {
		return inv, nil
	}
	var names []string
	for _, h := range inv.Hosts {
		names = append(names, h.Name)
	}
	for _, d := range inv.Deployments {
		names = append(names, d.Name)
	}
	chosen := map[string]bool{}
	var errs []error
	for _, pattern := range patterns {
		matched := false
		for _, name := range names {
			ok, err := path.Match(pattern, name)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s is no pattern: write a name, in which * stands for any text", quote(pattern)))
				matched = true
				break
			}
			if ok {
				chosen[name], matched = true, true
			}
		}
		if !matched {
			errs = append(errs, noMatch(pattern, names))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}

	part := *inv
	part.Hosts, part.Deployments = nil, nil
	needed := map[*Host]bool{}
	for _, d := range inv.Deployments {
		if chosen[d.Name] || chosen[d.Host.Name] {
			part.Deployments = append(part.Deployments, d)
			needed[d.Host] = true
		}
	}
	for _, h := range inv.Hosts {
		if chosen[h.Name] || needed[h] {
			part.Hosts = append(part.Hosts, h)
		}
	}
	return &part, nil
}

// maxChoice is how many names somebody is shown to choose from.
const maxChoice = 12

func noMatch(pattern string, names []string) error {
	err := fmt.Errorf("no host or deployment is called %s", quote(pattern))
	if found := Nearest(pattern, names); found != "" {
		return fmt.Errorf("%w; did you mean %s?", err, found)
	}
	names = slices.Compact(slices.Clone(names)) // a deployment has a line for each host
	if len(names) > maxChoice {
		return err
	}
	return fmt.Errorf("%w; there are %s", err, strings.Join(names, ", "))
}
