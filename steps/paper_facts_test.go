package steps

import (
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
)

// facts are what the probe of a step would report. Of the steps of a removal, which are
// not told apart by their type, d is what is removed.
func (h *paperHost) facts(step provision.Step, d *inventory.Deployment) provision.Facts {
	f := provision.Facts{}
	switch s := step.(type) {
	case names, unmanaged:
		h.addCarried(f)
	case user:
		h.addUser(f, s.name)
	case deploySettings:
		h.addCarried(f)
		if known, _, _ := h.carried(s.deployment, s.user, s.directory); known != "" {
			f.Add("known", known)
			f.Add("file", fileFact(strings.Join(h.settings[known], "\n")+"\n", "644"))
			for _, line := range h.settings[known] {
				if word, _, _ := strings.Cut(line, "="); word == "state" || word == "was" || word == "key" {
					f.Add("besides", line)
				}
			}
		} else if lines := h.settings[s.deployment]; lines != nil {
			f.Add("file", fileFact(strings.Join(lines, "\n")+"\n", "644"))
		}
	case repoKey:
		h.addPair(f, s.user)
	case deployKey:
		h.addOthers(f, s.user)
		h.addPair(f, s.user)
	case registryLogin:
		h.addLogin(f, s.user)
	case ciVariables:
		f.Add("host-key", "ssh-ed25519 AAAAhost")
	case ciKey:
		h.addKeys(f, s.ci.deployment, s.ci.user, s.directory)
	case staleVariables:
		h.addKeys(f, s.key.ci.deployment, s.key.ci.user, s.key.directory)
	case undo:
		h.addLeaving(f, s.name, d)
	default:
		h.failed("the paper host knows nothing of %s", step.Name())
	}
	return f
}

func (h *paperHost) addCarried(f provision.Facts) {
	for _, name := range h.names("")[1:] {
		u, directory := h.value(name, "user"), h.value(name, "directory")
		f.Add("carried", name)
		f.Add("user "+name, u)
		f.Add("directory "+name, directory)
		f.Add("label "+name, h.label(name))
		if h.user(u).clones[directory] != "" {
			f.Add("there", name)
		}
		if slices.ContainsFunc(h.user(u).lines, func(line string) bool { return strings.Contains(line, "/gate "+name+" ") }) {
			f.Add("keyed", name)
		}
	}
}

// holds does what the look of [Holds] does.
func (h *paperHost) holds() provision.Facts {
	f := provision.Facts{}
	for _, name := range h.names("")[1:] {
		f.Add("carries", name+" "+h.value(name, "user"))
		u := h.user(h.value(name, "user"))
		if u.pair != "" {
			f.Add("key", u.pair)
		}
		if u.login != "" {
			f.Add("token", u.login)
		}
	}
	return f
}

func (h *paperHost) addUser(f provision.Facts, name string) {
	u := h.users[name]
	f.Add("group", name)
	if u == nil || u.docker {
		f.Add("group", "docker")
	}
	if u != nil {
		f.Add("passwd", name+":x:999:999:"+madeBy+":/home/"+name+":/bin/sh")
		f.Add("home", name+" 700")
		f.Add("password", "*")
	}
}

func (h *paperHost) addPair(f provision.Facts, user string) {
	if pair := h.user(user).pair; pair != "" {
		f.Add("public", pair)
	}
}

func (h *paperHost) addLogin(f provision.Facts, user string) {
	if u := h.user(user); u.login != "" {
		f.Add("login", u.login)
		f.Add("made", u.made)
	}
}

// addKeys does what lookAtNames, lookAtKeys and lookWhoCame do.
func (h *paperHost) addKeys(f provision.Facts, name, user, directory string) {
	known, label, formerly := h.carried(name, user, directory)
	all := []string{name}
	if known != "" {
		f.Add("known", known)
		all = append(all, known)
	}
	for _, was := range append(all, formerly...) {
		other := h.settings[was] != nil && h.value(was, "user") == user && h.value(was, "directory") != directory && h.user(user).clones[h.value(was, "directory")] != ""
		switch {
		case other && was == name:
			f.Add("namesake", "yes")
		case !other && was != name:
			f.Add("was", was)
		}
	}
	f["line"] = slices.Clone(h.user(user).lines)
	f["came"] = slices.Clone(h.user(user).came[label])
}

// addOthers does what lookAtOthers does.
func (h *paperHost) addOthers(f provision.Facts, user string) {
	for _, name := range h.names("")[1:] {
		if h.value(name, "user") == user {
			f.Add("carried", name)
			f.Add("origin "+name, h.user(user).clones[h.value(name, "directory")])
		}
	}
}

func (h *paperHost) addLeaving(f provision.Facts, step string, d *inventory.Deployment) {
	u := h.user(d.User)
	there := func() {
		if u.clones[d.Directory] != "" {
			f.Add("there", "yes")
			f.Add("made", "yes")
		}
	}
	switch word, _, _ := strings.Cut(step, " "); word {
	case "names":
		h.addCarried(f)
	case "ci-key", "ci-variables", "stale-variables":
		h.addKeys(f, d.Name, d.User, d.Directory)
	case "containers":
		if u.runs[d.Directory] {
			f.Add("container", d.Directory+"-app-1")
			f.Add("project", d.Directory)
		}
	case "deploys":
		if _, label, _ := h.carried(d.Name, d.User, d.Directory); u.came[label] != nil {
			f.Add("there", label)
		}
	case "registry-login":
		h.addOthers(f, d.User)
		h.addLogin(f, d.User)
	case "deploy-key":
		h.addOthers(f, d.User)
		h.addPair(f, d.User)
	case "checkout":
		there()
	case "repo-key":
		h.addOthers(f, d.User)
		if u.pair != "" {
			f.Add("made", "id_ed25519")
		}
	case "user":
		h.addKeys(f, d.Name, d.User, d.Directory)
		h.addOthers(f, d.User)
		h.addUser(f, d.User)
		there()
		for directory := range u.clones {
			if directory != d.Directory {
				f.Add("entry", directory)
			}
		}
	case "deploy-settings":
		if h.settings[d.Name] != nil {
			f.Add("file", "there")
		}
	}
}
