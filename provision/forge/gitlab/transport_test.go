package gitlab

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go/v2"

	"provision/provision/forge"
)

// ask makes one bare request through all layers.
func ask(ctx context.Context, c *Client, method string) error {
	req, err := c.lib.NewRequest(method, "thing", nil, []gl.RequestOptionFunc{gl.WithContext(ctx)})
	if err != nil {
		return err
	}
	resp, err := c.lib.Do(req, nil)
	return c.explain("ask", resp, err)
}

func TestRetry(t *testing.T) {
	const ms = time.Millisecond
	ok, fail, gone := reply(200, "{}"), reply(502, `{"message":"502 Bad Gateway"}`), reply(404, `{"message":"404 Not Found"}`)
	busy := func(headers ...string) http.HandlerFunc { return reply(429, "Retry later\n", headers...) }
	for _, test := range []struct {
		name     string
		method   string
		replies  []http.HandlerFunc
		requests int
		waits    []time.Duration // each may be longer by a quarter, or by a second
		kind     error
		says     string // "": no error
	}{
		{"GET after a 5xx", "GET", []http.HandlerFunc{fail, ok}, 2, []time.Duration{500 * ms}, nil, ""},
		{"PUT after a 5xx", "PUT", []http.HandlerFunc{fail, fail, ok}, 3, []time.Duration{500 * ms, 1000 * ms}, nil, ""},
		{"GET gives up", "GET", []http.HandlerFunc{fail}, 4, []time.Duration{500 * ms, 1000 * ms, 2000 * ms}, nil, "ask: GitLab failed (502 Bad Gateway): try again later"},
		{"PUT gives up", "PUT", []http.HandlerFunc{fail}, 4, []time.Duration{500 * ms, 1000 * ms, 2000 * ms}, nil, "may or may not be done"},
		{"POST never after a 5xx", "POST", []http.HandlerFunc{fail, ok}, 1, nil, nil, "may or may not be done"},
		{"GET after a lost connection", "GET", []http.HandlerFunc{lost, ok}, 2, []time.Duration{500 * ms}, nil, ""},
		{"GET after half an answer", "GET", []http.HandlerFunc{cut, ok}, 2, []time.Duration{500 * ms}, nil, ""},
		{"POST never after a lost connection", "POST", []http.HandlerFunc{lost, ok}, 1, nil, nil, "may or may not be done"},
		{"POST never after half an answer", "POST", []http.HandlerFunc{cut, ok}, 1, nil, nil, "may or may not be done"},
		{"DELETE that had worked, 5xx", "DELETE", []http.HandlerFunc{fail, gone}, 2, []time.Duration{500 * ms}, nil, ""},
		{"DELETE that had worked, lost", "DELETE", []http.HandlerFunc{lost, gone}, 2, []time.Duration{500 * ms}, nil, ""},
		{"DELETE of nothing", "DELETE", []http.HandlerFunc{gone}, 1, nil, forge.ErrNotFound, "404 Not Found"},
		{"DELETE of nothing after 429", "DELETE", []http.HandlerFunc{busy(), gone}, 2, []time.Duration{500 * ms}, forge.ErrNotFound, "404 Not Found"},
		{"POST after 429, Retry-After", "POST", []http.HandlerFunc{busy("Retry-After", "7"), ok}, 2, []time.Duration{7000 * ms}, nil, ""},
		{"POST after 429, a date", "POST", []http.HandlerFunc{busy("Retry-After", "Sun, 22 Nov 2026 12:00:20 GMT"), ok}, 2, []time.Duration{20000 * ms}, nil, ""},
		{"POST after 429, RateLimit-Reset", "POST", []http.HandlerFunc{busy("RateLimit-Reset", "1795348830"), ok}, 2, []time.Duration{30000 * ms}, nil, ""},
		{"POST after 429, RateLimit-Reset in the past", "POST", []http.HandlerFunc{busy("RateLimit-Reset", "1795348000"), ok}, 2, []time.Duration{500 * ms}, nil, ""},
		{"POST after 429, neither", "POST", []http.HandlerFunc{busy(), busy(), busy(), busy(), busy(), ok}, 6, []time.Duration{500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 8000 * ms}, nil, ""},
		{"429 that asks for too much", "GET", []http.HandlerFunc{busy("Retry-After", "301")}, 1, nil, nil, "wants a wait of 301 s"},
		{"5xx minds no RateLimit-Reset", "GET", []http.HandlerFunc{reply(500, "{}", "RateLimit-Reset", "1795348830"), ok}, 2, []time.Duration{500 * ms}, nil, ""},
		{"5xx minds Retry-After", "GET", []http.HandlerFunc{reply(503, "{}", "Retry-After", "9"), ok}, 2, []time.Duration{9000 * ms}, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStub(t)
			s.on(test.method+" /thing", test.replies...)
			c, clk := s.client()
			err := ask(t.Context(), c, test.method)
			if test.says == "" && err != nil {
				t.Error(err)
			}
			if test.says != "" {
				wantError(t, err, test.kind, test.says)
			}
			if got := len(s.asked()); got != test.requests {
				t.Errorf("%d requests, want %d", got, test.requests)
			}
			if len(clk.waits) != len(test.waits) {
				t.Fatalf("waited %v, want %v", clk.waits, test.waits)
			}
			for i, got := range clk.waits {
				if want := test.waits[i]; got < want || got > want+min(want/4, time.Second)+1 {
					t.Errorf("wait %d: %v, want %v and a little", i, got, want)
				}
			}
		})
	}
}

