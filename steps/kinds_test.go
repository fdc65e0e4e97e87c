package steps

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"provision/inventory"
	"provision/provision"
)

// A kind is undone or says why not, and has fixtures of what it plans.
func TestKinds(t *testing.T) {
	inv, given := inventoryOf(t, "")
	plans, removals := fixturesOf(t, "plan"), fixturesOf(t, "remove")
	for _, k := range kinds() {
		w := targets(inv, inv.Hosts[0], inv.Deployments, given)[0]
		name := kindOf(k.steps(w)[0])
		if (k.undo == nil) == (k.stays == "") {
			t.Errorf("%s: it is either undone, or says why not: %q", name, k.stays)
		}
		if k.undo != nil {
			if got := kindOf(k.undo(w)[0]); got != name {
				t.Errorf("%s is undone as %s", name, got)
			}
			if removals[name] == 0 {
				t.Errorf("%s is undone, and has no fixtures in testdata/remove", name)
			}
		}
		if plans[name] == 0 && isMade(k) {
			t.Errorf("%s has no fixtures in testdata/plan", name)
		}
	}
}

// A step that has the name of a deployment, or of a user, is about that alone.
func TestScopes(t *testing.T) {
	inv, given := inventoryOf(t, "")
	host := inv.Hosts[0]
	var deployments []*inventory.Deployment
	for _, name := range []string{"one", "two"} {
		d := *inv.Deployments[0]
		d.Name, d.User, d.Host = name, "user-"+name, host
		deployments = append(deployments, &d)
	}
	for _, s := range For(inv, host, deployments, given) {
		_, about, _ := strings.Cut(s.Name(), " ")
		about, _, _ = strings.Cut(about, " ")
		user, ofUser := strings.CutPrefix(about, "user-")
		want := provision.Scope{}
		switch {
		case ofUser:
			want.User = "user-" + user
		case about != "":
			want = provision.Scope{User: "user-" + about, Deployment: about}
		}
		if got := provision.ScopeOf(s); got != want {
			t.Errorf("%s is about %v, want %v", s.Name(), got, want)
		}
	}
}

// isMade tells whether a kind is wanted of any deployment.
func isMade(k kind) bool {
	for _, change := range inventories {
		inv, given := plainInventory()
		change(inv, &given)
		if len(k.wanted(nil, targets(inv, inv.Hosts[0], inv.Deployments, given)[0])) > 0 {
			return true
		}
	}
	return false
}

// fixturesOf counts the fixtures in a folder of testdata by the kind of their
// step.
func fixturesOf(t *testing.T, folder string) map[string]int {
	t.Helper()
	files, err := filepath.Glob("testdata/" + folder + "/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(headOf(archive)["step"], " ")
		found[kind]++
	}
	return found
}

// Every type that is a step stands in the list: one that does not would be
// planned, removed or looked at by nobody.
func TestKindsAreAll(t *testing.T) {
	listed := map[string]bool{"undo": true}
	inv, given := inventoryOf(t, "")
	for _, k := range kinds() {
		s := k.steps(targets(inv, inv.Hosts[0], inv.Deployments, given)[0])[0]
		listed[reflect.TypeOf(s).Name()] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Name.Name != "Plan" || f.Recv == nil {
				continue
			}
			if typ, ok := f.Recv.List[0].Type.(*ast.Ident); !ok || !listed[typ.Name] {
				t.Errorf("%s: a step that is not in the list of steps.go", name)
			}
		}
	}
}
