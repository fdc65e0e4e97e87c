package cmd

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"provision/cmd/output"
	"provision/cmd/usage"
	"provision/inventory"
	"provision/provision/forge"
	"provision/provision/forge/gitlab"
	"provision/provision/hint"
	"provision/provision/visible"
)

// readToken reads the token of GitLab, if there is one.
func (d *draft) readToken(ctx context.Context) (err error) {
	if os.Getenv(d.tokenEnv) != "" {
		if d.token, err = (inventory.Secret{Env: d.tokenEnv}).Read(ctx); err != nil {
			return usage.Error{Err: err}
		}
		return nil
	}
	if d.ask.terminal() {
		fmt.Fprintf(d.env.Stderr, "%s: the project and your rights there are not checked\n"+
			"  hint: to have them checked, end this with Ctrl-C and export a token with the scope api\n", d.tokenless())
	}
	return nil
}

// tokenless is why GitLab is not asked.
func (d *draft) tokenless() string { return d.tokenEnv + " is not set" }

func (d *draft) readGitLab() error {
	if !strings.Contains(d.gitlab, "://") {
		d.gitlab = "https://" + d.gitlab
	}
	d.gitlab = strings.TrimRight(d.gitlab, "/")
	if err := wrong(inventory.Wrong("gitlab", "url", d.gitlab)); err != nil {
		return err
	}
	d.ssh = d.defaultSSH()
	d.setGitServer(d.gitSSH)
	return nil
}

// defaultSSH is where git is served over SSH if nothing else is said.
func (d *draft) defaultSSH() inventory.SSHServer {
	server := inventory.SSHServer{User: "git", Port: 22}
	if u, err := url.Parse(d.gitlab); err == nil {
		server.Host = u.Hostname()
	}
	return server
}

// lookAtGitLab looks whether the token works there. Without one it looks whether
// git is served there.
func (d *draft) lookAtGitLab(ctx context.Context) error {
	if d.token.IsZero() {
		return d.lookAtGit(ctx)
	}
	err := d.connect(ctx)
	if unknownCA(err) && d.caFile == "" && d.ask.terminal() {
		fmt.Fprintf(d.env.Stderr, "%s shows a certificate of a CA that this machine does not trust\n", visible.Lines(d.gitlab))
		failed := d.ask.put(ctx, question{text: "which file has the certificate of that CA?", answer: &d.caFile, read: d.readCA, look: func(ctx context.Context) error {
			if err = d.connect(ctx); unknownCA(err) {
				return mistake{fmt.Errorf("%s shows a certificate of another CA than that", d.gitlab)}
			}
			return nil
		}})
		if failed != nil {
			return failed
		}
		if err != nil { // the next answer may be a GitLab of another CA
			d.caFile, d.ca = "", nil
		}
	}
	if err == nil || errors.Is(err, forge.ErrUnauthorized) || errors.Is(err, forge.ErrForbidden) || unknownCA(err) {
		return err // neither another token nor another --ca-file is asked for
	}
	return mistake{err}
}

// unknownCA reports whether a server showed a certificate of a CA that is not
// trusted here.
func unknownCA(err error) bool { return errors.As(err, new(x509.UnknownAuthorityError)) }

func (d *draft) readCA() error {
	if rest, ok := strings.CutPrefix(d.caFile, "~/"); ok { // of a flag the shell has made a path
		if home, err := os.UserHomeDir(); err == nil {
			d.caFile = filepath.Join(home, rest)
		}
	}
	pem, what, advice := inventory.Certificates(d.caFile)
	d.ca = pem
	return wrong(what, advice)
}

// connect makes a client of GitLab, and looks whether its token works there.
func (d *draft) connect(ctx context.Context) (err error) {
	d.client, err = gitlab.New(gitlab.Options{
		URL: d.gitlab, Token: d.token, CA: d.ca, UserAgent: "provision/" + version(), Timeout: d.env.Timeout,
		Waiting: func(text string) { new(output.Live).Waiting(d.env.Stderr, text) },
	})
	if err != nil {
		return usage.Error{Err: err}
	}
	return d.client.CheckToken(ctx, "api")
}

