package main

import (
	"fmt"

	"provision/inventory"
)

// requests counts what a look at many deployments asks GitLab for. What a host
// lacks makes no difference to that, so they need not be made.
func (b *bench) requests() ([]row, error) {
	const number = 100
	count := func(name string, projects, deployments int) (requests, lists int, err error) {
		h, d := b.world.Inventory.Hosts[0], b.world.Inventory.Deployments[0]
		var all []*inventory.Deployment
		for i := range deployments {
			one := *d
			if i > 0 {
				one.Name, one.User = fmt.Sprintf("app%d", i), fmt.Sprintf("user%d", i)
				one.Directory, one.Environment, one.Scope = one.Name, one.Name, one.Name
			}
			if p := i % projects; p > 0 {
				one.Project = fmt.Sprintf("%s/project%d", group, p)
				b.world.GitLab.AddProject(one.Project, "main")
			}
			all = append(all, &one)
		}
		file, err := b.write(name, []*inventory.Host{h}, all)
		if err != nil {
			return 0, 0, err
		}
		before := len(b.world.GitLab.Requests())
		if _, err := b.command(0, b.program, "plan", file); err != nil {
			return 0, 0, err
		}
		different := map[string]bool{}
		asked := b.world.GitLab.Requests()[before:]
		for _, r := range asked {
			different[r.Method+" "+r.Path] = true
		}
		return len(asked), len(different), nil
	}
	one, _, err := count("one", 1, 1)
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, projects := range []int{1, number} {
		n, lists, err := count("group", projects, number)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{
			what: fmt.Sprintf("requests to GitLab for %d deployments of one group, with %d of its projects; floor: each page of each list once", number, projects),
			ours: fmt.Sprint(n), floor: fmt.Sprint(lists + b.pages()), compared: fmt.Sprintf("%d for 1 deployment", one),
			target: "the floor", met: n <= lists+b.pages(),
		})
	}
	return rows, nil
}

// pages returns how many pages there are behind the first ones of the lists of
// the group.
func (b *bench) pages() int {
	const size = 100
	return len(b.world.GitLab.Variables(group))/size + len(b.world.GitLab.DeployTokens(group))/size
}
