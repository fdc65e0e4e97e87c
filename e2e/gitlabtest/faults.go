package gitlabtest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A Fault answers a request in place of GitLab. It may let GitLab answer.
type Fault func(w http.ResponseWriter, r *http.Request, gitlab http.Handler)

// TooManyRequests is the throttle: 429 in plain text. Zero seconds leave out
// Retry-After and its kin, as some proxies do.
func TooManyRequests(seconds int) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		if seconds > 0 {
			reset := time.Now().Add(time.Duration(seconds) * time.Second)
			w.Header().Set("Retry-After", strconv.Itoa(seconds))
			w.Header().Set("RateLimit-Name", "throttle_authenticated_api")
			w.Header().Set("RateLimit-Limit", "120")
			w.Header().Set("RateLimit-Observed", "121")
			w.Header().Set("RateLimit-Remaining", "0")
			w.Header().Set("RateLimit-Reset", strconv.FormatInt(reset.Unix(), 10))
			w.Header().Set("RateLimit-ResetTime", reset.UTC().Format(http.TimeFormat))
		}
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprintln(w, "Retry later")
	}
}

// Failure is an error of the server with the status that is given, such as
// 500, 502 or 503. GitLab does nothing.
func Failure(status int) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		writeJSON(w, status, object{"message": fmt.Sprintf("%d %s", status, http.StatusText(status))})
	}
}

// Slow holds a request back until release is closed or the client is gone;
// then GitLab answers.
func Slow(release <-chan struct{}) Fault {
	return func(w http.ResponseWriter, r *http.Request, gitlab http.Handler) {
		// net/http notices that a client is gone only when the body is read.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		select {
		case <-release:
			gitlab.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// LostBefore cuts the connection before GitLab does anything.
func LostBefore() Fault {
	return func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }
}

// LostAfter cuts the connection when GitLab has done the work, before a byte
// of the answer is sent.
func LostAfter() Fault {
	return func(_ http.ResponseWriter, r *http.Request, gitlab http.Handler) {
		gitlab.ServeHTTP(newBuffer(), r)
		panic(http.ErrAbortHandler)
	}
}

// HTML is a page of a proxy where JSON is expected, with the status that is
// given. GitLab does nothing.
func HTML(status int) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		fmt.Fprintln(w, "<!DOCTYPE html><html><head><title>GitLab</title></head><body>Please sign in.</body></html>")
	}
}

// Truncated lets GitLab answer, and sends the first half of that as if it
// were all.
func Truncated() Fault {
	return func(w http.ResponseWriter, r *http.Request, gitlab http.Handler) {
		b := newBuffer()
		gitlab.ServeHTTP(b, r)
		maps.Copy(w.Header(), b.header)
		w.WriteHeader(b.status)
		w.Write(b.body.Bytes()[:b.body.Len()/2])
	}
}

// Redirect sends the client to the same path below another URL.
func Redirect(url string, status int) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Location", url+r.URL.RequestURI())
		w.WriteHeader(status)
	}
}

// A Trap makes requests fail.
type Trap struct {
	method, pattern string
	left            int // negative: for ever
	fault           Fault
	faults          *faults
	count           int
	sprung          chan struct{}
}

// Fail makes requests fail in the way of fault: those with this method (empty:
// any) whose path, as it is sent, matches the pattern of [path.Match] (empty:
// any), such as "/api/v4/projects/*/variables". It does so the next times
// times, or for ever if times is 0. Of many traps that match, the oldest is
// used.
func (g *GitLab) Fail(method, pattern string, times int, fault Fault) *Trap {
	if times <= 0 {
		times = -1
	}
	if _, err := path.Match(pattern, ""); err != nil {
		panic("gitlabtest: " + pattern + ": " + err.Error())
	}
	t := &Trap{method: method, pattern: pattern, left: times, fault: fault, faults: &g.faults, sprung: make(chan struct{})}
	g.faults.mu.Lock()
	defer g.faults.mu.Unlock()
	g.faults.traps = append(g.faults.traps, t)
	return t
}

// Count returns how many requests it has made fail.
func (t *Trap) Count() int {
	t.faults.mu.Lock()
	defer t.faults.mu.Unlock()
	return t.count
}

// Sprung is closed when the first request has come.
func (t *Trap) Sprung() <-chan struct{} { return t.sprung }

// Remove ends it.
func (t *Trap) Remove() {
	t.faults.mu.Lock()
	defer t.faults.mu.Unlock()
	t.faults.traps = slices.DeleteFunc(t.faults.traps, func(o *Trap) bool { return o == t })
}

type faults struct {
	mu    sync.Mutex
	traps []*Trap
}

func (f *faults) take(method, p string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.traps {
		if t.left == 0 || t.method != "" && t.method != method {
			continue
		}
		if ok, _ := path.Match(t.pattern, p); !ok && t.pattern != "" {
			continue
		}
		t.left = max(t.left-1, -1)
		if t.count++; t.count == 1 {
			close(t.sprung)
		}
		return t.fault
	}
	return nil
}

// A buffer is an answer that is not sent.
type buffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newBuffer() *buffer { return &buffer{header: http.Header{}, status: http.StatusOK} }

func (b *buffer) Header() http.Header         { return b.header }
func (b *buffer) WriteHeader(status int)      { b.status = status }
func (b *buffer) Write(p []byte) (int, error) { return b.body.Write(p) }
