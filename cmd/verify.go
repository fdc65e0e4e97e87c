package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/forge/job"
	"provision/provision/hint"
	"provision/provision/remote"
	"provision/provision/secret"
	"provision/provision/visible"
	"provision/steps"
)

type verifyOptions struct {
	fleetOptions
	key     string // a file with the deploy key
	asAdmin bool
	junit   string // a file
	html    string // a file
	shard   shard
	renew   int  // days
	strict  bool // a note is a reason to fail
}

func verifyCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "prove that deployments are as they should be, without rights of an admin",
		UsageText: "provision verify [flags] [INVENTORY]",
		Description: "Logs in with the deploy key, looks through the gate, and then tries everything\n" +
			"that this key must not do. The key is --key, else the file $SSH_AUTH of a CI job,\n" +
			"else what GitLab holds, if the token of the inventory is there; at a terminal\n" +
			"without any of them it looks with the rights of an admin.",
		Flags: append(fleetFlags(),
			&cli.StringFlag{Name: "key", Usage: "log in with the deploy key in `FILE`"},
			&cli.StringFlag{Name: "as", Value: "ci", Usage: "`ci|admin`: look with the rights of CI, or with all rights"},
			&cli.StringFlag{Name: "junit", Category: groupOutput, Usage: "write a JUnit report to `FILE`"},
			&cli.StringFlag{Name: "html", Category: groupOutput, Usage: "write a page to read in a browser to `FILE`"},
			&cli.StringFlag{Name: "shard", Category: groupHosts, Usage: "only the `K/N`th part of the hosts (default: $CI_NODE_INDEX/$CI_NODE_TOTAL)"},
			&cli.IntFlag{Name: "renew", Value: 7, Usage: "a token with fewer `DAYS` left is not as it should be; warnings begin at 30"},
			&cli.BoolFlag{Name: "strict", Usage: "notes, too, are not as it should be: exit with 3"},
		),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			fleet, err := fleetOptionsOf(c)
			if err != nil {
				return err
			}
			o := verifyOptions{fleetOptions: fleet, key: c.String("key"), junit: c.String("junit"), html: c.String("html"), renew: c.Int("renew"), strict: c.Bool("strict")}
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
	if !o.asAdmin {
		if err := f.onlyDeployed(); err != nil {
			return hint.Add(err, "with --as admin, hosts without any are looked at too")
		}
	}
	f.given.Renew = o.renew
	if name := os.Getenv("CI_ENVIRONMENT_NAME"); name != "" && len(o.limit) == 0 && !o.asAdmin {
		f.onlyScope(name)
	}
	f.hosts = o.shard.of(f.hosts)
	keys, err := f.credentials(ctx, env, &o)
	if err != nil {
		return err
	}

	v := newVerification(f.report(env, o.fleetOptions))
	v.strict = o.strict
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
	if o.html != "" {
		if err := v.writePage(o.html, f, o, f.ownToken(ctx)...); err != nil {
			return err
		}
	}
	switch {
	case len(v.errs) > 0:
		return errReported
	case v.drift, v.strict && v.tally.Notes > 0:
		return errMissing
	}
	return nil
}

// hasToken tells whether GitLab is asked with a token, and not as a job that has
// none.
func (f *fleet) hasToken() bool {
	_, none := f.forge.(job.Job)
	return f.forge != nil && !none
}

// ownToken is the token that GitLab was asked with, if there is one.
func (f *fleet) ownToken(ctx context.Context) []provision.Credential {
	if !f.hasToken() {
		return nil
	}
	token, err := f.forge.Self(ctx)
	if err != nil {
		return nil
	}
	return []provision.Credential{{Name: fmt.Sprintf("the token %q that GitLab was asked with", token.Name), Ends: !token.Expires.IsZero(), Days: token.DaysLeft}}
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
		if err := f.admitted(); err != nil {
			return nil, err
		}
	}
	file, from := o.key, "--key"
	if file == "" {
		file, from = os.Getenv(inventory.CIKeyVariable), "$SSH_AUTH"
	}
	switch {
	case o.asAdmin:
		if !hasToken {
			f.forge = job.Nothing
		}
		return nil, nil
	case file != "":
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, usageError{noKeyFile(from, err)}
		}
		key := secret.New(string(text))
		return func(context.Context, *inventory.Deployment) (secret.Value, error) { return key, nil }, nil
	case hasToken:
		return f.keyFromGitLab, nil
	case f.ask.terminal():
		fmt.Fprintln(env.Stderr, "provision: there is no deploy key here (--key, $SSH_AUTH) and no token of GitLab: looking as an admin")
		o.asAdmin = true
		f.forge = job.Nothing
		return nil, nil
	}
	return nil, hint.Add(usagef("there is no deploy key to verify with"), "give --key FILE, or run in a job that has the variable SSH_AUTH, or set the token of GitLab, or use --as admin")
}

