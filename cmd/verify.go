package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/forge/job"
	"provision/provision/secret"
	"provision/steps"
)

type verifyOptions struct {
	fleetOptions
	key     string // a file with the deploy key
	asAdmin bool
	junit   string // a file
	shard   shard
	renew   int // days
}

func verifyCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "prove that deployments are as they should be, without rights of an admin",
		UsageText: "provision verify [flags] INVENTORY",
		Description: "Logs in with the deploy key, looks through the gate, and then tries everything\n" +
			"that this key must not do. The key is --key, else the file $SSH_AUTH of a CI job,\n" +
			"else what GitLab holds, if the token of the inventory is there; at a terminal\n" +
			"without any of them it looks with the rights of an admin. Exit codes: 0 fine;\n" +
			"1 could not look; 2 wrong usage or inventory; 3 something is not as it should be.",
		Flags: append(fleetFlags(),
			&cli.StringFlag{Name: "key", Usage: "log in with the deploy key in `FILE`"},
			&cli.StringFlag{Name: "as", Value: "ci", Usage: "ci, or admin: look with all rights"},
			&cli.StringFlag{Name: "junit", Usage: "write a JUnit report to `FILE`"},
			&cli.StringFlag{Name: "shard", Usage: "only the `K/N`th part of the hosts (default: $CI_NODE_INDEX/$CI_NODE_TOTAL)"},
			&cli.IntFlag{Name: "renew", Value: 7, Usage: "a token with fewer `DAYS` left is not as it should be; warnings begin at 30"},
		),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			fleet, err := fleetOptionsOf(c)
			if err != nil {
				return err
			}
			o := verifyOptions{fleetOptions: fleet, key: c.String("key"), junit: c.String("junit"), renew: c.Int("renew")}
			switch as := c.String("as"); {
			case as == "admin":
				o.asAdmin = true
			case as != "ci":
				return usagef("--as is ci or admin, not %q", as)
			}
			if o.asAdmin && o.key != "" {
				return usagef("--key is the deploy key, which an admin does not use: leave out --as admin or --key")
			}
			if o.renew < 1 {
				return usagef("--renew wants a number of days, at least 1")
			}
			if o.shard, err = shardOf(c.String("shard")); err != nil {
				return err
			}
			return runVerify(c.Context, env, o)
		},
	}
}

// A shard is one of several parts of a fleet.
type shard struct{ k, n int }

// shardOf reads K/N. Without it, the job of CI may be one of several.
func shardOf(text string) (shard, error) {
	if text == "" {
		text = os.Getenv("CI_NODE_INDEX") + "/" + os.Getenv("CI_NODE_TOTAL")
		if strings.HasPrefix(text, "/") { // GitLab sets the total for every job
			return shard{1, 1}, nil
		}
	}
	left, right, _ := strings.Cut(text, "/")
	k, err1 := strconv.Atoi(left)
	n, err2 := strconv.Atoi(right)
	if err1 != nil || err2 != nil || k < 1 || n < k {
		return shard{}, usagef("--shard is %q; write K/N with K from 1 to N", text)
	}
	return shard{k, n}, nil
}

func (s shard) of(hosts []*inventory.Host) []*inventory.Host {
	var part []*inventory.Host
	for i, h := range hosts {
		if i%s.n == s.k-1 {
			part = append(part, h)
		}
	}
	return part
}

func runVerify(ctx context.Context, env Env, o verifyOptions) error {
	f, err := assemble(env, o.fleetOptions)
	if err != nil {
		return err
	}
	defer f.close()
	f.given.Renew = o.renew
	if name := os.Getenv("CI_ENVIRONMENT_NAME"); name != "" && len(o.limit) == 0 && !o.asAdmin {
		f.onlyScope(name)
	}
	f.hosts = o.shard.of(f.hosts)
	keys, err := f.credentials(ctx, env, &o)
	if err != nil {
		return err
	}

	v := newVerification(newReport(env.Stdout, o.output))
	look := func(ctx context.Context, h *inventory.Host) error { return v.asCI(ctx, f, h, keys) }
	if o.asAdmin {
		look = func(ctx context.Context, h *inventory.Host) error { return v.asAdmin(ctx, f, h) }
	}
	errs := f.sideBySide(ctx, look)
	v.print(env, f, errs)
	if o.junit != "" {
		if err := v.writeJUnit(o.junit); err != nil {
			return err
		}
	}
	switch {
	case len(v.errs) > 0:
		return errReported
	case v.drift:
		return errMissing
	}
	return nil
}

// onlyScope leaves the deployments of one environment, if there are any: a job
// of CI has the key of its environment and no other.
func (f *fleet) onlyScope(scope string) {
	var of []*inventory.Deployment
	for _, h := range f.hosts {
		for _, d := range f.deployments[h] {
			if d.Scope == scope {
				of = append(of, d)
			}
		}
	}
	if len(of) > 0 {
		f.only(of)
	}
}

// A keyring finds the deploy key of a deployment.
type keyring func(context.Context, *inventory.Deployment) (secret.Value, error)

