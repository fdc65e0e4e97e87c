package inventory

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// In the file of an override @{name} stands for a parameter, and @@{ for a
// literal @{. Compose's own ${NAME} is left alone.
const (
	opening = "@{"
	escaped = "@@{"
)

// What every override may use besides its parameters.
var builtin = []string{"deployment", "environment", "host"}

// parameters are the values for placeholders, with their places. The name ""
// stands for those that cannot be read.
type parameters map[string]parameter

type parameter struct {
	value string
	node  *node
}

func (p parameters) over(defaults parameters) parameters {
	all := maps.Clone(defaults)
	maps.Copy(all, p)
	return all
}

func (p parameters) values() map[string]string {
	values := make(map[string]string, len(p))
	for name, parameter := range p {
		values[name] = parameter.value
	}
	return values
}

// parameters reads strings, integers and booleans.
func (r *reader) parameters(n *node) parameters {
	all := parameters{}
	if n == nil {
		return all
	}
	if n.table == nil {
		r.problem(n, "must be a table, not "+n.kind(), `write parameters = { port = "8080" }`)
		all[""] = parameter{}
		return all
	}
	for _, child := range n.children() {
		switch what, hint := goodPlaceholder(child.name); {
		case slices.Contains(builtin, child.name):
			r.problem(child, "is set for every deployment", "choose another name")
		case what != "":
			r.problem(child, what, hint)
		}
		value, ok := r.parameter(child)
		all[child.name] = parameter{value, child}
		r.filled[child] = !ok // one problem is enough
	}
	return all
}

// parameter reads one; false if it is wrong.
func (r *reader) parameter(n *node) (string, bool) {
	switch value := n.value.(type) {
	case int64:
		return strconv.FormatInt(value, 10), true
	case bool:
		return strconv.FormatBool(value), true
	case string:
		if value == "" {
			return "", true
		}
		value = r.one(n)
		return value, value != ""
	}
	if n.table != nil {
		r.problem(n, "must be a string, not a table: plans show what stands in an override, so no secret can", "keep secrets in a file on the host, and name that with env_file in compose.yaml")
	} else {
		r.problem(n, "must be a string, not "+n.kind(), "write it in quotation marks")
	}
	return "", false
}

func goodPlaceholder(name string) (what, hint string) {
	bad := func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-')
	}
	if name == "" || len(name) > maxQuoted || strings.ContainsFunc(name, bad) {
		return "is no name of a parameter", "write up to 64 letters, digits, underscores and hyphens"
	}
	return "", ""
}

// overrideOf makes the override of a deployment; nil if it has none, or its file
// is wrong.
func (r *reader) overrideOf(t *deploymentTable, d *Deployment, given parameters) *Override {
	path := t.overridePath
	if path == "" {
		if t.override != nil {
			r.excuse(given)
		}
		return nil
	}
	f := r.named(path)
	if f.err != nil {
		r.excuse(given)
		r.problem(t.override, "file "+quote(t.override.value.(string))+": "+f.err.Error(), "")
		return nil
	}
	src := newText(string(f.data))
	wrong := func(offset int, what, hint string) {
		line, column := src.position(offset)
		r.add(Problem{File: path, Line: line, Column: column, Key: join("deployments", d.Name), What: what, Hint: hint})
	}
	if at := unprintable(src.src); at >= 0 {
		r.excuse(given)
		wrong(at, "is not plain UTF-8 text", "an override is a YAML file")
		return nil
	}
	before := len(r.problems)
	builtins := map[string]string{"deployment": d.Name, "environment": d.Environment, "host": d.Host.Name}
	fill := func(offset int, name string) (string, bool) {
		if p, ok := given[name]; ok {
			r.filled[p.node] = true
			return p.value, true
		}
		value, ok := builtins[name]
		_, lost := given[""]
		switch {
		case name == "environment" && t.environment == nil:
			wrong(offset, "has no environment to fill in", `write environment = "…" in its table`)
		case ok:
			return value, true
		case !lost:
			_, hint := r.guess(name, slices.Sorted(maps.Keys(given.over(parameters{"deployment": {}, "environment": {}, "host": {}}))))
			if hint == "" {
				hint = fmt.Sprintf("write parameters = { %s = \"…\" } in its table, or %s for the text itself", join("", name), escaped)
			}
			wrong(offset, "has no parameter "+quote(name), hint)
		}
		return "", false
	}
	text, at := expand(src.src, fill)
	if at >= 0 {
		r.excuse(given)
		wrong(at, "a parameter is not closed", "write @{name}, or "+escaped+" for the text itself")
	}
	if len(r.problems) == before {
		if line, what := notYAML(text); what != "" {
			wrong(src.lines[min(line, len(src.lines))-1], what, "an override is a YAML file, like compose.yaml")
		}
	}
	return &Override{Path: path, Text: text}
}

// lineOfYAML is where an error of the YAML library says that it is.
var lineOfYAML = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(.*)`)

// notYAML says what keeps a text from being a table in YAML, and in which line; ""
// where nothing does.
func notYAML(text string) (line int, what string) {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		m := lineOfYAML.FindStringSubmatch(firstLine(err.Error()))
		if m == nil {
			return 1, "is no YAML"
		}
		line, _ = strconv.Atoi(m[1])
		return max(line, 1), "is no YAML: " + m[2]
	}
	if len(n.Content) > 0 && n.Content[0].Kind != yaml.MappingNode && n.Content[0].Tag != "!!null" {
		return n.Content[0].Line, "is no table of services"
	}
	return 0, ""
}

func firstLine(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	return text
}

// excuse takes parameters for used, as nobody can tell.
func (r *reader) excuse(given parameters) {
	for _, p := range given {
		r.filled[p.node] = true
	}
}

// expand replaces the placeholders in src by what fill returns. The answer is
// the offset of a placeholder that has no end, or -1.
func expand(src string, fill func(offset int, name string) (string, bool)) (string, int) {
	var b strings.Builder
	for i := 0; i < len(src); {
		switch {
		case strings.HasPrefix(src[i:], escaped):
			b.WriteString(opening)
			i += len(escaped)
		case strings.HasPrefix(src[i:], opening):
			name, _, ok := strings.Cut(src[i+len(opening):], "}")
			if !ok || strings.ContainsRune(name, '\n') {
				return b.String(), i
			}
			value, _ := fill(i, name)
			b.WriteString(value)
			i += len(opening) + len(name) + len("}")
		default:
			b.WriteByte(src[i])
			i++
		}
	}
	return b.String(), -1
}

func unprintable(s string) int {
	if at := invalid(s); at >= 0 {
		return at
	}
	return strings.IndexFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' })
}

// An anOverride says whether there is an override to fill.
type anOverride bool

const withOverride anOverride = true

// unused reports parameters in n that no override has a place for.
func (r *reader) unused(n *node, override anOverride) {
	if n == nil || n.table == nil {
		return
	}
	for _, child := range n.children() {
		what, _ := goodPlaceholder(child.name)
		switch {
		case what != "" || slices.Contains(builtin, child.name) || r.filled[child]:
		case override == withOverride:
			r.problem(child, "fills nothing in the override", "write "+opening+child.name+"} there, or delete it here")
		default:
			r.problem(child, "fills nothing, as there is no override", `write override = "overrides/production.yaml" beside parameters`)
		}
	}
}