// noKeyFile says why a file with a deploy key cannot be read. Its name may be
// the key itself, and is left out.
func noKeyFile(from string, err error) error {
	var path *os.PathError
	switch {
	case errors.Is(err, os.ErrNotExist):
		err = errors.New("there is no such file")
	case errors.As(err, &path):
		err = path.Err
	}
	return hint.Add(fmt.Errorf("the deploy key of %s: %w", from, err), "GitLab makes a file of a variable of the type File")
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
		if v.Key == d.Variables.Key(inventory.CIKeyVariable) && v.Scope == d.Scope {
			return v.Value, nil
		}
	}
	return secret.Value{}, hint.Add(fmt.Errorf("%s has no variable %s for %s", owner, d.Variables.Key(inventory.CIKeyVariable), d.Scope), "apply makes the key")
}

// jobOf is what a job of CI knows of GitLab, besides the key.
func jobOf(d *inventory.Deployment, key secret.Value) job.Job {
	j := job.Job{Given: []forge.Variable{{
		Key: d.Variables.Key(inventory.CIKeyVariable), Value: key, File: true, Protected: true, Raw: true, Scope: d.Scope,
	}}}
	for _, base := range []string{inventory.KnownHostsVariable, inventory.DeployTargetVariable} {
		text := os.Getenv(d.Variables.Key(base))
		if text == "" {
			j.Incomplete = true
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
	s := site{provision.Target{Name: h.Name, Host: conn, Forge: f.forge, Partial: true, Trace: f.trace.conversation(h.Name)}, f, h, f.deployments[h]}
	list := s.steps(f.given)
	plan, err := provision.Check(ctx, s.Target, list)
	verdicts, err := judge(h.Name, "", list, f.hasToken(), plan, err)
	v.add(h.Name, verdicts...)
	return err
}

// asCI looks at every deployment of a host with its own key.
func (v *verification) asCI(ctx context.Context, f *fleet, h *inventory.Host, keys keyring) error {
	var errs []error
	var lost []string
	for _, d := range f.deployments[h] {
		if err := v.deployment(ctx, f, d, keys); err != nil {
			errs, lost = append(errs, err), append(lost, d.Name)
		}
	}
	if len(lost) < len(f.deployments[h]) {
		v.lose(h.Name, lost)
	}
	return errors.Join(errs...)
}

// lookTimeout bounds the look at one deployment and the proof of its
// restriction, as a host may take for ever to answer.
const lookTimeout = 3 * time.Minute

func (v *verification) deployment(ctx context.Context, f *fleet, d *inventory.Deployment, keys keyring) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	key, err := keys(ctx, d)
	if err != nil {
		return of(d, err)
	}
	t := f.deployTarget(d, key, f.forge == nil)
	t.Name += ": " + d.Name
	conn, err := f.dialer.Dial(ctx, t)
	var refused *remote.AuthError
	if errors.As(err, &refused) && refused.Given {
		err = hint.Add(err, "provision plan, or verify --as admin, says what stands in its way, and apply puts it right, unless this is not the key that CI has")
	}
	if err != nil {
		return err
	}
	defer conn.Close()

	f.live.doing(d.Host.Name, d.Name+": look")
	restriction := verdict{deployment: d.Name, step: "restriction " + d.Name}
	prove := true
	err = v.throughGate(ctx, f, d, key, conn)
	var notGate *notGateError
	if errors.As(err, &notGate) {
		prove, err = restriction.withoutGate(ctx, conn, notGate)
	}
	if prove {
		f.live.doing(d.Host.Name, d.Name+": try what the key must not do")
		err = errors.Join(err, restriction.prove(ctx, conn))
		for _, name := range restriction.refused {
			f.trace.about(d.Host.Name, d.Name+": tried, and refused: "+name)
		}
	}
	if err == nil || !restriction.fine() {
		v.add(d.Host.Name, restriction)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return of(d, fmt.Errorf("the host has not answered within %v", lookTimeout))
	}
	return err
}

// of says which deployment an error is about.
func of(d *inventory.Deployment, err error) error {
	return fmt.Errorf("%s: %s: %w", d.Host.Name, d.Name, err)
}

// A notGateError tells that what a deploy key opens does not answer as the gate
// does.
type notGateError struct{ error }

func (e *notGateError) Unwrap() error { return e.error }

const (
	refusal    = "provision: refused: " // begins what the gate says against something
	otherSteps = "every other step, until apply has put it right"
)

// throughGate looks at a deployment as the gate lets its key look. What the
// gate itself says against that is a verdict too.
func (v *verification) throughGate(ctx context.Context, f *fleet, d *inventory.Deployment, key secret.Value, conn *remote.Conn) error {
	given := f.given
	given.Salt, given.AsUser = "", true
	list := steps.For(f.inv, d.Host, []*inventory.Deployment{d}, given)
	t := provision.Target{Name: d.Host.Name, Forge: f.forge, Partial: true, Trace: f.trace.conversation(d.Host.Name)}
	if f.forge == nil {
		t.Forge = jobOf(d, key)
	}
	plan, err := provision.CheckThrough(ctx, t, list, d.User, conn.Ask)
	if plan != nil {
		verdicts, err := judge(d.Host.Name, d.Name, list, f.hasToken(), plan, err)
		if f.forge == nil {
			unseenInJob(verdicts, d)
		}
		v.add(d.Host.Name, verdicts...)
		return err
	}
	var others []error
	for _, e := range split(err) {
		step, reason := "", finding{}
		var outdated *provision.OutdatedError
		var exit *remote.ExitError
		var at *provision.StepError
		switch {
		case errors.As(e, &outdated):
			step, reason = "verify-script "+d.Name, findingOf(outdated)
		case errors.As(e, &exit) && exit.Status == 126:
			step, reason = refusedBy(exit.Stderr, d)
		}
		switch {
		case step != "":
			v.add(d.Host.Name, verdict{deployment: d.Name, step: step, wrong: []finding{reason}, unchecked: []string{otherSteps}})
		case errors.As(e, &at) && at.Step == "" && ctx.Err() == nil && !errors.Is(e, remote.ErrLost):
			return &notGateError{e}
		default:
			others = append(others, e)
		}
	}
	return errors.Join(others...)
}

// refusedBy tells which step is to blame where the gate refuses to look.
func refusedBy(said string, d *inventory.Deployment) (step string, why finding) {
	reason, ok := strings.CutPrefix(said, refusal)
	if !ok {
		return "", finding{}
	}
	code, sentence, _ := strings.Cut(strings.TrimSpace(reason), ": ")
	switch {
	case !refusalCode.MatchString(code): // it is of the time before there were codes
		return "gate", finding{"the gate of the host is older than this program", []string{"upgrade it: provision apply"}}
	case code == "not-installed":
		step = "verify-script "
	default:
		step = "deploy-settings "
	}
	return step + d.Name, finding{text: "the gate refuses to look: " + sentence}
}

var refusalCode = regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)

