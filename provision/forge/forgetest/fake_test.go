package forgetest

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"provision/e2e/gitlabtest"
	"provision/provision/forge"
	"provision/provision/forge/gitlab"
	"provision/provision/secret"
)

// A Fake keeps to the rules that the client has with a GitLab: the same story
// comes out the same.
func TestLikeGitLab(t *testing.T) {
	for name, edition := range map[string]gitlabtest.Edition{"with scopes": gitlabtest.CE, "without scopes of groups": gitlabtest.EEFree} {
		t.Run(name, func(t *testing.T) {
			fake := New("transmogrify/frobnicator", "transmogrify/other")
			fake.NoScopes = edition == gitlabtest.EEFree
			key := newKey(t)
			repositories := t.TempDir()
			commits := commitsIn(t, filepath.Join(repositories, "transmogrify/frobnicator.git"))
			for i, id := range commits {
				c := forge.Commit{ID: id, Parents: commits[max(i-1, 0):i]}
				fake.Branches["transmogrify/frobnicator main"] = slices.Insert(fake.Branches["transmogrify/frobnicator main"], 0, c)
			}
			want := story(t, served(t, edition, repositories, "transmogrify/frobnicator", "transmogrify/other"), key)
			if diff := cmp.Diff(want, story(t, fake, key)); diff != "" {
				t.Errorf("-with GitLab +with the fake:\n%s", diff)
			}
		})
	}
}

