package gitlabtest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// serve starts the GitLab and returns a client that goes where it is sent not.
func (c *cast) serve() func(ctx context.Context, as, method, path, body string) (*http.Response, string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- c.Serve(l, nil) }()
	transport := &http.Transport{}
	c.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := c.Close(); err != nil {
			c.Error(err)
		}
		if err := <-done; err != nil {
			c.Error(err)
		}
	})
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return func(ctx context.Context, as, method, path, body string) (*http.Response, string, error) {
		r, err := http.NewRequestWithContext(ctx, method, "http://"+l.Addr().String()+"/api/v4"+path, strings.NewReader(body))
		if err != nil {
			c.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("PRIVATE-TOKEN", c.tokens[as])
		answer, err := client.Do(r)
		if err != nil {
			return nil, "", err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return answer, string(text), err
	}
}

const oneVariable = `{"key":"K","value":"v"}`

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name   string
		fault  Fault
		status int // zero: the connection is lost
		header string
		done   bool // GitLab did the work
	}{
		{"throttled", TooManyRequests(7), 429, "Retry-After: 7", false},
		{"throttled without a word", TooManyRequests(0), 429, "Retry-After: ", false},
		{"broken", Failure(502), 502, "", false},
		{"lost before", LostBefore(), 0, "", false},
		{"lost after", LostAfter(), 0, "", true},
		{"a page of a proxy", HTML(200), 200, "Content-Type: text/html; charset=utf-8", false},
		{"cut in half", Truncated(), 201, "", true},
		{"sent elsewhere", Redirect("https://elsewhere.example.com", 302), 302, "Location: https://elsewhere.example.com/api/v4" + appVars, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCast(t, CE)
			send := c.serve()
			trap := c.Fail("POST", "/api/v4/projects/*/variables", 1, test.fault)

			if answer, _, err := send(t.Context(), "maint", "GET", appVars, ""); err != nil || answer.StatusCode != 200 {
				t.Errorf("another method: %v %v", answer, err)
			}
			answer, body, err := send(t.Context(), "maint", "POST", appVars, oneVariable)
			switch {
			case test.status == 0:
				if err == nil {
					t.Errorf("got %d %s, want a lost connection", answer.StatusCode, body)
				}
			case err != nil:
				t.Error(err)
			case answer.StatusCode != test.status:
				t.Errorf("status %d, want %d", answer.StatusCode, test.status)
			case test.header != "":
				name, value, _ := strings.Cut(test.header, ": ")
				if answer.Header.Get(name) != value {
					t.Errorf("%s is %q, want %q", name, answer.Header.Get(name), value)
				}
			}
			if test.name == "cut in half" && json.Valid([]byte(body)) {
				t.Errorf("%s is JSON", body)
			}
			if _, done := c.Variable("acme/app", "K", "*"); done != test.done {
				t.Errorf("done: %v, want %v", done, test.done)
			}
			log := c.Requests()
			if last := log[len(log)-1]; last.Changed != test.done || last.Status != test.status || last.Path != "/api/v4"+appVars {
				t.Errorf("logged %+v", last)
			}
			want := 201
			if test.done {
				want = 400
			}
			if answer, _, err := send(t.Context(), "maint", "POST", appVars, oneVariable); err != nil || answer.StatusCode != want {
				t.Errorf("once more: %v %v, want %d", answer, err, want)
			}
			if trap.Count() != 1 {
				t.Errorf("the trap made %d requests fail, want 1", trap.Count())
			}
		})
	}
}

func TestFaultForEver(t *testing.T) {
	c := newCast(t, CE)
	trap := c.Fail("", "", 0, Failure(500))
	for range 3 {
		c.do(step{"owner", "GET", vars, ``, 500, ``})
	}
	trap.Remove()
	c.do(step{"owner", "GET", vars, ``, 200, ``})
	if trap.Count() != 3 {
		t.Errorf("%d requests failed, want 3", trap.Count())
	}
}

func TestSlow(t *testing.T) {
	c := newCast(t, CE)
	send := c.serve()
	release, ended := make(chan struct{}), make(chan struct{}, 2)
	trap := c.Fail("POST", "", 0, func(w http.ResponseWriter, r *http.Request, gitlab http.Handler) {
		Slow(release)(w, r, gitlab)
		ended <- struct{}{}
	})

	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, _, err := send(ctx, "maint", "POST", appVars, oneVariable)
		failed <- err
	}()
	<-trap.Sprung()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("the client that went away got %v", err)
	}
	<-ended
	if _, ok := c.Variable("acme/app", "K", "*"); ok {
		t.Error("GitLab did the work of a client that went away")
	}
	close(release)
	if answer, _, err := send(t.Context(), "maint", "POST", appVars, oneVariable); err != nil || answer.StatusCode != 201 {
		t.Errorf("released: %v %v", answer, err)
	}
}

func TestRequests(t *testing.T) {
	c := newCast(t, CE)
	c.do(step{"maint", "POST", appVars, oneVariable, 201, ``})
	c.do(step{"maint", "PUT", appVars + "/K", `{"value":"v"}`, 200, ``})
	c.do(step{"maint", "PUT", appVars + "/K", `{"value":"w"}`, 200, ``})
	c.do(step{"maint", "GET", appVars + "/K?private_token=" + c.tokens["owner"], ``, 200, ``})
	c.do(step{"dev", "DELETE", appVars + "/K", ``, 403, ``})
	c.do(step{"maint", "POST", appKeys, `{"title":"a","key":"` + keyA + `"}`, 201, ``})
	c.do(step{"maint", "POST", appKeys, `{"title":"b","key":"` + keyA + `"}`, 201, ``})
	c.do(step{"", "GET", "/nowhere", ``, 404, ``})
	want := []Request{
		{"POST", "/api/v4" + appVars, 201, "maint", true},
		{"PUT", "/api/v4" + appVars + "/K", 200, "maint", false},
		{"PUT", "/api/v4" + appVars + "/K", 200, "maint", true},
		{"GET", "/api/v4" + appVars + "/K", 200, "maint", false},
		{"DELETE", "/api/v4" + appVars + "/K", 403, "dev", false},
		{"POST", "/api/v4" + appKeys, 201, "maint", true},
		{"POST", "/api/v4" + appKeys, 201, "maint", false},
		{"GET", "/api/v4/nowhere", 404, "", false},
	}
	got := c.Requests()
	if len(got) != len(want) {
		t.Fatalf("%d requests logged, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("logged %+v, want %+v", got[i], want[i])
		}
	}
}
