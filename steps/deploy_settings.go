package steps

import (
	"fmt"

	"provision/provision"
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
}

func deploySettingsOf(t target) deploySettings {
	d := t.deployment
	return deploySettings{
		deployment: d.Name, user: d.User, directory: d.Directory, registry: t.inv.Registry.Host,
		wait: int(d.Wait.Seconds()), rollback: d.Rollback, keep: d.KeepImages, logs: d.Logs, version: d.Version, before: d.Before,
	}
}

func (s deploySettings) Name() string { return "deploy-settings " + s.deployment }

func (s deploySettings) Scope() provision.Scope {
	return provision.Scope{User: s.user, Deployment: s.deployment}
}

func (s deploySettings) file() string { return "/etc/provision/deployments/" + s.deployment }

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

func (s deploySettings) Probe() provision.Probe { return provision.Probe{Script: digestOf(s.file())} }

func (s deploySettings) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("file") == fileFact(s.text(), "644") {
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
		Do:     install(s.file(), s.text(), "644"),
	}}, nil
}

// undo removes the file. While it is there, an interrupted removal can go on.
func (s deploySettings) undo(target) undo {
	return undo{s.Name(), s.Probe(), func(f provision.Facts) ([]provision.Change, error) {
		if f.Get("file") == "" {
			return nil, nil
		}
		return []provision.Change{asRoot(provision.Change{Verb: provision.Remove, Object: "the deploy settings of " + s.deployment}, removeFile, s.file(), "/etc/provision")}, nil
	}}
}
