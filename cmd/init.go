package cmd

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"provision/inventory"
	"provision/provision/forge"
	"provision/provision/forge/gitlab"
	"provision/provision/remote"
	"provision/provision/remote/sshconfig"
	"provision/provision/secret"
)

type initOptions struct {
	file        string
	gitlab      string
	project     string
	host        string // [USER@]HOST[:PORT]
	environment string
	user        string // of the deployment
	registry    string
	gitSSH      string
	caFile      string
	tokenEnv    string
	identity    string
	accept      []string // fingerprints
	sshConfig   string
}

func initCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "init",
		Usage:     "write an inventory for a first host and deployment",
		UsageText: "provision init [flags] [FILE]",
		Description: "Writes inventory.toml, or FILE, and changes nothing else; a file that is there is\n" +
			"not touched. At a terminal it asks for what no flag says. It looks the project up\n" +
			"in GitLab, with the token in $GITLAB_TOKEN, which it does not keep; and it asks\n" +
			"the host and the git server for their keys. A key that is not in your known_hosts\n" +
			"is written only after you confirm its fingerprint: you are asked, or give it with\n" +
			"--accept-host-key.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "gitlab", Usage: "where GitLab is, `URL`"},
			&cli.StringFlag{Name: "project", Usage: "the full `PATH` of the project that has the compose.yaml"},
			&cli.StringFlag{Name: "host", Usage: "`[USER@]ADDRESS[:PORT]` of the host, or a name from ~/.ssh/config"},
			&cli.StringFlag{Name: "environment", Usage: "the `ENVIRONMENT` in GitLab (default: production)"},
			&cli.StringFlag{Name: "user", Usage: "the Unix `USER` that owns the deployment (default: deploy-PROJECT)"},
			&cli.StringFlag{Name: "registry", Usage: "the `REGISTRY` as in names of images (default: what GitLab says)"},
			&cli.StringFlag{Name: "git-ssh", Usage: "where git is served over SSH, `URL` like ssh://git@git.example.com:2222 (default: what GitLab says)"},
			&cli.StringFlag{Name: "ca-file", Usage: "certificates of a private CA, for GitLab and the registry, in `FILE`"},
			&cli.StringFlag{Name: "token-env", Value: "GITLAB_TOKEN", Usage: "the `NAME` of the environment variable with the token of GitLab"},
			&cli.StringFlag{Name: "identity", Category: groupHosts, Usage: "a key to log in to the host with, in `FILE`"},
			&cli.StringSliceFlag{Name: "accept-host-key", Category: groupHosts, Usage: "the `FINGERPRINT` of a host key to accept, SHA256:…; may be repeated"},
			&cli.StringFlag{Name: "ssh-config", Category: groupHosts, Aliases: []string{"F"}, Usage: "read `FILE` in place of ~/.ssh/config"},
		},
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			o := initOptions{
				file: "inventory.toml", gitlab: c.String("gitlab"), project: c.String("project"), host: c.String("host"),
				environment: c.String("environment"), user: c.String("user"), registry: c.String("registry"), gitSSH: c.String("git-ssh"), caFile: c.String("ca-file"),
				tokenEnv: c.String("token-env"), identity: c.String("identity"), accept: c.StringSlice("accept-host-key"), sshConfig: c.String("ssh-config"),
			}
			if c.NArg() > 0 {
				var err error
				if o.file, err = oneArgument(c, "FILE"); err != nil {
					return err
				}
			}
			if _, err := os.Lstat(o.file); err == nil {
				return usagef("%s already exists and was not overwritten\nhint: name another file, or add to it by hand: provision check %s says what is wrong with it", o.file, o.file)
			}
			return runInit(c.Context, env, o)
		},
	}
}

// A draft is an inventory that is being written.
type draft struct {
	initOptions
	env       Env
	ask       *asker
	config    *sshconfig.Config
	dialer    *remote.Dialer // to ask servers for their keys
	unchecked []string       // what could not be looked at, and why

	token  secret.Value   // zero: GitLab is not asked
	client *gitlab.Client // nil: likewise
	ca     []byte

	ssh     inventory.SSHServer // where git is served
	git     server
	address string // of the host, with its port
	admin   string
	machine server // the host
	group   string // of the project; "": it has none
}

func runInit(ctx context.Context, env Env, o initOptions) error {
	d := &draft{initOptions: o, env: env, ask: newAsker(env)}
	d.config = &sshconfig.Config{File: o.sshConfig}
	d.dialer = &remote.Dialer{Config: d.config, Passphrase: d.ask.passphrase}
	defer d.dialer.Close()
	err := d.fill(ctx)
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted; no file written")
	case err == io.EOF:
		return errors.New("unexpected end of input; no file written")
	case err != nil:
		return err
	}
	text := d.text()
	inv, err := inventory.Parse(o.file, []byte(text), filepath.Dir(o.file))
	if err != nil { // said of what was typed, which has no line
		var problems inventory.Problems
		if !errors.As(err, &problems) {
			return err
		}
		return usagef("%s: %s\nhint: %s", problems[0].Key, problems[0].What, cmp.Or(problems[0].Hint, "give another answer"))
	}
	if err := writeNew(o.file, text); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "wrote %s: %s\n", visibleLines(o.file), sizeOf(inv))
	for _, what := range d.unchecked {
		fmt.Fprintf(env.Stdout, "not checked: %s\n", visibleLines(what))
	}
	fmt.Fprintf(env.Stdout, "next: provision check %s, then provision plan %[1]s\n", visibleLines(o.file))
	return nil
}

