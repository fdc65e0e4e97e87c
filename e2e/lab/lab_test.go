package lab_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"encoding/json"
	"encoding/pem"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"provision/e2e/lab"
	"provision/e2e/needs"
)

// l is the lab that all tests of this package share. It is nil where there is
// none, and noLab says why.
var (
	l     *lab.Lab
	noLab error
)

func needLab(t *testing.T) {
	t.Helper()
	needs.Lab(t, noLab)
}

func TestMain(m *testing.M) {
	if noLab = needs.CheckLab(lab.Check); noLab != nil {
		os.Exit(m.Run())
	}
	inside, code, err := lab.Enter(context.Background(), os.Stderr)
	if err != nil {
		log.Fatal(err)
	}
	if inside == nil {
		os.Exit(code)
	}
	if what, nested := os.LookupEnv(nestedVariable); nested {
		os.Exit(runNested(inside, what))
	}
	l = inside
	code = m.Run()
	if err := l.Close(); err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

// boot boots a host for one test.
func boot(t *testing.T, o lab.Options) *lab.Host {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	h, err := l.Boot(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// run runs a script on a host and returns what it printed, without the last newline.
func run(t *testing.T, h *lab.Host, script string, args ...string) string {
	t.Helper()
	out, err := h.Exec(t.Context(), script, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(out, "\n")
}

// A host pulls from the registry and runs what it pulled.
func TestCompose(t *testing.T) {
	needLab(t)
	realm := serveTokens(t)
	registry, err := l.NewRegistry(t.Context(), lab.RegistryOptions{
		Name: "registry.example.com", Realm: realm.url, Issuer: issuer, Signer: realm.certificate,
	})
	if err != nil {
		t.Fatal(err)
	}
	push := func(version string) string {
		t.Helper()
		digest, err := registry.Push(t.Context(), lab.Image{
			Repository: "transmogrify/frobnicator", Tag: "latest", Version: version, Healthy: true,
		}, realm.token)
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	first := push("1")

	h := boot(t, lab.Options{Names: []string{"docker.example.com"}, Docker: true})
	ca, err := l.CA()
	if err != nil {
		t.Fatal(err)
	}
	run(t, h, `mkdir -p /etc/docker/certs.d/registry.example.com /srv/app
		printf %s "$1" >/etc/docker/certs.d/registry.example.com/ca.crt
		printf '%s\n' 'services: {web: {image: registry.example.com/transmogrify/frobnicator, ports: ["8080:80"]}}' >/srv/app/compose.yaml
	`, string(ca.PEM()))

	if got := run(t, h, `docker info --format '{{.Driver}} {{.CgroupVersion}}'`); got != "overlay2 2" {
		t.Errorf("docker info: %q", got)
	}
	deploy := func() {
		t.Helper()
		run(t, h, `cd /srv/app && docker compose pull && docker compose up -d --wait --wait-timeout 60`)
	}
	served := func() string {
		t.Helper()
		out, err := l.Run(t.Context(), nil, "busybox wget -q -O - http://docker.example.com:8080/")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	deploy()
	if got := served(); got != "1" {
		t.Errorf("the container serves %q, want 1", got)
	}
	if second := push("2"); second == first {
		t.Error("both versions have the digest", first)
	}
	deploy()
	if got := served(); got != "2" {
		t.Errorf("after version 2 was deployed the container serves %q", got)
	}
}

const issuer = "lab test"

// A realm gives everybody who asks a token for whatever is asked.
type realm struct {
	url         string
	certificate []byte
	key         *rsa.PrivateKey
}

func serveTokens(t *testing.T) realm {
	t.Helper()
	const name = "git.example.com"
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	r := realm{
		url:         "https://" + name + "/jwt/auth",
		certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:         key,
	}

	address, err := l.Name(name)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := l.CA()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Issue(name)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", net.JoinHostPort(address.String(), "443"), &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		token, err := r.token(request.Context(), request.URL.Query().Get("scope"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"token": token})
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return r
}

func (r realm) token(_ context.Context, scope string) (string, error) {
	type access struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	claims := jwt.MapClaims{
		"iss": issuer, "aud": lab.RegistryService, "sub": "test", "jti": "1",
		"nbf": time.Now().Add(-time.Minute).Unix(), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	if parts := strings.Split(scope, ":"); len(parts) == 3 {
		claims["access"] = []access{{parts[0], parts[1], strings.Split(parts[2], ",")}}
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = keyID(r.key.Public())
	return token.SignedString(r.key)
}

// keyID is how docker-registry calls a public key.
func keyID(key crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(der)
	id := base32.StdEncoding.EncodeToString(sum[:30])
	var parts []string
	for ; id != ""; id = id[4:] {
		parts = append(parts, id[:4])
	}
	return strings.Join(parts, ":")
}
