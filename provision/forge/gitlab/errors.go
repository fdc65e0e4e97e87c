package gitlab

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	gl "gitlab.com/gitlab-org/api/client-go/v2"

	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/secret"
	"provision/provision/visible"
)

// failure is why GitLab did not do what it was asked to do. It holds text
// alone: the errors of the library hold requests, and those hold the token.
type failure struct {
	asked  string
	reason string
	kind   error // one of the Err values of forge, an error of the connection, or nil
	look   bool  // nothing was to be changed
}

// failed is the failure of a change.
func failed(asked, reason string, kind error) error { return &failure{asked, reason, kind, false} }

func (f *failure) Error() string { return f.asked + ": " + f.reason }

// Reason implements [forge.ChangeError]. What is looked at belongs to the
// reason why something cannot be changed.
func (f *failure) Reason() string {
	if f.look {
		return f.Error()
	}
	return f.reason
}
func (f *failure) Unwrap() error { return f.kind }

const inDoubt = "; it may or may not be done: run again to see"

// explain turns the outcome of a call of the library into nil or a failure.
// hidden are secrets that GitLab might repeat.
func (c *Client) explain(asked string, resp *gl.Response, err error, hidden ...secret.Value) error {
	if resp == nil || resp.Response == nil {
		if err == nil {
			return nil
		}
		return c.unanswered(asked, err)
	}
	page := strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html")
	if err == nil && !page {
		return nil
	}
	changing := resp.Request.Method != http.MethodGet
	said := c.words(resp, hidden)
	fail := func(kind error, format string, args ...any) error {
		return &failure{asked, fmt.Sprintf(format, args...), kind, !changing}
	}
	switch status := resp.StatusCode; {
	case status >= 500 && changing:
		return fail(nil, "GitLab failed (%s)%s", said, inDoubt)
	case status >= 500:
		return fail(nil, "GitLab failed (%s): try again later", said)
	case page:
		return fail(nil, "%s answered with a web page, not the API: check gitlab.url", c.url)
	case status < 300 && changing:
		return fail(nil, "the answer cannot be read (%s)%s", clean(err.Error()), inDoubt)
	case status < 300:
		return fail(nil, "the answer cannot be read (%s): check gitlab.url", clean(err.Error()))
	case status == http.StatusUnauthorized:
		return fail(forge.ErrUnauthorized, "%v (%s)", forge.ErrUnauthorized, said)
	case status == http.StatusForbidden:
		return fail(forge.ErrForbidden, "%v (%s)", forge.ErrForbidden, said)
	case status == http.StatusNotFound:
		return fail(forge.ErrNotFound, "%v (%s)", forge.ErrNotFound, said)
	case status == http.StatusTooManyRequests:
		wait := resp.Header.Get("Retry-After")
		if wait == "" {
			return fail(nil, "GitLab limits how often it may be asked (%s): run again later", said)
		}
		return fail(nil, "GitLab limits how often it may be asked and wants a wait of %s s: run again later", clean(wait))
	case status == http.StatusMethodNotAllowed && strings.Contains(said, "moved"):
		return fail(nil, "%s: write its new path in the inventory", said)
	case strings.Contains(said, forge.ErrTaken.Error()):
		return fail(forge.ErrTaken, "%s", said)
	case strings.Contains(said, "does not have permission"):
		return fail(forge.ErrForbidden, "%v (%s)", forge.ErrForbidden, said)
	default:
		return fail(nil, "%s", said)
	}
}

// unanswered explains an error on the way to GitLab.
func (c *Client) unanswered(asked string, err error) error {
	var wrapped *url.Error
	look := false
	if errors.As(err, &wrapped) {
		err, look = wrapped.Err, wrapped.Op == "Get"
	}
	reason, advice := clean(err.Error()), ""
	var redirect *redirectError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var dns *net.DNSError
	var dial *net.OpError // when it timed out it passes for context.DeadlineExceeded
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		reason = fmt.Sprintf("there is no host %s (%s): check gitlab.url", clean(dns.Name), dns.Err)
	case errors.As(err, &redirect), errors.As(err, &dial):
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		reason = "stopped (" + reason + ")"
	case errors.As(err, &authority):
		advice = "a GitLab with a CA of its own wants its certificate in gitlab.ca_file, and mostly in registry.ca_file; init takes it with --ca-file"
	case errors.As(err, &name):
		reason += ": check gitlab.url"
	case errors.Is(err, http.ErrSchemeMismatch):
		reason += ": check the port in gitlab.url"
	}
	var doubt doubtful
	if errors.As(err, &doubt) {
		reason += inDoubt
	}
	return hint.Add(&failure{asked, reason, err, look}, "%s", advice)
}

// words returns what an answer says, in one short line. GitLab has three
// shapes of errors: error with error_description, message, and a message for
// each attribute.
func (c *Client) words(resp *gl.Response, hidden []secret.Value) string {
	status := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	body, ok := resp.Body.(*answer)
	if !ok || strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		return status
	}
	text := string(body.text)
	var said struct {
		Message     any    `json:"message"`
		Error       any    `json:"error"`
		Description string `json:"error_description"`
		Scope       string `json:"scope"`
	}
	if json.Unmarshal(body.text, &said) == nil {
		switch {
		case said.Error == "insufficient_scope" && resp.Request.Method != http.MethodGet:
			// GitLab names read_api too, even where only api will do.
			text = "it needs the scope api"
		case said.Error == "insufficient_scope":
			text = "it needs one of the scopes " + said.Scope
		case said.Description != "":
			text = said.Description
		case said.Message != nil:
			text = flat(said.Message)
		default:
			text = flat(said.Error)
		}
	}
	text = hide(text, c.token)
	for _, value := range hidden {
		text = hide(text, value.Reveal)
	}
	text = clean(text)
	if text == "" {
		return status
	}
	return text
}

// flat joins the strings in a JSON value, each with the names that lead to it.
func flat(v any) string {
	var parts []string
	switch v := v.(type) {
	case string:
		return v
	case []any:
		for _, e := range v {
			parts = append(parts, flat(e))
		}
		return strings.Join(parts, ", ")
	case map[string]any:
		for name, e := range v {
			parts = append(parts, name+" "+flat(e))
		}
		slices.Sort(parts)
		return strings.Join(parts, "; ")
	}
	return ""
}

// hide takes a secret out of a text, line by line: what repeats a secret may
// write its line breaks in another way.
func hide(text string, reveal func() (string, error)) string {
	hidden, err := reveal()
	if err != nil {
		return text // there was no secret to repeat
	}
	for line := range strings.Lines(hidden) {
		if line = strings.TrimSpace(line); len(line) >= 4 {
			text = strings.ReplaceAll(text, line, "(secret)")
		}
	}
	return text
}

// clean makes one short line of a text that somebody else wrote.
func clean(text string) string { return visible.Short(text, 300) }

// redirectError refuses a redirect: the token would travel with it.
type redirectError struct {
	to    *url.URL
	moved bool // within the API of the same GitLab
}

func (e *redirectError) Error() string {
	path, _, api := strings.Cut(e.to.Path, "/api/v4")
	switch {
	case e.moved:
		return fmt.Sprintf("it has moved, GitLab redirects to %s: write its new path in the inventory", e.to.EscapedPath())
	case api:
		return fmt.Sprintf("it redirects to %s://%s%s: write that in gitlab.url", e.to.Scheme, e.to.Host, path)
	default:
		return fmt.Sprintf("it redirects to %s://%s%s, which is not the API: check gitlab.url", e.to.Scheme, e.to.Host, e.to.EscapedPath())
	}
}
