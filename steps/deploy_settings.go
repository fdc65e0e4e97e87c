package steps

import (
	"fmt"
	"slices"

	"provision/inventory"
	"provision/provision"
	"provision/templates"
)

// deploySettings wants what the gate must know of one deployment.
type deploySettings struct {
	deployment, user, directory string
	registry                    string // the host of it, which the images come from
	wait                        int    // how long a deploy waits for health, in seconds
	rollback                    bool
	keep                        int    // how many versions of each image
	logs                        int    // how many lines of what failed; 0: none
	version, before             string // a variable and a service; either may be ""

	this *inventory.Deployment
	on   []*inventory.Deployment // all that the inventory has on the host
}

func deploySettingsOf(t target) deploySettings {
	d := t.deployment
	return deploySettings{
		deployment: d.Name, user: d.User, directory: d.Directory, registry: t.inv.Registry.Host,
		wait: int(d.Wait.Seconds()), rollback: d.Rollback, keep: d.KeepImages, logs: d.Logs, version: d.Version, before: d.Before,
		this: d, on: t.inv.On(d.Host),
	}
}

func (s deploySettings) Name() string { return "deploy-settings " + s.deployment }

func (s deploySettings) Scope() provision.Scope {
	return provision.Scope{User: s.user, Deployment: s.deployment}
}

func settingsFile(name string) string { return "/etc/provision/deployments/" + name }

// text is the file. The rules of the inventory let no value hold a line break.
func (s deploySettings) text() string {
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

// The file is the one of the deployment, whatever it is called. What it has besides
// is what a rename has left: see templates/rename.sh.
func (s deploySettings) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Args: carriedArgs(s.this), Text: templates.Settings + lookAtSettings + `
carried "$1" "$2" "$3"
file=$settings/${known:-$1}
[ -f "$file" ] || return 0
fact file "$(stat -c '%U %a' "$file") $(sha256sum <"$file" | cut -c 1-64)"
[ -n "$known" ] || return 0
fact known "$known"
grep -e ^state= -e ^was= -e ^key= "$file" | facts besides
`}}
}

// place returns which file the settings are in, or are to be, and what else stands
// there.
func (s deploySettings) place(f provision.Facts) (name string, besides []string) {
	if known := f.Get("known"); known != "" {
		return known, f["besides"]
	}
	all := carriedBy(f)
	name = s.deployment
	if _, _, has := naming(s.this, s.on, all); has != nil {
		name = nextName(name, isNamed(all))
	} else {
		all = slices.DeleteFunc(all, func(c carried) bool { return c.name == name })
	}
	label := freeLabel(s.deployment, func(label string) bool {
		return slices.ContainsFunc(all, func(c carried) bool { return c.label == label })
	})
	if label != name {
		besides = []string{"state=" + label}
	}
	return name, besides
}

func (s deploySettings) Plan(f provision.Facts) ([]provision.Change, error) {
	name, besides := s.place(f)
	text := s.text()
	for _, line := range besides {
		text += line + "\n"
	}
	if f.Get("file") == fileFact(text, "644") {
		return nil, nil
	}
	remark := fmt.Sprintf("(~%s/%s, health timeout %ds", s.user, s.directory, s.wait)
	if s.rollback {
		remark += ", rollback"
	}
	if s.version != "" {
		remark += ", version in " + s.version
	}
	if s.before != "" {
		remark += ", before: " + s.before
	}
	if s.logs > 0 {
		remark += fmt.Sprintf(", logs %d", s.logs)
	}
	return []provision.Change{{
		Verb:   provision.Write,
		Object: "the deploy settings of " + s.deployment,
		Remark: remark + ")",
		Do:     install(settingsFile(name), text, "644"),
	}}, nil
}

// undo removes the file. While it is there, an interrupted removal can go on.
func (s deploySettings) undo(target) undo {
	file := settingsFile(s.deployment)
	return undo{s.Name(), provision.Probe{Script: digestOf(file)}, func(f provision.Facts) ([]provision.Change, error) {
		if f.Get("file") == "" {
			return nil, nil
		}
		return []provision.Change{asRoot(provision.Change{Verb: provision.Remove, Object: "the deploy settings of " + s.deployment}, removeFile, file, "/etc/provision")}, nil
	}}
}