func TestPatienceEnds(t *testing.T) {
	s := newStub(t)
	s.on("POST /thing", reply(429, "Retry later\n"))
	c, clk := s.client()
	wantError(t, ask(t.Context(), c, "POST"), nil, "ask: GitLab limits how often it may be asked (Retry later): run again later")
	var waited time.Duration
	for _, d := range clk.waits {
		waited += d
	}
	if waited > 5*time.Minute || waited < 4*time.Minute-30*time.Second {
		t.Errorf("waited %v", waited)
	}
}

func TestNoConnection(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, method := range []string{"GET", "POST", "DELETE"} {
		c, clk := newClient(t, Options{URL: gone.URL})
		err := ask(t.Context(), c, method)
		wantError(t, err, nil, "ask: ", "refused")
		if strings.Contains(err.Error(), "may or may not") {
			t.Errorf("%s: nothing was sent, yet: %v", method, err)
		}
		if len(clk.waits) != tries-1 {
			t.Errorf("%s: waited %d times, want %d", method, len(clk.waits), tries-1)
		}
	}
}

func TestNoAnswer(t *testing.T) {
	s := newStub(t)
	s.on("POST /thing", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c, _ := newClient(t, Options{URL: s.URL, Timeout: 50 * time.Millisecond})
	wantError(t, ask(t.Context(), c, "POST"), nil, "no answer within 50ms; it may or may not be done")
}

func TestStopped(t *testing.T) {
	t.Run("while it waits", func(t *testing.T) {
		s := newStub(t)
		s.on("POST /thing", reply(429, "Retry later\n"))
		c, _ := s.client()
		ctx, cancel := context.WithCancel(t.Context())
		s.on("POST /thing", func(w http.ResponseWriter, r *http.Request) {
			cancel()
			reply(429, "Retry later\n")(w, r)
		})
		err := ask(ctx, c, "POST")
		wantError(t, err, context.Canceled, "ask: stopped")
	})
	t.Run("while GitLab works", func(t *testing.T) {
		s := newStub(t)
		ctx, cancel := context.WithCancel(t.Context())
		s.on("POST /thing", func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		})
		c, _ := s.client()
		wantError(t, ask(ctx, c, "POST"), context.Canceled, "stopped", "may or may not be done")
	})
	t.Run("before it begins", func(t *testing.T) {
		c, _ := newStub(t).client()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := ask(ctx, c, "POST")
		wantError(t, err, context.Canceled, "stopped")
		if strings.Contains(err.Error(), "may or may not") {
			t.Error(err)
		}
	})
}

// roundTrip is a function as http.RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestMaxConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var under atomic.Int32
		release := make(chan bool)
		tr := &transport{
			next: roundTrip(func(*http.Request) (*http.Response, error) {
				under.Add(1)
				defer under.Add(-1)
				<-release
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("{}"))}, nil
			}),
			timeout: time.Minute, slots: make(chan struct{}, 3), now: time.Now, sleep: sleep,
		}
		var done atomic.Int32
		for range 7 {
			go func() {
				defer done.Add(1)
				req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://git.example.com", nil)
				if _, err := tr.RoundTrip(req); err != nil {
					t.Error(err)
				}
			}()
		}
		for left := 7; left > 0; left-- {
			synctest.Wait()
			if got, want := under.Load(), int32(min(left, 3)); got != want {
				t.Errorf("%d requests under way, want %d", got, want)
			}
			release <- true
		}
		synctest.Wait()
		if done.Load() != 7 {
			t.Errorf("%d of 7 done", done.Load())
		}
	})
}

func TestTLS(t *testing.T) {
	var proto atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proto.Store(int32(r.ProtoMajor))
		reply(200, "{}")(w, r)
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})

	c, _ := newClient(t, Options{URL: server.URL, CA: ca})
	if err := ask(t.Context(), c, "GET"); err != nil {
		t.Fatal(err)
	}
	if proto.Load() != 2 {
		t.Errorf("HTTP/%d, want 2", proto.Load())
	}

	c, clk := newClient(t, Options{URL: server.URL})
	wantError(t, ask(t.Context(), c, "GET"), nil, "unknown authority", "gitlab.ca_file")
	if len(clk.waits) != 0 {
		t.Errorf("an unknown certificate was tried again: %v", clk.waits)
	}

	other := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	c, _ = newClient(t, Options{URL: other, CA: ca})
	wantError(t, ask(t.Context(), c, "GET"), nil, "localhost", "check gitlab.url")
}

