package steps

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
)

// A paperHost is what a host has that tells deployments apart and lets somebody in, as
// values in place of files. It answers as the probes would, and changes as the scripts
// would change it; thousands of plans can be made for it and carried out in a second.
// That the scripts do that, other tests show in a sandbox and on real hosts.
type paperHost struct {
	settings map[string][]string // the lines of the file, by name
	users    map[string]*paperUser
	pairs    *int                                        // how many key pairs there are
	failed   func(format string, args ...any)            // where it is asked what it does not know
	changed  func(c provision.Change, of provision.Step) // after each change
}

type paperUser struct {
	docker      bool
	pair        string // the public half
	lines       []string
	login, made string
	clones      map[string]string   // by directory: the origin
	runs        map[string]bool     // by directory
	came        map[string][]string // by label: the keys that have deployed
}

func (h *paperHost) user(name string) *paperUser {
	if u := h.users[name]; u != nil {
		return u
	}
	return &paperUser{clones: map[string]string{}, runs: map[string]bool{}, came: map[string][]string{}}
}

// values returns those of a word in the settings of a name.
func (h *paperHost) values(name, word string) (values []string) {
	for _, line := range h.settings[name] {
		if value, ok := strings.CutPrefix(line, word+"="); ok {
			values = append(values, value)
		}
	}
	return values
}

func (h *paperHost) value(name, word string) string {
	return strings.Join(h.values(name, word), " ")
}

func (h *paperHost) label(name string) string {
	if label := h.value(name, "state"); label != "" {
		return label
	}
	return name
}

// names returns those of all settings, and first the one that is asked for.
func (h *paperHost) names(first string) []string {
	return append([]string{first}, slices.Sorted(maps.Keys(h.settings))...)
}

// carried and called do what those of templates/settings.sh do.
func (h *paperHost) carried(name, user, directory string) (known, label string, formerly []string) {
	label = name
	for _, n := range h.names(name) {
		switch {
		case h.settings[n] == nil:
		case h.value(n, "user") == user && h.value(n, "directory") == directory:
			return n, h.label(n), h.values(n, "was")
		case h.value(n, "user") == user && h.label(n) == name && h.user(user).clones[directory] != "":
			label = ""
		}
	}
	return "", label, nil
}

func (h *paperHost) called(name, user, key string) string {
	found := ""
	for _, n := range h.names(name) {
		switch {
		case h.settings[n] == nil || h.value(n, "user") != user:
		case slices.Contains(h.values(n, "key"), name+" "+key):
			return n
		case found == "" && (n == name || slices.Contains(h.values(n, "was"), name)):
			found = n
		}
	}
	return found
}

// opens tells which directory a key of a user opens the gate of, as the gate does.
func (h *paperHost) opens(user, public string) string {
	for _, line := range h.user(user).lines {
		if !hasKey(line, public) {
			continue
		}
		_, rest, _ := strings.Cut(line, opensGate)
		name, rest, _ := strings.Cut(rest, " ")
		key, _, _ := strings.Cut(rest, `"`)
		if h.settings[name] != nil {
			key = "-"
		}
		return h.value(h.called(name, user, key), "directory")
	}
	return ""
}

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

// do does what a script does.
func (h *paperHost) do(step provision.Step, d *inventory.Deployment, c provision.Change, script provision.Script, text string) {
	args := script.Args
	switch s := step.(type) {
	case names:
		if c.Verb == provision.Remove {
			delete(h.settings, args[0])
		} else {
			h.rename(args[0], args[1], args[2], args[3])
		}
	case user:
		if c.Verb == provision.Create {
			h.users[s.name] = h.user(s.name)
		} else {
			h.users[s.name].docker = true
		}
	case deploySettings:
		h.settings[path.Base(args[0])] = strings.Split(strings.TrimSuffix(args[1], "\n"), "\n")
	case repoKey:
		*h.pairs++
		h.users[s.user].pair = fmt.Sprintf("ssh-ed25519 AAAApair%d", *h.pairs)
	case registryLogin:
		name, _, _ := strings.Cut(text, "\n")
		h.users[s.user].login, h.users[s.user].made = name, args[3]
	case ciKey:
		h.authorize(s.ci.user, strings.Fields(args[0]), args[1], text)
	case undo:
		u := h.user(d.User)
		switch word, _, _ := strings.Cut(s.name, " "); word {
		case "ci-key":
			h.authorize(d.User, strings.Fields(args[0]), args[1], "")
		case "containers":
			delete(u.runs, d.Directory)
		case "deploys":
			delete(u.came, args[0])
		case "registry-login":
			u.login, u.made = "", ""
		case "checkout":
			delete(u.clones, d.Directory)
		case "repo-key":
			u.pair = ""
		case "user":
			delete(h.users, d.User)
		case "deploy-settings":
			delete(h.settings, d.Name)
		}
	default:
		h.failed("the paper host cannot %s", c)
	}
}