// served is the client of a GitLab with some projects.
func served(t *testing.T, edition gitlabtest.Edition, repositories string, projects ...string) forge.Forge {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := gitlabtest.New(gitlabtest.Config{Edition: edition, Repositories: repositories})
	go server.Serve(listener, nil)
	t.Cleanup(func() { server.Close() })
	client, err := gitlab.New(gitlab.Options{URL: "http://" + listener.Addr().String(), Token: server.Seed(projects...)})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// commitsIn makes a bare repository with some commits, and returns their ids.
func commitsIn(t *testing.T, repository string) []string {
	t.Helper()
	out, err := exec.Command("sh", "-euc", `
git init --quiet --bare --initial-branch main "$1"
for n in one two three; do
	id=$(git --git-dir "$1" -c user.name=x -c user.email=x@example.com commit-tree ${id:+-p "$id"} -m "$n" 4b825dc642cb6eb9a060e54bf8d69288fbee4904)
	printf '%s\n' "$id"
done
git --git-dir "$1" branch main "$id"`, "sh", repository).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.Fields(string(out))
}

func newKey(t *testing.T) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// story does and looks at this and that, and returns what came of it, without
// what differs from one GitLab to the next: ids, values of tokens, and dates.
func story(t *testing.T, f forge.Forge, key string) (told []string) {
	t.Helper()
	group := forge.Owner{Kind: forge.GroupOwner, Path: "transmogrify"}
	project := forge.Owner{Kind: forge.ProjectOwner, Path: "transmogrify/frobnicator"}
	nowhere := forge.Owner{Kind: forge.ProjectOwner, Path: "transmogrify/nowhere"}
	ctx := t.Context()
	tell := func(what string, err error, values ...string) {
		for known, name := range map[error]string{
			forge.ErrNotFound: "not found", forge.ErrScope: "no scopes", forge.ErrTaken: "taken", forge.ErrUnseen: "unseen",
			forge.ErrForbidden: "forbidden", forge.ErrUnauthorized: "unauthorized",
		} {
			if errors.Is(err, known) {
				err = errors.New(name)
			}
		}
		told = append(told, fmt.Sprintf("%s: %v %v", what, strings.Join(values, " | "), err))
	}

	newest := func(what, project, branch string) {
		list, err := f.Newest(ctx, project, branch)
		var ids []string
		for _, c := range list {
			ids = append(ids, c.ID+" after "+strings.Join(c.Parents, " "))
		}
		tell("newest of "+what, err, ids...)
	}
	newest("a branch", project.Path, "main")
	newest("no branch", project.Path, "gone")
	newest("nothing", nowhere.Path, "main")

	variables := func(what string, owner forge.Owner) {
		all, err := f.Variables(ctx, owner)
		var values []string
		for _, v := range all {
			values = append(values, fmt.Sprintf("%s=%s scope %s file %t raw %t protected %t description %q",
				v.Key, reveal(t, v.Value), v.Scope, v.File, v.Raw, v.Protected, v.Description))
		}
		tell(what, err, values...)
	}
	set := func(owner forge.Owner, v forge.Variable, text string) {
		v.Value = secret.New(text)
		tell("set "+v.Key+" of "+owner.String(), f.SetVariable(ctx, owner, v))
	}
	variables("variables at first", project)
	set(project, forge.Variable{Key: "A", Scope: "production", File: true, Protected: true, Raw: true, Description: "of provision"}, "one")
	set(project, forge.Variable{Key: "A", Scope: "staging"}, "two")
	set(project, forge.Variable{Key: "A", Scope: "production", Raw: true}, "three")
	variables("variables then", project)
	tell("remove", f.RemoveVariable(ctx, project, "A", "staging"))
	tell("remove again", f.RemoveVariable(ctx, project, "A", "staging"))
	variables("variables at last", project)
	set(group, forge.Variable{Key: "B", Scope: "*"}, "for all")
	set(group, forge.Variable{Key: "B", Scope: "production"}, "for production")
	variables("variables of the group", group)
	set(nowhere, forge.Variable{Key: "C", Scope: "*"}, "x")
	variables("variables of nothing", nowhere)

	deployKeys := func(what, project string) (id int64) {
		all, err := f.DeployKeys(ctx, project)
		var values []string
		for _, k := range all {
			id = k.ID
			values = append(values, fmt.Sprintf("%s push %t same key %t", k.Title, k.CanPush, strings.HasPrefix(k.Key, key)))
		}
		tell(what, err, values...)
		return id
	}
	deployKeys("deploy keys at first", project.Path)
	tell("add", f.AddDeployKey(ctx, project.Path, forge.DeployKey{Title: "deploy", Key: key + " deploy"}))
	tell("add again", f.AddDeployKey(ctx, project.Path, forge.DeployKey{Title: "deploy", Key: key + " deploy"}))
	tell("add elsewhere", f.AddDeployKey(ctx, "transmogrify/other", forge.DeployKey{Title: "deploy", Key: key + " deploy"}))
	id := deployKeys("deploy keys then", project.Path)
	tell("rename", f.RenameDeployKey(ctx, project.Path, id, "renamed"))
	tell("remove", f.RemoveDeployKey(ctx, project.Path, id))
	tell("remove again", f.RemoveDeployKey(ctx, project.Path, id))
	deployKeys("deploy keys at last", project.Path)
	deployKeys("deploy keys elsewhere", "transmogrify/other")
	deployKeys("deploy keys of nothing", nowhere.Path)

	for _, kind := range []forge.TokenKind{forge.AccessToken, forge.DeployToken} {
		tokens := func(what string) {
			all, err := f.Tokens(ctx, group, kind)
			var values []string
			for _, token := range all {
				values = append(values, fmt.Sprintf("%s active %t scopes %v value %t", token.Name, token.Active, token.Scopes, !token.Value.IsZero()))
			}
			tell(string(kind)+"s "+what, err, values...)
		}
		tokens("at first")
		made, err := f.CreateToken(ctx, group, kind, forge.Token{Name: "reader", Scopes: []string{"read_registry"}, Level: forge.Reporter})
		tell("create", err, fmt.Sprintf("%s active %t value %t ends %t user name %t", made.Name, made.Active, !made.Value.IsZero(), !made.Expires.IsZero() && made.Expires.After(time.Now()), made.Username != ""))
		tokens("then")
		tell("revoke", f.RevokeToken(ctx, group, kind, made.ID))
		tokens("at last")
		tell("revoke what never was", f.RevokeToken(ctx, group, kind, 1<<40))
		_, err = f.Tokens(ctx, nowhere, kind)
		tell("tokens of nothing", err)
	}

	p, err := f.Project(ctx, project.Path)
	tell("project", err, p.Path, p.DefaultBranch)
	_, err = f.Project(ctx, nowhere.Path)
	tell("no project", err)
	branches, err := f.ProtectedBranches(ctx, project.Path)
	tell("protected branches", err, branches...)
	_, err = f.ProtectedBranches(ctx, nowhere.Path)
	tell("protected branches of nothing", err)
	_, err = f.Files(ctx, project.Path, "gone", "")
	tell("files of no branch", err)
	_, err = f.Files(ctx, nowhere.Path, "", "")
	tell("files of nothing", err)
	return told
}

func reveal(t *testing.T, v secret.Value) string {
	t.Helper()
	text, err := v.Reveal()
	if err != nil {
		t.Fatal(err)
	}
	return text
}
