package gitlabtest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"encoding/pem"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// What a registry has to be told of the token service at /jwt/auth, besides
// the certificate.
const (
	RegistryIssuer  = "gitlab-issuer"
	RegistryService = "container_registry"
)

// RegistryCertificate returns the certificate, in PEM, by which a registry
// knows the tokens of /jwt/auth: its rootcertbundle.
func (g *GitLab) RegistryCertificate() []byte { return slices.Clone(g.registry().cert) }

// A registryKey signs the tokens for registries.
type registryKey struct {
	private *rsa.PrivateKey
	cert    []byte // PEM
}

func newRegistryKey() registryKey {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic("gitlabtest: " + err.Error())
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: RegistryIssuer},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(10, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		panic("gitlabtest: " + err.Error())
	}
	return registryKey{private, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// keyID names a key as libtrust does, which the registry looks keys up by: the
// first 30 bytes of the digest of its DER, in base 32, in groups of four.
func keyID(key *rsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	text := base32.StdEncoding.EncodeToString(sum[:30])
	var groups []string
	for part := range slices.Chunk([]byte(text), 4) {
		groups = append(groups, string(part))
	}
	return strings.Join(groups, ":"), nil
}

// A grant is access to one repository of a registry.
type grant struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

type registryClaims struct {
	jwt.RegisteredClaims
	Audience string  `json:"aud"` // registries before 3.0 take no list
	Access   []grant `json:"access"`
}

// registryToken is /jwt/auth: the password of basic authentication is any
// access token, with any user name, or a deploy token with its own. What is
// asked for and not allowed is left out of the answer.
func (g *GitLab) registryToken(w http.ResponseWriter, r *http.Request) {
	service := r.URL.Query().Get("service")
	if service != RegistryService {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	scopes := strings.Fields(strings.Join(r.URL.Query()["scope"], " "))
	name, password, given := r.BasicAuth()

	g.mu.Lock()
	who, ok := g.bearer(name, password)
	access := []grant{}
	for _, scope := range scopes {
		if a, ok := g.grant(who, scope); ok {
			access = append(access, a)
		}
	}
	g.mu.Unlock()

	switch {
	case given && !ok:
		registryError(w, http.StatusUnauthorized, "UNAUTHORIZED", "HTTP Basic: Access denied. The provided password or token is incorrect or your account has 2FA enabled and you must use a personal access token instead of a password.")
		return
	case given && !who.registry(), !given && len(scopes) == 0:
		registryError(w, http.StatusForbidden, "DENIED", "access forbidden")
		return
	}
	entryOf(r).User = who.name
	// The registry has a clock of its own: no use of g.now here.
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, registryClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: RegistryIssuer, Subject: who.subject, ID: rand.Text(),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now.Add(-5 * time.Second)),
			ExpiresAt: jwt.NewNumericDate(now.Add(5 * time.Minute)),
		},
		Audience: service,
		Access:   access,
	})
	key := g.registry().private
	id, err := keyID(&key.PublicKey)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	token.Header["kid"] = id
	signed, err := token.SignedString(key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, http.StatusOK, object{"token": signed})
}

func registryError(w http.ResponseWriter, status int, code, text string) {
	writeJSON(w, status, object{"errors": []object{{"code": code, "message": text}}})
}

// A bearer is who logs in to the registry: a user with a token, a deploy
// token, or nobody.
type bearer struct {
	name    string // for the log
	subject string // of the answer
	user    *user
	owner   *owner // of a deploy token
	scopes  []string
}

func (b bearer) has(scopes ...string) bool {
	return slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(b.scopes, s) })
}

func (b bearer) registry() bool { return b.has("api", "read_registry", "write_registry") }

func (g *GitLab) bearer(name, password string) (bearer, bool) {
	if t := g.tokenOf(password); t != nil && t.active(g.now()) && !t.user.blocked {
		t.used = g.now()
		return bearer{name: t.user.username, subject: t.user.username, user: t.user, scopes: t.scopes}, true
	}
	sum := sha256.Sum256([]byte(password))
	for _, t := range g.deploys {
		if t.sum == sum && t.username == name && !t.revoked && alive(t.expires, g.now()) {
			return bearer{name: t.username, owner: t.owner, scopes: t.scopes}, true
		}
	}
	return bearer{}, false
}

// grant answers one scope, such as "repository:group/project/image:pull,push".
func (g *GitLab) grant(who bearer, scope string) (grant, bool) {
	parts := strings.Split(scope, ":")
	if len(parts) != 3 || parts[0] != "repository" {
		return grant{}, false
	}
	project := g.projectOfImage(parts[1])
	if project == nil {
		return grant{}, false
	}
	var actions []string
	for _, action := range strings.Split(parts[2], ",") {
		if action == "pull" && who.mayPull(project) || action == "push" && who.mayPush(project) {
			actions = append(actions, action)
		}
	}
	return grant{Type: parts[0], Name: parts[1], Actions: actions}, len(actions) > 0
}

// projectOfImage finds the project whose path an image's name begins with.
func (g *GitLab) projectOfImage(name string) *owner {
	for name != "" {
		for _, o := range g.projects {
			if strings.ToLower(o.fullPath()) == name {
				return o
			}
		}
		name = name[:max(strings.LastIndexByte(name, '/'), 0)]
	}
	return nil
}

func (b bearer) mayPull(o *owner) bool {
	switch {
	case b.owner != nil:
		return b.has("read_registry") && o.within(b.owner)
	case b.user != nil:
		return b.has("api", "read_registry") && (b.user.admin || o.role(b.user) >= Reporter || o.visibility == "public")
	}
	return o.visibility == "public"
}

func (b bearer) mayPush(o *owner) bool {
	switch {
	case b.owner != nil:
		return b.has("write_registry") && o.within(b.owner)
	case b.user != nil:
		return b.has("api", "write_registry") && (b.user.admin || o.role(b.user) >= Developer)
	}
	return false
}
