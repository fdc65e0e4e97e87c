package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"provision/inventory"
	"provision/provision/forge/gitlab"
	"provision/provision/hint"
	"provision/provision/remote"
	"provision/provision/remote/sshconfig"
	"provision/provision/secret"
	"provision/provision/visible"
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
			&cli.StringFlag{Name: "gitlab", Usage: "`URL`: the address of GitLab"},
			&cli.StringFlag{Name: "project", Usage: "`PATH`: the project that has the compose.yaml, with its group"},
			&cli.StringFlag{Name: "host", Usage: "`[USER@]ADDRESS[:PORT]`: the host, or a name from ~/.ssh/config"},
			&cli.StringFlag{Name: "environment", Usage: "`ENVIRONMENT`: its name in GitLab (default: production)"},
			&cli.StringFlag{Name: "user", Usage: "`USER`: the Unix user that owns the deployment (default: deploy-PROJECT)"},
			&cli.StringFlag{Name: "registry", Usage: "`REGISTRY`: as image names begin (default: what GitLab says)"},
			&cli.StringFlag{Name: "git-ssh", Usage: "`URL`: git over SSH, like ssh://git@git.example.com:2222 (default: what GitLab says)"},
			&cli.StringFlag{Name: "ca-file", Usage: "`FILE`: certificates of a private CA, for GitLab and the registry"},
			&cli.StringFlag{Name: "token-env", Value: "GITLAB_TOKEN", Usage: "`NAME`: the environment variable with the GitLab token"},
			&cli.StringFlag{Name: "identity", Category: groupHosts, Usage: "`FILE`: a private key to log in to the host with"},
			&cli.StringSliceFlag{Name: "accept-host-key", Category: groupHosts, Usage: "`FINGERPRINT`: accept the host key SHA256:…; may be repeated"},
			&cli.StringFlag{Name: "ssh-config", Category: groupHosts, Aliases: []string{"F"}, Usage: "`FILE`: read this in place of ~/.ssh/config"},
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
				return hint.Add(usagef("%s already exists and was not overwritten", o.file), "name another file, or add to it by hand: provision check %s says what is wrong with it", hint.Quote(o.file))
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
		return hint.Add(usagef("%s: %s", problems[0].Key, problems[0].What), "%s", cmp.Or(problems[0].Hint, "give another answer"))
	}
	if err := writeNew(o.file, text); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "wrote %s: %s\n", visible.Lines(o.file), sizeOf(inv))
	for _, what := range d.unchecked {
		fmt.Fprintf(env.Stdout, "not checked: %s\n", visible.Lines(what))
	}
	fmt.Fprintf(env.Stdout, "next: provision check %s, then provision plan %[1]s\n", visible.Lines(o.file))
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
				return hint.Add(usagef("--%s is missing, and there is no terminal to ask at", q.flag), "provision init --help lists the flags")
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
func wrong(what, advice string) error {
	switch {
	case what == "":
		return nil
	case strings.HasPrefix(what, "is ") || strings.HasPrefix(what, "has ") || strings.HasPrefix(what, "holds ") || strings.HasPrefix(what, "sends "):
		what = "that " + what
	}
	return hint.Add(errors.New(what), "%s", advice)
}

// again is the command that gives the answers so far.
func (d *draft) again() string {
	words := []string{"provision init"}
	for _, flag := range []struct{ name, value string }{
		{"gitlab", d.gitlab}, {"ca-file", d.caFile}, {"project", d.project}, {"host", d.host}, {"environment", d.environment},
	} {
		if flag.value != "" {
			words = append(words, "--"+flag.name, hint.Quote(flag.value))
		}
	}
	return visible.Lines(strings.Join(words, " "))
}