func TestPlainServerBehindHTTPS(t *testing.T) {
	s := newStub(t)
	c, clk := newClient(t, Options{URL: strings.Replace(s.URL, "http:", "https:", 1)})
	wantError(t, ask(t.Context(), c, "GET"), nil, "HTTP response to HTTPS client", "check the port in gitlab.url")
	if len(clk.waits) != 0 || len(s.asked()) != 0 {
		t.Errorf("waits %v, requests %v", clk.waits, s.asked())
	}
}

func TestRedirect(t *testing.T) {
	var reached atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer other.Close()
	for _, test := range []struct{ to, says string }{
		{other.URL + "/api/v4/thing", "ask: it redirects to " + other.URL + ": write that in gitlab.url"},
		{other.URL + "/git/api/v4/thing", "it redirects to " + other.URL + "/git: write that in gitlab.url"},
		{other.URL + "/login?next=x", "it redirects to " + other.URL + "/login, which is not the API: check gitlab.url"},
		{"/users/sign_in", "/users/sign_in, which is not the API: check gitlab.url"},
		{"/api/v4/projects/42", "it has moved, GitLab redirects to /api/v4/projects/42: write its new path in the inventory"},
	} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			for _, status := range []int{301, 302, 307, 308} {
				s := newStub(t)
				s.on(method+" /thing", func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Location", test.to)
					w.WriteHeader(status)
				})
				c, _ := s.client()
				wantError(t, ask(t.Context(), c, method), nil, test.says)
				if n := len(s.asked()); n != 1 {
					t.Errorf("%s %d to %s: %d requests", method, status, test.to, n)
				}
			}
		}
	}
	if reached.Load() != 0 {
		t.Errorf("%d requests went to the other host", reached.Load())
	}
}

func TestNew(t *testing.T) {
	for _, test := range []struct{ url, says string }{
		{"", "is not the URL of a GitLab"},
		{"git.example.com", "is not the URL of a GitLab"},
		{"ftp://git.example.com", "is not the URL of a GitLab"},
		{"https://git.example.com?private_token=" + canary, "is not the URL of a GitLab"},
		{"https://root:" + canary + "@git.example.com", "must not hold a user or a password"},
		{"https://root:" + canary + "@git.example.com:port", "is not a URL"},
		{"http://git.example.com", "would send the token to git.example.com unencrypted"},
		{"http://localhost.example.com", "unencrypted"},
	} {
		_, err := New(Options{URL: test.url})
		wantError(t, err, nil, "gitlab.url", test.says)
	}
	for _, test := range []struct{ url, base string }{
		{"https://git.example.com", "https://git.example.com/api/v4/"},
		{"https://git.example.com/", "https://git.example.com/api/v4/"},
		{"https://example.com/git/", "https://example.com/git/api/v4/"},
		{"https://git.example.com/api/v4/", "https://git.example.com/api/v4/"},
		{"http://localhost:3000", "http://localhost:3000/api/v4/"},
		{"http://[::1]:3000", "http://[::1]:3000/api/v4/"},
	} {
		c, err := New(Options{URL: test.url})
		if err != nil {
			t.Errorf("%s: %v", test.url, err)
		} else if got := c.lib.BaseURL().String(); got != test.base {
			t.Errorf("%s: %s, want %s", test.url, got, test.base)
		}
	}
	_, err := New(Options{URL: "https://git.example.com", CA: []byte("no certificate")})
	wantError(t, err, nil, "gitlab.ca_file holds no certificate")
}

func TestUserAgent(t *testing.T) {
	s := newStub(t)
	s.on("GET /thing", func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("User-Agent"); got != "provision/1" {
			t.Errorf("User-Agent %q", got)
		}
		reply(200, "{}")(w, r)
	})
	c, _ := newClient(t, Options{URL: s.URL, UserAgent: "provision/1"})
	if err := ask(t.Context(), c, "GET"); err != nil {
		t.Error(fmt.Errorf("ask: %w", err))
	}
}

// An answer without end is given up, and fills no memory.
func TestEndlessAnswer(t *testing.T) {
	s := newStub(t)
	var sent atomic.Int64
	s.on("POST /thing", func(w http.ResponseWriter, _ *http.Request) {
		more := make([]byte, 1<<20)
		for sent.Load() < 2*maxAnswer {
			n, err := w.Write(more)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	c, _ := s.client()
	wantError(t, ask(t.Context(), c, "POST"), nil, fmt.Sprintf("the answer is longer than %d bytes", maxAnswer), "may or may not be done")
	s.Close() // when nobody writes any more
	if n := sent.Load(); n >= 2*maxAnswer {
		t.Errorf("%d bytes were heard", n)
	}
}