// readProject takes what stands in the address bar for the path, too.
func (d *draft) readProject() error {
	path := strings.TrimPrefix(d.project, d.gitlab)
	_, host, _ := strings.Cut(d.gitlab, "://")
	path = strings.TrimPrefix(path, host+"/")
	path, _, _ = strings.Cut(path, "/-/")
	d.project = strings.Trim(strings.TrimSuffix(path, ".git"), "/")
	d.group = d.project[:max(strings.LastIndexByte(d.project, '/'), 0)]
	return wrong(inventory.Wrong("deployment", "project", d.project))
}

// lookAtProject asks GitLab about the project, and looks for the git server that
// GitLab names.
func (d *draft) lookAtProject(ctx context.Context) error {
	if d.client == nil {
		d.unchecked = append(d.unchecked, fmt.Sprintf("the project %s and your rights there: %s", d.project, d.tokenless()))
		return nil
	}
	p, err := d.client.Project(ctx, d.project)
	if errors.Is(err, forge.ErrNotFound) {
		return mistake{err}
	}
	if err != nil {
		return err
	}
	d.project, d.group = p.Path, p.Group
	where := "in group " + p.Group
	if p.Group == "" {
		where = "of a user, in no group"
	} else if _, err := d.client.Group(ctx, p.Group); err != nil {
		return err
	}
	fmt.Fprintln(d.env.Stdout, visible.Lines(fmt.Sprintf("found project %s %s", p.Path, where)))
	if p.Level != 0 && p.Level < forge.Maintainer {
		d.unchecked = append(d.unchecked, fmt.Sprintf("whether your token may do all: of project %s it should be Maintainer, and of its group Owner", p.Path))
	}
	if d.gitSSH == "" {
		d.setGitServer(p.SSHURL)
	}
	d.registry = cmp.Or(d.registry, p.Registry)
	return d.lookAtGit(ctx)
}

// askRegistry asks for the registry, if GitLab has not said where it is.
func (d *draft) askRegistry(ctx context.Context, q question) error {
	if d.registry != "" {
		return nil
	}
	why := "GitLab could not be asked: " + d.tokenless()
	if d.client != nil {
		why = fmt.Sprintf("project %s has none in GitLab", d.project)
	}
	q.otherwise = "registry." + d.ssh.Host
	if !d.ask.terminal() {
		return hint.Add(usagef("--registry is missing, and %s", why), "--registry %s, if that is what names of images begin with", q.otherwise)
	}
	return d.ask.put(ctx, q)
}

func (d *draft) readGitSSH() error {
	if !d.setGitServer(d.gitSSH) {
		return hint.Add(errors.New("that is no place of git over SSH"), "write it like ssh://git@git.example.com:2222")
	}
	return nil
}

var scpLike = regexp.MustCompile(`^([^@/]+)@([^:/]+):`)

// setGitServer reads where git is served over SSH from the URL of a clone; false if
// it is none over SSH.
func (d *draft) setGitServer(clone string) bool {
	if m := scpLike.FindStringSubmatch(clone); m != nil {
		d.ssh = inventory.SSHServer{User: m[1], Host: m[2], Port: 22}
	} else if u, err := url.Parse(clone); err == nil && u.Scheme == "ssh" && u.Hostname() != "" {
		d.ssh = inventory.SSHServer{User: cmp.Or(u.User.Username(), "git"), Host: u.Hostname(), Port: 22}
		if port, err := strconv.Atoi(u.Port()); err == nil {
			d.ssh.Port = port
		}
	} else {
		return false
	}
	return true
}

// lookAtGit looks at the git server. Where it is, GitLab or a flag has said; if
// neither has, it is where the answer is that GitLab is.
func (d *draft) lookAtGit(ctx context.Context) error {
	d.git = server{what: "the git server", host: d.ssh.Host, port: d.ssh.Port, source: d.gitlab + "/help/instance_configuration has them, or /etc/ssh/*.pub on the server"}
	err := d.lookAt(ctx, &d.git)
	if !errors.As(err, new(mistake)) || d.gitSSH != "" {
		return final(err)
	}
	err = hint.Add(final(err), "if git is served over SSH elsewhere, --git-ssh says where")
	if d.client != nil {
		return err
	}
	return mistake{err}
}
