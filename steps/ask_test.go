package steps

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"provision/provision"
	"provision/provision/forge"
	"provision/provision/forge/forgetest"
	"provision/provision/hint"
	"provision/provision/secret"
)

// TestAsks reads testdata/ask: what GitLab has, and what a step sees of it, which
// says what is ours and what is somebody else's.
//
// Above the first section stand a sentence, and lines "step: NAME", "inventory:
// NAME" and "removal: yes" for the step that undoes. GitLab has one thing a line:
//
//	variable OWNER KEY SCOPE [file] [protected] [raw] [ours] [formerly] [namesake] value=VALUE
//	token OWNER access|deploy ID NAME [dead] [ours] [days=N] [username=NAME]
//	key PROJECT ID TITLE [can-push] [days=N] value=KEY
//	protected PROJECT BRANCH,…
//	default PROJECT BRANCH
//	commit PROJECT BRANCH ID [PARENT…]
//	gone OWNER
//	moved PROJECT PATH
//	fails METHOD forbidden|unseen|boom
//
// An owner is group:PATH or project:PATH. What is ours has the description that
// this deployment, or this host, gives it; what is of a namesake, that of a
// deployment of the same name on another host; what is formerly ours, that of before both were
// renamed. In a value ${private1} is a private key.
func TestAsks(t *testing.T) {
	files, err := filepath.Glob("testdata/ask/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(archive.Files) != 2 || archive.Files[0].Name != "gitlab" || archive.Files[1].Name != "facts" {
				t.Fatal("the sections are gitlab and facts")
			}
			step := asking(t, headOf(archive))
			f := newFake()
			for line := range strings.Lines(string(archive.Files[0].Data)) {
				has(t, f, strings.TrimSpace(line))
			}
			got := seenAs(step.Probe().Ask(t.Context(), f))
			if calls := f.Calls(); calls != nil {
				t.Errorf("asking changed GitLab: %q", calls)
			}
			if *update {
				archive.Files[1].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(archive.Files[1].Data); got != want {
				t.Errorf("saw:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// asking returns the step that a fixture is about.
func asking(t *testing.T, head map[string]string) provision.Step {
	t.Helper()
	inv, given := inventoryOf(t, head["inventory"])
	steps := For(inv, inv.Hosts[0], inv.Deployments, given)
	if head["removal"] == "yes" {
		steps = Remove(inv, inv.Hosts[0], inv.Deployments[0], given)
	}
	step := named(t, steps, head["step"])
	if step.Probe().Ask == nil {
		t.Fatalf("%s asks nothing", step.Name())
	}
	return step
}

// has lets a line of a fixture stand in GitLab.
func has(t *testing.T, f *forgetest.Fake, line string) {
	t.Helper()
	line, value, _ := strings.Cut(line, " value=")
	words := strings.Fields(line)
	rest := map[string]string{"value": os.Expand(escapes.Replace(value), testKeys)}
	for i := range words {
		key, value, _ := strings.Cut(words[i], "=")
		rest[key] = value
	}
	flag := func(name string) bool { _, ok := rest[name]; return ok }
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return n
	}
	ends, days := time.Time{}, 0
	if flag("days") {
		ends, days = time.Unix(1<<40, 0), number(rest["days"])
	}
	switch words[0] {
	case "variable":
		v := forge.Variable{Key: words[2], Scope: words[3], File: flag("file"), Protected: flag("protected"), Raw: flag("raw")}
		if flag("ours") {
			v.Description = "Set by provision for frobnicator-production on web1."
		}
		if flag("formerly") {
			v.Description = "Set by provision for frobnicator on app3."
		}
		if flag("namesake") {
			v.Description = "Set by provision for frobnicator-production on web2."
		}
		if value != "" {
			v.Value = secret.New(rest["value"])
		}
		f.Vars[ownerOf(words[1])] = append(f.Vars[ownerOf(words[1])], v)
	case "token":
		kind := map[string]forge.TokenKind{"access": forge.AccessToken, "deploy": forge.DeployToken}[words[2]]
		token := forge.Token{ID: int64(number(words[3])), Name: words[4], Active: !flag("dead"), Username: rest["username"], Expires: ends, DaysLeft: days}
		if flag("ours") {
			token.Description = madeFor(token.Name)
		}
		owner := ownerOf(words[1])
		if f.Made[owner] == nil {
			f.Made[owner] = map[forge.TokenKind][]forge.Token{}
		}
		f.Made[owner][kind] = append(f.Made[owner][kind], token)
	case "key":
		f.Keys[words[1]] = append(f.Keys[words[1]], forge.DeployKey{ID: int64(number(words[2])), Title: words[3], Key: rest["value"], CanPush: flag("can-push"), ExpiresAt: ends, DaysLeft: days})
	case "protected":
		f.Protected[words[1]] = strings.Split(words[2], ",")
	case "default":
		f.Projects[words[1]] = forge.Project{Path: words[1], DefaultBranch: words[2]}
	case "commit":
		if f.Branches == nil {
			f.Branches = map[string][]forge.Commit{}
		}
		branch := words[1] + " " + words[2]
		f.Branches[branch] = append(f.Branches[branch], forge.Commit{ID: words[3], Parents: words[4:]})
	case "moved":
		f.Projects[words[1]] = forge.Project{Path: words[2], Group: words[2][:strings.LastIndexByte(words[2], '/')], DefaultBranch: "main"}
	case "gone":
		owner := ownerOf(words[1])
		delete(f.Projects, owner.Path)
		f.Groups = slices.DeleteFunc(f.Groups, func(g string) bool { return g == owner.Path })
	case "fails":
		f.Fail[words[1]] = map[string]error{"forbidden": forge.ErrForbidden, "unseen": forge.ErrUnseen, "boom": errors.New("boom")}[words[2]]
	default:
		t.Fatalf("GitLab has no %q", line)
	}
}

func ownerOf(text string) forge.Owner {
	kind, path, _ := strings.Cut(text, ":")
	return forge.Owner{Kind: forge.OwnerKind(kind), Path: path}
}

func testKeys(name string) string {
	return map[string]string{"private1": key1.private, "private2": key2.private, "key1": key1.public, "key2": key2.public}[name]
}

// seenAs writes facts as they stand in testdata, by key.
func seenAs(facts provision.Facts, err error) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(facts)) {
		for _, value := range facts[key] {
			fmt.Fprintf(&b, "%s=%s\n", key, strings.ReplaceAll(value, "\n", `\n`))
		}
	}
	if err != nil {
		fmt.Fprintf(&b, "error: %v\n", err)
		for _, advice := range hint.Of(err) {
			fmt.Fprintf(&b, "hint: %s\n", advice)
		}
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return strings.NewReplacer(key1.public, "${key1}", key2.public, "${key2}").Replace(b.String())
}

// Every step that asks GitLab something has fixtures of what it sees.
func TestAsksAreAll(t *testing.T) {
	files, err := filepath.Glob("testdata/ask/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head := headOf(archive)
		found[kindOf(asking(t, head))+" "+head["removal"]] = true
	}
	inv, given := inventoryOf(t, "")
	for _, s := range For(inv, inv.Hosts[0], inv.Deployments, given) {
		if s.Probe().Ask != nil && !found[kindOf(s)+" "] {
			t.Errorf("%s asks GitLab, and has no fixtures in testdata/ask", kindOf(s))
		}
	}
	for _, s := range Remove(inv, inv.Hosts[0], inv.Deployments[0], given) {
		if s.Probe().Ask != nil && !found[kindOf(s)+" yes"] {
			t.Errorf("the undoing of %s asks GitLab, and has no fixtures in testdata/ask", kindOf(s))
		}
	}
}
