package fleet

import "provision/inventory"

// A Part is a host, and those of its deployments that a run is about.
type Part struct {
	Host        *inventory.Host
	Deployments []*inventory.Deployment
}

// PartsOf returns the hosts of some deployments, in the order of these.
func PartsOf(deployments []*inventory.Deployment) []Part {
	var parts []Part
	at := map[*inventory.Host]int{}
	for _, d := range deployments {
		i, had := at[d.Host]
		if !had {
			i = len(parts)
			at[d.Host] = i
			parts = append(parts, Part{Host: d.Host})
		}
		parts[i].Deployments = append(parts[i].Deployments, d)
	}
	return parts
}

// AllOf returns the hosts of an inventory: those of its deployments, and then
// those without any, which may carry what is no longer wanted.
func AllOf(inv *inventory.Inventory) []Part {
	parts := PartsOf(inv.Deployments)
	deployed := map[*inventory.Host]bool{}
	for _, p := range parts {
		deployed[p.Host] = true
	}
	for _, h := range inv.Hosts {
		if !deployed[h] {
			parts = append(parts, Part{Host: h})
		}
	}
	return parts
}
