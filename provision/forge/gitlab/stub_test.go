package gitlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"provision/provision/hint"
	"provision/provision/secret"
)

// canary is the token of every test; no error and no print may show it.
const canary = "glpat-canary-7f3e"

// A stub answers the requests that it was told of, and fails the test at any
// other. Routes are written without /api/v4: "GET /projects/a%2Fb/variables".
type stub struct {
	*httptest.Server
	t      *testing.T
	mu     sync.Mutex
	routes map[string]http.HandlerFunc
	log    []string // "METHOD path body", in order
}

func newStub(t *testing.T) *stub {
	s := &stub{t: t, routes: make(map[string]http.HandlerFunc)}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route := r.Method + " " + strings.TrimPrefix(r.URL.EscapedPath(), "/api/v4")
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	h := s.routes[route]
	line := route
	if scope := r.URL.Query().Get("filter[environment_scope]"); scope != "" {
		line += " " + scope
	}
	s.log = append(s.log, strings.TrimSpace(line+" "+string(body)))
	s.mu.Unlock()
	if got := r.Header.Get("PRIVATE-TOKEN"); got != canary {
		s.t.Errorf("%s: token %q", route, got)
	}
	if h == nil {
		s.t.Errorf("unexpected request: %s", route)
		w.WriteHeader(http.StatusTeapot)
		return
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	h(w, r)
}

// on says what to answer to a route: one after the other, the last for ever.
func (s *stub) on(route string, replies ...http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n int
	s.routes[route] = func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		h := replies[min(n, len(replies)-1)]
		n++
		s.mu.Unlock()
		h(w, r)
	}
}

// asked returns the requests so far that begin with one of the methods, or all.
func (s *stub) asked(methods ...string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := slices.Clone(s.log)
	if len(methods) == 0 {
		return lines
	}
	return slices.DeleteFunc(lines, func(line string) bool {
		method, _, _ := strings.Cut(line, " ")
		return !slices.Contains(methods, method)
	})
}

// client returns a Client of the stub that never really waits.
func (s *stub) client() (*Client, *clock) {
	s.t.Helper()
	return newClient(s.t, Options{URL: s.URL})
}

func newClient(t *testing.T, o Options) (*Client, *clock) {
	t.Helper()
	clk := &clock{at: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	o.Token = secret.New(canary)
	o.now = clk.now
	o.sleep = clk.sleep
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c, clk
}

// A clock moves only when somebody sleeps.
type clock struct {
	mu    sync.Mutex
	at    time.Time
	waits []time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	c.waits = append(c.waits, d)
	return ctx.Err()
}

// reply answers with JSON.
func reply(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// list answers with JSON in pages, as GitLab does.
func list(items ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var page, size int
		fmt.Sscan(r.URL.Query().Get("page"), &page)
		fmt.Sscan(r.URL.Query().Get("per_page"), &size)
		if page < 1 || size != 100 {
			http.Error(w, `{"error":"the test wants page and per_page=100"}`, http.StatusBadRequest)
			return
		}
		from, to := min((page-1)*size, len(items)), min(page*size, len(items))
		next := ""
		if to < len(items) {
			next = fmt.Sprint(page + 1)
		}
		reply(200, "["+strings.Join(items[from:to], ",")+"]", "X-Next-Page", next)(w, r)
	}
}

// lost drops the connection after the request has arrived.
func lost(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// cut drops the connection in the middle of the answer.
func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "100")
	io.WriteString(w, `[{"id":`)
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// decode reads the JSON that ends a line of the stub's log.
func decode(t *testing.T, line string) map[string]any {
	t.Helper()
	_, body, _ := strings.Cut(line, "{")
	var m map[string]any
	if err := json.Unmarshal([]byte("{"+body), &m); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return m
}

// wantError checks that an error is of a kind (nil: any) and says some things.
func wantError(t *testing.T, err, kind error, says ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", says)
	}
	if kind != nil && !errors.Is(err, kind) {
		t.Errorf("%v\nis not: %v", err, kind)
	}
	told := strings.Join(append([]string{err.Error()}, hint.Of(err)...), "\nhint: ")
	for _, s := range says {
		if !strings.Contains(told, s) {
			t.Errorf("error %q\ndoes not say %q", told, s)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%q"} {
		if s := fmt.Sprintf(verb, err); strings.Contains(s, canary) {
			t.Errorf("%s of the error shows the token: %s", verb, s)
		}
	}
}
