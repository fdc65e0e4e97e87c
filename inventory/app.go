package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What a project needs beside what git brings: which of its Compose files and
// profiles, the variables of its .env, and files with secrets.

// overrideName is the file of the key override, which needs no other mention.
const overrideName = "compose.override.yaml"

var (
	// What stands between commas and colons for Compose, and in patterns for git,
	// has no character that means something there.
	clonePathForm = pattern(`^[A-Za-z0-9_.@+][A-Za-z0-9_.@+-]*(/[A-Za-z0-9_.@+-]+)*$`)
	outside       = pattern(`(^|/)\.\.?(/|$)`)

	// Files that are not for secrets: those of git and Compose, and the one that
	// env writes.
	takenFile = pattern(`(^|/)(\.\.?|\.git)(/|$)|^\.env$|(^|/)(docker-)?compose(\.override)?\.ya?ml$`)

	// What env cannot set: what other keys are for, where Docker is, and what the
	// environment of every program has.
	takenSetting = pattern(`^(COMPOSE_(PROJECT_NAME|FILE|PROFILES|PATH_SEPARATOR|ENV_FILES|DISABLE_ENV_FILE)|DOCKER_(HOST|CONTEXT|CONFIG|CERT_PATH|TLS|TLS_VERIFY|API_VERSION)|PATH|HOME|USER|LOGNAME|SHELL|LC_ALL)$`)
	writtenByUs  = pattern(`^COMPOSE_(PROJECT_NAME|FILE|PROFILES)$`)
)

// inClone tells whether a path leads to a place in a clone, and is no longer than
// a file system takes.
func inClone(path string) bool {
	return len(path) <= 255 && clonePathForm().MatchString(path) && !outside().MatchString(path)
}

func composeFile(s string) (what, hint string) {
	const example = `write it like compose = ["deploy/compose.yaml", "deploy/production.yaml"]`
	switch {
	case s == overrideName:
		return "is read behind the others by itself", "leave it out"
	case strings.HasPrefix(s, "/"):
		return quote(s) + " is no path in the project", example
	case !inClone(s):
		return quote(s) + " is no path of a Compose file", example
	}
	return "", ""
}

func profile(s string) (what, hint string) {
	if !serviceForm().MatchString(s) {
		return quote(s) + " is no name of a Compose profile", "write one as it stands under profiles in compose.yaml: letters, digits and . _ -, a letter or digit first"
	}
	return "", ""
}

func settingName(s string) (what, hint string) {
	switch {
	case !envForm().MatchString(s):
		return "is no name of an environment variable", "write letters, digits and underscores, not a digit first"
	case writtenByUs().MatchString(s):
		return "is written by the program itself", "see the keys directory, compose and profiles"
	case takenSetting().MatchString(s):
		return "has a meaning of its own for docker compose", "choose another name, here and in compose.yaml"
	}
	return "", ""
}

func secretFilePath(s string) (what, hint string) {
	const example = `write it like files = { "secrets/tls.key" = { file = "tls.key" } }`
	switch {
	case s == ".env":
		return "is what env writes", `write env = { NAME = "…" }`
	case strings.HasPrefix(s, "/"):
		return "is no path in the project", example
	case !inClone(s):
		return "is no path of a file", "write names of letters, digits and . _ @ + -, with / between them and without .."
	case takenFile().MatchString(s):
		return "is a file of git or of Compose", example
	}
	return "", ""
}

// settings are the variables of an .env, in the order of their names.
var settings = form[[]Setting]{
	shape{kind: someSettings, section: &secretSection.section, rule: settingName, pattern: envForm, never: takenSetting},
	func(t *table, n *node) []Setting {
		var all []Setting
		for _, child := range t.entriesOf(n, settingName, `write env = { LOG_LEVEL = "info" }`) {
			s := Setting{Name: child.name}
			switch value := child.value.(type) {
			case int64:
				s.Text = strconv.FormatInt(value, 10)
			case bool:
				s.Text = strconv.FormatBool(value)
			case string:
				if value != "" {
					s.Text = t.one(child)
				}
			default:
				if child.table == nil {
					t.problem(child, "must be a string, not "+child.kind(), "write it in quotation marks, or for a secret "+anySecret)
					continue
				}
				s.Secret = secretFrom(anySecret).read(t, child)
			}
			all = append(all, s)
		}
		slices.SortFunc(all, func(a, b Setting) int { return cmp.Compare(a.Name, b.Name) })
		return all
	},
}

// secretFiles are files in a clone, in the order of their paths.
var secretFiles = form[[]SecretFile]{
	shape{kind: someSecrets, section: &secretSection.section, rule: secretFilePath, pattern: clonePathForm, never: takenFile},
	func(t *table, n *node) []SecretFile {
		var all []SecretFile
		for _, child := range t.entriesOf(n, secretFilePath, `write files = { "secrets/tls.key" = { file = "tls.key" } }`) {
			all = append(all, SecretFile{child.name, secretFrom(anySecret).read(t, child)})
		}
		slices.SortFunc(all, func(a, b SecretFile) int { return cmp.Compare(a.Path, b.Path) })
		return all
	},
}

// entriesOf returns what stands in a table whose names are held to a rule, but for
// what that finds wrong.
func (t *table) entriesOf(n *node, rule rule, example string) []*node {
	if n.table == nil {
		t.problem(n, "must be a table, not "+n.kind(), example)
		return nil
	}
	return slices.DeleteFunc(n.children(), func(child *node) bool {
		what, hint := rule(child.name)
		if what != "" {
			t.problem(child, what, hint)
		}
		return what != ""
	})
}

// each has the variables and the files of the defaults stand for themselves: a
// deployment that has some of its own has those of the defaults as well.
func (t *table) each(own, defaults *node) {
	for _, name := range []string{"env", "files"} {
		if a, b := own.table[name], defaults.table[name]; a != nil && b != nil && a.table != nil && b.table != nil {
			t.table[name] = a.over(b)
		}
	}
}

// appProblems reports what several keys say together that cannot be.
func (r *reader) appProblems(d *deploymentTable) {
	if d.Version != "" && d.env != nil && d.env.table[d.Version] != nil {
		r.problem(d.env.table[d.Version], "is the variable of the version, which each deploy writes", "leave it out, or choose no version")
	}
	if d.files == nil {
		return
	}
	for i, f := range d.Files {
		n := d.files.table[f.Path]
		if slices.Contains(d.Compose, f.Path) {
			r.problem(n, "is a Compose file", "leave it out of files, or out of compose")
		}
		for _, other := range d.Files[:i] {
			if strings.HasPrefix(f.Path, other.Path+"/") {
				r.problem(n, fmt.Sprintf("lies in %s, which is a file itself", quote(other.Path)), "write another path")
			}
		}
	}
}
