// Package imports holds the parts of the program to who may use whom.
package imports

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Third-party packages that have one importer in the program itself.
const (
	goph   = "github.com/melbahja/goph"
	client = "gitlab.com/gitlab-org/api/client-go/v2"
	cli    = "github.com/urfave/cli/v2"
	toml   = "github.com/BurntSushi/toml"
	ssh    = "golang.org/x/crypto/ssh"
)

// A rule says what a package may import itself, apart from the standard
// library, and what must not be among its dependencies however far away.
type rule struct {
	pkg   string
	may   string // import paths; one that ends in /… stands for all below it
	never string // the same; here the standard library counts too
	why   string
}

var rules = []rule{
	{"provision/provision/secret", "", "os net",
		"what holds every secret reads and writes nothing"},
	{"provision/provision/hint", "", "provision/provision",
		"every part that makes errors adds hints to them"},
	{"provision/provision/visible", "", "provision/provision",
		"every part that is told something by a host or GitLab passes it on"},
	{"provision/provision/once", "", "provision/provision",
		"it asks whatever it is given"},
	{"provision/templates", "", "",
		"it is shell, and the way to embed it"},
	{"provision/provision/forge", "provision/provision/secret", client,
		"what the steps need of GitLab is said without its API"},
	{"provision/provision/forge/forgetest", "provision/provision/forge provision/provision/secret", client,
		"a stand-in keeps to the interface"},
	{"provision/provision/forge/job", "provision/provision/forge provision/provision/secret", client,
		"a job has variables and no API"},
	{"provision/provision", "provision/provision/forge provision/provision/hint provision/provision/secret provision/provision/visible provision/templates", "provision/steps provision/inventory " + strings.Join([]string{goph, client, cli, toml, ssh}, " "),
		"the engine knows no step, no inventory, no connection and no terminal"},
	{"provision/inventory", "provision/provision/secret go.yaml.in/yaml/v3 " + toml + " " + ssh, "provision/provision " + strings.Join([]string{goph, client, cli}, " "),
		"a file is read and checked without any host or GitLab; ssh is there to parse public keys"},
	{"provision/steps", "provision/provision provision/provision/forge provision/provision/hint provision/provision/secret provision/provision/visible provision/inventory provision/templates github.com/aymanbagabas/go-udiff " + ssh, strings.Join([]string{goph, client, cli, "provision/provision/remote"}, " "),
		"a plan follows from the facts alone; ssh is there for keys"},
	{"provision/provision/remote/sshconfig", "provision/provision/hint provision/provision/once provision/provision/visible github.com/skeema/knownhosts " + ssh + "/…", "provision/provision provision/provision/secret provision/steps provision/inventory " + strings.Join([]string{goph, client, cli, toml}, " "),
		"what ssh_config(5) and known_hosts say is read without connecting to anybody"},
	{"provision/provision/remote", "provision/provision/remote/sshconfig provision/provision/hint provision/provision/once provision/provision/secret provision/provision/visible " + goph + " github.com/skeema/knownhosts " + ssh + "/…", "provision/provision provision/steps provision/inventory " + client + " " + cli + " " + toml,
		"it is the only importer of goph, and knows programs as bytes"},
	{"provision/provision/forge/gitlab", "provision/provision/forge provision/provision/hint provision/provision/once provision/provision/secret provision/provision/visible " + client, "provision/provision provision/steps provision/inventory " + goph + " " + cli + " " + toml,
		"it is the only importer of the client of GitLab"},
	{"provision/cmd/access", "provision/inventory provision/provision/visible", "provision/provision provision/steps provision/provision/remote " + strings.Join([]string{goph, client, cli}, " "),
		"who can do what follows from the inventory alone"},
	{"provision/cmd/usage", "", "", "an error of whoever has typed something is what every part of the command line has"},
	{"provision/cmd/output", "provision/cmd/usage provision/provision provision/provision/hint provision/provision/visible golang.org/x/term golang.org/x/text/width", "provision/inventory provision/steps provision/provision/remote " + strings.Join([]string{goph, client, cli}, " "),
		"what is printed is the same wherever it comes from, so it knows no fleet"},
	{"provision/cmd/fleet", "provision/inventory provision/provision provision/provision/forge provision/provision/forge/gitlab provision/provision/remote provision/provision/remote/sshconfig provision/provision/secret provision/steps", "provision/cmd/output " + cli,
		"it is the one way to hosts and GitLab, and knows no report"},
	{"provision/cmd/fleet/fleettest", "provision/cmd/fleet provision/provision/remote", "provision/cmd/output " + cli,
		"hosts of tests are connections and nothing more"},
	{"provision/cmd/verify", "provision/cmd/access provision/cmd/fleet provision/cmd/output provision/cmd/usage provision/inventory provision/provision provision/provision/hint provision/provision/visible provision/provision/forge provision/provision/forge/job provision/provision/remote provision/provision/secret provision/steps github.com/jstemmer/go-junit-report/v2/junit", "provision/cmd " + cli,
		"what it looks at comes from a fleet, and what it finds goes into a report; it reads no flag"},
	{"provision/cmd", "provision/… golang.org/x/term go.yaml.in/yaml/v3 " + cli, "provision/e2e/…",
		"here it all comes together, but no lab; the libraries behind it are used through the parts"},
	{"provision/cmd/provision", "provision/cmd", "provision/e2e/…", "main calls Main; faults and stand-ins are not shipped in what runs in production"},
	{"provision/cmd/provision-rehearse", "provision/cmd provision/inventory provision/e2e/lab provision/e2e/rehearsal", "",
		"it is the only shipped program that has a lab, and types the commands of provision there"},
	{"provision/e2e/pages", "", "provision/provision os/exec net", "it reads and writes the documentation, and runs nothing of it"},
	{"provision/docs", "", "", "tests alone"},
	{"provision/packaging", "", "", "tests alone"},
	{"provision/e2e/gitlabtest", "provision/provision/secret github.com/golang-jwt/jwt/v5 " + ssh, "provision/provision provision/steps provision/inventory provision/provision/forge " + client,
		"a stand-in that shared code with what it tests would share its errors"},
	{"provision/e2e/lab", ssh + " golang.org/x/crypto/bcrypt golang.org/x/net/dns/dnsmessage", "provision/provision provision/steps provision/inventory " + goph,
		"the hosts know nothing of what is done to them"},
	{"provision/e2e/rehearsal", "provision/templates provision/e2e/gitlabtest provision/e2e/lab provision/inventory provision/provision/secret go.yaml.in/yaml/v3", "provision/provision provision/steps " + client + " " + goph,
		"it builds the world around the program, and types its commands"},
	{"provision/e2e/sshtest", ssh, "provision/provision provision/steps provision/inventory " + goph,
		"its servers know nothing of what is done to them"},
	{"provision/e2e/bench", "provision/e2e/gitlabtest provision/e2e/lab provision/e2e/rehearsal provision/inventory provision/provision/secret " + ssh, "provision/provision provision/steps provision/cmd " + client + " " + goph,
		"it measures the program from outside"},
	{"provision/e2e", "", "", "tests alone"},
	{"provision/e2e/needs", "", "provision/provision provision/steps provision/e2e/lab", "the tests of every package may use it"},
	{"provision/e2e/sample", "", "", "it draws cases, for the tests of every package"},
	{"provision/e2e/golden", "github.com/google/go-cmp/cmp", "provision/provision provision/steps", "it compares text"},
	{"provision/e2e/screen", "golang.org/x/sys/unix", "provision/provision", "it is a terminal"},
	{"provision/e2e/imports", "", "", "tests alone"},
}

