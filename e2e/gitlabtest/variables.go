package gitlabtest

import (
	"net/http"
	"regexp"
	"slices"
	"unicode/utf8"
)

// A variable is one of CI/CD.
type variable struct {
	key         string
	value       *string
	kind        string // "env_var" or "file"
	scope       string
	description *string
	hidden      bool
	masked      bool
	protected   bool
	raw         bool
}

var (
	keyPattern    = regexp.MustCompile(`\A[a-zA-Z0-9_]+\z`)
	maskedPattern = regexp.MustCompile(`\A[a-zA-Z0-9_+=/@:.~-]{8,}\z`)
	maskedRaw     = regexp.MustCompile(`\A\S{8,}\z`)
	scopePattern  = regexp.MustCompile(`\A[a-zA-Z0-9_/\\${}. *-]+\z`)
)

const (
	anyScope      = "*"
	manyVariables = "There are multiple variables with provided parameters. Please use 'filter[environment_scope]'"
)

// variablesOf finds the owner of variables that the caller may administer.
func (c *call) variablesOf(kind string) (*owner, error) {
	if kind == "instance" {
		if !c.user.admin {
			return nil, forbidden()
		}
		return c.g.instance, nil
	}
	return c.ownerFor(kind, Owner, Maintainer)
}

func listVariables(kind string) endpoint {
	return func(c *call) (any, error) {
		o, err := c.variablesOf(kind)
		if err != nil {
			return nil, err
		}
		return page(c, o.variables, func(v *variable) object { return v.fields(kind) })
	}
}

func createVariable(kind string) endpoint {
	return func(c *call) (any, error) {
		o, err := c.variablesOf(kind)
		if err != nil {
			return nil, err
		}
		c.require("key", "value")
		v := &variable{key: c.text("key"), kind: "env_var", scope: anyScope}
		c.fillVariable(kind, v)
		v.hidden = c.boolean("masked_and_hidden", false)
		v.masked = v.masked || v.hidden
		if err := c.err(); err != nil {
			return nil, err
		}
		if err := v.check(o).err(); err != nil {
			return nil, err
		}
		o.variables = append(o.variables, v)
		c.changed()
		return v.fields(kind), nil
	}
}

func showVariable(kind string) endpoint {
	return func(c *call) (any, error) {
		_, v, err := c.variable(kind)
		if err != nil {
			return nil, err
		}
		return v.fields(kind), nil
	}
}

func updateVariable(kind string) endpoint {
	return func(c *call) (any, error) {
		o, v, err := c.variable(kind)
		if kind == "group" && o != nil && err != nil {
			// Where none has the scope that the filter asks for, or many have
			// the key, a group changes another one.
			v = o.anyVariable(c.r.PathValue("key"))
		}
		if v == nil {
			return nil, err
		}
		next := *v
		c.fillVariable(kind, &next)
		if err := c.err(); err != nil {
			return nil, err
		}
		if v.hidden && !next.masked {
			return nil, problems{"base": {"The visibility setting cannot be changed for masked and hidden variables."}}.err()
		}
		if err := next.check(o, v).err(); err != nil {
			return nil, err
		}
		if !next.equal(v) {
			*v = next
			c.changed()
		}
		return v.fields(kind), nil
	}
}

func deleteVariable(kind string) endpoint {
	return func(c *call) (any, error) {
		o, v, err := c.variable(kind)
		if err != nil {
			return nil, err
		}
		o.variables = slices.DeleteFunc(o.variables, func(e *variable) bool { return e == v })
		c.changed()
		return nil, nil
	}
}

// fillVariable takes over what the request says.
func (c *call) fillVariable(kind string, v *variable) {
	if c.has("value") {
		v.value = c.optional("value")
	}
	if c.has("description") {
		v.description = c.optional("description")
	}
	if scoped := kind != "group" || c.g.config.Edition == CE; c.has("environment_scope") && scoped {
		v.scope = c.text("environment_scope")
	}
	v.kind = c.oneOf("variable_type", v.kind, "env_var", "file")
	v.protected = c.boolean("protected", v.protected)
	v.masked = c.boolean("masked", v.masked)
	v.raw = c.boolean("raw", v.raw)
}

// check returns what is wrong with a variable of o, in place of others.
func (v *variable) check(o *owner, replaced ...*variable) problems {
	wrong := problems{}
	for _, e := range o.variables {
		if e.key == v.key && e.scope == v.scope && !slices.Contains(replaced, e) {
			wrong.add("key", "("+v.key+") has already been taken")
		}
	}
	if v.key == "" {
		wrong.add("key", "can't be blank")
	}
	if utf8.RuneCountInString(v.key) > 255 {
		wrong.add("key", "is too long (maximum is 255 characters)")
	}
	if !keyPattern.MatchString(v.key) {
		wrong.add("key", "can contain only letters, digits and '_'.")
	}
	if v.masked && !v.maskable() {
		wrong.add("value", "is invalid")
	}
	if v.scope == "" {
		wrong.add("environment_scope", "can't be blank")
	}
	if !scopePattern.MatchString(v.scope) {
		wrong.add("environment_scope", "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', '*' and spaces")
	}
	if v.description != nil && utf8.RuneCountInString(*v.description) > 255 {
		wrong.add("description", "is too long (maximum is 255 characters)")
	}
	return wrong
}

func (v *variable) maskable() bool {
	if v.value == nil {
		return false
	}
	if v.raw {
		return maskedRaw.MatchString(*v.value)
	}
	return maskedPattern.MatchString(*v.value)
}

func (v *variable) equal(o *variable) bool {
	a, b := *v, *o
	same := same(a.value, b.value) && same(a.description, b.description)
	a.value, b.value, a.description, b.description = nil, nil, nil, nil
	return same && a == b
}

func same(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// variable finds the one that the path and the filter name. The owner is
// returned even where there is no such variable.
func (c *call) variable(kind string) (*owner, *variable, error) {
	o, err := c.variablesOf(kind)
	if err != nil {
		return nil, nil, err
	}
	scope, filtered := c.filterScope()
	var found []*variable
	for _, v := range o.variables {
		if v.key == c.r.PathValue("key") && (!filtered || v.scope == scope) {
			found = append(found, v)
		}
	}
	switch len(found) {
	case 0:
		what := map[string]string{"project": "Variable", "group": "GroupVariable", "instance": "InstanceVariable"}
		return o, nil, notFound(what[kind])
	case 1:
		return o, found[0], nil
	}
	return o, nil, message(http.StatusConflict, manyVariables)
}

// anyVariable is what a group changes if it is not told a scope that it has.
func (o *owner) anyVariable(key string) *variable {
	var first *variable
	for _, v := range o.variables {
		if v.key == key && (first == nil || v.scope == anyScope) {
			first = v
		}
	}
	return first
}

func (v *variable) fields(kind string) object {
	body := object{
		"variable_type": v.kind, "key": v.key, "value": v.value, "protected": v.protected, "masked": v.masked,
		"raw": v.raw, "description": v.description,
	}
	if kind != "instance" {
		set(body, object{"hidden": v.hidden, "environment_scope": v.scope})
	}
	if v.hidden {
		body["value"] = nil
	}
	return body
}
