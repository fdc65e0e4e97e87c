// Package gitlabtest is one GitLab in memory, for tests and rehearsals: the
// REST API as far as this program and its set-up use it, the token service of
// the container registry, and git over SSH for deploy keys.
//
// It answers like a real GitLab 18.9, the odd answers included; the tests
// hold it against recorded calls of one.
package gitlabtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// An Edition is what a GitLab is sold as. They differ in the environment
// scopes of group variables, and in some fields.
type Edition int

// The editions. Both were recorded.
const (
	CE     Edition = iota // Community Edition: honours the scopes of group variables
	EEFree                // Enterprise Edition without a licence: drops them without a word
)

// A Config says what a GitLab calls itself. All of it is optional.
type Config struct {
	Edition Edition

	// URL is where clients find it, such as "https://git.example.com". Empty
	// means the address that [GitLab.Serve] listens on.
	URL string

	// SSHHost is the host of ssh_url_to_repo, with a port unless that is 22.
	// Empty means the host of URL.
	SSHHost string

	// Registry is the host of the container registry.
	Registry string

	// Repositories is a directory. The project a/b is the bare repository
	// a/b.git in it, wherever the project is moved to later.
	Repositories string

	// Now is the clock by which tokens and keys expire; nil means [time.Now].
	Now func() time.Time
}

// A GitLab is one server. All methods may be called from many goroutines.
type GitLab struct {
	mux      *http.ServeMux
	registry func() registryKey // made when it is first needed
	hostKey  ssh.Signer
	faults   faults
	requests requestLog
	http     *http.Server
	ssh      connections

	mu       sync.Mutex // guards everything below
	config   Config
	ids      map[string]int64 // the last id of each kind
	users    []*user
	groups   []*owner
	projects []*owner
	instance *owner // holds the variables of the instance
	tokens   []*token
	keys     []*key
	moved    map[string]*owner // projects by the lower-cased paths that they had
	deploys  []*deployToken
}

// New returns a GitLab with nobody in it but the administrator "root".
func New(config Config) *GitLab {
	if config.Now == nil {
		config.Now = time.Now
	}
	g := &GitLab{
		mux:      http.NewServeMux(),
		config:   config,
		ids:      map[string]int64{},
		moved:    map[string]*owner{},
		instance: &owner{kind: "instance"},
		registry: sync.OnceValue(newRegistryKey),
	}
	_, private, _ := ed25519.GenerateKey(rand.Reader) // cannot fail: crypto/rand
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		panic("gitlabtest: " + err.Error())
	}
	g.hostKey = signer
	g.routes()
	g.http = &http.Server{Handler: g, ReadHeaderTimeout: time.Minute}
	g.newUser("root", "Administrator", "admin@example.com").admin = true
	return g
}

// Serve answers on l until [GitLab.Close], with TLS if config is not nil. It
// returns nil after Close.
func (g *GitLab) Serve(l net.Listener, config *tls.Config) error {
	g.mu.Lock()
	if g.config.URL == "" {
		scheme := "http://"
		if config != nil {
			scheme = "https://"
		}
		g.config.URL = scheme + l.Addr().String()
	}
	g.mu.Unlock()
	if config != nil {
		l = tls.NewListener(l, config)
	}
	if err := g.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close ends [GitLab.Serve] and [GitLab.ServeSSH], what they listen on and
// every connection, and the git processes. Requests that [Slow] holds back
// end with their connections.
func (g *GitLab) Close() error {
	g.ssh.close()
	return g.http.Close()
}

// URL returns where the server is found, without a slash at the end.
func (g *GitLab) URL() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.url()
}

func (g *GitLab) url() string { return strings.TrimSuffix(g.config.URL, "/") }

func (g *GitLab) hostname() string {
	_, host, _ := strings.Cut(g.url(), "://")
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// SetNow replaces the clock.
func (g *GitLab) SetNow(now func() time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.config.Now = now
}

func (g *GitLab) now() time.Time { return g.config.Now().UTC() }

// today is midnight: tokens expire by the day.
func (g *GitLab) today() time.Time { return g.now().Truncate(24 * time.Hour) }

func (g *GitLab) nextID(kind string) int64 {
	g.ids[kind]++
	return g.ids[kind]
}

// ServeHTTP implements [http.Handler]: the REST API below /api/v4 and the
// token service at /jwt/auth.
func (g *GitLab) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	entry := &Request{Method: r.Method, Path: r.URL.EscapedPath()}
	out := &statusWriter{ResponseWriter: w}
	defer func() {
		entry.Status = out.status
		g.requests.add(*entry)
	}()
	r = r.WithContext(context.WithValue(r.Context(), entryKey{}, entry))
	if fault := g.faults.take(r.Method, entry.Path); fault != nil {
		fault(out, r, g.mux)
		return
	}
	g.mux.ServeHTTP(out, r)
}

type object = map[string]any

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

func date(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.DateOnly)
}
