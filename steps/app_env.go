package steps

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"provision/provision"
	"provision/provision/hint"
	"provision/provision/secret"
	"provision/provision/visible"
	"provision/templates"
)

// appEnv wants the lines of a deployment in the .env of its clone, and no others
// of ours: its variables, and what Compose itself reads there, so that whoever
// types docker compose in the clone gets what the gate does.
type appEnv struct {
	deployment, user, directory string
	lines                       []envLine
	compose                     []string // the Compose files, where they are not those in the root
	made                        []string // files that the inventory puts into the clone
	override                    bool     // it gets a compose.override.yaml
	salt                        string
	limited                     string // the rest of a command line for this deployment
}

// An envLine is one line of an .env, as Compose reads it.
type envLine struct {
	name    string
	line    secret.Value // the zero Value where its secret was not read
	compose bool         // Compose reads it itself, and it holds no secret
}

func appEnvOf(t target) appEnv {
	d := t.deployment
	s := appEnv{deployment: d.Name, user: d.User, directory: d.Directory, override: d.Override != nil, salt: t.given.Salt, compose: d.Compose, made: appFilesOf(t).paths(), limited: t.only()}
	add := func(name, value string, compose bool) {
		s.lines = append(s.lines, envLine{name, secret.New(name + "=" + dotenv(value)), compose})
	}
	if len(d.Compose) > 0 {
		// The name of the folder of the first file would be that of the project.
		add("COMPOSE_PROJECT_NAME", d.Directory, true)
		add("COMPOSE_FILE", strings.Join(d.Compose, ":"), true)
	}
	if len(d.Profiles) > 0 {
		add("COMPOSE_PROFILES", strings.Join(d.Profiles, ","), true)
	}
	for _, v := range d.Env {
		value := v.Text
		if !v.Secret.IsZero() {
			var err error
			if value, err = t.given.Env[v.Secret.Key()].Reveal(); err != nil {
				s.lines = append(s.lines, envLine{name: v.Name})
				continue
			}
		}
		add(v.Name, value, false)
	}
	return s
}