// writeNew writes a file that is not there yet.
func writeNew(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(f, text); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// fill answers all questions. What no flag says is asked for; each answer is
// checked before the next question.
func (d *draft) fill(ctx context.Context) error {
	asked := []question{
		{flag: "gitlab", text: "where is GitLab?", otherwise: "https://gitlab.com", answer: &d.gitlab, read: d.readGitLab, look: d.lookAtGitLab},
		{flag: "project", text: "which project has the compose.yaml? (group/project)", answer: &d.project, read: d.readProject, look: d.lookAtProject},
		{flag: "host", text: "which host is it deployed on? ([user@]address[:port], or a name from ~/.ssh/config)", answer: &d.host, read: d.readHost, look: d.lookAtHost},
		{flag: "environment", text: "which environment of GitLab is that?", otherwise: "production", answer: &d.environment, read: keyed("deployment", "environment", &d.environment)},
	}
	registry := question{flag: "registry", text: "which registry has the images? (what their names begin with)", answer: &d.registry, read: keyed("registry", "host", &d.registry)}
	flags := append(asked, registry,
		question{flag: "user", answer: &d.user, read: keyed("deployment", "user", &d.user)},
		question{flag: "git-ssh", answer: &d.gitSSH, read: d.readGitSSH},
		question{flag: "ca-file", answer: &d.caFile, read: d.readCA},
		question{flag: "token-env", answer: &d.tokenEnv, read: keyed("secret", "env", &d.tokenEnv)},
	)
	for _, q := range flags { // before anybody is asked anything
		if *q.answer != "" {
			if err := q.read(); err != nil {
				return usagef("--%s: %w", q.flag, err)
			}
		}
	}
	if !d.ask.terminal() {
		d.environment = cmp.Or(d.environment, "production")
		for _, q := range asked {
			if *q.answer == "" {
				return usagef("--%s is missing, and there is no terminal to ask at\nhint: provision init --help lists the flags", q.flag)
			}
		}
	}
	if err := d.readToken(ctx); err != nil {
		return err
	}
	for _, q := range asked {
		if err := d.answer(ctx, q); err != nil {
			return err
		}
	}
	if err := d.askRegistry(ctx, registry); err != nil {
		return err
	}
	if err := d.confirmHostKey(ctx, &d.git); err != nil {
		return err
	}
	return d.confirmHostKey(ctx, &d.machine)
}

// answer asks a question at the terminal, unless a flag has answered it.
func (d *draft) answer(ctx context.Context, q question) error {
	if *q.answer == "" {
		return d.ask.put(ctx, q)
	}
	return q.try(ctx)
}

// keyed checks an answer as the value of a key of the inventory.
func keyed(table, key string, answer *string) func() error {
	return func() error { return wrong(inventory.Wrong(table, key, *answer)) }
}

// wrong makes an error of what is wrong with an answer; nil if nothing is.
func wrong(what, hint string) error {
	switch {
	case what == "":
		return nil
	case strings.HasPrefix(what, "is ") || strings.HasPrefix(what, "has ") || strings.HasPrefix(what, "holds ") || strings.HasPrefix(what, "sends "):
		what = "that " + what
	}
	if hint != "" {
		what += "\nhint: " + hint
	}
	return errors.New(what)
}

// readToken reads the token of GitLab, if there is one.
func (d *draft) readToken(ctx context.Context) (err error) {
	if os.Getenv(d.tokenEnv) != "" {
		if d.token, err = (inventory.Secret{Env: d.tokenEnv}).Read(ctx); err != nil {
			return usageError{err}
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
		fmt.Fprintf(d.env.Stderr, "%s shows a certificate of a CA that this machine does not trust\n", visibleLines(d.gitlab))
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
	pem, what, hint := inventory.Certificates(d.caFile)
	d.ca = pem
	return wrong(what, hint)
}

// connect makes a client of GitLab, and looks whether its token works there.
func (d *draft) connect(ctx context.Context) (err error) {
	d.client, err = gitlab.New(gitlab.Options{URL: d.gitlab, Token: d.token, CA: d.ca, UserAgent: "provision/" + version(), Timeout: d.env.Timeout})
	if err != nil {
		return usageError{err}
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
	fmt.Fprintln(d.env.Stdout, visibleLines(fmt.Sprintf("found project %s %s", p.Path, where)))
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
		return usagef("--registry is missing, and %s\nhint: --registry %s, if that is what names of images begin with", why, q.otherwise)
	}
	return d.ask.put(ctx, q)
}

func (d *draft) readGitSSH() error {
	if !d.setGitServer(d.gitSSH) {
		return errors.New("that is no place of git over SSH\nhint: write it like ssh://git@git.example.com:2222")
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
	err = fmt.Errorf("%w\nhint: if git is served over SSH elsewhere, --git-ssh says where", final(err))
	if d.client != nil {
		return err
	}
	return mistake{err}
}

func (d *draft) readHost() error {
	d.admin, d.address = "", d.host
	if at := strings.LastIndexByte(d.host, '@'); at >= 0 {
		d.admin, d.address = d.host[:at], d.host[at+1:]
		if err := wrong(inventory.Wrong("host", "user", d.admin)); err != nil {
			return err
		}
	}
	return wrong(inventory.Wrong("host", "address", d.address))
}

func (d *draft) lookAtHost(ctx context.Context) error {
	host, port := d.address, 0
	if h, p, err := net.SplitHostPort(d.address); err == nil {
		if port, err = strconv.Atoi(p); err != nil {
			return err
		}
		host = h
	}
	d.machine = server{what: "the host", host: strings.Trim(host, "[]"), port: port, source: "on the host, ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub prints them"}
	return d.lookAt(ctx, &d.machine)
}

// A server is one whose keys get into the inventory.
type server struct {
	what   string
	host   string
	port   int
	source string // of its fingerprints

	shown   string   // its keys, to compare
	right   []string // those that are known or said to be right
	unknown []string
}

// lookAt asks a server for its keys: until one is known or accepted or, where
// nothing is known of it, for the best. The error is a mistake where there is no
// way to it.
func (d *draft) lookAt(ctx context.Context, s *server) error {
	known, err := d.config.KnownHostKeys(ctx, s.host, s.port)
	if err != nil {
		return err
	}
	pinned := slices.ContainsFunc(known, func(k string) bool { return !strings.HasPrefix(k, "@") })
	verdict := func(k remote.ScannedKey) string {
		switch {
		case slices.Contains(known, k.Line):
			return ", in known_hosts"
		case slices.Contains(d.accept, k.Fingerprint):
			return ", accepted"
		}
		return ""
	}
	shown, err := d.dialer.Scan(ctx, s.host, s.port, func(k remote.ScannedKey) bool {
		return verdict(k) != "" || !pinned && len(d.accept) == 0
	})
	if err != nil {
		return mistake{fmt.Errorf("%s: %w", s.what, err)}
	}
	s.shown = fmt.Sprintf("%s %s shows:\n", s.what, visibleLines(s.host))
	for _, k := range shown {
		kind, _, _ := strings.Cut(k.Line, " ")
		s.shown += fmt.Sprintf("  %s %s%s\n", k.Fingerprint, kind, verdict(k))
		if verdict(k) != "" {
			s.right = append(s.right, k.Line)
		} else {
			s.unknown = append(s.unknown, k.Line)
		}
	}
	if len(s.right) == 0 && pinned {
		io.WriteString(d.env.Stdout, s.shown)
		return fmt.Errorf("%s: none of the keys of %s is the one in your known_hosts\nhint: somebody may be listening in, or it was installed anew. Ask its owner before you replace the known key", s.what, s.host)
	}
	return nil
}

// confirmHostKey shows the keys of a server, and asks whether they are right, unless
// some are known to be. Then the others are left out: nobody has confirmed them.
func (d *draft) confirmHostKey(ctx context.Context, s *server) error {
	io.WriteString(d.env.Stdout, s.shown)
	if len(s.right) > 0 {
		return nil
	}
	switch others := len(d.accept) > 0; {
	case others && !d.ask.terminal():
		return usagef("%s: %s shows no key that --accept-host-key names\nhint: somebody may be listening in, or it is the fingerprint of another host: compare (%s)", s.what, s.host, s.source)
	case !d.ask.terminal():
		return usagef("%s: the host key of %s is not confirmed\nhint: compare its fingerprint (%s), and give the right one with --accept-host-key SHA256:…", s.what, s.host, s.source)
	case others:
		fmt.Fprintln(d.env.Stderr, "none of these keys is named by --accept-host-key: somebody may be listening in")
	}
	fmt.Fprintf(d.env.Stderr, "compare the fingerprint with a source you trust: %s\n", visibleLines(s.source))
	fine, err := d.ask.confirm(ctx, "is the fingerprint correct?")
	if err != nil {
		return err
	}
	if !fine {
		return fmt.Errorf("%s: the key of %s is not confirmed; no file written\n"+
			"hint: ask its owner for the fingerprint; with your answers so far: %s --accept-host-key SHA256:…", s.what, s.host, d.again())
	}
	s.right = s.unknown
	return nil
}

// again is the command that gives the answers so far.
func (d *draft) again() string {
	words := []string{"provision init"}
	for _, flag := range []struct{ name, value string }{
		{"gitlab", d.gitlab}, {"ca-file", d.caFile}, {"project", d.project}, {"host", d.host}, {"environment", d.environment},
	} {
		if flag.value != "" {
			words = append(words, "--"+flag.name, shellWord(flag.value))
		}
	}
	return visibleLines(strings.Join(words, " "))
}

// shellWord writes a word as a shell takes it.
func shellWord(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

var plain = regexp.MustCompile(`^[A-Za-z0-9@%+=:,./_-]+$`)
