package gitlabtest

import (
	"net/http"
	"slices"
	"sync"
)

// A Request is one line of the log of requests.
type Request struct {
	Method string // or "SSH"
	Path   string // as it was sent, without the query; for SSH the command
	Status int    // zero where the connection was lost; for SSH the exit status
	User   string // whose token or key it was; empty for nobody

	// Changed tells whether anything is different now. Reading is not a
	// change, nor is a write that writes what is there already.
	Changed bool
}

// Requests returns what was asked so far, in the order of the answers.
func (g *GitLab) Requests() []Request { return g.requests.list() }

type requestLog struct {
	mu  sync.Mutex
	all []Request
}

func (l *requestLog) add(r Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, r)
}

func (l *requestLog) list() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

// entryKey finds the log entry of a request in its context.
type entryKey struct{}

func entryOf(r *http.Request) *Request {
	if e, ok := r.Context().Value(entryKey{}).(*Request); ok {
		return e
	}
	return &Request{}
}

// A statusWriter remembers the status that was sent.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
