package steps

import (
	"encoding/base64"
	"fmt"
	"strings"

	"provision/provision"
	"provision/provision/hint"
	"provision/provision/secret"
	"provision/provision/visible"
	"provision/templates"
)

// appFiles wants the files with secrets of a deployment in its clone, and none
// that were written there once and are not wanted any more.
type appFiles struct {
	deployment, user, directory string
	files                       []appFile
	salt                        string
}

// An appFile is one of them.
type appFile struct {
	path    string
	content secret.Value // the zero Value where it was not read
}

func appFilesOf(t target) appFiles {
	d := t.deployment
	s := appFiles{deployment: d.Name, user: d.User, directory: d.Directory, salt: t.given.Salt}
	for _, f := range d.Files {
		s.files = append(s.files, appFile{f.Path, t.given.Files[f.Secret.Key()]})
	}
	return s
}

func (s appFiles) Name() string { return "app-files " + s.deployment }

func (s appFiles) Scope() provision.Scope {
	return provision.Scope{User: s.user, Deployment: s.deployment}
}

func (s appFiles) paths() []string {
	var paths []string
	for _, f := range s.files {
		paths = append(paths, f.path)
	}
	return paths
}

// The facts are those of templates/files.sh.
func (s appFiles) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{User: s.user, Args: append([]string{s.directory, s.salt}, s.paths()...), Text: templates.SecretFiles}}
}

func (s appFiles) Plan(f provision.Facts) ([]provision.Change, error) {
	of := func(key, path string) string { // what a fact says of a file
		for _, fact := range f[key] {
			if rest, ok := strings.CutPrefix(fact, path+" "); ok {
				return visible.String(rest)
			}
		}
		return ""
	}
	var changes []provision.Change
	for _, file := range s.files {
		if odd := of("odd", file.path); odd != "" {
			return nil, hint.Add(fmt.Errorf("%s in ~%s/%s, and the inventory has %s among its files", odd, s.user, s.directory, file.path), "%s", oddHint)
		}
		object := file.path + " of " + s.deployment
		digest, err := file.content.Digest(s.salt)
		differs := err == nil && s.salt != "" && of("digest", file.path) != digest
		switch mode := of("mode", file.path); {
		case !f.Has("there", file.path):
			changes = append(changes, provision.Change{Verb: provision.Write, Object: object, Remark: "(for the next deploy)", Hint: oddHint, Do: s.write(file)})
		case differs:
			remark := "(for containers that are made from now on)"
			if !f.Has("ours", file.path) {
				remark = "(for containers that are made from now on; the file that is there is kept beside it as a backup, secrets and all)"
			}
			changes = append(changes, provision.Change{Verb: provision.Update, Object: object, Remark: remark, Hint: oddHint, Do: s.write(file)})
		case mode != "":
			changes = append(changes, asUser(s.user, provision.Change{Verb: provision.Chmod, Object: "600 " + object, Remark: "(was " + mode + ")"}, `chmod 600 "$1/$2"`, s.directory, file.path))
		}
	}
	return append(changes, s.remove(f, "(not in the inventory)")...), nil
}

// write writes a file. One that is no text travels as text.
func (s appFiles) write(file appFile) provision.Script {
	content, encoding := file.content, ""
	if text, err := content.Reveal(); err == nil && strings.Contains(text, "\x00") {
		content, encoding = secret.New(base64.StdEncoding.EncodeToString([]byte(text))), "base64"
	}
	if content.IsZero() {
		content = secret.Born(nil)
	}
	return provision.Script{User: s.user, Args: []string{s.directory, file.path, encoding}, Secret: content, Text: templates.SecretFile}
}

// remove removes what is not wanted any more, but for what somebody else has
// changed since.
func (s appFiles) remove(f provision.Facts, remark string) []provision.Change {
	var changes []provision.Change
	for _, file := range f["left"] {
		changes = append(changes, asUser(s.user, provision.Change{Verb: provision.Remove, Object: visible.String(file) + " of " + s.deployment, Remark: remark}, templates.RemoveSecretFiles, s.directory, file))
	}
	for _, file := range f["changed"] {
		changes = append(changes, provision.Note("~%s/%s/%s stays, as somebody else has changed it since it was written", s.user, s.directory, visible.String(file)))
	}
	return changes
}

// undo removes all that were written, and the folders made for them.
func (s appFiles) undo(target) undo {
	s.files, s.salt = nil, ""
	return undo{s.Name(), s.Probe(), func(f provision.Facts) ([]provision.Change, error) { return s.remove(f, ""), nil }}
}
