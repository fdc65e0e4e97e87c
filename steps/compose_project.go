package steps

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/visible"
)

const noComposeFile = `the project needs a compose.yaml in its root; or tell the inventory where it is: compose = ["deploy/compose.yaml"]`

// composeNames are the files that Compose looks for in the root of a project.
var composeNames = []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"}

// beforeClone asks GitLab, where there is no clone yet, what can be known of the
// project without one: whether it has its Compose files, and whether one of its
// own would be read in place of the override. What GitLab does not show is not told:
// the branch may be empty yet.
func (s containers) beforeClone(f provision.Facts) provision.Question {
	if s.asUser || f.Get("clone") != "" {
		return nil
	}
	return func(ctx context.Context, g forge.Forge) (provision.Facts, error) {
		root, err := g.Files(ctx, s.project, s.branch, "")
		if err != nil || len(root) == 0 {
			return nil, unlessUnseen(err)
		}
		facts := provision.Facts{}
		for _, file := range s.compose {
			names := root
			if folder := path.Dir(file); folder != "." {
				if names, err = g.Files(ctx, s.project, s.branch, folder); err != nil {
					return nil, unlessUnseen(err)
				}
			}
			if !slices.Contains(names, path.Base(file)) {
				facts.Add("lacks", file)
			}
		}
		if len(s.compose) > 0 || slices.Contains(root, ".env") { // which may name others
			return facts, nil
		}
		if !slices.ContainsFunc(composeNames, func(name string) bool { return slices.Contains(root, name) }) {
			facts.Add("lacks", composeNames[0])
		}
		if s.override != "" && slices.Contains(root, "compose.override.yml") {
			facts.Add("instead", "compose.override.yml")
		}
		return facts, nil
	}
}

// An unreadable is the error of a project in which nothing can be started, though
// something is to be.
type unreadable struct {
	error
	ill string
}

func (u *unreadable) Error() string { return u.error.Error() + "; and service " + u.ill }
func (u *unreadable) Unwrap() error { return u.error }

// mainFile names the first Compose file, as far as that is known.
func (s containers) mainFile(f provision.Facts) string {
	return visible.String(slices.Concat(f["compose"], s.compose, []string{"compose.yaml"})[0])
}

// unreadable is why nothing can be started in the clone as it is.
func (s containers) unreadable(home string, f provision.Facts) error {
	switch {
	case len(f["lacks"]) > 0:
		return hint.Add(fmt.Errorf("the project %s has no %s", s.project, visible.String(joinAnd(f["lacks"]))), noComposeFile)
	case f.Get("failed") == "yes":
		return hint.Add(fmt.Errorf("docker compose cannot read %s", home), "docker compose config, there and as %s, says why", s.user)
	case f.Get("failed") != "":
		reason := visible.String(f.Get("failed"))
		err := fmt.Errorf("docker compose cannot read %s: %s", home, reason)
		switch {
		case f.Get("submodules") != "":
			return hint.Add(err, "a submodule is not cloned; provision update %s clones it", s.only)
		case strings.Contains(reason, "no configuration file"):
			return hint.Add(err, noComposeFile)
		case strings.Contains(reason, "/.env: "):
			return hint.Add(err, "mend that file on the host")
		case strings.Contains(reason, "env file") && strings.Contains(reason, "/"+s.directory+"/.env not found"):
			return hint.Add(err, "that file is not in the project: have the inventory write it, with env = { NAME = … }")
		case strings.Contains(reason, "env file") && strings.Contains(reason, "not found"):
			return hint.Add(err, "that file is not in the project: have the inventory write it, with files = { PATH = … }")
		}
		return hint.Add(err, "mend it in the project, and bring the clone forward: provision update %s", s.only)
	case f.Get("instead") != "":
		return hint.Add(fmt.Errorf("docker compose reads %s in place of the compose.override.yaml of %s", visible.String(f.Get("instead")), home),
			"take that out of the project, or out of .env; or take the override out of the inventory")
	case len(f["unset"]) > 0:
		return hint.Add(fmt.Errorf("%s of %s needs variables that are not set: %s", s.mainFile(f), home, visible.String(joinAnd(f["unset"]))),
			"set them in the inventory: env = { %s = … }; or give them a default in %s: ${NAME:-}", visible.String(strings.Join(f["unset"], " = …, ")), s.mainFile(f))
	case f.Get("taken") != "":
		return hint.Add(fmt.Errorf("%s and %s are one Compose project, and would replace each other's containers", home, visible.String(f.Get("taken"))),
			"give each a name of its own: name: in %s, or another directory", s.mainFile(f))
	case len(f["name"]) > 0:
		name, service, by := collision(f.Get("name"))
		return hint.Add(fmt.Errorf("the container name %s, which service %s of %s is to have, is taken%s", name, service, home, by),
			"take container_name out of %s, or remove that container", s.mainFile(f))
	case len(f["port"]) > 0:
		port, service, by := collision(f.Get("port"))
		return hint.Add(fmt.Errorf("port %s, which service %s of %s publishes, is taken%s", port, service, home, by),
			"publish another one, in %s or in the override; or end what has it", s.mainFile(f))
	}
	return nil
}

// collision reads what others have: a name or a port, for which service, and by
// whom, which CI is not told.
func collision(fact string) (what, service, by string) {
	what, rest, _ := strings.Cut(visible.String(fact), " ")
	service, by, _ = strings.Cut(rest, " ")
	if by != "" {
		by = " by " + by
	}
	return what, service, by
}
