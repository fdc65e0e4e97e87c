package steps

import (
	"fmt"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision/forge"
	"provision/provision/secret"
)

// mayBeOfWeb1 tells whether a title is one of web1, or of a host where nobody is to have
// that user, for that project or, with "", for any: web1 may have had that name.
func (w *lyingWorld) mayBeOfWeb1(title, user, project string) bool {
	host, ok := strings.CutPrefix(title, user+"@")
	return ok && !slices.ContainsFunc(w.inv.Deployments, func(d *inventory.Deployment) bool {
		return host != "web1" && d.Host.Name == host && d.User == user && (project == "" || d.Project == project)
	})
}

// others returns what is in GitLab and is not of web1, each with all that it is.
func (w *lyingWorld) others() map[string]string {
	all := map[string]string{}
	users := []string{"deploy-frobnicator", "release-bot"} // of which a host may have deployments
	for project, keys := range w.f.Keys {
		for _, k := range keys {
			_, comment, _ := strings.Cut(strings.TrimPrefix(k.Key, "ssh-ed25519 "), " ")
			if !slices.ContainsFunc(users, func(user string) bool {
				return w.mayBeOfWeb1(k.Title, user, project) && strings.HasPrefix(comment, user+"@")
			}) {
				all[fmt.Sprintf("deploy key %d of %s", k.ID, project)] = fmt.Sprint(k)
			}
		}
	}
	for owner, kinds := range w.f.Made {
		for kind, tokens := range kinds {
			for _, t := range tokens {
				marked := t.Description == "Made by provision for "+t.Name+"." || t.Username == fmt.Sprint("gitlab+deploy-token-", t.ID)
				if !slices.ContainsFunc(users, func(user string) bool { return w.mayBeOfWeb1(t.Name, user, "") }) || !marked || !slices.Equal(t.Scopes, []string{"read_registry"}) {
					t.Value = secret.Value{}
					all[fmt.Sprintf("%s %d of %s", kind, t.ID, owner)] = fmt.Sprint(t)
				}
			}
		}
	}
	for owner, variables := range w.f.Vars {
		for _, v := range variables {
			if !w.ofWeb1(owner, variables, v) {
				text, _ := v.Value.Reveal()
				v.Value = secret.Value{}
				all[fmt.Sprintf("variable %s of %s", keyed(v), owner)] = fmt.Sprint(v, text)
			}
		}
	}
	return all
}

// ofWeb1 tells whether a variable is at a place that the inventory gives to a deployment on
// web1, or says that it is of web1, or is marked and leads to it.
func (w *lyingWorld) ofWeb1(owner forge.Owner, variables []forge.Variable, v forge.Variable) bool {
	if strings.HasPrefix(v.Description, "Set by provision for ") && strings.HasSuffix(v.Description, " on web1.") {
		return true
	}
	for _, d := range w.inv.On(w.inv.Hosts[0]) {
		if c := ciOf(d); slices.Contains(c.owners, owner) && v.Scope == c.scope && c.isBase(v.Key) {
			return true
		}
		for _, base := range ciBases {
			if prefix, ok := strings.CutSuffix(v.Key, base); ok && markedFor(v.Description) != "" && ciOf(d).leads(variables, prefix, v.Scope) {
				return true
			}
		}
	}
	return false
}