// stepsNever are packages of the standard library that would let a step look
// at something but its facts, or do something but plan.
var stepsNever = []string{"os", "os/exec", "os/signal", "os/user", "io/fs", "io/ioutil", "path/filepath", "syscall", "net", "net/http", "net/url", "time", "log", "log/slog", "math/rand", "math/rand/v2", "unsafe", "runtime", "plugin", "embed"}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return strings.Fields(string(out))
}

const root = "../.."

func TestImports(t *testing.T) {
	packages := goList(t, "./...")
	for _, r := range rules {
		if !slices.Contains(packages, r.pkg) {
			t.Errorf("there is a rule for %s, and no such package", r.pkg)
			continue
		}
		packages = slices.DeleteFunc(packages, func(p string) bool { return p == r.pkg })
		for _, imported := range goList(t, "-f", `{{join .Imports "\n"}}`, r.pkg) {
			if foreign(imported) && !covers(r.may, imported) {
				t.Errorf("%s imports %s: %s", r.pkg, imported, r.why)
			}
			if r.pkg == "provision/steps" && slices.Contains(stepsNever, imported) {
				t.Errorf("%s imports %s: %s", r.pkg, imported, r.why)
			}
		}
		deps := goList(t, "-deps", r.pkg)
		for _, never := range strings.Fields(r.never) {
			if r.pkg == "provision/provision/secret" {
				deps = goList(t, "-f", `{{join .Imports "\n"}}`, r.pkg) // fmt depends on os
			}
			if at := slices.IndexFunc(deps, func(dep string) bool { return covers(never, dep) }); at >= 0 {
				t.Errorf("%s depends on %s: %s", r.pkg, deps[at], r.why)
			}
		}
	}
	for _, p := range packages {
		t.Errorf("%s has no rule: who may it use, and why?", p)
	}
}

