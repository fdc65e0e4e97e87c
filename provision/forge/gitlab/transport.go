package gitlab

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	tries     = 4               // attempts at a request that fails
	patience  = 5 * time.Minute // all the waiting for one request
	firstWait = 500 * time.Millisecond
	longWait  = time.Minute
	maxAnswer = 32 << 20 // bytes
)

// transport makes requests, at most cap(slots) at a time, and repeats those
// that may be repeated:
//
//   - After 429 every method, for GitLab has done nothing then.
//   - After 5xx and lost connections GET, PUT and DELETE. A POST may have done
//     its work, and would make a second token.
//   - Every method when the request never left, because there was no connection.
//
// It tells of what it waits for, and slows down before GitLab refuses.
//
// It reads answers to their end, so that a connection that breaks in the
// middle of one counts as lost, and keeps them for the error to be made of it.
type transport struct {
	next    http.RoundTripper
	timeout time.Duration // of one attempt
	slots   chan struct{}
	now     func() time.Time
	sleep   func(context.Context, time.Duration) error
	trace   func(text string)
	waits   waits
	pace    pace
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		body, err = io.ReadAll(req.Body)
		req.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	repeatable := req.Method == http.MethodGet || req.Method == http.MethodPut || req.Method == http.MethodDelete
	inDoubt := false // an attempt before this one may have done the work

	var failed, limited int
	var waited time.Duration
	for {
		if err := t.keepPace(req.Context()); err != nil {
			return nil, t.doubt(req, inDoubt, err)
		}
		resp, sent, err := t.attempt(req, body)
		var wait time.Duration
		switch {
		case err == nil && resp.StatusCode == http.StatusTooManyRequests:
			wait = t.wait(resp, limited)
			limited++
		case err == nil && resp.StatusCode >= 500 && repeatable:
			inDoubt = true
			wait = t.wait(resp, failed)
			failed++
		case err != nil && passing(req.Context(), err) && (repeatable || !sent):
			inDoubt = inDoubt || sent
			wait = t.wait(nil, failed)
			failed++
		case err == nil && resp.StatusCode == http.StatusNotFound && req.Method == http.MethodDelete && inDoubt:
			resp.StatusCode, resp.Status = http.StatusNoContent, "204 No Content"
			return resp, nil
		case err == nil:
			return resp, nil
		default:
			return nil, t.doubt(req, inDoubt || sent, err)
		}
		if failed >= tries || waited+wait > patience {
			if err != nil {
				return nil, t.doubt(req, inDoubt || sent, err)
			}
			return resp, nil
		}
		told := t.waits.because(t.now(), wait, resp, err)
		err = t.sleep(req.Context(), wait)
		told()
		if err != nil {
			return nil, t.doubt(req, inDoubt, err)
		}
		waited += wait
	}
}

// keepPace waits until the next request may be made: see [pace].
func (t *transport) keepPace(ctx context.Context) error {
	d := t.pace.hold(t.now())
	if d <= 0 {
		return nil
	}
	defer t.waits.begin(t.now(), d, "GitLab's rate limit, which is nearly reached")()
	return t.sleep(ctx, d)
}

// slow tells of an answer that does not come. Whoever has it says so.
func (t *transport) slow() (answered func()) {
	var mu sync.Mutex
	told := func() {}
	timer := time.AfterFunc(slow, func() {
		mu.Lock()
		defer mu.Unlock()
		if told != nil {
			told = t.waits.begin(t.now(), t.timeout-slow, "an answer of GitLab")
		}
	})
	return func() {
		timer.Stop()
		mu.Lock()
		defer mu.Unlock()
		told()
		told = nil
	}
}

// attempt makes one request. sent tells whether it may have reached GitLab.
func (t *transport) attempt(req *http.Request, body []byte) (resp *http.Response, sent bool, err error) {
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-req.Context().Done():
		return nil, false, req.Context().Err()
	}
	ctx, cancel := context.WithTimeout(req.Context(), t.timeout)
	defer cancel()
	var wrote atomic.Bool
	once := req.Clone(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { wrote.Store(true) },
	}))
	if body != nil {
		once.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		once.Body, _ = once.GetBody()
	}

	start := time.Now()
	answered := t.slow()
	defer answered()
	resp, err = t.next.RoundTrip(once)
	var text []byte
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
		resp.Body.Close()
	}
	switch {
	case err != nil && req.Context().Err() != nil:
		err = req.Context().Err()
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("no answer within %s", t.timeout)
	case err == nil && len(text) > maxAnswer:
		err = fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	if t.trace != nil {
		how := "failed"
		if err == nil {
			how = strconv.Itoa(resp.StatusCode)
		}
		how = fmt.Sprintf("%s %s: %s, %d ms, %d bytes sent, %d received", req.Method, req.URL.RequestURI(), how, time.Since(start).Milliseconds(), len(body), len(text))
		if err != nil {
			how += ": " + err.Error()
		}
		t.trace(how)
	}
	if err != nil {
		return nil, wrote.Load(), err
	}
	t.pace.note(resp.Header)
	resp.Body = &answer{Reader: bytes.NewReader(text), text: text}
	resp.Request = req
	return resp, true, nil
}

// wait returns how long to wait before asking again for the n-th time, from 0:
// what GitLab asks for, or twice as long each time. A little chance is added,
// so that requests that were refused together do not come back together.
func (t *transport) wait(resp *http.Response, n int) time.Duration {
	d := t.asked(resp)
	if d <= 0 {
		d = min(firstWait<<min(n, 10), longWait)
	}
	return d + rand.N(min(d, 4*time.Second)/4+1)
}

// asked reads Retry-After, else, after 429, RateLimit-Reset, see
// https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/.
// GitLab.com sends the latter with every answer. 0 means that it asks for nothing.
func (t *transport) asked(resp *http.Response) time.Duration {
	if resp == nil {
		return 0
	}
	after := resp.Header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(after, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(after); err == nil {
		return date.Sub(t.now())
	}
	reset, err := strconv.ParseInt(resp.Header.Get("RateLimit-Reset"), 10, 64)
	if err == nil && resp.StatusCode == http.StatusTooManyRequests {
		return time.Unix(reset, 0).Sub(t.now())
	}
	return 0
}

// passing tells whether an error may be gone at the next attempt.
func passing(ctx context.Context, err error) bool {
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	var name *net.DNSError
	switch {
	case ctx.Err() != nil,
		errors.As(err, &certificate),
		errors.As(err, &plain),
		errors.Is(err, http.ErrSchemeMismatch),
		errors.As(err, &name) && name.IsNotFound:
		return false
	}
	return true
}

// A doubtful error left open whether GitLab has done what it was asked to do.
type doubtful struct{ error }

func (d doubtful) Unwrap() error { return d.error }

func (t *transport) doubt(req *http.Request, sent bool, err error) error {
	if sent && req.Method != http.MethodGet {
		return doubtful{err}
	}
	return err
}

// answer is the body of an answer, kept for whoever explains it.
type answer struct {
	*bytes.Reader
	text []byte
}

func (*answer) Close() error { return nil }
