package main

import (
	"fmt"
	"os"

	"provision/inventory"
)

// largest is how many hosts the largest inventory has.
const largest = 5000

// start measures what comes before any network.
func (b *bench) start() ([]row, error) {
	var hosts []*inventory.Host
	var deployments []*inventory.Deployment
	h, d := b.world.Inventory.Hosts[0], b.world.Inventory.Deployments[0]
	for i := range largest {
		host := with(h, fmt.Sprintf("h%04d", i), fmt.Sprintf("h%04d.%s", i, domain))
		host.CIAddress = ""
		hosts = append(hosts, host)
		one := *d
		one.Name = fmt.Sprintf("app%03d", i/10) // each is on ten hosts
		deployments = append(deployments, onHosts(one, one.Name, host)...)
	}
	large, err := b.write("large", hosts, deployments)
	if err != nil {
		return nil, err
	}
	times, err := inTurns(3**rounds, b.timed(0, b.program, "version"), b.timed(0, "git", "--version"))
	if err != nil {
		return nil, err
	}
	loads, err := inTurns(max(1, *rounds/2), b.timed(0, b.program, "check", large), b.timed(0, b.program, "version"))
	if err != nil {
		return nil, err
	}
	file, err := os.Stat(b.program)
	if err != nil {
		return nil, err
	}
	const most = 15e6
	return []row{
		ratio("`provision version`; floor: `git --version`", times[0], times[1], 2),
		ratio(fmt.Sprintf("`provision check` of %d hosts; floor: `provision version`", largest), loads[0], loads[1], 20),
		{
			what: "size of the program, stripped", ours: fmt.Sprintf("%.1f MB", float64(file.Size())/1e6),
			target: "≤ 15 MB", met: file.Size() <= most,
		},
	}, nil
}