// foreign tells whether a package is not of the standard library.
func foreign(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return first == "provision" || strings.Contains(first, ".")
}

func covers(may, path string) bool {
	for _, allowed := range strings.Fields(may) {
		prefix, all := strings.CutSuffix(allowed, "/…")
		if path == prefix || all && strings.HasPrefix(path, prefix+"/") {
			return true
		}
	}
	return false
}

// Libraries that only one package may import.
func TestSoleImporters(t *testing.T) {
	for library, importer := range map[string]string{
		goph: "provision/provision/remote", client: "provision/provision/forge/gitlab", cli: "provision/cmd", toml: "provision/inventory",
	} {
		found := false
		for _, line := range strings.Split(strings.Join(goList(t, "-f", `{{.ImportPath}}={{join .Imports ","}}`, "./..."), "\n"), "\n") {
			pkg, imports, _ := strings.Cut(line, "=")
			if !slices.Contains(strings.Split(imports, ","), library) {
				continue
			}
			if found = found || pkg == importer; pkg != importer {
				t.Errorf("%s imports %s, which is for %s", pkg, library, importer)
			}
		}
		if !found {
			t.Errorf("%s does not import %s", importer, library)
		}
	}
}

// revealers are the functions that may see a secret, and what for. Whatever
// else holds one can only pass it on.
var revealers = map[string]string{
	"provision/secret: Value.Digest": "to tell two secrets apart without showing them",
	"provision: program.writeJob":    "to write it into the program that goes to the host",
	"provision: program.hide":        "to take it out of what a host says",

	"steps: publicOf":                      "to know CI's key by its public half",
	"steps: ciKey.ask":                     "to see whether OpenSSH would read CI's key",
	"steps: ciKey.heldBy":                  "to copy or mend CI's key within GitLab",
	"steps: ciKey.newPair":                 "to derive the public half of a new key",
	"steps: joinLines":                     "to join lines of authorized_keys, which are no secrets",
	"steps: ci.leads":                      "to compare the target, which is no secret",
	"steps: inventoryIndex.leftVariables":  "to see where a target leads, which is no secret",
	"steps: inventoryIndex.leadsTo":        "to see where a target leads, which is no secret",
	"steps: ciVariables.Probe":             "to compare known hosts and target, which are no secrets",
	"steps: registryLogin.create":          "to join a new token to its user name",
	"steps: registryLoginOf":               "to join a named password to its user name",
	"steps: overriddenVariables.overrides": "to compare the target, which is no secret",
	"steps: appEnvOf":                      "to quote a value for .env",
	"steps: appEnv.block":                  "to join the lines of .env",
	"steps: appEnv.form":                   "to tell lines that are no secrets",
	"steps: withOverrideFile":              "to name one more Compose file, which is no secret",
	"steps: appFiles.write":                "to encode what is no text",

	"provision/forge/gitlab: New":                   "to send the token of the admin",
	"provision/forge/gitlab: Client.createVariable": "to send the value",
	"provision/forge/gitlab: Client.updateVariable": "to send the value",
	"provision/forge/gitlab: Client.words":          "to take what was sent out of GitLab's answers",

	"provision/remote: onlyKey":       "to parse a private key file",
	"provision/remote: decrypt":       "to unlock a private key file with its passphrase",
	"provision/remote: Conn.password": "to answer sudo's prompt",

	"provision/forge/forgetest: Fake.SetVariable": "a stand-in: to keep what was said at that moment",
	"e2e/gitlabtest: GitLab.AddVariable":          "a stand-in: to serve it",
	"e2e/bench: bench.deploys":                    "to time a deploy as a job makes it",
	"e2e/rehearsal: World.value":                  "to deploy as a job does",
	"e2e/rehearsal: World.registryToken":          "to push the images",
	"e2e/rehearsal: World.keep":                   "to write it where the inventory refers to it",
}

func TestRevealers(t *testing.T) {
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			name := "a variable"
			if f, ok := decl.(*ast.FuncDecl); ok {
				name = f.Name.Name
				if f.Recv != nil {
					name = receiver(f.Recv.List[0].Type) + "." + name
				}
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Reveal" {
					found[filepath.ToSlash(dir)+": "+name] = true
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for where := range found {
		if revealers[where] == "" {
			t.Errorf("%s reveals a secret: what for?", where)
		}
	}
	for where := range revealers {
		if !found[where] {
			t.Errorf("%s reveals no secret any more: take it out of the table", where)
		}
	}
}

func receiver(expr ast.Expr) string {
	if star, ok := expr.(*ast.StarExpr); ok {
		expr = star.X
	}
	if name, ok := expr.(*ast.Ident); ok {
		return name.Name
	}
	return "?"
}
