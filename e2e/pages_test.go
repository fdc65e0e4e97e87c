package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"provision/e2e/gitlabtest"
	"provision/e2e/needs"
	"provision/e2e/pages"
	"provision/e2e/rehearsal"
	"provision/inventory"
	"provision/templates"
)

var update = flag.Bool("update", false, "write anew what the transcripts of the documentation show")

// What the pages show of the example inventory is what happens. They are read
// one after the other in one world, the first one on bare hosts.
func TestPages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, inventory.Example); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "inventory.toml")
	if err := os.Rename(filepath.Join(dir, "example.toml"), file); err != nil {
		t.Fatal(err)
	}
	r := newReader(t, dir, file)

	// The inventory as it has to be in the lab, in the place of the example.
	written, err := r.Write()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(written)
	if err != nil {
		t.Fatal(err)
	}
	token := fmt.Sprintf("token = { file = %q }\n", r.Inventory.GitLab.Token.File)
	short := strings.NewReplacer(dir+"/", "", filepath.Dir(written)+"/ca.pem", "ca.pem", token, "").Replace(string(text))
	if err := os.WriteFile(file, []byte(short), 0o644); err != nil {
		t.Fatal(err)
	}
	all, err := pages.All("..")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"docs/how-it-works.md", "README.md", "docs/guide.md"} // of bare hosts
	for _, p := range all {
		name, err := filepath.Rel("..", p.Path)
		if err != nil {
			t.Fatal(err)
		}
		transcript := func(p pages.Part) bool { return p.Language() == "console" }
		if slices.ContainsFunc(p.Parts, transcript) && !slices.Contains(append(names, elsewhere...), name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) { r.read(t, name) })
	}
}

// What walkthrough.md shows is what somebody sees who has nothing yet but a
// project, a host and a token.
func TestWalkthrough(t *testing.T) { // before TestPages, whose hosts have the same names
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "world.toml")
	if err := os.WriteFile(file, []byte(destination), 0o644); err != nil {
		t.Fatal(err)
	}
	r := newReader(t, dir, file, func(o *rehearsal.Options) {
		o.Files = func(_, image string) map[string]string {
			return map[string]string{
				"deploy/compose.yaml": strings.ReplaceAll(walked, "IMAGE", image),
				"deploy/staging.yaml": "services:\n  app: {restart: unless-stopped}\n",
			}
		}
	})
	r.GitLab.AddProject("transmogrify/site", "main")
	site := r.commit(t, "transmogrify/site", "main", "the first page", map[string]string{"index.html": "it works\n"})
	r.commit(t, "transmogrify/frobnicator", "main", "show the site", map[string]string{"site": "submodule ../site.git " + site})
	password, err := r.Inventory.Deployments[0].Env[0].Secret.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := password.Reveal()
	if err != nil {
		t.Fatal(err)
	}
	r.env = append(r.env, "STAGING_DB_PASSWORD="+text)
	if err := os.Remove(filepath.Join(r.home, ".ssh/known_hosts")); err != nil {
		t.Fatal(err)
	}
	r.read(t, "docs/walkthrough.md")
	if s := r.apply(t, "--output", "json").summary(t); s.Changes != 0 {
		t.Errorf("what the walk has made is not what it should have: %+v", s)
	}
}

// destination is where the walk leads.
const destination = `
[gitlab]
url = "https://git.example.com"
host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0"]
[registry]
host = "registry.example.com"
[hosts.deploy-host]
address = "deploy-host.example.com"
user = "admin"
[deployments.frobnicator-staging]
hosts = ["deploy-host"]
project = "transmogrify/frobnicator"
user = "deploy-frobnicator"
directory = "frobnicator"
environment = "staging"
variables = { projects = ["transmogrify/frobnicator"] }
compose = ["deploy/compose.yaml", "deploy/staging.yaml"]
profiles = ["web"]
env = { DB_PASSWORD = { env = "STAGING_DB_PASSWORD" } }
`

// walked is what is deployed there, with a submodule in the folder site.
const walked = `services:
  app:
    image: IMAGE
    environment: {DB_PASSWORD: "${DB_PASSWORD}"}
    volumes: ["../site:/site:ro"]
  web:
    image: IMAGE
    profiles: [web]
    depends_on: [app]
`

// elsewhere are the pages whose transcripts have a test of their own.
var elsewhere = []string{"docs/commands.md", "docs/walkthrough.md"}

// A reader reads pages and types what they say, in a shell of an admin.
type reader struct {
	*world
	dir, home string
	env       []string
}

