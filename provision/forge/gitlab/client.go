// Package gitlab is the [forge.Forge] of a GitLab instance, and the one
// importer of GitLab's client library.
package gitlab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go/v2"

	"provision/provision/forge"
	"provision/provision/secret"
)

// Options says which GitLab to talk to, and how.
type Options struct {
	URL   string       // of the instance: "https://git.example.com", or with a path below it
	Token secret.Value // an access token; revealed when the first request is made
	CA    []byte       // PEM certificates, trusted beside those of the system

	UserAgent     string
	Timeout       time.Duration // for one attempt at one request; 30 s if zero
	MaxConcurrent int           // requests under way at a time; 8 if zero

	// Trace, if it is not nil, is told of every attempt at a request: method,
	// path, status, time and sizes. Calls may overlap.
	Trace func(text string)

	// Waiting, if it is not nil, is told for what requests wait, and for how many
	// seconds, and "" when none waits any more. Waits of less than two seconds are
	// not told. Calls do not overlap.
	Waiting func(text string)

	// Tests of waiting put a clock of their own here.
	now   func() time.Time
	sleep func(context.Context, time.Duration) error
}

// Client talks to one GitLab with one token. It keeps what it has read until
// it changes it, see [forge.Forge], so one is made for each run.
type Client struct {
	lib   *gl.Client
	url   string
	token tokenSource
	memo  memo
	now   func() time.Time
	moved moved
}

var _ forge.Forge = (*Client)(nil)

// New returns a Client. It sends nothing: the first request does.
func New(o Options) (*Client, error) {
	base, err := instance(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.MaxConcurrent == 0 {
		o.MaxConcurrent = 8
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.sleep == nil {
		o.sleep = sleep
	}
	trusted, err := roots(o.CA)
	if err != nil {
		return nil, err
	}

	wire := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: o.MaxConcurrent,
		// Rounds on hosts lie between requests. A connection that GitLab has
		// closed meanwhile would cost a POST that must not be repeated.
		IdleConnTimeout: 30 * time.Second,
	}
	c := &Client{url: base, token: o.Token.Reveal, now: o.now}
	c.lib, err = gl.NewAuthSourceClient(tokenSource(o.Token.Reveal),
		gl.WithBaseURL(base),
		gl.WithUserAgent(o.UserAgent),
		gl.WithURLWarningLogger(slog.New(slog.DiscardHandler)),
		gl.WithHTTPClient(&http.Client{
			CheckRedirect: c.moved.follow,
			Transport: &transport{
				next:    wire,
				timeout: o.Timeout,
				slots:   make(chan struct{}, o.MaxConcurrent),
				now:     o.now,
				sleep:   o.sleep,
				trace:   o.Trace,
				waits:   waits{tell: o.Waiting},
			},
		}),
		// transport waits and repeats. The limiter of the library would be
		// replaced while requests read it.
		gl.WithoutRetries(),
		gl.WithCustomLimiter(unlimited{}),
	)
	if err != nil {
		return nil, fmt.Errorf("gitlab.url: %w", err)
	}
	return c, nil
}

// instance checks the URL of a GitLab and returns it without a slash at its end.
func instance(text string) (string, error) {
	const example = `write it like "https://git.example.com"`
	u, err := url.Parse(text)
	// The text is not repeated: a password may stand in it.
	switch {
	case err != nil:
		return "", fmt.Errorf("gitlab.url is not a URL: %s", example)
	case u.User != nil:
		return "", errors.New("gitlab.url must not hold a user or a password: the token stands in gitlab.token")
	case u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
		return "", fmt.Errorf("gitlab.url is not the URL of a GitLab: %s", example)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return "", fmt.Errorf("gitlab.url would send the token to %s unencrypted: write https://", u.Host)
	}
	base := strings.TrimRight(u.String(), "/")
	return strings.TrimSuffix(base, "/api/v4"), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// roots returns the system's certificates and those of a PEM file; nil, which
// stands for the system's, if there is no file.
func roots(pem []byte) (*x509.CertPool, error) {
	if len(pem) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("gitlab.ca_file holds no certificate: it must be PEM, from BEGIN CERTIFICATE to END CERTIFICATE")
	}
	return pool, nil
}

// A tokenSource gives the token to the library for one request at a time, so
// that no struct of the library holds it. It is a function because fmt prints
// nothing of one, also where it is deep within a struct.
type tokenSource func() (string, error)

// Init implements [gl.AuthSource].
func (tokenSource) Init(context.Context, *gl.Client) error { return nil }

// Header implements [gl.AuthSource].
func (reveal tokenSource) Header(context.Context) (key, value string, err error) {
	text, err := reveal()
	if err != nil {
		return "", "", fmt.Errorf("read the token: %w", err)
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return "", "", errors.New("the GitLab token is empty")
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", "", errors.New("the GitLab token has spaces, line breaks or foreign characters in it")
	}
	return "PRIVATE-TOKEN", text, nil
}

type unlimited struct{}

func (unlimited) Wait(context.Context) error { return nil }

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
