package gitlabtest

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

const maxPerPage = 100

// page returns one page of a list, with the headers that tell of the others.
func page[T any](c *call, all []T, show func(T) object) (any, error) {
	perPage := c.integer("per_page", 20)
	number := max(c.integer("page", 1), 1)
	if c.err() == nil && perPage < 1 {
		c.fail("per_page has a value not allowed")
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	perPage = min(perPage, maxPerPage)
	last := max((len(all)+perPage-1)/perPage, 1)

	from := min((number-1)*perPage, len(all))
	some := all[from:min(from+perPage, len(all))]
	body := make([]object, len(some))
	for i, e := range some {
		body[i] = show(e)
	}

	var links []string
	link := func(rel string, page int) {
		query := c.query()
		query.Set("page", strconv.Itoa(page))
		query.Set("per_page", strconv.Itoa(perPage))
		links = append(links, fmt.Sprintf("<%s%s?%s>; rel=%q", c.g.url(), c.r.URL.EscapedPath(), query.Encode(), rel))
	}
	next, previous := "", ""
	if number > 1 && number <= last {
		previous = strconv.Itoa(number - 1)
		link("prev", number-1)
	}
	if number < last {
		next = strconv.Itoa(number + 1)
		link("next", number+1)
	}
	link("first", 1)
	link("last", last)
	for name, value := range map[string]string{
		"X-Page":        strconv.Itoa(number),
		"X-Per-Page":    strconv.Itoa(perPage),
		"X-Next-Page":   next,
		"X-Prev-Page":   previous,
		"X-Total":       strconv.Itoa(len(all)),
		"X-Total-Pages": strconv.Itoa(last),
		"Link":          strings.Join(links, ", "),
	} {
		c.header.Set(name, value)
	}
	return body, nil
}

// keyset returns what follows after the id that the query names. It knows no
// totals; a link leads on as long as something is left.
func keyset(c *call, all []*owner, show func(*owner) object) (any, error) {
	perPage := min(c.integer("per_page", 20), maxPerPage)
	after := int64(c.integer("id_after", 0))
	if err := c.err(); err != nil {
		return nil, err
	}
	body := []object{}
	for _, o := range all {
		if o.id <= after {
			continue
		}
		if len(body) == perPage {
			query := c.query()
			query.Set("id_after", fmt.Sprint(after))
			query.Set("page", "1")
			c.header.Set("Link", fmt.Sprintf("<%s%s?%s>; rel=%q", c.g.url(), c.r.URL.EscapedPath(), query.Encode(), "next"))
			break
		}
		body = append(body, show(o))
		after = o.id
	}
	return body, nil
}

func (c *call) query() url.Values {
	query := c.r.URL.Query()
	query.Del("private_token")
	if id := c.r.PathValue("id"); id != "" {
		query.Set("id", id)
	}
	return query
}
