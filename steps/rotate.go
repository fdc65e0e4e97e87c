package steps

import (
	"strings"

	"provision/provision"
)

// RotateKinds are the credentials that can be rotated, as people name them,
// with the kind of the step that looks after each.
var RotateKinds = map[string]string{
	"ci-key":         "ci-key",
	"repo-key":       "repo-key",
	"registry-token": "registry-login",
}

// Retire returns what [Given.Retire] has to be for the credentials of some
// kinds of steps to be replaced: the ones that are in use now, and whether
// there are some.
func Retire(steps []provision.Step, seen provision.Seen, kinds ...string) (retire map[string]string, some bool) {
	retire = map[string]string{}
	for _, step := range steps {
		name := step.Name()
		kind, _, _ := strings.Cut(name, " ")
		wanted := false
		for _, k := range kinds {
			wanted = wanted || RotateKinds[k] == kind
		}
		if !wanted {
			continue
		}
		facts := seen[name]
		switch s := step.(type) {
		case ciKey:
			for _, owner := range s.owners {
				public := facts.Get("public " + owner.String())
				retire[name] += public + "\n"
				some = some || public != ""
			}
		case repoKey:
			// One that has a retired key still is gone on with.
			some = some || facts.Get("public") != ""
			if facts.Get("retired") == "" {
				retire[name] = facts.Get("public")
			}
		case registryLogin:
			retire[name] = facts.Get("login")
			some = some || retire[name] != ""
		}
	}
	return retire, some
}