// newReader makes the world of an inventory, and the machine of its admin.
func newReader(t *testing.T, dir, file string, options ...func(*rehearsal.Options)) *reader {
	t.Helper()
	needs.Lab(t, noLab)
	inv, err := inventory.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	var o rehearsal.Options
	for _, set := range options {
		set(&o)
	}
	w, err := rehearsal.New(t.Context(), theLab, inv, o)
	if w != nil {
		t.Cleanup(func() {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(inv.Hosts[0].Identity)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home, bin := t.TempDir(), t.TempDir()
	var config, knownHosts strings.Builder
	fmt.Fprintf(&config, "IdentityFile %s/.ssh/id_ed25519\nUserKnownHostsFile %[1]s/.ssh/known_hosts\n", home)
	for _, h := range inv.Hosts {
		fmt.Fprintf(&config, "Host %s\n\tHostName %s\n\tUser %s\n", h.Name, h.Address, h.User)
		knownHosts.WriteString(w.Hosts[h.Name].KnownHosts())
	}
	for name, text := range map[string]string{
		filepath.Join(home, ".ssh/id_ed25519"):  string(key),
		filepath.Join(home, ".ssh/config"):      config.String(),
		filepath.Join(home, ".ssh/known_hosts"): knownHosts.String(),
		filepath.Join(dir, "ca.pem"):            string(inv.GitLab.CA),
		// ssh(1) asks nobody but the system where its user is at home.
		filepath.Join(bin, "ssh"):       "#!/bin/sh\nexec /usr/bin/ssh -F " + home + "/.ssh/config \"$@\"\n",
		filepath.Join(bin, "provision"): "#!/bin/sh\n" + programVariable + "=yes exec " + self + ` "$@"` + "\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r := &reader{&world{World: w, dir: dir}, dir, home, nil}
	file = filepath.Join(bin, "token")
	if err := r.token("owner", file); err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r.env = append(os.Environ(), "HOME="+home, "GITLAB_TOKEN="+string(token), "PATH="+bin+":"+os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TZ=UTC")
	return r
}

// read does what a page says, and holds what it shows to what happens.
func (r *reader) read(t *testing.T, page string) {
	p, err := pages.Read(filepath.Join("..", page))
	if err != nil {
		t.Fatal(err)
	}
	shell := r.shell(t)
	var answers []string
	changed := map[int]string{}
	defer func() {
		if *update && len(changed) > 0 {
			if err := p.Replace(changed); err != nil {
				t.Error(err)
			}
			t.Logf("%s: %d transcripts are written anew", page, len(changed))
		}
	}()
	for _, part := range p.Parts {
		at := fmt.Sprintf("%s:%d", page, part.Line)
		switch {
		case strings.HasPrefix(part.Scene, "type "):
			answers = strings.Split(strings.TrimPrefix(part.Scene, "type "), "|")
		case part.Scene != "":
			if err := r.scene(t, shell, part.Scene); err != nil {
				t.Fatalf("%s: %v", at, err)
			}
		case part.Language() == "console":
			commands, err := pages.Commands(part.Text)
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			same := true
			for i, c := range commands {
				var printed string
				if project := part.Value("job"); project != "" {
					printed = r.job(t, project, part.Value("environment"), c.Text)
				} else if answers != nil {
					printed, answers = r.converse(t, c.Text, answers), nil
				} else if printed, _, err = shell.run(c.Text); err != nil {
					t.Fatalf("%s: %s: %v", at, c.Text, err)
				}
				if pages.Same(c.Output, printed) {
					continue
				}
				same = false
				commands[i].Output = pages.Shorten(printed)
				if !*update {
					t.Errorf("%s: %s\nprints\n%s\nand not\n%s", at, c.Text, commands[i].Output, c.Output)
				}
			}
			if !same {
				changed[part.Line] = pages.Transcript(commands)
			}
		}
	}
}

// job types a command as a job of a pipeline does, after what it has before its
// script, and returns what it prints. Who types ssh knows the host already.
func (r *reader) job(t *testing.T, project, environment, command string) string {
	t.Helper()
	out, err := r.Run(t.Context(), rehearsal.Job{In: project, Environment: environment,
		Script: "exec 2>&1\n" + templates.CIBefore + "\nmkdir ~/.ssh && cp \"$files/known_hosts\" ~/.ssh && chmod 600 \"$SSH_AUTH\"\n" + command + "\n"})
	if exit, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	} else if failed && out == "" {
		return fmt.Sprintf("exit code %d\n", exit.ExitCode())
	}
	return out
}

// question is the end of one, behind which an answer is typed.
var question = regexp.MustCompile(`[?)\]] $`)

// converse runs a command at a terminal, and answers its questions.
func (r *reader) converse(t *testing.T, command string, answers []string) string {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	number, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Dir, cmd.Env = r.dir, append(slices.Clone(r.env), "TERM=dumb")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = file, file, file
	err = cmd.Start()
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	buffer := make([]byte, 4096)
	for {
		n, err := terminal.Read(buffer)
		out.Write(buffer[:n])
		if question.MatchString(out.String()) && len(answers) > 0 {
			fmt.Fprintln(terminal, answers[0])
			answers = answers[1:]
		}
		if err != nil { // nobody has the other side any more
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v", command, err)
	}
	return strings.ReplaceAll(out.String(), "\r\n", "\n")
}

// scene does what happens behind the scene.
func (r *reader) scene(t *testing.T, s *shell, what string) error {
	verb, rest, _ := strings.Cut(what, " ")
	first, more, _ := strings.Cut(rest, " ")
	switch verb {
	case "run": // a command of the admin
		out, code, err := s.run(rest)
		if err == nil && code != 0 {
			err = fmt.Errorf("%s: exit code %d\n%s", rest, code, out)
		}
		return err
	case "on": // HOST: a command of root
		if _, err := r.Hosts[first].Exec(t.Context(), more); err != nil {
			return err
		}
		return nil
	case "push": // PROJECT VERSION: what CI builds
		return r.Push(t.Context(), first, more)
	case "push-broken":
		return r.PushBroken(t.Context(), first, more)
	case "deploy": // DEPLOYMENT ENVIRONMENT: the job of a pipeline
		for _, d := range r.Inventory.Deployments {
			if d.Name == first && d.Scope == more {
				_, err := r.CI(t.Context(), d, "")
				return err
			}
		}
	case "gitlab": // METHOD PATH BODY: somebody does something in GitLab
		path, body, _ := strings.Cut(more, " ")
		r.api(t, first, path, body)
		return nil
	case "enable": // PROJECT OTHER: the deploy keys of a project are let in to another one
		var keys []struct{ ID int64 }
		if err := json.Unmarshal(r.api(t, http.MethodGet, "/projects/"+url.PathEscape(first)+"/deploy_keys", ""), &keys); err != nil {
			return err
		}
		for _, key := range keys {
			r.api(t, http.MethodPost, fmt.Sprintf("/projects/%s/deploy_keys/%d/enable", url.PathEscape(more), key.ID), "")
		}
		return nil
	case "owner": // NAME: somebody else is made an owner; their token is in NAME.token
		r.GitLab.AddUser(first)
		for _, d := range r.Inventory.Deployments {
			top, _, _ := strings.Cut(d.Project, "/")
			r.GitLab.AddMember(top, first, gitlabtest.Owner)
		}
		return r.token(first, filepath.Join(r.dir, first+".token"))
	case "block": // NAME
		r.GitLab.Block(first)
		return nil
	case "token": // HOST USER DAYS: so long will the registry token of a user of a host work
		var user string
		var days int
		if _, err := fmt.Sscan(more, &user, &days); err != nil {
			return err
		}
		group, name := r.Inventory.Deployments[0].TokenGroup, user+"@"+first
		for _, id := range r.active(group, name) {
			r.GitLab.RevokeToken(id)
		}
		answer := r.api(t, http.MethodPost, "/groups/"+url.PathEscape(group)+"/access_tokens", fmt.Sprintf(
			`{"name": %q, "description": "Made by provision for %[1]s.", "scopes": ["read_registry"], "access_level": 20, "expires_at": %q}`,
			name, time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly)))
		var made struct {
			ID    int64
			Token string
		}
		if err := json.Unmarshal(answer, &made); err != nil {
			return err
		}
		_, err := r.Hosts[first].Exec(t.Context(), `echo "$4" | runuser -u "$1" -- env HOME="/home/$1" docker login --username "provision-$2" --password-stdin "$3" 2>&1`,
			user, fmt.Sprint(made.ID), r.Inventory.Registry.Host, made.Token)
		return err
	}
	return fmt.Errorf("what is %q?", what)
}

// token writes a token of somebody to a file.
func (r *reader) token(username, file string) error {
	text, err := r.GitLab.AddPersonalToken(username, time.Now().AddDate(2, 0, 0), "api").Reveal()
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), 0o600)
}

// A shell is a session of an admin.
type shell struct {
	in  io.Writer
	out *bufio.Reader
}

const endOfCommand = "--- end of command "

func (r *reader) shell(t *testing.T) *shell {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "sh")
	cmd.Dir, cmd.Env = r.dir, r.env
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	return &shell{in, bufio.NewReader(out)}
}

// run runs a command, and returns all that it prints and its exit code.
func (s *shell) run(command string) (string, int, error) {
	if _, err := fmt.Fprintf(s.in, "{ %s\n} </dev/null 2>&1\nprintf '\\n%s%%d\\n' $?\n", command, endOfCommand); err != nil {
		return "", 0, err
	}
	var b strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			return b.String(), 0, fmt.Errorf("the shell has ended: %w", err)
		}
		if text, ok := strings.CutPrefix(line, endOfCommand); ok {
			var code int
			_, err := fmt.Sscan(text, &code)
			return strings.TrimSuffix(b.String(), "\n"), code, err
		}
		b.WriteString(line)
	}
}
