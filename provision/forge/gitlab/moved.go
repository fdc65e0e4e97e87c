package gitlab

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// moved has the ids of projects that GitLab has found at paths where they are no longer.
// It redirects whoever asks there, and lets nobody change anything by such a path. Groups it
// does not find again.
type moved struct{ ids sync.Map } // by the lower-cased old path

var (
	askedOf = regexp.MustCompile(`/api/v4/projects/([^/]+)`)
	leadsTo = regexp.MustCompile(`/api/v4/projects/([0-9]+)(/|$)`)
)

// follow follows a redirect from a project that has moved to the same one, and no other: the
// token would travel with it.
func (m *moved) follow(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	same := req.URL.Scheme == first.Scheme && req.URL.Host == first.Host
	from, to := askedOf.FindStringSubmatch(first.EscapedPath()), leadsTo.FindStringSubmatch(req.URL.Path)
	if !same || len(via) > 1 || from == nil || to == nil {
		return &redirectError{to: req.URL, moved: same && strings.Contains(req.URL.Path, "/api/v4/")}
	}
	if path, err := url.PathUnescape(from[1]); err == nil {
		m.ids.Store(key(path), to[1])
	}
	return nil
}

// project is what a project is called in a request that changes something. Whoever sends
// one has read of the project before.
func (m *moved) project(path string) string {
	if id, ok := m.ids.Load(key(path)); ok {
		return id.(string)
	}
	return path
}