// rename does what templates/rename.sh does.
func (h *paperHost) rename(name, user, directory, left string) {
	from, _, _ := h.carried(name, user, directory)
	if from == name {
		return
	}
	if left != "" && h.settings[name] != nil {
		h.move(name, left)
	}
	if from != "" {
		h.move(from, name)
	}
}

func (h *paperHost) move(from, to string) {
	owner := h.value(from, "user")
	for n := range h.settings {
		if n != from && h.value(n, "user") == owner {
			h.settings[n] = slices.DeleteFunc(h.settings[n], func(line string) bool { return line == "was="+from })
		}
	}
	lines := slices.Clone(h.settings[from])
	add := func(line string) {
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	if h.value(from, "state") == "" {
		add("state=" + from)
	}
	add("was=" + from)
	add("was=" + to)
	if u := h.users[owner]; u != nil {
		for i, line := range u.lines {
			before, rest, ok := strings.Cut(line, opensGate+from+" ")
			if !ok {
				continue
			}
			key, _, _ := strings.Cut(rest, `"`)
			add("key=" + from + " " + key)
			add("key=" + to + " " + key)
			if rest, ok := strings.CutSuffix(rest, " "+keyMark+from); ok {
				u.lines[i] = before + opensGate + to + " " + rest + " " + keyMark + to
			}
		}
	}
	delete(h.settings, from)
	h.settings[to] = lines
}

// authorize does what templates/authorize.sh does.
func (h *paperHost) authorize(user string, names []string, others, text string) {
	lines := strings.Fields(strings.ReplaceAll(text, " ", "\x00"))
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], "\x00", " ")
	}
	u := h.users[user]
	for _, line := range u.lines {
		same := slices.ContainsFunc(lines, func(new string) bool { return hasKey(line, keyIn(new)) })
		if !same && (others == "keep" || !slices.Contains(names, nameOf(line))) {
			lines = append(lines, line)
		}
	}
	u.lines = lines
}

// An onHost is a step of a paper host.
type onHost struct {
	provision.Step
	host *paperHost
	of   *inventory.Deployment // what is removed
}

func (s onHost) Probe() provision.Probe {
	ask := s.Step.Probe().Ask
	return provision.Probe{Ask: func(ctx context.Context, g forge.Forge) (provision.Facts, error) {
		facts := s.host.facts(s.Step, s.of)
		if ask == nil {
			return facts, nil
		}
		asked, err := ask(ctx, g)
		maps.Copy(facts, asked)
		return facts, err
	}}
}

func (s onHost) Plan(f provision.Facts) ([]provision.Change, error) {
	changes, err := s.Step.Plan(f)
	for i, c := range changes {
		do := c.Do
		if do == nil || c.Verb == "" {
			continue
		}
		changes[i].Do = provision.Call(func(ctx context.Context, g forge.Forge) error {
			switch do := do.(type) {
			case provision.Call:
				if err := do(ctx, g); err != nil {
					return err
				}
			case provision.Script:
				text := ""
				if !do.Secret.IsZero() {
					var err error
					if text, err = do.Secret.Reveal(); err != nil {
						return err
					}
				}
				s.host.do(s.Step, s.of, c, do, text)
			}
			s.host.changed(c, s.Step)
			return nil
		})
	}
	return changes, err
}

// cloned and running stand for the clone and the containers of a deployment.
type cloned struct {
	checkout
	host *paperHost
	from string
}

func (s cloned) Probe() provision.Probe { return provision.Probe{} }

func (s cloned) Plan(provision.Facts) ([]provision.Change, error) {
	if s.host.user(s.user).clones[s.directory] == s.from {
		return nil, nil
	}
	return []provision.Change{{Verb: provision.Clone, Object: s.from, Do: provision.Call(func(context.Context, forge.Forge) error {
		s.host.users[s.user].clones[s.directory] = s.from
		return nil
	})}}, nil
}

type started struct {
	containers
	host *paperHost
}

func (s started) Probe() provision.Probe { return provision.Probe{} }

func (s started) Plan(provision.Facts) ([]provision.Change, error) {
	if s.host.user(s.user).runs[s.directory] {
		return nil, nil
	}
	return []provision.Change{{Verb: provision.Start, Object: s.deployment, Do: provision.Call(func(context.Context, forge.Forge) error {
		s.host.users[s.user].runs[s.directory] = true
		return nil
	})}}, nil
}

// onPaperHost returns the steps for a host, as far as it is on paper.
func onPaperHost(h *paperHost, all []provision.Step, of *inventory.Deployment) (steps []provision.Step) {
	for _, step := range all {
		switch s := step.(type) {
		case names, unmanaged, user, deploySettings, repoKey, deployKey, registryLogin, ciVariables, ciKey, staleVariables, undo:
			steps = append(steps, onHost{s, h, of})
		case checkout:
			steps = append(steps, cloned{s, h, s.url})
		case containers:
			steps = append(steps, started{s, h})
		}
	}
	return steps
}
