package gitlabtest

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// params are what a request carries in its query and its body, and what is
// wrong with them. Values are those of encoding/json, with json.Number.
type params struct {
	values object
	wrong  []string
}

func readParams(r *http.Request) (*params, error) {
	p := &params{values: object{}}
	p.addForm(r.URL.Query())
	if r.Body == nil {
		return p, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil || len(body) == 0 {
		return p, nil
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch kind {
	case "application/json":
		d := json.NewDecoder(strings.NewReader(string(body)))
		d.UseNumber()
		values := object{}
		if err := d.Decode(&values); err != nil {
			return nil, badParam("Invalid JSON format")
		}
		for k, v := range values {
			p.values[k] = v
		}
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, badParam("Invalid query parameters")
		}
		p.addForm(form)
	default:
		return nil, &refusal{http.StatusUnsupportedMediaType, object{
			"error": fmt.Sprintf("The provided content-type '%s' is not supported.", kind)}}
	}
	return p, nil
}

// addForm reads names like a, a[] and a[b].
func (p *params) addForm(form url.Values) {
	for name, values := range form {
		base, rest, nested := strings.Cut(name, "[")
		switch key := strings.TrimSuffix(rest, "]"); {
		case !nested:
			p.values[base] = values[len(values)-1]
		case key == "":
			for _, v := range values {
				list, _ := p.values[base].([]any)
				p.values[base] = append(list, v)
			}
		default:
			inner, ok := p.values[base].(object)
			if !ok {
				inner = object{}
				p.values[base] = inner
			}
			inner[key] = values[len(values)-1]
		}
	}
}

func (p *params) has(name string) bool { _, ok := p.values[name]; return ok }

// null reports whether a value is given as null, or not at all.
func (p *params) null(name string) bool { return p.values[name] == nil }

func (p *params) fail(text string) { p.wrong = append(p.wrong, text) }

// err is all that was found wrong so far.
func (p *params) err() error {
	if len(p.wrong) == 0 {
		return nil
	}
	return badParam(strings.Join(p.wrong, ", "))
}

func (p *params) require(names ...string) {
	for _, name := range names {
		if !p.has(name) {
			p.fail(name + " is missing")
		}
	}
}

func (p *params) atLeastOne(names ...string) {
	if !slices.ContainsFunc(names, p.has) {
		p.fail(strings.Join(names, ", ") + " are missing, at least one parameter must be provided")
	}
}

// text returns a string; numbers and booleans are taken as such.
func (p *params) text(name string) string {
	switch v := p.values[name].(type) {
	case nil:
	case string:
		return v
	case json.Number, bool:
		return fmt.Sprint(v)
	default:
		p.fail(name + " is invalid")
	}
	return ""
}

// optional returns nil where nothing is given.
func (p *params) optional(name string) *string {
	s := p.text(name)
	if p.null(name) {
		return nil
	}
	return &s
}

// oneOf is a string out of a list, or the default where none is given.
func (p *params) oneOf(name, fallback string, allowed ...string) string {
	if p.null(name) {
		return fallback
	}
	s := p.text(name)
	if !slices.Contains(allowed, s) {
		p.fail(name + " does not have a valid value")
	}
	return s
}

func (p *params) boolean(name string, fallback bool) bool {
	if p.null(name) {
		return fallback
	}
	switch p.text(name) {
	case "true", "1", "t", "on":
		return true
	case "false", "0", "f", "off":
		return false
	}
	p.fail(name + " is invalid")
	return fallback
}

func (p *params) integer(name string, fallback int) int {
	if p.null(name) {
		return fallback
	}
	n, err := strconv.Atoi(p.text(name))
	if err != nil {
		p.fail(name + " is invalid")
	}
	return n
}

// list is an array of strings; a string is split at commas.
func (p *params) list(name string) []string {
	var list []string
	switch v := p.values[name].(type) {
	case string:
		list = strings.Split(v, ",")
	case []any:
		for _, e := range v {
			list = append(list, fmt.Sprint(e))
		}
	}
	return list
}

// scopes is a list whose elements have to be among those allowed.
func (p *params) scopes(allowed []string) []string {
	list := p.list("scopes")
	if slices.ContainsFunc(list, func(s string) bool { return !slices.Contains(allowed, s) }) {
		p.fail("scopes does not have a valid value")
	}
	return list
}

// time is a date or a timestamp; zero where it is empty.
func (p *params) time(name string) time.Time {
	s := p.text(name)
	if s == "" {
		return time.Time{}
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	p.fail(name + " is invalid")
	return time.Time{}
}

// date is a time cut down to its day.
func (p *params) date(name string) time.Time { return p.time(name).Truncate(24 * time.Hour) }

// filterScope is filter[environment_scope].
func (p *params) filterScope() (string, bool) {
	filter, _ := p.values["filter"].(object)
	scope, ok := filter["environment_scope"].(string)
	return scope, ok
}