// credentials finds out with what to log in, and whether there is a token to
// look at GitLab with.
func (f *fleet) credentials(ctx context.Context, env Env, o *verifyOptions) (keyring, error) {
	token, tokenErr := f.inv.GitLab.Token.Read(ctx)
	hasToken := tokenErr == nil
	if tokenErr != nil && (f.inv.GitLab.Token.Env == "" || os.Getenv(f.inv.GitLab.Token.Env) != "") {
		return nil, fmt.Errorf("the token of GitLab: %w", tokenErr)
	}
	if c := f.inv.Registry.Credential; c.Kind == inventory.Named && o.asAdmin {
		var err error
		if f.given.RegistryPassword, err = c.Password.Read(ctx); err != nil {
			return nil, fmt.Errorf("the password of the registry: %w", err)
		}
	}
	if hasToken {
		if err := f.connect(ctx, token, "api", "read_api"); err != nil {
			return nil, err
		}
	}
	file := o.key
	if file == "" {
		file = os.Getenv("SSH_AUTH")
	}
	switch {
	case o.asAdmin:
		if !hasToken {
			f.forge = job.Job{Some: true}
		}
		return nil, nil
	case file != "":
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, usageError{fmt.Errorf("the deploy key: %w", err)}
		}
		key := secret.New(string(text))
		return func(context.Context, *inventory.Deployment) (secret.Value, error) { return key, nil }, nil
	case hasToken:
		return f.keyFromGitLab, nil
	case f.ask.terminal():
		fmt.Fprintln(env.Stderr, "provision: there is no deploy key here (--key, $SSH_AUTH) and no token of GitLab: looking as an admin")
		o.asAdmin = true
		f.forge = job.Job{Some: true}
		return nil, nil
	}
	return nil, usagef("there is no deploy key to verify with\nhint: give --key FILE, or run in a job that has the variable SSH_AUTH, or set the token of GitLab, or use --as admin")
}

// keyFromGitLab returns the key that GitLab holds.
func (f *fleet) keyFromGitLab(ctx context.Context, d *inventory.Deployment) (secret.Value, error) {
	owner := forge.Owner{Kind: forge.GroupOwner, Path: d.Variables.Group}
	if owner.Path == "" {
		owner = forge.Owner{Kind: forge.ProjectOwner, Path: d.Variables.Projects[0]}
	}
	variables, err := f.forge.Variables(ctx, owner)
	if err != nil {
		return secret.Value{}, err
	}
	for _, v := range variables {
		if v.Key == d.Variables.Key("SSH_AUTH") && v.Scope == d.Scope {
			return v.Value, nil
		}
	}
	return secret.Value{}, fmt.Errorf("%s has no variable %s for %s", owner, d.Variables.Key("SSH_AUTH"), d.Scope)
}

// jobOf is what a job of CI knows of GitLab, besides the key.
func jobOf(d *inventory.Deployment, key secret.Value) job.Job {
	j := job.Job{Given: []forge.Variable{{
		Key: d.Variables.Key("SSH_AUTH"), Value: key, File: true, Protected: true, Raw: true, Scope: d.Scope,
	}}}
	for _, base := range []string{"SSH_KNOWN_HOSTS", "SSH_DEPLOY_TARGET"} {
		text := os.Getenv(d.Variables.Key(base))
		if text == "" {
			j.Some = true
			continue
		}
		j.Given = append(j.Given, forge.Variable{Key: d.Variables.Key(base), Value: secret.New(text), Scope: d.Scope})
	}
	return j
}

// asAdmin looks at a host with all rights.
func (v *verification) asAdmin(ctx context.Context, f *fleet, h *inventory.Host) error {
	conn, err := f.dialer.Dial(ctx, f.target(h))
	if err != nil {
		return err
	}
	defer conn.Close()
	s := site{provision.Target{Name: h.Name, Host: conn, Forge: f.forge, Partial: true}, f, h, f.deployments[h]}
	list := s.steps(f.given)
	plan, err := provision.Check(ctx, s.Target, list)
	verdicts, err := judge("", list, plan, err)
	v.add(h.Name, verdicts...)
	return err
}

// asCI looks at every deployment of a host with its own key.
func (v *verification) asCI(ctx context.Context, f *fleet, h *inventory.Host, keys keyring) error {
	var errs []error
	for _, d := range f.deployments[h] {
		if err := v.deployment(ctx, f, d, keys); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (v *verification) deployment(ctx context.Context, f *fleet, d *inventory.Deployment, keys keyring) error {
	named := func(err error) error { return fmt.Errorf("%s: %s: %w", d.Host.Name, d.Name, err) }
	key, err := keys(ctx, d)
	if err != nil {
		return named(err)
	}
	conn, err := f.dialer.Dial(ctx, f.deployTarget(d, key, f.forge == nil))
	if err != nil {
		return err
	}
	defer conn.Close()

	given := f.given
	given.Salt, given.AsUser = "", true
	list := steps.For(f.inv, d.Host, []*inventory.Deployment{d}, given)
	t := provision.Target{Name: d.Host.Name, Forge: f.forge, Partial: true}
	if f.forge == nil {
		t.Forge = jobOf(d, key)
	}
	plan, err := provision.CheckThrough(ctx, t, list, d.User, conn.Ask)
	var outdated *provision.OutdatedError
	if errors.As(err, &outdated) {
		v.add(d.Host.Name, verdict{
			deployment: d.Name, step: "look " + d.Name, wrong: []string{outdated.Error()},
			unchecked: []string{"every other step, until apply has put it right"},
		})
	} else {
		verdicts, err := judge(d.Name, list, plan, err)
		v.add(d.Host.Name, verdicts...)
		if err != nil {
			return err
		}
	}

	proving, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	attempts, err := conn.Prove(proving)
	restriction := verdict{deployment: d.Name, step: "restriction " + d.Name}
	for _, a := range attempts {
		if a.Refused {
			restriction.refused++
		} else {
			restriction.breaches = append(restriction.breaches, a.Name+": "+a.How)
		}
	}
	v.add(d.Host.Name, restriction) // what was decided counts, whatever else went wrong
	if err != nil {
		return named(fmt.Errorf("the restriction of the key: %w", err))
	}
	return nil
}
