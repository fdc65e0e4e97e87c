package steps

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/templates"
)

// gate wants one of the programs that are all that a CI key can run: the gate
// itself, and the deploy that it begins.
type gate struct{ name, file, text string }

const (
	gateFile   = "/usr/local/lib/provision/gate"
	deployFile = "/usr/local/lib/provision/deploy"
)

// The deploy comes first: a gate of the same version needs it.
var gatePrograms = []gate{{"deploy-program", deployFile, templates.Deploy}, {"gate", gateFile, templates.Gate}}

func gateSteps(wish) []provision.Step {
	var steps []provision.Step
	for _, g := range gatePrograms {
		steps = append(steps, g)
	}
	return steps
}

func (g gate) Name() string { return g.name }

func (g gate) Probe() provision.Probe { return provision.Probe{Script: digestOf(g.file)} }

func (g gate) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("file") == fileFact(g.text, "755") {
		return nil, nil
	}
	summary := "install " + g.file
	if f.Get("file") != "" {
		summary = "replace " + g.file + ", which is another version or was altered"
	}
	return []provision.Change{{Summary: summary, Do: install(g.file, g.text, "755")}}, nil
}

// settings wants what the gate must know of one deployment.
type settings struct {
	deployment, user, directory string
	registry                    string // the host of it, which the images come from
	wait                        int    // how long a deploy waits for health, in seconds
	rollback                    bool
	keep                        int    // how many versions of each image
	logs                        int    // how many lines of what failed; 0: none
	version, before             string // a variable and a service; either may be ""
}

func settingsSteps(w wish) []provision.Step {
	return each(w, func(d *inventory.Deployment) settings { return settingsOf(w.inv, d) })
}

func settingsOf(inv *inventory.Inventory, d *inventory.Deployment) settings {
	return settings{
		deployment: d.Name, user: d.User, directory: d.Directory, registry: inv.Registry.Host,
		wait: int(d.Wait.Seconds()), rollback: d.Rollback, keep: d.KeepImages, logs: d.Logs, version: d.Version, before: d.Before,
	}
}

func (s settings) Name() string { return "settings " + s.deployment }

func (s settings) file() string { return "/etc/provision/deployments/" + s.deployment }

// text is the file. The rules of the inventory let no value hold a line break.
func (s settings) text() string {
	text := fmt.Sprintf("user=%s\ndirectory=%s\nregistry=%s\nwait=%d\n", s.user, s.directory, s.registry, s.wait)
	if s.rollback {
		text += "rollback=yes\n"
	}
	text += fmt.Sprintf("keep=%d\n", s.keep)
	if s.logs > 0 {
		text += fmt.Sprintf("logs=%d\n", s.logs)
	}
	if s.version != "" {
		text += "version=" + s.version + "\n"
	}
	if s.before != "" {
		text += "before=" + s.before + "\n"
	}
	return text
}

func (s settings) Probe() provision.Probe { return provision.Probe{Script: digestOf(s.file())} }

func (s settings) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("file") == fileFact(s.text(), "644") {
		return nil, nil
	}
	summary := fmt.Sprintf("write the deploy settings of %s (~%s/%s, health timeout %ds", s.deployment, s.user, s.directory, s.wait)
	if s.rollback {
		summary += ", rollback"
	}
	if s.version != "" {
		summary += ", version in " + s.version
	}
	if s.before != "" {
		summary += ", before: " + s.before
	}
	if s.logs > 0 {
		summary += fmt.Sprintf(", logs %d", s.logs)
	}
	return []provision.Change{{Summary: summary + ")", Do: install(s.file(), s.text(), "644")}}, nil
}

// carried looks which deployments the host carries. One that the inventory
// does not name is spoken of, and left alone.
type carried struct {
	host  string
	named string // one a line
}

func carriedSteps(w wish) []provision.Step {
	var named string
	for _, d := range w.inv.On(w.host) {
		named += d.Name + "\n"
	}
	return []provision.Step{carried{w.host.Name, named}}
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9._/][A-Za-z0-9._/-]*$`)

func (carried) Name() string { return "carried" }

func (carried) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Text: `
for file in /etc/provision/deployments/*; do
	! [ -f "$file" ] || fact deployment "${file##*/}"
done
`}}
}

func (s carried) Plan(f provision.Facts) ([]provision.Change, error) {
	named := strings.Fields(s.named)
	var notes []provision.Change
	for _, name := range f["deployment"] {
		if !slices.Contains(named, name) {
			note := provision.Note("the host carries the deployment %s, which the inventory does not name", name)
			if plainWord.MatchString(name) { // what a host says is no command to paste
				note = note.WithHint("put it back, or: provision remove --deployment %s --limit %s INVENTORY", name, s.host)
			}
			notes = append(notes, note)
		}
	}
	return notes, nil
}
