package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// RegistryOptions say under which name a registry serves and whom it trusts.
type RegistryOptions struct {
	Name    string     // as in names of images: with a port, unless that is 443; it resolves on the control machine and on every host
	Address netip.Addr // to listen on, where Name is that of another server too; zero: one of its own
	Realm   string     // the URL where clients get their tokens, GitLab's /jwt/auth
	Issuer  string     // the claim "iss" of these tokens
	Signer  []byte     // the certificate, in PEM, whose key signs them

	// Username and Password are the one login of a registry that has no Realm. Without
	// either, everybody may read and write there.
	Username, Password string

	CA *CA // of its certificate; nil: the lab's
}

// RegistryService is the audience of the tokens that registries accept. It
// has the name that GitLab gives it.
const RegistryService = "container_registry"

// A Registry is Debian's docker-registry, over TLS, with token authentication
// as behind GitLab, or with one login. What is pushed lies on the lab's tmpfs.
type Registry struct {
	Name    string
	Address netip.Addr

	lab    *Lab
	dir    string // on the lab's tmpfs
	client *http.Client
	cmd    *exec.Cmd
	done   chan struct{}
	log    string

	username, password string // "": it wants tokens, or nothing
	open               bool   // it wants nothing
}

// NewRegistry starts a registry and returns when it serves. It does not call
// the realm, which therefore may come to life later.
func (l *Lab) NewRegistry(ctx context.Context, o RegistryOptions) (*Registry, error) {
	ca, err := o.CA, error(nil)
	if ca == nil {
		ca, err = l.CA()
	}
	if err != nil {
		return nil, err
	}
	r := &Registry{
		Name:     o.Name,
		username: o.Username, password: o.Password, open: o.Realm == "" && o.Username == "",
		lab:  l,
		dir:  filepath.Join(labDir, "registry", o.Name),
		done: make(chan struct{}),
		client: &http.Client{
			Timeout:   30 * time.Second,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}},
		},
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(o.Name)
	if err != nil {
		host, port = o.Name, "443"
	}
	if r.Address = o.Address; !r.Address.IsValid() {
		if r.Address, err = l.Name(host); err != nil {
			return nil, err
		}
	}
	if err := r.configure(ca, o, host, port); err != nil {
		return nil, err
	}
	r.log = filepath.Join(r.dir, "log")
	log, err := os.Create(r.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	r.cmd = exec.Command("docker-registry", "serve", filepath.Join(r.dir, "config.yml"))
	r.cmd.Env = []string{"PATH=" + path, "OTEL_TRACES_EXPORTER=none"}
	r.cmd.Stdout, r.cmd.Stderr = log, log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		r.cmd.Wait()
		close(r.done)
	}()
	l.opened(r)
	return r, r.wait(ctx)
}

// Close ends the registry and removes what was pushed.
func (r *Registry) Close() error {
	r.lab.closed(r)
	r.cmd.Process.Kill()
	<-r.done
	return os.RemoveAll(r.dir)
}

// configure writes the registry's configuration: JSON, which is YAML.
func (r *Registry) configure(ca *CA, o RegistryOptions, host, port string) error {
	server, err := ca.Issue(host, r.Address.String())
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		return err
	}
	type m = map[string]any
	auth := m{"token": m{
		"realm":          o.Realm,
		"service":        RegistryService,
		"issuer":         o.Issuer,
		"rootcertbundle": filepath.Join(r.dir, "signer.crt"),
	}}
	var users []byte
	if o.Username != "" {
		auth = m{"htpasswd": m{"realm": o.Name, "path": filepath.Join(r.dir, "htpasswd")}}
		if users, err = bcrypt.GenerateFromPassword([]byte(o.Password), bcrypt.MinCost); err != nil {
			return err
		}
		users = append([]byte(o.Username+":"), users...)
	}
	if r.open {
		auth = nil
	}
	config, err := json.Marshal(m{
		"version": "0.1",
		"log":     m{"level": "warn"},
		"storage": m{"filesystem": m{"rootdirectory": filepath.Join(r.dir, "data")}},
		"http": m{
			"addr": net.JoinHostPort(r.Address.String(), port),
			"tls":  m{"certificate": filepath.Join(r.dir, "server.crt"), "key": filepath.Join(r.dir, "server.key")},
		},
		"auth": auth,
	})
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		"config.yml": config,
		"server.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate[0]}),
		"server.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"signer.crt": o.Signer,
		"htpasswd":   users,
	} {
		if err := os.WriteFile(filepath.Join(r.dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// wait polls until the registry asks for a token or a login, as it is to do.
func (r *Registry) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	want := http.StatusUnauthorized
	if r.open {
		want = http.StatusOK
	}
	for {
		err := r.do(ctx, http.MethodGet, r.url("/v2/"), "", nil, "", want, nil)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-r.done:
			return r.failed(errors.New("it ended"))
		case <-ctx.Done():
			return r.failed(err)
		}
	}
}

func (r *Registry) failed(err error) error {
	log, _ := os.ReadFile(r.log)
	return fmt.Errorf("registry %s: %w; the end of its log:\n%s", r.Name, err, tail(string(log), 10))
}

func (r *Registry) url(path string) string { return "https://" + r.Name + path }

// do makes one request; any status but want is an error. header, if not nil,
// receives the header of the answer.
func (r *Registry) do(ctx context.Context, method, url, token string, body []byte, kind string, want int, header *http.Header) error {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	switch {
	case token == "":
	case r.open:
	case r.username != "":
		request.SetBasicAuth(r.username, r.password)
	default:
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	response, err := r.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return err
	}
	if response.StatusCode != want {
		return fmt.Errorf("%s %s: %s: %s", method, url, response.Status, strings.TrimSpace(string(answer)))
	}
	if header != nil {
		*header = response.Header
	}
	return nil
}