// dotenv quotes a value for an .env, so that Compose reads just that and the line
// stays one.
func dotenv(value string) string {
	if !strings.ContainsAny(value, "'\\\n\r\t") {
		return "'" + value + "'" // as it is
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(value) + `"`
}

func (s appEnv) Name() string { return "app-env " + s.deployment }

func (s appEnv) Scope() provision.Scope {
	return provision.Scope{User: s.user, Deployment: s.deployment}
}

func (s appEnv) object() string { return ".env of " + s.deployment }

// The facts are those of templates/envs.sh.
func (s appEnv) Probe() provision.Probe {
	wanted := ""
	if len(s.lines) > 0 {
		wanted = "yes"
	}
	return provision.Probe{Script: provision.Script{User: s.user, Args: append([]string{s.directory, s.salt, wanted}, s.composeOfProject()...), Text: templates.Envs}}
}

// composeOfProject are the Compose files that the project has to have.
func (s appEnv) composeOfProject() (files []string) {
	for _, file := range s.compose {
		if file = path.Clean(file); file != "compose.override.yaml" && !slices.Contains(s.made, file) {
			files = append(files, file)
		}
	}
	return files
}

func (s appEnv) Plan(f provision.Facts) ([]provision.Change, error) {
	if len(s.lines) == 0 {
		if len(f["name"]) == 0 {
			return nil, nil
		}
		return []provision.Change{s.remove(f)}, nil
	}
	if odd := f.Get("odd"); odd != "" {
		return nil, hint.Add(fmt.Errorf("%s in ~%s/%s, and variables of the inventory are written to .env", visible.String(odd), s.user, s.directory), "%s", oddHint)
	}
	changed, gone := s.differences(f)
	edited := f.Get("edited") != ""
	if len(changed)+len(gone) == 0 && !edited {
		if mode := f.Get("mode"); mode != "" {
			return []provision.Change{asUser(s.user, provision.Change{Verb: provision.Chmod, Object: "600 " + s.object(), Remark: "(was " + visible.String(mode) + ")"}, `chmod 600 "$1/.env"`, s.directory)}, nil
		}
		return nil, nil
	}
	if lacks := f["lacks"]; len(lacks) > 0 && slices.Contains(changed, "COMPOSE_FILE") {
		return nil, hint.Add(fmt.Errorf("~%s/%s has no %s, which compose names in the inventory", s.user, s.directory, visible.String(joinAnd(lacks))),
			"mend compose in the inventory; or if the branch has it by now, bring the clone forward first: provision update %s", s.limited)
	}
	c := provision.Change{Verb: provision.Write, Object: s.object(), Hint: oddHint, Do: s.write()}
	var told []string
	if len(changed) > 0 {
		told = append(told, joinAnd(shorten(changed)))
	}
	if len(gone) > 0 {
		told = append(told, "without "+joinAnd(shorten(gone)))
	}
	switch {
	case len(f["name"]) == 0:
		told = append(told, "for the next deploy")
	case len(changed) == 1:
		c.Verb, told = provision.Update, append(told, "the next deploy uses it")
	case len(changed) > 1:
		c.Verb, told = provision.Update, append(told, "the next deploy uses them")
	default:
		c.Verb, told = provision.Update, append(told, "for the next deploy")
	}
	if edited {
		told = append(told, "the edited file is kept beside it as a backup, secrets and all")
	}
	c.Remark = "(" + strings.Join(told, "; ") + ")"
	return []provision.Change{c}, nil
}

// oddHint is for where the clone has something where we write.
const oddHint = "what git tracks has to be taken out of the project (git rm --cached), or out of the inventory; what is no plain file has to be moved away"

// differences returns the names of the lines that are not as they should be, and
// of those that should not be there. Without a salt, as in CI, nobody can tell of a
// secret whether it is the right one.
func (s appEnv) differences(f provision.Facts) (changed, gone []string) {
	wanted := map[string]bool{}
	for _, l := range s.lines {
		wanted[l.name] = true
		there := 0
		for _, name := range f["name"] {
			if name == l.name {
				there++
			}
		}
		line := l.line
		if l.name == "COMPOSE_FILE" && (s.override || f.Get("override") != "") {
			line = withOverrideFile(line)
		}
		digest, err := line.Digest(s.salt)
		known := err == nil && (s.salt != "" || l.compose)
		if there != 1 || f.Has("later", l.name) || known && !f.Has("digest", l.name+" "+digest) {
			changed = append(changed, l.name)
		}
	}
	for _, name := range f["name"] {
		if !wanted[name] && !slices.Contains(gone, visible.String(name)) {
			gone = append(gone, visible.String(name))
		}
	}
	return changed, gone
}

// withOverrideFile is a COMPOSE_FILE with the override behind the other files. What
// writes the line does the same, as only it knows what the clone has.
func withOverrideFile(line secret.Value) secret.Value {
	text, _ := line.Reveal()
	return secret.New(strings.TrimSuffix(text, "'") + ":compose.override.yaml'")
}

func (s appEnv) overrides() string {
	if s.override {
		return "yes"
	}
	return ""
}

func (s appEnv) write() provision.Script {
	return provision.Script{User: s.user, Args: []string{s.directory, s.overrides(), s.deployment}, Secret: secret.Born(s.block), Text: templates.Env}
}

// block is what stands between our marks.
func (s appEnv) block() (string, error) {
	var b strings.Builder
	for _, l := range s.lines {
		text, err := l.line.Reveal()
		if err != nil {
			return "", fmt.Errorf("%s: %w", l.name, err)
		}
		b.WriteString(text + "\n")
	}
	return b.String(), nil
}

// form is a digest of all that holds no secret: the names, and the lines that
// Compose reads itself. By it others can tell, without a secret, whether .env is
// there as wanted; "" if nothing is.
func (s appEnv) form() string {
	if len(s.lines) == 0 {
		return ""
	}
	var b strings.Builder
	for _, l := range s.lines {
		text := l.name
		if l.compose {
			text, _ = l.line.Reveal()
		}
		b.WriteString(text + "\n")
	}
	return provision.Digest(b.String())
}

func (s appEnv) remove(f provision.Facts) provision.Change {
	c := provision.Change{Verb: provision.Remove, Object: "the lines of the inventory from " + s.object()}
	if f.Get("edited") != "" {
		c.Remark = "(the edited file is kept beside it as a backup, secrets and all)"
	}
	return asUser(s.user, c, templates.Env, s.directory, "", s.deployment)
}

// undo takes our lines out.
func (s appEnv) undo(target) undo {
	s.salt = ""
	return undo{s.Name(), s.Probe(), func(f provision.Facts) ([]provision.Change, error) {
		if len(f["name"]) == 0 {
			return nil, nil
		}
		return []provision.Change{s.remove(f)}, nil
	}}
}
