package gitlabtest

import (
	"bufio"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"provision/e2e/needs"
)

// ask is one request to the token service.
func (c *cast) ask(user, password string, scopes ...string) (int, string) {
	query := url.Values{"service": {RegistryService}, "scope": scopes}
	r := httptest.NewRequest("GET", "/jwt/auth?"+query.Encode(), nil)
	if user+password != "" {
		r.SetBasicAuth(user, password)
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	var body struct {
		Token  string
		Errors []struct{ Code string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		c.Fatalf("%v: %s", err, w.Body)
	}
	if len(body.Errors) > 0 {
		return w.Code, body.Errors[0].Code
	}
	return w.Code, body.Token
}

// access verifies a token with the certificate and returns what it opens.
func (c *cast) access(token string) string {
	block, _ := pem.Decode(c.RegistryCertificate())
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		c.Fatal(err)
	}
	var claims registryClaims
	_, err = jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return cert.PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(RegistryIssuer))
	if err != nil || claims.Audience != RegistryService {
		c.Errorf("token for %q: %v", claims.Audience, err)
	}
	var out []string
	for _, a := range claims.Access {
		out = append(out, a.Name+":"+strings.Join(a.Actions, ","))
	}
	return strings.Join(out, " ")
}

func TestRegistryToken(t *testing.T) {
	c := newCast(t, CE)
	later := noon.AddDate(0, 0, 30)
	token := func(owner string, level int, expires time.Time, scopes ...string) string {
		_, value := c.AddAccessToken(owner, "t", level, expires, scopes...)
		return reveal(t, value)
	}
	_, v := c.AddDeployToken("acme", "d", "", time.Time{}, "read_registry")
	deploy := reveal(t, v)
	id, v := c.AddDeployToken("acme/app", "d", "puller", time.Time{}, "read_registry", "write_registry")
	pusher := reveal(t, v)
	revoked := token("acme", Reporter, later, "read_registry")
	tokens := c.Tokens("acme")
	c.RevokeToken(tokens[len(tokens)-1].ID)
	if id != 2 {
		t.Fatalf("the second deploy token has the id %d", id)
	}
	const app, web, other = "repository:acme/app:pull,push", "repository:acme/web/image:pull", "repository:other/app:pull"

	for _, test := range []struct {
		name, user, password string
		scopes               []string
		status               int
		want                 string // what it opens, or the code of the error
	}{
		{"reporter, any user name", "17", token("acme", Reporter, later, "read_registry"), []string{app}, 200, "acme/app:pull"},
		{"an image below the project", "x", token("acme", Reporter, later, "read_registry"), []string{web}, 200, "acme/web/image:pull"},
		{"two scopes, one of them foreign", "x", token("acme", Reporter, later, "read_registry"), []string{app, other}, 200, "acme/app:pull"},
		{"two scopes in one", "x", token("acme", Reporter, later, "read_registry"), []string{app + " " + web}, 200, "acme/app:pull acme/web/image:pull"},
		{"token of a project, elsewhere", "x", token("acme/app", Reporter, later, "read_registry"), []string{web}, 200, ""},
		{"guest", "x", token("acme", Guest, later, "read_registry"), []string{app}, 200, ""},
		{"developer with read_registry", "x", token("acme", Developer, later, "read_registry"), []string{app}, 200, "acme/app:pull"},
		{"developer with write_registry", "x", token("acme", Developer, later, "read_registry", "write_registry"), []string{app}, 200, "acme/app:pull,push"},
		{"reporter with write_registry", "x", token("acme", Reporter, later, "read_registry", "write_registry"), []string{app}, 200, "acme/app:pull"},
		{"api", "maint", c.tokens["maint"], []string{app}, 200, "acme/app:pull,push"},
		{"login only", "x", token("acme", Reporter, later, "read_registry"), nil, 200, ""},
		{"no scope for registries", "x", c.tokens["reader"], []string{app}, 403, "DENIED"},
		{"wrong password", "x", "glpat-wrong", []string{app}, 401, "UNAUTHORIZED"},
		{"expired", "x", token("acme", Reporter, noon, "read_registry"), []string{app}, 401, "UNAUTHORIZED"},
		{"revoked", "x", revoked, []string{app}, 401, "UNAUTHORIZED"},
		{"deploy token of the group", "gitlab+deploy-token-1", deploy, []string{app}, 200, "acme/app:pull"},
		{"deploy token with another's name", "puller", deploy, []string{app}, 401, "UNAUTHORIZED"},
		{"deploy token that writes", "puller", pusher, []string{app, web}, 200, "acme/app:pull,push"},
		{"nobody", "", "", []string{app}, 200, ""},
		{"nobody for nothing", "", "", nil, 403, "DENIED"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c.T = t
			status, got := c.ask(test.user, test.password, test.scopes...)
			if status == 200 {
				got = c.access(got)
			}
			if status != test.status || got != test.want {
				t.Errorf("%d %q, want %d %q", status, got, test.status, test.want)
			}
		})
	}
}

// TestRegistry asks a real registry whether it takes the tokens.
func TestRegistry(t *testing.T) {
	needs.Program(t, "docker-registry")
	c := newCast(t, CE)
	dir := t.TempDir()
	cert := filepath.Join(dir, "jwt.crt")
	if err := os.WriteFile(cert, c.RegistryCertificate(), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	config := fmt.Sprintf(`version: 0.1
log: {level: info, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %s}}
http: {addr: %s}
auth: {token: {realm: "http://127.0.0.1/jwt/auth", service: %s, issuer: %s, rootcertbundle: %s}}
`, dir, addr, RegistryService, RegistryIssuer, cert)
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "docker-registry", "serve", file)
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	said := ""
	for lines := bufio.NewScanner(stderr); !strings.Contains(said, "listening on") && lines.Scan(); {
		said += lines.Text() + "\n"
	}
	if !strings.Contains(said, "listening on") {
		t.Fatalf("the registry does not start:\n%s", said)
	}
	send := func(method, path, token string) int {
		r, err := http.NewRequest(method, "http://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	_, v := c.AddAccessToken("acme", "t", Reporter, noon.AddDate(0, 0, 1), "read_registry")
	_, pull := c.ask("x", reveal(t, v), "repository:acme/app:pull,push")
	_, push := c.ask("maint", c.tokens["maint"], "repository:acme/app:pull,push")
	_, foreign := newCast(t, CE).ask("x", "", "repository:acme/app:pull")
	for _, test := range []struct {
		name, method, path, token string
		want                      int
	}{
		{"nobody", "GET", "/v2/", "", 401},
		{"log in", "GET", "/v2/", pull, 200},
		{"another GitLab's token", "GET", "/v2/", foreign, 401},
		{"pull what is not there", "GET", "/v2/acme/app/manifests/latest", pull, 404},
		{"pull elsewhere", "GET", "/v2/acme/web/manifests/latest", pull, 401},
		{"push without the right", "POST", "/v2/acme/app/blobs/uploads/", pull, 401},
		{"push", "POST", "/v2/acme/app/blobs/uploads/", push, 202},
	} {
		if got := send(test.method, test.path, test.token); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}