// unseenInJob says of the steps what a job of CI cannot know of variables.
func unseenInJob(verdicts []verdict, d *inventory.Deployment) {
	for i := range verdicts {
		switch v := &verdicts[i]; {
		case v.step == "ci-key "+d.Name:
			v.unseen = append(v.unseen, "the type, the scope and the protection of the variable cannot be seen without a token of GitLab")
		case v.step == "stale-variables "+d.Name && v.unseen == nil:
			v.unseen = []string{"variables that the job is not given cannot be seen without a token of GitLab"}
		}
	}
}

// withoutGate is about a key that does not open the gate, and tells whether it
// is to be tried what else it can do. It asks for one harmless command only: a
// forced command other than the gate would do its work for each.
func (v *verdict) withoutGate(ctx context.Context, conn *remote.Conn, notGate *notGateError) (prove bool, err error) {
	var said strings.Builder
	err = conn.Ask(ctx, "id", &said)
	var exit *remote.ExitError
	if err != nil && !errors.As(err, &exit) || exit != nil && strings.HasPrefix(exit.Stderr, refusal) {
		return false, notGate.error // it is the gate, or cannot be looked at
	}
	found := finding{"the deploy key opens something else than the gate: " + notGate.Error(), hint.Of(notGate)}
	if text := strings.TrimSpace(said.String()); text != "" && !strings.Contains(text, "uid=") {
		line, _, _ := strings.Cut(text, "\n")
		found.text += ": " + cut(visible.String(line), 200)
	}
	if noShell := said.Len() == 0 || strings.Contains(said.String(), "not available"); noShell && exit != nil && exit.Status == 1 && exit.Stderr == "" {
		found.hints = append(found.hints, "that is what nologin(8) and false(1) do: the login shell of the deploy user must be one that runs commands, such as /bin/sh")
	}
	v.wrong = append(v.wrong, found)
	v.unchecked = append(v.unchecked, otherSteps)
	if strings.Contains(said.String(), "uid=") {
		return true, nil
	}
	v.unchecked = append(v.unchecked, "what else the key can do")
	return false, nil
}

// prove tries what the key must not do. Once it has done something of that,
// attempts that decide nothing are no reason to keep silent.
func (v *verdict) prove(ctx context.Context, conn *remote.Conn) error {
	attempts, err := conn.Prove(ctx)
	for _, a := range attempts {
		if a.Refused {
			v.refused = append(v.refused, a.Name)
		} else {
			v.breaches = append(v.breaches, a.Name+": "+a.How)
		}
	}
	if err == nil || v.fine() {
		return err
	}
	for _, e := range split(err) {
		v.unchecked = append(v.unchecked, e.Error())
	}
	return nil
}
