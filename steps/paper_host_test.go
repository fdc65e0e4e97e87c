package steps

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
)

// A paperHost is what a host has that tells deployments apart and lets somebody in, as
// values in place of files. It answers as the probes would, and changes as the scripts
// would change it; thousands of plans can be made for it and carried out in a second.
// That the scripts do that, other tests show in a sandbox and on real hosts.
type paperHost struct {
	settings map[string][]string // the lines of the file, by name
	users    map[string]*paperUser
	pairs    *int                                        // how many key pairs there are
	used     func(login string)                          // tells GitLab
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

// empty makes it a new machine.
func (h *paperHost) empty() {
	h.settings, h.users = map[string][]string{}, map[string]*paperUser{}
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
		u := h.users[s.user]
		u.login, u.made = name, args[3]
		h.used(name)
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
