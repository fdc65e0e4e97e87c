package cmd

import (
	"bufio"
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
			"the host and the git server for their keys. A key that your known_hosts has not\n" +
			"gets into the inventory only after you compared its fingerprint: you are asked,\n" +
			"or give it with --accept-host-key.",
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
			&cli.StringSliceFlag{Name: "accept-host-key", Category: groupHosts, Usage: "the `FINGERPRINT` of a key that is right, SHA256:…; may stand there several times"},
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
				return usagef("%s is there already, and is not overwritten\nhint: name another file, or add to it by hand: provision check %s says what is wrong with it", o.file, o.file)
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
	lines     *bufio.Reader // what is typed
	dialer    *remote.Dialer
	unchecked []string // what could not be looked at, and why

	ssh          inventory.SSHServer
	gitKeys      []string
	address      string // of the host, with its port
	admin        string
	hostKeys     []string
	group        string // of the project; "": it has none
	sshElsewhere bool   // git over SSH is not where one would think
}

func runInit(ctx context.Context, env Env, o initOptions) error {
	d := &draft{initOptions: o, env: env, ask: newAsker(env)}
	if env.Stdin != nil {
		d.lines = bufio.NewReader(env.Stdin)
	}
	d.dialer = &remote.Dialer{SSHConfig: o.sshConfig, Passphrase: d.ask.passphrase}
	defer d.dialer.Close()
	for _, step := range []func(context.Context) error{d.questions, d.lookUp, d.gitServer, d.deployHost} {
		if err := step(ctx); err != nil {
			return err
		}
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
	fmt.Fprintf(env.Stdout, "%s is written: %s\n", visibleLines(o.file), sizeOf(inv))
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

// questions asks for what no flag has said.
func (d *draft) questions(ctx context.Context) error {
	for _, q := range []struct {
		answer                    *string
		flag, question, otherwise string
	}{
		{&d.gitlab, "gitlab", "where is GitLab?", "https://gitlab.com"},
		{&d.project, "project", "which project has the compose.yaml? (group/project)", ""},
		{&d.host, "host", "which host is it deployed on? ([user@]address[:port], or a name from ~/.ssh/config)", ""},
		{&d.environment, "environment", "which environment of GitLab is that?", "production"},
	} {
		if *q.answer != "" {
			continue
		}
		if !d.ask.terminal() {
			if *q.answer = q.otherwise; q.otherwise == "" || q.flag == "gitlab" {
				return usagef("--%s is missing, and there is no terminal to ask at\nhint: provision init --help lists the flags", q.flag)
			}
			continue
		}
		answer, err := d.line(ctx, q.question, q.otherwise)
		if err != nil {
			return err
		}
		if *q.answer = answer; answer == "" {
			return usagef("an inventory needs an answer to that: %s", q.question)
		}
	}
	d.gitlab = strings.TrimRight(d.gitlab, "/")
	d.project = strings.Trim(strings.TrimSuffix(strings.TrimPrefix(d.project, d.gitlab), ".git"), "/")
	d.address = d.host
	if at := strings.LastIndexByte(d.host, '@'); at >= 0 {
		d.admin, d.address = d.host[:at], d.host[at+1:]
	}
	u, err := url.Parse(d.gitlab)
	if err != nil || u.Hostname() == "" {
		return usagef("--gitlab is no URL\nhint: write it like https://git.example.com")
	}
	d.ssh = inventory.SSHServer{User: "git", Host: u.Hostname(), Port: 22}
	d.sshAt(d.gitSSH)
	return nil
}

// line asks a question that is answered with a line.
func (d *draft) line(ctx context.Context, question, otherwise string) (string, error) {
	if otherwise != "" {
		question += " [" + otherwise + "]"
	}
	fmt.Fprintf(d.env.Stderr, "%s ", visibleLines(question))
	typed := make(chan string, 1)
	go func() {
		text, _ := d.lines.ReadString('\n')
		typed <- strings.TrimSpace(text)
	}()
	select {
	case text := <-typed:
		return cmp.Or(text, otherwise), nil
	case <-ctx.Done():
		fmt.Fprintln(d.env.Stderr)
		return "", ctx.Err()
	}
}

// lookUp asks GitLab about the project. Without a token it asks nothing.
func (d *draft) lookUp(ctx context.Context) error {
	d.group = d.project[:max(strings.LastIndexByte(d.project, '/'), 0)]
	token, err := inventory.Secret{Env: d.tokenEnv}.Read(ctx)
	if err != nil {
		d.unchecked = append(d.unchecked, fmt.Sprintf("the project %s and your rights there: %v", d.project, err))
		return d.registryWithout(ctx)
	}
	client, err := d.connect(ctx, token)
	var stranger x509.UnknownAuthorityError
	if errors.As(err, &stranger) && d.caFile == "" && d.ask.terminal() {
		fmt.Fprintf(d.env.Stderr, "%s shows a certificate of a CA that this machine does not trust\n", visibleLines(d.gitlab))
		if d.caFile, err = d.line(ctx, "which file has the certificate of that CA?", ""); err == nil {
			client, err = d.connect(ctx, token)
		}
	}
	if err != nil {
		return err
	}
	p, err := client.Project(ctx, d.project)
	if err != nil {
		return err
	}
	d.project, d.group = p.Path, p.Group
	fmt.Fprintf(d.env.Stdout, "project %s is there, ", visibleLines(p.Path))
	if p.Group == "" {
		fmt.Fprintln(d.env.Stdout, "and belongs to a person")
	} else {
		if _, err := client.Group(ctx, p.Group); err != nil {
			return err
		}
		fmt.Fprintf(d.env.Stdout, "in group %s\n", visibleLines(p.Group))
	}
	if p.Level != 0 && p.Level < forge.Maintainer {
		d.unchecked = append(d.unchecked, fmt.Sprintf("whether your token may do all: of project %s it should be Maintainer, and of its group Owner", p.Path))
	}
	if d.gitSSH == "" {
		d.sshAt(p.SSHURL)
	}
	if d.registry == "" {
		d.registry = p.Registry
	}
	return d.registryWithout(ctx)
}

// connect returns a client of GitLab with a token that works there.
func (d *draft) connect(ctx context.Context, token secret.Value) (client *gitlab.Client, err error) {
	var ca []byte
	if d.caFile != "" {
		if ca, err = os.ReadFile(d.caFile); err != nil {
			return nil, usageError{err}
		}
	}
	client, err = gitlab.New(gitlab.Options{URL: d.gitlab, Token: token, CA: ca, UserAgent: "provision/" + version(), Timeout: d.env.Timeout})
	if err != nil {
		return nil, usageError{err}
	}
	return client, client.CheckToken(ctx, "api")
}

// registryWithout is for when GitLab has not said where the registry is.
func (d *draft) registryWithout(ctx context.Context) (err error) {
	if d.registry != "" {
		return nil
	}
	guess := "registry." + d.ssh.Host
	if !d.ask.terminal() {
		return usagef("--registry is missing, and GitLab could not be asked\nhint: --registry %s, if that is what names of images begin with", guess)
	}
	d.registry, err = d.line(ctx, "which registry has the images? (what their names begin with)", guess)
	return err
}

var scpLike = regexp.MustCompile(`^([^@/]+)@([^:/]+):`)

// sshAt reads where git is served over SSH from the URL of a clone.
func (d *draft) sshAt(clone string) {
	usual := d.ssh
	if m := scpLike.FindStringSubmatch(clone); m != nil {
		d.ssh = inventory.SSHServer{User: m[1], Host: m[2], Port: 22}
	} else if u, err := url.Parse(clone); err == nil && u.Scheme == "ssh" && u.Hostname() != "" {
		d.ssh = inventory.SSHServer{User: cmp.Or(u.User.Username(), "git"), Host: u.Hostname(), Port: 22}
		if port, err := strconv.Atoi(u.Port()); err == nil {
			d.ssh.Port = port
		}
	}
	d.sshElsewhere = d.ssh != usual
}

func (d *draft) gitServer(ctx context.Context) (err error) {
	d.gitKeys, err = d.keys(ctx, d.ssh.Host, d.ssh.Port, "the git server", d.gitlab+"/help/instance_configuration has them, or /etc/ssh/*.pub on the server")
	return err
}

func (d *draft) deployHost(ctx context.Context) (err error) {
	host, port := d.address, 0
	if h, p, err := net.SplitHostPort(d.address); err == nil {
		if port, err = strconv.Atoi(p); err != nil {
			return usagef("--host: %q is no port", p)
		}
		host = h
	}
	host = strings.Trim(host, "[]")
	d.hostKeys, err = d.keys(ctx, host, port, "the host", "on the host, ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub prints them")
	return err
}

// keys asks a server for its keys, and returns those that are known or said to
// be right.
func (d *draft) keys(ctx context.Context, host string, port int, what, source string) ([]string, error) {
	shown, err := d.dialer.Scan(ctx, host, port)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	known, err := d.dialer.KnownHostKeys(host, port)
	if err != nil {
		return nil, err
	}
	var right, unknown []string
	out := d.env.Stdout
	fmt.Fprintf(out, "%s %s shows these keys:\n", what, visibleLines(host))
	for _, k := range shown {
		kind, _, _ := strings.Cut(k.Line, " ")
		verdict := ""
		switch {
		case slices.Contains(known, k.Line):
			verdict = "in known_hosts"
		case slices.Contains(d.accept, k.Fingerprint):
			verdict = "accepted"
		default:
			unknown = append(unknown, k.Line)
		}
		if verdict != "" {
			right = append(right, k.Line)
			verdict = ", " + verdict
		}
		fmt.Fprintf(out, "  %s %s%s\n", k.Fingerprint, kind, verdict)
	}
	pinned := slices.DeleteFunc(known, func(k string) bool { return strings.HasPrefix(k, "@") })
	switch {
	case len(right) > 0: // the others are left out: nobody has vouched for them
		return right, nil
	case len(pinned) > 0:
		return nil, fmt.Errorf("%s: none of the keys of %s is the one in your known_hosts\nhint: somebody may be listening in, or it was installed anew. Ask its owner before you replace the known key", what, host)
	case !d.ask.terminal():
		return nil, usagef("%s: nobody has said that the keys of %s are right\nhint: compare the fingerprints (%s), and give the right ones with --accept-host-key SHA256:…", what, host, source)
	}
	fmt.Fprintf(d.env.Stderr, "compare them with what its owner says: %s\n", visibleLines(source))
	answer, err := d.line(ctx, "are they right? [y/N]", "")
	if err != nil {
		return nil, err
	}
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return nil, fmt.Errorf("%s: the keys of %s are not confirmed; nothing is written", what, host)
	}
	return unknown, nil
}

var notInNames = regexp.MustCompile(`[^a-z0-9-]+`)

// plainName makes a name of a part of a path or an address.
func plainName(s, otherwise string) string {
	return cmp.Or(strings.Trim(notInNames.ReplaceAllString(strings.ToLower(s), "-"), "-"), otherwise)
}

// hostName is what the inventory calls the host.
func (d *draft) hostName() string {
	host := d.address
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if net.ParseIP(strings.Trim(host, "[]")) != nil {
		return "host1"
	}
	first, _, _ := strings.Cut(host, ".")
	return plainName(first, "host1")
}

// text is the inventory, with the comments that help to go on.
func (d *draft) text() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	q := strconv.Quote
	directory := plainName(d.project[strings.LastIndexByte(d.project, '/')+1:], "app")
	host := d.hostName()
	user := cmp.Or(d.user, ("deploy-" + directory)[:min(32, len("deploy-"+directory))])
	ca := ""
	if d.caFile != "" {
		ca = d.caFile
		if dir, err := filepath.Abs(filepath.Dir(d.file)); err == nil {
			if abs, err := filepath.Abs(ca); err == nil {
				ca = abs
				if rel, err := filepath.Rel(dir, abs); err == nil && filepath.IsLocal(rel) {
					ca = rel
				}
			}
		}
	}

	p("# An inventory for provision. All keys, with what they mean, are in the schema.")
	p("# For an editor that completes them: provision schema >provision.schema.json, and")
	p("# as the first line of this file: #:schema ./provision.schema.json")
	p("\n[gitlab]\nurl = %s", q(d.gitlab))
	p("# The scope is api. The token itself never stands here.\ntoken = { env = %s }", q(d.tokenEnv))
	if ca != "" {
		p("ca_file = %s", q(ca))
	}
	if d.sshElsewhere {
		p("ssh = %s", q(fmt.Sprintf("ssh://%s@%s", d.ssh.User, net.JoinHostPort(d.ssh.Host, strconv.Itoa(d.ssh.Port)))))
	}
	p("# Of git over SSH: the hosts trust these and no others.\nhost_keys = [%s]", quotedList(d.gitKeys))
	p("\n[registry]\nhost = %s", q(d.registry))
	if ca != "" {
		p("ca_file = %s", q(ca))
	}
	switch {
	case d.group == "":
		p("# The project is in no group, so no token of a group can read its images. Name a\n# login that may: a personal access token with the scope read_registry.")
		p("credential = { username = \"reader\", password = { env = \"REGISTRY_PASSWORD\" } }")
	case d.ssh.Host == "gitlab.com" || strings.HasSuffix(d.gitlab, "//gitlab.com"):
		p("# \"group-access-token\" ends by itself and is renewed; on GitLab.com it needs Premium.\ncredential = \"deploy-token\"")
	default:
		p("# Each host gets a token of its own that reads images; or \"deploy-token\".\ncredential = \"group-access-token\"")
	}
	p("\n[hosts.%s]\naddress = %s", host, q(d.address))
	if d.admin != "" {
		p("user = %s", q(d.admin))
	} else {
		p("# user = \"admin\"  # without it: what ~/.ssh/config says, else your own name")
	}
	if d.identity != "" {
		identity, err := filepath.Abs(d.identity)
		if err != nil {
			identity = d.identity
		}
		p("identity = %s", q(identity))
	}
	p("host_keys = [%s]", quotedList(d.hostKeys))
	p("# become = \"sudo\"          # or \"doas\", or \"none\" where the login is root")
	p("# engine = \"distribution\"  # installs Docker, Compose and git where they are not")
	p("\n[deployments.%s]\nhost = %s\nproject = %s", q(directory+"-"+plainName(d.environment, "production")), q(host), q(d.project))
	p("# The Unix user that owns it, and the directory in its home, which also names the\n# Compose project.\nuser = %s\ndirectory = %s", q(user), q(directory))
	p("environment = %s", q(d.environment))
	p("# Where CI finds its key. For all projects of a group: { group = %s }; the\n# environments of such variables need GitLab Premium.", q(cmp.Or(d.group, "transmogrify")))
	p("variables = { projects = [%s] }", q(d.project))
	p("# wait = \"120s\"      # a deploy waits until the containers are healthy …\n# rollback = true    # … or goes back to the images that ran before")
	return b.String()
}

// quotedList writes keys one a line.
func quotedList(keys []string) string {
	var b strings.Builder
	for _, k := range keys {
		b.WriteString("\n  " + strconv.Quote(k) + ",")
	}
	return b.String() + "\n"
}
